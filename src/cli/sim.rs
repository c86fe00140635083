//! `remuda sim`: simulated Ollama servers and cloud providers, for trying Remuda out, for tests, and for sizing a fleet.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::config;
use remuda_sim::{Dialect, Fault, KeepAlive, LoadTime, Machine, Model, Options, Setup};

/// Run simulated Ollama servers, or a simulated cloud provider
#[derive(Args, Clone, Debug)]
pub struct SimArgs {
    /// Address that the servers listen at
    #[arg(long, default_value = "127.0.0.1", value_parser = config::host_address)]
    host: IpAddr,

    /// Ports, one server each: 24000-24009, or a list; 0 takes a free port, 0x3 takes three
    #[arg(long, default_value = "24000", value_name = "PORTS")]
    ports: Ports,

    /// How many servers, with `--ports 0`
    #[arg(long, value_name = "N")]
    count: Option<u16>,

    /// What the servers speak
    #[arg(long, value_enum, default_value_t, value_name = "DIALECT")]
    dialect: Dialect,

    /// Models on disk: name or name=size, with commas; given several times, the servers take the lists in turn
    /// [default: llama3.2,qwen3:8b,gemma3,nomic-embed-text, or what the provider is known for]
    ///
    /// A provider's models are named as it lists them.
    #[arg(long, value_name = "MODELS")]
    models: Vec<String>,

    #[command(flatten)]
    keys: Keys,

    /// Models that are loaded at the start
    #[arg(long, value_name = "MODELS", value_delimiter = ',')]
    loaded: Vec<String>,

    /// VRAM of each server
    #[arg(long, default_value = "24GiB", value_name = "SIZE")]
    vram: bytesize::ByteSize,

    /// Bytes per second at which models load
    #[arg(long, default_value = "4GiB", value_name = "SIZE")]
    load_bandwidth: bytesize::ByteSize,

    /// Time that every cold load takes, whatever the model's size
    #[arg(
        long,
        value_name = "TIME",
        value_parser = humantime::parse_duration,
        conflicts_with = "load_bandwidth"
    )]
    load_time: Option<Duration>,

    /// Prompt tokens per second; 0 is no delay
    #[arg(long, default_value_t = 1500.0, value_name = "TOKENS", value_parser = speed)]
    prompt_speed: f64,

    /// Answer tokens per second of one stream; 0 is no delay
    #[arg(long, default_value_t = 60.0, value_name = "TOKENS", value_parser = speed)]
    decode_speed: f64,

    /// Tokens of an answer: a number, or a range such as 24-96
    #[arg(long, default_value = "24-96", value_name = "TOKENS", value_parser = token_range)]
    answer_tokens: RangeInclusive<u32>,

    /// Requests at a time for one loaded model (OLLAMA_NUM_PARALLEL)
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,

    /// Models that may be loaded at a time (OLLAMA_MAX_LOADED_MODELS)
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    max_loaded: u16,

    /// Requests that may wait for a load (OLLAMA_MAX_QUEUE)
    #[arg(long, default_value_t = 512, value_name = "N")]
    max_queue: usize,

    /// How long a load may make no progress (OLLAMA_LOAD_TIMEOUT)
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = humantime::parse_duration)]
    load_timeout: Duration,

    /// How long memory takes to come free when a model makes room for another; /api/ps waits meanwhile
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = humantime::parse_duration)]
    eviction_time: Duration,

    /// How long an idle model stays loaded (OLLAMA_KEEP_ALIVE); negative is forever
    #[arg(
        long,
        default_value = "5m",
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = keep_alive
    )]
    keep_alive: KeepAlive,

    /// Tokens of context of a loaded model (OLLAMA_CONTEXT_LENGTH) [default: 4k, 32k or 256k, by the VRAM]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    context_length: Option<u32>,

    /// Play an older version, which tells no contexts or capabilities in /api/tags and renders no prompts
    #[arg(long)]
    older: bool,

    /// Play a version that tells how much of a prompt it had computed before (prompt_eval_cached_count)
    #[arg(long)]
    tells_cached: bool,

    /// Bytes per second of a pull or push; 0 is no delay
    #[arg(long, default_value = "2GiB", value_name = "SIZE")]
    pull_bandwidth: bytesize::ByteSize,

    /// Answers are the same for the same seed, model and prompt
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Divides every delay of loading, reading and writing
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = factor)]
    speed_up: f64,

    /// A fault, such as 503:times=2,route=/api/chat or cut:tokens=5 or die:after=10s,back_after=5s; may be repeated
    ///
    /// Kinds: refuse, silent, status, error, end, cut, one_byte, stall, die; of loads, slow_load, stuck_load, fail_load;
    /// of loaded models, slow_gpu, hang, freeze.
    /// All take times, chance, route (a path, /api/*, or inference) and port; those of loads and models take model.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,

    /// Listener for the control routes (GET /sim/stats, POST /sim/fault, …), which also answer on every server; a port
    /// alone is one of this machine
    #[arg(long, value_name = "ADDRESS", value_parser = config::local_address)]
    control: Option<SocketAddr>,
}

/// What a simulated provider expects of those who call it.
#[derive(Args, Clone, Debug)]
struct Keys {
    /// The key that a simulated provider expects
    #[arg(long, default_value = "sim-key", value_name = "KEY")]
    api_key: String,

    /// The access key that simulated Bedrock expects signatures from
    #[arg(long, default_value = "AKIDEXAMPLE", value_name = "KEY")]
    access_key: String,

    /// The secret of that access key
    #[arg(
        long,
        default_value = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        value_name = "SECRET"
    )]
    secret_key: String,

    /// The session token that simulated Bedrock expects, if any
    #[arg(long, value_name = "TOKEN")]
    session_token: Option<String>,

    /// The region that simulated Bedrock is in
    #[arg(long, default_value = "us-east-1", value_name = "REGION")]
    region: String,
}

impl SimArgs {
    /// Returns the simulation that these arguments describe; fails if an Ollama server's model has a name that it
    /// cannot have.
    pub fn options(&self) -> Result<Options, remuda_sim::BadModel> {
        let mut ports = self.ports.0.clone();
        if let (Some(count), [0]) = (self.count, ports.as_slice()) {
            ports = vec![0; usize::from(count)];
        }
        let provider = self.provider();
        let mut options = Options {
            host: self.host,
            ports,
            loaded: self.loaded.clone(),
            machine: Machine {
                vram: self.vram.as_u64(),
                load: match self.load_time {
                    Some(time) => LoadTime::Fixed(time),
                    None => LoadTime::Bandwidth(self.load_bandwidth.as_u64()),
                },
                prompt_speed: self.prompt_speed,
                decode_speed: self.decode_speed,
                parallel: usize::from(self.parallel),
                max_loaded: usize::from(self.max_loaded),
                max_queue: self.max_queue,
                load_timeout: self.load_timeout,
                eviction_time: self.eviction_time,
                keep_alive: self.keep_alive,
                context_length: self.context_length,
                older: self.older,
                tells_cached: self.tells_cached,
                answer_tokens: self.answer_tokens.clone(),
                pull_bandwidth: self.pull_bandwidth.as_u64(),
                seed: self.seed,
                speed_up: self.speed_up,
            },
            faults: self.faults.clone(),
            control: self.control,
            provider,
            ..Options::default()
        };
        if options.provider.is_none() && !self.models.is_empty() {
            let parsed = |list: &String| names(list).map(Model::parse).collect();
            options.models = self.models.iter().map(parsed).collect::<Result<_, _>>()?;
        }
        Ok(options)
    }

    fn provider(&self) -> Option<Setup> {
        (self.dialect != Dialect::Ollama).then(|| Setup {
            dialect: self.dialect,
            models: self
                .models
                .iter()
                .flat_map(|list| names(list))
                .map(str::to_owned)
                .collect(),
            api_key: self.keys.api_key.clone(),
            access_key: self.keys.access_key.clone(),
            secret_key: self.keys.secret_key.clone(),
            session_token: self.keys.session_token.clone(),
            region: self.keys.region.clone(),
        })
    }
}

/// Runs the simulation until the process is told to end.
pub fn run(args: &SimArgs) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed("cannot start", &error),
    };
    let options = match args.options() {
        Ok(options) => options,
        Err(error) => return failed("cannot start", &error),
    };
    match runtime.block_on(simulate(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("cannot listen", &error),
    }
}

fn failed(what: &str, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("remuda sim: {what}: {error}");
    ExitCode::FAILURE
}

async fn simulate(options: Options) -> io::Result<()> {
    // Before the ports are printed: who reads them may end this process at once.
    let ended = end()?;
    let running = remuda_sim::start(options).await?;
    {
        let mut out = io::stdout().lock();
        for address in running.addresses() {
            writeln!(out, "listening on http://{address}")?;
        }
        if let Some(address) = running.control() {
            writeln!(out, "control on http://{address}")?;
        }
        out.flush()?;
    }
    ended.await;
    running.stop().await;
    Ok(())
}

/// Completes on SIGINT or SIGTERM, which are caught from this call on.
fn end() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ports as they are written: ranges and single ones, with commas; `0x3` is three that the system hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ports(Vec<u16>);

impl std::str::FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut ports = Vec::new();
        for part in text.split(',').map(str::trim) {
            let number = |digits: &str| {
                digits.trim().parse::<u16>().map_err(|_| {
                    format!("`{part}` is neither a port nor a range such as 24000-24009")
                })
            };
            if let Some(count) = part.strip_prefix("0x") {
                ports.extend(std::iter::repeat_n(0, number(count)?.into()));
            } else if let Some((first, last)) = part.split_once('-') {
                let range = number(first)?..=number(last)?;
                if range.is_empty() {
                    return Err(format!("`{part}` ends before it begins"));
                }
                ports.extend(range);
            } else {
                ports.push(number(part)?);
            }
        }
        Ok(Self(ports))
    }
}

/// Splits a list of models as it is written: `llama3.2,qwen3:8b=5GiB`.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

fn keep_alive(text: &str) -> Result<KeepAlive, String> {
    match text.parse() {
        Ok(seconds) => Ok(KeepAlive::seconds(seconds)),
        Err(_) => KeepAlive::parse(text),
    }
}

fn speed(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|speed: &f64| speed.is_finite() && *speed >= 0.0);
    number.ok_or_else(|| "a number of tokens per second, or 0".into())
}

fn factor(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|factor: &f64| factor.is_finite() && *factor > 0.0);
    number.ok_or_else(|| "a number above 0".into())
}

fn token_range(text: &str) -> Result<RangeInclusive<u32>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err("a number, or a range such as 24-96".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SimArgs,
    }

    fn options(line: &str) -> Options {
        let words = std::iter::once("sim").chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().args.options().unwrap()
    }

    #[test]
    fn ports_in_every_form() {
        let ports = |text: &str| text.parse::<Ports>().map(|ports| ports.0);
        assert_eq!(ports("24000-24002").unwrap(), [24000, 24001, 24002]);
        assert_eq!(ports("1,5-6").unwrap(), [1, 5, 6]);
        assert_eq!(ports("0x3").unwrap(), [0, 0, 0]);
        for bad in ["", "a", "9-8", "70000"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
        assert_eq!(options("--ports 0 --count 2").ports, [0, 0]);
    }

    #[test]
    fn a_fast_machine_for_tests() {
        let options = options(
            "--models a:1b=1GiB,b --models llama3.2 --vram 8GiB --load-time 10ms --decode-speed 0 \
             --prompt-speed 0 --answer-tokens 5 --keep-alive -1 --fault 503:times=1 --fault silent",
        );
        assert_eq!(options.models.len(), 2);
        assert_eq!(options.machine.vram, 8 << 30);
        assert_eq!(
            options.machine.load,
            LoadTime::Fixed(Duration::from_millis(10))
        );
        assert_eq!(options.machine.answer_tokens, 5..=5);
        assert_eq!(options.machine.keep_alive, KeepAlive::Forever);
        assert_eq!(options.faults.len(), 2);
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let (ours, theirs) = (options(""), Options::default());
        assert_eq!(
            format!("{:?}", ours.machine),
            format!("{:?}", theirs.machine)
        );
        assert_eq!(ours.models, theirs.models);
    }

    #[test]
    fn a_provider_keeps_names_that_ollama_does_not_know() {
        let line = "--dialect openai --models openai/gpt-6,x::y --api-key k";
        let setup = options(line).provider.unwrap();
        assert_eq!(setup.models, ["openai/gpt-6", "x::y"]);
        assert_eq!(setup.api_key, "k");
        assert!(options("--dialect ollama").provider.is_none());
        let args = Line::try_parse_from(["sim", "--models", "a b"])
            .unwrap()
            .args;
        assert!(args.options().is_err());
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in [
            "--fault explode",
            "--speed-up 0",
            "--decode-speed -1",
            "--parallel 0",
        ] {
            let words = std::iter::once("sim").chain(bad.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{bad}");
        }
    }
}
