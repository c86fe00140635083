//! The request path: the only floor that touches a Pingora session.

pub mod listener;
