//! What surrounds a gateway here: a folder with files, an environment, and simulated cloud providers.

use std::path::Path;

use serde_json::Value;

use crate::support::*;

/// What simulated providers expect.
pub(crate) const KEY: &str = "sim-key";

/// A working directory, which is also the home directory, and an environment.
pub(crate) struct Surroundings {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Surroundings {
    /// With an environment that is empty.
    pub(crate) fn bare() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
        }
    }

    /// With nothing but the variables that choose free ports.
    pub(crate) fn new() -> Self {
        Self::bare()
            .with("HOST", "127.0.0.1")
            .with("PORT", "0")
            .with("PROXY_ADMIN", "127.0.0.1:0")
    }

    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Writes a file at a path beneath the folder.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, subcommand: &str) -> std::process::Command {
        let mut command = Process::remuda();
        command.arg(subcommand).current_dir(self.path());
        command.env("HOME", self.path());
        command.envs(self.environment.iter().cloned());
        command
    }

    /// `remuda serve`, without a word about a file.
    pub(crate) fn start(self) -> Gateway {
        let command = self.command("serve");
        Gateway::launch(command, self.folder)
    }

    /// What `remuda check` says of a configuration that it refuses.
    pub(crate) fn refused(&self) -> String {
        let output = self.command("check").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    }

    /// What `remuda check` prints, and its warnings.
    pub(crate) fn check(&self) -> (serde_yaml::Value, String) {
        let output = self.command("check").arg("--print").output().unwrap();
        let warnings = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{warnings}");
        (serde_yaml::from_slice(&output.stdout).unwrap(), warnings)
    }
}

/// A simulated provider with these models.
pub(crate) fn provider(dialect: &str, models: &str) -> Simulation {
    Simulation::start(
        1,
        &["--dialect", dialect, "--models", models, "--api-key", KEY],
    )
}

/// Where it is, with `path` after it.
pub(crate) fn url(simulation: &Simulation, path: &str) -> String {
    format!("http://{}{path}", simulation.servers[0])
}

/// Requests that a simulated provider has had, but for those for its models.
pub(crate) async fn asked(simulation: &Simulation) -> u64 {
    let stats = simulation.stats().await;
    let requests = stats.iter().flat_map(|server| &server.requests);
    requests
        .filter(|(route, _)| route.starts_with("POST "))
        .map(|(_, count)| count)
        .sum()
}

/// `POST` of a JSON value.
pub(crate) async fn ask(gateway: &Gateway, path: &str, body: &Value) -> Reply {
    post(gateway.address, path, &body.to_string()).await
}

/// The same, which must go well.
pub(crate) async fn answer(gateway: &Gateway, path: &str, body: &Value) -> Value {
    let reply = ask(gateway, path, body).await;
    assert_eq!(reply.status, 200, "{path} {body}: {}", reply.text());
    reply.json()
}

/// `GET`, which must go well.
pub(crate) async fn page(gateway: &Gateway, path: &str) -> Value {
    let reply = get(gateway.address, path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json()
}
