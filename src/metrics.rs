//! Prometheus instruments.
