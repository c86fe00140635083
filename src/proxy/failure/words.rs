//! The gateway's own words for what ends a request. Clients of the port-range balancer compare those that it used, letter
//! for letter.

/// Tells a client that the configuration refuses streams (400).
pub(crate) const STREAMING_REFUSED: &str =
    "Streaming is not supported by this proxy; use stream=false";
/// Tells a client that no backend became healthy within the queue's timeout (503).
pub(crate) const NO_HEALTHY_BACKENDS: &str = "No healthy Ollama backends available within timeout";
/// Tells a client that no slot came free within the queue's timeout (503).
pub(crate) const WAITED_IN_VAIN: &str = "Queue timeout waiting for an available backend";
/// Tells a client that every attempt failed (502).
pub(crate) const ALL_ATTEMPTS_FAILED: &str = "All backend attempts failed";
/// Tells a client that pull, push, create, copy, delete and blobs are off (403).
pub(crate) const MANAGE_REFUSED: &str = "changing models through this gateway is off; \
     set `server: { manage: true }` in its configuration to allow it";
