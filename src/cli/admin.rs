//! The admin listener: a thread of its own, so that it answers while Pingora's services drain, and
//! while every worker is busy.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use log::{error, warn};
use pingora::apps::ServerApp;
use pingora::apps::http_app::HttpServer;
use pingora::protocols::l4;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::admin::AdminService;

/// Connections at a time; a scraper and some health checks need few. Whoever comes then takes the place of the oldest, so
/// that those who do not ask, or do not read, keep nobody out.
const CONNECTIONS: usize = 64;
/// A connection is closed after this, idle or not.
const LIFETIME: Duration = Duration::from_secs(60);
/// After the system had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens at the address; requests wait until [`serve`] is called.
///
/// # Errors
/// When the address cannot be had.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers until the process ends.
pub(super) fn serve(listener: TcpListener, service: AdminService) {
    std::thread::spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => return error!("the admin listener cannot start: {error}"),
        };
        if let Err(error) = runtime.block_on(accept(listener, service)) {
            error!("the admin listener cannot start: {error}");
        }
    });
}

async fn accept(listener: TcpListener, service: AdminService) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let app = Arc::new(HttpServer::new_app(service));
    let mut open: VecDeque<AbortHandle> = VecDeque::with_capacity(CONNECTIONS);
    // Pingora's word for "not ending": this listener ends with the process.
    let (_running, ending) = watch::channel(false);
    loop {
        let (socket, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("an admin connection cannot be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (app, ending) = (Arc::clone(&app), ending.clone());
        open.retain(|connection| !connection.is_finished());
        while open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let serving = tokio::spawn(async move {
            let answering = async {
                let mut stream: pingora::protocols::Stream =
                    Box::new(l4::stream::Stream::from(socket));
                while let Some(reusable) = app.process_new(stream, &ending).await {
                    stream = reusable;
                }
            };
            // A client that is too slow is cut off; there is nobody to tell.
            let _ = tokio::time::timeout(LIFETIME, answering).await;
        });
        open.push_back(serving.abort_handle());
    }
}
