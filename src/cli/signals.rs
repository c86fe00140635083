//! What signals do: SIGTERM drains, SIGINT ends at once, SIGHUP does nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{error, info, warn};
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};

use crate::proxy::Drain;
use crate::usage::Ledger;

/// Watches SIGTERM and SIGINT.
pub(super) struct Signals {
    pub(super) drain: Arc<Drain>,
    pub(super) ledger: Option<Arc<Ledger>>,
    /// How long requests that are in flight may take to end.
    pub(super) limit: Duration,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut interrupt)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            error!("signals cannot be watched; stop the process with SIGKILL");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {
                info!("SIGINT: ending at once");
                self.drain.cut_off().await;
                end(self.ledger.as_deref())
            }
            _ = terminate.recv() => {}
        }
        info!(
            "draining: {} requests in flight, at most {:?}",
            self.drain.in_flight(),
            self.limit
        );
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        let (drain, ledger, limit) = (Arc::clone(&self.drain), self.ledger.clone(), self.limit);
        tokio::spawn(async move {
            tokio::select! {
                cut = drain.run(limit) => {
                    info!("drained; {cut} requests cut");
                    end(ledger.as_deref())
                }
                _ = terminate.recv() => warn!("a second SIGTERM: ending at once"),
                _ = interrupt.recv() => warn!("SIGINT: ending at once"),
            }
            drain.cut_off().await;
            end(ledger.as_deref())
        });
        ShutdownSignal::GracefulTerminate
    }
}

/// Watches SIGHUP, which ends a process that does not watch it: when its terminal closes, and when an operator means it
/// to read its configuration again. It is watched before anything else, on a thread of its own, as Pingora's runtimes
/// come later.
pub(super) fn watch_hangups() {
    if let Err(error) = try_watch_hangups() {
        warn!("SIGHUP cannot be watched, and ends the process: {error}");
    }
}

fn try_watch_hangups() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut hangup = {
        let _entered = runtime.enter();
        signal(SignalKind::hangup())?
    };
    let noting = async move {
        while hangup.recv().await.is_some() {
            info!(
                "SIGHUP: nothing is done; to apply changes of the configuration, restart the gateway"
            );
        }
    };
    let thread = std::thread::Builder::new().name("hangups".to_owned());
    thread.spawn(move || runtime.block_on(noting)).map(drop)
}

/// Ends the process. Pingora would sleep through its whole grace period, or, without one, accept
/// connections on a runtime that is gone.
fn end(ledger: Option<&Ledger>) -> ! {
    if let Some(ledger) = ledger {
        ledger.close();
    }
    log::logger().flush();
    std::process::exit(0)
}
