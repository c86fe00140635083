//! What a simulated fleet is made of: the machines, their speed, and the models on their disks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::catalogue::Model;
use super::duration::KeepAlive;
use super::fault::Fault;
use super::provider::Setup;

/// One simulated fleet: a server for every port, all alike but for their models.
#[derive(Clone, Debug)]
pub struct Options {
    pub host: IpAddr,
    /// One server each; 0 takes a port that the system hands out.
    pub ports: Vec<u16>,
    /// Models on disk: server `n` has list `n % models.len()`.
    pub models: Vec<Vec<Model>>,
    /// Names of models that are loaded at the start, where they fit and are on disk.
    pub loaded: Vec<String>,
    pub machine: Machine,
    /// A provider that the servers simulate instead of Ollama.
    pub provider: Option<Setup>,
    pub faults: Vec<Fault>,
    /// A listener for the control routes that no fault touches.
    pub control: Option<SocketAddr>,
}

impl Default for Options {
    fn default() -> Self {
        let models = ["llama3.2", "qwen3:8b", "gemma3", "nomic-embed-text"];
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: vec![0],
            models: vec![
                models
                    .iter()
                    .map(|name| Model::parse(name).expect("the names above are names"))
                    .collect(),
            ],
            loaded: Vec::new(),
            machine: Machine::default(),
            provider: None,
            faults: Vec::new(),
            control: None,
        }
    }
}

/// The machine under one server.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Bytes of VRAM.
    pub vram: u64,
    pub load: LoadTime,
    /// Prompt tokens per second; 0 is no delay.
    pub prompt_speed: f64,
    /// Answer tokens per second and stream; 0 is no delay.
    pub decode_speed: f64,
    /// Requests at a time per loaded model (`OLLAMA_NUM_PARALLEL`); some kinds of models take one whatever it is.
    pub parallel: usize,
    /// Models that may be loaded at a time (`OLLAMA_MAX_LOADED_MODELS`).
    pub max_loaded: usize,
    /// Requests that may wait for a load (`OLLAMA_MAX_QUEUE`).
    pub max_queue: usize,
    /// How long a load may make no progress (`OLLAMA_LOAD_TIMEOUT`).
    pub load_timeout: Duration,
    /// How long memory takes to come free when a model makes room for another; meanwhile `/api/ps` does not answer.
    pub eviction_time: Duration,
    /// For requests that do not say (`OLLAMA_KEEP_ALIVE`).
    pub keep_alive: KeepAlive,
    /// Tokens of context for requests that do not say (`OLLAMA_CONTEXT_LENGTH`); `None`: 4k, 32k or 256k, by the VRAM.
    pub context_length: Option<u32>,
    /// A version before `/api/tags` told contexts and capabilities and before prompts could be rendered only.
    pub older: bool,
    /// A version that tells how many tokens of a prompt it had computed before (`prompt_eval_cached_count`).
    pub tells_cached: bool,
    /// Tokens of an answer that nothing cuts short; the prompt decides where in the range.
    pub answer_tokens: RangeInclusive<u32>,
    /// Bytes per second of a pull or push; 0 is no delay.
    pub pull_bandwidth: u64,
    pub seed: u64,
    /// Divides every simulated delay of loading, reading and writing.
    pub speed_up: f64,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            vram: 24 << 30,
            load: LoadTime::Bandwidth(4 << 30),
            prompt_speed: 1_500.0,
            decode_speed: 60.0,
            parallel: 1,
            max_loaded: 3,
            max_queue: 512,
            load_timeout: Duration::from_secs(300),
            eviction_time: Duration::ZERO,
            keep_alive: KeepAlive::For(Duration::from_secs(300)),
            context_length: None,
            older: false,
            tells_cached: false,
            answer_tokens: 24..=96,
            pull_bandwidth: 2 << 30,
            seed: 0,
            speed_up: 1.0,
        }
    }
}

impl Machine {
    /// A machine that never delays anything: for tests.
    pub fn instant() -> Self {
        Self {
            load: LoadTime::Fixed(Duration::ZERO),
            prompt_speed: 0.0,
            decode_speed: 0.0,
            pull_bandwidth: 0,
            ..Self::default()
        }
    }

    /// How long `count` takes at `per_second` on this machine.
    pub(super) fn time(&self, count: f64, per_second: f64) -> Duration {
        if per_second <= 0.0 {
            return Duration::ZERO;
        }
        self.sped_up(count / per_second)
    }

    /// How long a model of `size` bytes takes to load.
    pub(super) fn load_time(&self, size: u64) -> Duration {
        match self.load {
            LoadTime::Fixed(time) => self.sped_up(time.as_secs_f64()),
            LoadTime::Bandwidth(per_second) => self.time(size as f64, per_second as f64),
        }
    }

    /// A time of a real machine on this one.
    pub(super) fn sped_up(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds / self.speed_up).unwrap_or(Duration::MAX)
    }
}

/// How long a cold load takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadTime {
    Fixed(Duration),
    /// Bytes per second; 0 is no delay.
    Bandwidth(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_time_follows_size_and_speed_up() {
        let machine = Machine {
            load: LoadTime::Bandwidth(1 << 30),
            speed_up: 2.0,
            ..Machine::default()
        };
        assert_eq!(machine.load_time(4 << 30), Duration::from_secs(2));
        assert_eq!(Machine::instant().load_time(4 << 30), Duration::ZERO);
    }

    #[test]
    fn no_speed_is_no_delay() {
        assert_eq!(Machine::default().time(1e9, 0.0), Duration::ZERO);
    }
}
