//! The least that Pingora can do as a proxy: `upstream_peer` and nothing else.

use async_trait::async_trait;
use clap::Parser;
use pingora::prelude::*;
use pingora_proxy::{ProxyHttp, Session};
use remuda_bench::server::{Flags, Rotation};

/// A bare Pingora pass-through.
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    server: Flags,
}

struct Bare(Rotation);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0.pick(), false, String::new())))
    }
}

fn main() {
    let Command { server } = Command::parse();
    server.run(|| Bare(Rotation::new(server.upstream.clone())))
}
