//! `remuda serve`: the gateway with the operator's configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use log::{info, warn};

use super::server;
use crate::config::{self, AdminAddress, Overrides};
use crate::settings::Settings;

/// Run the gateway
#[derive(Args, Clone, Debug)]
pub(super) struct ServeArgs {
    /// The configuration [default: ./remuda.yaml, else /etc/remuda/remuda.yaml, else ~/.optillm/proxy_config.yaml, else the
    /// environment alone]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address that clients connect to, in place of server.listen; a port alone listens at every address of this machine
    #[arg(long, value_name = "ADDRESS", value_parser = config::listen_address)]
    listen: Option<SocketAddr>,

    /// Address of the admin listener, in place of server.admin; a port alone listens on this machine only, off starts none
    #[arg(long, value_name = "ADDRESS", value_parser = config::admin_address)]
    admin: Option<AdminAddress>,
}

pub(super) fn run(args: &ServeArgs) -> ExitCode {
    let overrides = Overrides {
        listen: args.listen,
        admin: args.admin,
    };
    let loaded = match config::load_with(args.config.as_deref(), overrides) {
        Ok(loaded) => loaded,
        Err(report) => {
            eprintln!("{report}");
            return ExitCode::FAILURE;
        }
    };
    super::log::start(&loaded.settings.monitoring);
    info!(
        "remuda {} configured from {}",
        env!("CARGO_PKG_VERSION"),
        loaded.source
    );
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if let Some(warning) = open_to_all(&loaded.settings) {
        warn!("{warning}");
    }
    let announce = |listen, admin: Option<std::net::SocketAddr>| {
        info!("listening on http://{listen}");
        match admin {
            Some(admin) => info!("admin on http://{admin}"),
            None => info!("the admin listener is off"),
        }
    };
    match server::run(loaded.settings, announce) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("remuda serve: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns a warning where nothing keeps strangers out.
fn open_to_all(settings: &Settings) -> Option<String> {
    let listen = settings.server.listen;
    let open = settings.access.keys.is_empty() && settings.server.allow.is_empty();
    (open && !listen.ip().is_loopback()).then(|| {
        format!(
            "no keys are configured: whoever reaches {listen} may use every provider; add keys (`remuda key` makes one), \
             list addresses in server.allow, or listen on 127.0.0.1"
        )
    })
}
