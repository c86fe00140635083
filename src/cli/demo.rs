//! `remuda demo`: a simulated fleet, simulated cloud providers and the gateway in one process, and what to try. No GPU,
//! no key, no network.

mod clouds;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use super::server;
use crate::config::{self, AdminAddress};
use crate::settings::{
    Access, Monitoring, Provider, Queue, Routing, Server, Settings, Timeouts, Usage,
};
use clouds::CLOUDS;
use remuda_sim::{Model, Options};

/// What each of the three servers has on its disk.
const DISKS: [&str; 3] = [
    "llama3.2 qwen3:8b nomic-embed-text",
    "llama3.2 gemma3 nomic-embed-text",
    "qwen3:8b gemma3 llava",
];

/// Run three simulated Ollama servers, simulated cloud providers, and the gateway in front of them
#[derive(Args, Clone, Debug)]
pub(super) struct DemoArgs {
    /// Address that clients connect to; a port alone listens at every address of this machine
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:11434", value_parser = config::listen_address)]
    listen: SocketAddr,

    /// Address of metrics and health; a port alone listens on this machine only, off starts none
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:11435", value_parser = config::admin_address)]
    admin: AdminAddress,
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
    let fleet = runtime.block_on(remuda_sim::start(simulated()))?;
    let clouds = runtime.block_on(clouds::start())?;
    let mut providers = vec![ollama(&fleet.addresses())];
    providers.extend(clouds.iter().map(clouds::Served::provider));
    server::run(settings(args, providers), |listen, admin| {
        // Without a reader there is nobody to tell what to try; the gateway runs all the same.
        let _ = introduce(listen, admin);
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

fn ollama(addresses: &[SocketAddr]) -> Provider {
    let mut provider = Provider::named("simulated");
    let addresses = addresses.iter();
    provider.backends = addresses
        .map(|address| clouds::backend(*address, ""))
        .collect();
    provider
}

fn settings(args: &DemoArgs, providers: Vec<Provider>) -> Settings {
    Settings {
        server: Server {
            listen: args.listen,
            admin: args.admin.0,
            expose_backend: true,
            manage: true,
            ..Server::default()
        },
        access: Access::default(),
        providers,
        routing: Routing::default(),
        timeouts: Timeouts::default(),
        queue: Queue::default(),
        monitoring: Monitoring::default(),
        usage: Usage::default(),
    }
}

fn introduce(listen: SocketAddr, admin: Option<SocketAddr>) -> io::Result<()> {
    let host = if listen.ip().is_unspecified() {
        "localhost".to_owned()
    } else {
        listen.ip().to_string()
    };
    let url = format!("http://{host}:{}", listen.port());
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "\nRemuda listens on {url}, in front of three simulated Ollama servers and one simulated provider of each kind.\n\
         Their answers are made up; everything between you and them is real.\n"
    )?;
    writeln!(out, "Every format of a client reaches every model:\n")?;
    for line in chats(&url) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "\nMore models to put in their place:\n")?;
    for cloud in &CLOUDS {
        writeln!(out, "  {}/{}", cloud.name, cloud.model)?;
    }
    writeln!(out, "\nLook around:\n")?;
    writeln!(out, "  curl {url}/api/tags            # all models")?;
    writeln!(
        out,
        "  curl {url}/__proxy/backends    # who is healthy, who is busy, what is loaded"
    )?;
    if let Some(admin) = admin {
        writeln!(out, "  curl http://{admin}/metrics    # for Prometheus")?;
    }
    writeln!(
        out,
        "  OLLAMA_HOST={url} ollama run gemma3      # any client of Ollama, OpenAI or Anthropic works"
    )?;
    writeln!(out, "\nCtrl-C ends it.\n")?;
    out.flush()
}

/// Returns one question in each format of a client.
fn chats(url: &str) -> [String; 4] {
    const SAID: &str = r#""messages":[{"role":"user","content":"hi"}]"#;
    let ask = |path: &str, model: &str, rest: &str| {
        format!("curl {url}{path} -d '{{\"model\":\"{model}\",{rest}}}'")
    };
    let messages = format!("\"max_tokens\":200,{SAID}");
    [
        ask("/api/chat", "llama3.2", SAID),
        ask("/v1/chat/completions", "anthropic/claude-opus-5", SAID),
        ask("/v1/messages", "google/gemini-3.5-flash", &messages),
        ask("/v1/responses", "openai/gpt-5.5", r#""input":"hi""#),
    ]
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
