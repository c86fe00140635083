//! Joins two dialects: a client's request becomes a provider's, and the provider's answer the client's.
