//! `remuda demo`: a simulated fleet and the gateway in one process, and what to try. No GPU, no key, no network.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use super::server;
use crate::settings::{
    Monitoring, Provider, Queue, Routing, Server, Settings, StaticBackend, Timeouts,
};
use crate::sim::{self, Model, Options};

/// What each of the three servers has on its disk.
const DISKS: [&str; 3] = [
    "llama3.2 qwen3:8b nomic-embed-text",
    "llama3.2 gemma3 nomic-embed-text",
    "qwen3:8b gemma3 llava",
];

/// A simulated fleet of three Ollama servers and the gateway in front of it.
#[derive(Args, Clone, Debug)]
pub(super) struct DemoArgs {
    /// Address that clients connect to
    #[arg(long, default_value = "0.0.0.0:11434")]
    listen: SocketAddr,

    /// Address of metrics and health
    #[arg(long, default_value = "127.0.0.1:11435")]
    admin: SocketAddr,
}

pub(super) fn run(args: &DemoArgs) -> ExitCode {
    super::log::start(&Monitoring::default());
    match demonstrate(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("remuda demo: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("the simulated servers cannot start: {0}")]
    Sim(#[from] io::Error),
    #[error(transparent)]
    Server(#[from] server::StartError),
}

fn demonstrate(args: &DemoArgs) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let fleet = runtime.block_on(sim::start(simulated()))?;
    let settings = settings(args, &fleet.addresses());
    server::run(settings, |listen, admin| {
        // Without a reader there is nobody to tell what to try; the gateway runs all the same.
        let _ = introduce(&fleet.addresses(), listen, admin);
    })?;
    Ok(())
}

fn simulated() -> Options {
    let disk = |names: &&str| {
        names
            .split(' ')
            .filter_map(|name| Model::parse(name).ok())
            .collect()
    };
    Options {
        ports: vec![0; DISKS.len()],
        models: DISKS.iter().map(disk).collect(),
        loaded: vec!["llama3.2".to_owned()],
        ..Options::default()
    }
}

fn settings(args: &DemoArgs, backends: &[SocketAddr]) -> Settings {
    let mut provider = Provider::named("simulated");
    provider.discover = None;
    provider.backends = backends
        .iter()
        .map(|address| StaticBackend {
            tls: false,
            host: address.ip().to_string(),
            port: address.port(),
            path: "".into(),
            weight: None,
            cost: None,
            max_concurrent: None,
            vram: None,
        })
        .collect();
    Settings {
        server: Server {
            listen: args.listen,
            admin: Some(args.admin),
            expose_backend: true,
            manage: true,
            ..Server::default()
        },
        providers: vec![provider],
        routing: Routing::default(),
        timeouts: Timeouts::default(),
        queue: Queue::default(),
        monitoring: Monitoring::default(),
    }
}

fn introduce(
    fleet: &[SocketAddr],
    listen: SocketAddr,
    admin: Option<SocketAddr>,
) -> io::Result<()> {
    let host = if listen.ip().is_unspecified() {
        "localhost".to_owned()
    } else {
        listen.ip().to_string()
    };
    let url = format!("http://{host}:{}", listen.port());
    let servers: Vec<String> = fleet.iter().map(ToString::to_string).collect();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "\nRemuda listens on {url}, in front of three simulated Ollama servers ({}).",
        servers.join(", ")
    )?;
    writeln!(
        out,
        "Their answers are made up; everything between you and them is real. Try:\n"
    )?;
    writeln!(
        out,
        "  curl {url}/api/chat -d '{{\"model\":\"llama3.2\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'"
    )?;
    writeln!(
        out,
        "  curl {url}/api/tags            # the models of all three servers"
    )?;
    writeln!(
        out,
        "  curl {url}/__proxy/backends    # who is healthy, who is busy, what is loaded"
    )?;
    writeln!(
        out,
        "  OLLAMA_HOST={url} ollama run gemma3      # any Ollama client works"
    )?;
    if let Some(admin) = admin {
        writeln!(out, "  curl http://{admin}/metrics    # for Prometheus")?;
    }
    writeln!(out, "\nCtrl-C ends it.\n")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_simulated_disk_holds_what_it_names() {
        let options = simulated();
        for (disk, names) in options.models.iter().zip(DISKS) {
            assert_eq!(disk.len(), names.split(' ').count());
        }
    }
}
