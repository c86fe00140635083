//! Loads models into the memory of Ollama servers for nobody in particular: clients that wait for a model may leave and come
//! back, and the load goes on. Copies that answer nobody are unloaded here, and tried.

mod healing;
mod load_request;
pub(super) mod loader;
