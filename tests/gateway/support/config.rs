//! A configuration file of one provider, written by dotted keys, or of several.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

/// What a test's gateway is configured with; everything else has the defaults of a small, fast fleet.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Keys of `providers[0]`.
    provider: BTreeMap<String, String>,
    backends: Vec<String>,
    /// Whole providers, as YAML in one line, in place of the one.
    entries: Vec<String>,
    /// Client keys, each as YAML in one line.
    keys: Vec<String>,
    /// Keys of the other sections, such as `queue.size`.
    sections: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) environment: Vec<(String, String)>,
}

impl Config {
    /// One slot a backend, frequent probes, listeners on ports that the system hands out.
    pub(crate) fn new() -> Self {
        let empty = Self {
            provider: BTreeMap::new(),
            backends: Vec::new(),
            entries: Vec::new(),
            keys: Vec::new(),
            sections: BTreeMap::new(),
            environment: Vec::new(),
        };
        empty
            .set("server.listen", "127.0.0.1:0")
            .set("server.admin", "127.0.0.1:0")
            // Tests call the gateway by any name.
            .set("server.hosts", "['*']")
            .set("server.expose_backend", "true")
            .set("server.threads", "2")
            .set("provider.name", "test")
            .set("provider.max_concurrent_per_backend", "1")
            .set("monitoring.log_level", "info")
    }

    /// Backends with fixed addresses, probed often.
    pub(crate) fn over(backends: &[SocketAddr]) -> Self {
        backends
            .iter()
            .fold(Self::new(), |config, address| config.backend(*address))
            .set("provider.interval", "200ms")
            .set("provider.probe_timeout", "2s")
    }

    /// Sets a key by its path; `provider.` is the one provider.
    pub(crate) fn set(mut self, key: &str, value: impl ToString) -> Self {
        let (section, key) = key.split_once('.').unwrap();
        let keys = match section {
            "provider" => &mut self.provider,
            other => self.sections.entry(other.to_owned()).or_default(),
        };
        keys.insert(key.to_owned(), value.to_string());
        self
    }

    pub(crate) fn backend(mut self, address: SocketAddr) -> Self {
        self.backends.push(format!("http://{address}"));
        self
    }

    /// Several providers in place of the one; each is a flow mapping such as `{ name: a, kind: openai }`.
    pub(crate) fn of(entries: impl IntoIterator<Item = String>) -> Self {
        let mut config = Self::new();
        config.entries = entries.into_iter().collect();
        config
    }

    /// A client key, as a flow mapping such as `{ name: a, key: b }`.
    pub(crate) fn key(mut self, entry: impl ToString) -> Self {
        self.keys.push(entry.to_string());
        self
    }

    /// A variable of the gateway's environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The file.
    pub(crate) fn yaml(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.sections {
            writeln!(text, "{section}:").unwrap();
            for (key, value) in keys {
                writeln!(text, "  {key}: {value}").unwrap();
            }
        }
        if !self.keys.is_empty() {
            writeln!(text, "keys:").unwrap();
        }
        for entry in &self.keys {
            writeln!(text, "  - {entry}").unwrap();
        }
        writeln!(text, "providers:").unwrap();
        for entry in &self.entries {
            writeln!(text, "  - {entry}").unwrap();
        }
        if !self.entries.is_empty() {
            return text;
        }
        for (index, (key, value)) in self.provider.iter().enumerate() {
            let lead = if index == 0 { "  - " } else { "    " };
            writeln!(text, "{lead}{key}: {value}").unwrap();
        }
        if !self.backends.is_empty() {
            writeln!(text, "    backends: [{}]", self.backends.join(", ")).unwrap();
        }
        text
    }
}
