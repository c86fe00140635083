//! What the benchmark programs share: HTTP/1.1 framing by hand, figures of a process from `/proc`,
//! and the Pingora server that every proxy here is built on.

pub mod corked;
pub mod framing;
pub mod procfs;
pub mod server;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(all(feature = "mimalloc", not(feature = "jemalloc")))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
