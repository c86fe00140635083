//! What the repository ships besides the program: the systemd unit, the image, the compose file, the
//! scrape configuration and the scripts fit the program and each other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use remuda::settings;
use serde_yaml::Value;
use tempfile::TempDir;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    let mut value: Value = serde_yaml::from_str(&text(path)).unwrap();
    value.apply_merge().unwrap();
    value
}

fn succeed(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout
}

/// Whether an optional tool is on this machine.
fn installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        eprintln!("{tool} is not installed; this check is left out");
    }
    found
}

/// The values of one key of the unit.
fn unit(key: &str) -> Vec<String> {
    text("conf/remuda.service")
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(str::to_owned)
        .collect()
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_confined() {
    if !installed("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("remuda.service");
    let here =
        text("conf/remuda.service").replace("/usr/local/bin/remuda", env!("CARGO_BIN_EXE_remuda"));
    fs::write(&file, here).unwrap();
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&file)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && told.is_empty(), "{told}");
    // Exposure in tenths: 2.0 of 10 is systemd's bound of "OK".
    succeed(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
            .arg(&file),
    );
}

#[test]
fn the_unit_gives_streams_their_time_and_connections_their_files() {
    let server = settings::Server::default();
    let stop = humantime::parse_duration(&unit("TimeoutStopSec")[0]).unwrap();
    assert!(
        stop >= server.drain_timeout + Duration::from_secs(10),
        "{stop:?}"
    );
    let files: usize = unit("LimitNOFILE")[0].parse().unwrap();
    assert!(files > 2 * server.max_connections, "{files}");
    assert_eq!(unit("ExecStart"), ["/usr/local/bin/remuda serve"]);
}

/// Source paths of the image's `COPY` lines that come from the repository.
fn copied() -> Vec<String> {
    text("Dockerfile")
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[..words.len() - 1]
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_image_copies_all_that_cargo_wants_to_see() {
    let directory = tempfile::tempdir().unwrap();
    let sources = copied();
    for source in &sources {
        succeed(
            Command::new("cp")
                .arg("-r")
                .arg(repository(source))
                .arg(directory.path()),
        );
        let ignored = text(".dockerignore");
        assert!(
            ignored.lines().any(|line| line == format!("!{source}")),
            "{source}"
        );
    }
    let read = succeed(
        Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--no-deps",
                "--offline",
                "--locked",
                "--format-version=1",
            ])
            .current_dir(directory.path()),
    );
    assert!(read.contains(r#""name":"remuda""#));
    // What the program takes in when it is compiled lies within what is copied.
    let files = ["src", "crates"].map(|folder| rust_files(&directory.path().join(folder)));
    for file in files.concat() {
        let code = fs::read_to_string(&file).unwrap();
        let shipped = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for include in ["include_str!(\"", "include_bytes!(\""] {
            for name in shipped.split(include).skip(1) {
                let name = name.split('"').next().unwrap();
                let included = file.parent().unwrap().join(name);
                let in_tests = file
                    .iter()
                    .any(|part| part.to_string_lossy().contains("tests"));
                assert!(in_tests || included.exists(), "{}: {name}", file.display());
            }
        }
    }
}

#[test]
fn the_image_has_no_simulator() {
    assert!(text("Dockerfile").contains("cargo build --release --locked --no-default-features"));
    let tree = |features: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["tree", "--offline", "--locked", "--package=remuda"]);
        command.args(["--edges=normal", "--prefix=none", "--format={p}"]);
        succeed(command.args(features).current_dir(repository(".")))
    };
    let has = |tree: &str| tree.lines().any(|line| line.starts_with("remuda-sim "));
    assert!(has(&tree(&[])));
    assert!(!has(&tree(&["--no-default-features"])));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut found: Vec<PathBuf> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .collect();
    found.extend(folders.iter().flat_map(|folder| rust_files(folder)));
    found
}

#[test]
fn the_image_runs_unprivileged_and_checks_itself() {
    let image = text("Dockerfile");
    let stage = image.rsplit("\nFROM ").next().unwrap();
    for line in [
        "USER 65532:65532",
        "EXPOSE 11434 11435",
        "STOPSIGNAL SIGTERM",
        "ENTRYPOINT [\"remuda\"]",
        "CMD [\"serve\"]",
    ] {
        assert!(stage.lines().any(|known| known == line), "{line}");
    }
    assert!(stage.contains("CMD [\"remuda\", \"health\"]"));
    let server = settings::Server::default();
    assert_eq!(server.listen.port(), 11434);
    let admin = server.admin.unwrap();
    assert!(admin.ip().is_loopback() && admin.port() == 11435, "{admin}");
}

/// A compose file, the gateway's configuration in it, and what its container has.
struct Stack {
    compose: Value,
    config: String,
}

impl Stack {
    fn read(path: &str) -> Self {
        let compose = yaml(path);
        let config = &compose["configs"]["remuda"];
        let config = match config["content"].as_str() {
            // Compose's escape of its own variables.
            Some(content) => content.replace("$$", "$"),
            None => beside(config["file"].as_str().unwrap()),
        };
        Self { compose, config }
    }

    fn gateway(&self) -> &Value {
        &self.compose["services"]["remuda"]
    }

    /// What the gateway makes of its configuration, with the secrets of its container.
    fn effective(&self) -> Value {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("remuda.yaml"), &self.config).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_remuda"));
        check.env_clear().current_dir(directory.path());
        for (name, value) in self.gateway()["environment"].as_mapping().unwrap() {
            let secret = value
                .as_str()
                .unwrap()
                .strip_prefix("/run/secrets/")
                .unwrap();
            let file = directory.path().join(secret);
            fs::write(&file, format!("key-of-{secret}\n")).unwrap();
            check.env(name.as_str().unwrap(), file);
        }
        let effective = succeed(check.args(["check", "--print", "-c", "remuda.yaml"]));
        serde_yaml::from_str(&effective).unwrap()
    }
}

/// A file that is named relative to `conf/`.
fn beside(name: &str) -> String {
    text(&format!("conf/{}", name.strip_prefix("./").unwrap()))
}

/// Every list of names in the services that stands for entries of one of the file's own sections.
fn used<'a>(compose: &'a Value, section: &'a str) -> impl Iterator<Item = &'a str> {
    let services = compose["services"].as_mapping().unwrap().values();
    services
        .flat_map(move |service| service[section].as_sequence().into_iter().flatten())
        .map(|entry| entry.as_str().or(entry["source"].as_str()).unwrap())
}

const STACKS: [&str; 2] = ["conf/docker-compose.yml", "conf/docker-compose.swarm.yml"];

#[test]
fn stacks_name_only_what_they_declare() {
    for path in STACKS {
        let compose = yaml(path);
        for section in ["secrets", "configs"] {
            let declared = compose[section].as_mapping().unwrap();
            for name in used(&compose, section) {
                assert!(declared.contains_key(name), "{path}: {section} {name}");
            }
            for (name, entry) in declared {
                let name = name.as_str().unwrap();
                assert!(
                    used(&compose, section).any(|used| used == name),
                    "{path}: {name}"
                );
                if let Some(file) = entry["file"].as_str().filter(|file| !file.contains("${")) {
                    assert!(!beside(file).is_empty(), "{path}: {file}");
                }
            }
        }
        for volume in used(&compose, "volumes") {
            let source = volume.split(':').next().unwrap();
            let known = match source.strip_prefix("./") {
                Some(_) => !beside(source).is_empty(),
                None => compose["volumes"]
                    .as_mapping()
                    .unwrap()
                    .contains_key(source),
            };
            assert!(known, "{path}: {source}");
        }
    }
}

#[test]
fn secrets_reach_the_gateway_as_files() {
    for path in STACKS {
        let stack = Stack::read(path);
        let secrets: Vec<&str> = used(&stack.compose, "secrets").collect();
        let environment = stack.gateway()["environment"].as_mapping().unwrap();
        for (name, value) in environment {
            assert!(
                name.as_str().unwrap().ends_with("_FILE"),
                "{path}: {name:?}"
            );
            let secret = value
                .as_str()
                .unwrap()
                .strip_prefix("/run/secrets/")
                .unwrap();
            assert!(secrets.contains(&secret), "{path}: {secret}");
        }
        let effective = stack.effective();
        for provider in effective["providers"].as_sequence().unwrap() {
            let hosted = provider["kind"] != "ollama";
            assert_eq!(
                provider["api_key"].is_string(),
                hosted,
                "{path}: {provider:?}"
            );
        }
    }
}

#[test]
fn without_a_key_the_compose_file_starts_all_the_same() {
    let stack = Stack::read("conf/docker-compose.yml");
    let secret = stack.compose["secrets"]["openai_api_key"]["file"]
        .as_str()
        .unwrap();
    assert_eq!(secret, "${OPENAI_KEY:-/dev/null}");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("remuda.yaml"), &stack.config).unwrap();
    succeed(
        Command::new(env!("CARGO_BIN_EXE_remuda"))
            .env_clear()
            .env("OPENAI_API_KEY_FILE", "/dev/null")
            .current_dir(directory.path())
            .args(["check", "-c", "remuda.yaml"]),
    );
}

fn bytes(value: &Value) -> u64 {
    let text = value.as_str().unwrap();
    // Compose's units are powers of two.
    let size: bytesize::ByteSize = format!("{text}iB").parse().unwrap();
    size.as_u64()
}

#[test]
fn limits_leave_room_for_what_the_gateway_may_hold() {
    for path in STACKS {
        let stack = Stack::read(path);
        let effective = stack.effective();
        let limits = &stack.gateway()["deploy"]["resources"]["limits"];
        let held = effective["server"]["max_buffered"].as_str().unwrap();
        let held: bytesize::ByteSize = held.parse().unwrap();
        assert!(bytes(&limits["memory"]) >= 2 * held.as_u64(), "{path}");
        let grace = stack.gateway()["stop_grace_period"].as_str().unwrap();
        let drain = effective["server"]["drain_timeout"].as_str().unwrap();
        let [grace, drain] = [grace, drain].map(|text| humantime::parse_duration(text).unwrap());
        assert!(
            grace >= drain + Duration::from_secs(10),
            "{path}: {grace:?} {drain:?}"
        );
        let files = stack.gateway()["ulimits"]["nofile"].as_u64().unwrap();
        let connections = effective["server"]["max_connections"].as_u64().unwrap();
        assert!(files > 2 * connections, "{path}: {files}");
    }
}

#[test]
fn stacks_ask_the_gateway_for_its_health() {
    for path in STACKS {
        let stack = Stack::read(path);
        let admin = stack.effective()["server"]["admin"]
            .as_str()
            .unwrap()
            .to_owned();
        let (host, port) = admin.rsplit_once(':').unwrap();
        assert_eq!(host, "0.0.0.0", "Prometheus is in another container");
        let test = stack.gateway()["healthcheck"]["test"]
            .as_sequence()
            .unwrap();
        let words: Vec<&str> = test.iter().map(|word| word.as_str().unwrap()).collect();
        let url = format!("http://127.0.0.1:{port}/health/live");
        assert_eq!(words, ["CMD", "remuda", "health", "--url", &url], "{path}");
        // No port of the admin listener leaves the stack.
        for published in stack.gateway()["ports"].as_sequence().unwrap() {
            let target = match published.as_str() {
                Some(text) => text.rsplit(':').next().unwrap().to_owned(),
                None => published["target"].as_u64().unwrap().to_string(),
            };
            assert_eq!(target, "11434", "{path}");
        }
    }
}

#[test]
fn the_compose_file_s_backends_are_its_services() {
    let stack = Stack::read("conf/docker-compose.yml");
    let services = stack.compose["services"].as_mapping().unwrap();
    let effective = stack.effective();
    for backend in effective["providers"][0]["backends"].as_sequence().unwrap() {
        let url = backend["url"].as_str().or(backend.as_str()).unwrap();
        let (host, port) = url.trim_start_matches("http://").split_once(':').unwrap();
        assert!(services.contains_key(host), "{host}");
        assert_eq!(port, "11434");
    }
    let build = stack.gateway()["build"].as_str().unwrap();
    assert!(repository("conf").join(build).join("Dockerfile").exists());
}

#[test]
fn accounts_outlive_the_container() {
    let stack = Stack::read("conf/docker-compose.yml");
    let volume = stack.gateway()["volumes"][0].as_str().unwrap();
    let (_, folder) = volume.split_once(':').unwrap();
    let effective = stack.effective();
    let path = effective["usage"]["path"].as_str().unwrap();
    assert_eq!(Path::new(path).parent(), Some(Path::new(folder)));
    // The image's user may write there.
    let made = format!("--owner=65532 --group=65532 {folder}");
    assert!(text("Dockerfile").contains(&made));
}

#[test]
fn the_swarm_replaces_gateways_one_by_one_and_never_leaves_none() {
    let stack = Stack::read("conf/docker-compose.swarm.yml");
    let deploy = &stack.gateway()["deploy"];
    assert!(deploy["replicas"].as_u64().unwrap() > 1);
    for config in ["update_config", "rollback_config"] {
        assert_eq!(deploy[config]["parallelism"], 1, "{config}");
        assert_eq!(deploy[config]["order"], "start-first", "{config}");
    }
    assert_eq!(deploy["update_config"]["failure_action"], "rollback");
    // The one that is started first needs a place.
    assert!(deploy["placement"]["max_replicas_per_node"].is_null());
    for (name, secret) in stack.compose["secrets"].as_mapping().unwrap() {
        assert_eq!(secret["external"], true, "{name:?}");
    }
    // They count together at a service of the stack.
    let config: Value = serde_yaml::from_str(&stack.config).unwrap();
    let shared = &config["shared"]["url"];
    let host = shared.as_str().unwrap().strip_prefix("redis://").unwrap();
    let (host, port) = host.split_once(':').unwrap();
    assert!(stack.compose["services"][host].is_mapping() && port == "6379");
    // The port is on every node.
    assert_eq!(stack.effective()["keys"].as_sequence().unwrap().len(), 1);
}

#[test]
fn prometheus_finds_the_admin_listener() {
    let admin = settings::Server::default().admin.unwrap().port();
    let target =
        &yaml("conf/prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"][0];
    let (host, port) = target.as_str().unwrap().split_once(':').unwrap();
    let services = |path: &str| yaml(path)["services"].as_mapping().unwrap().clone();
    assert!(services(STACKS[0]).contains_key(host));
    assert_eq!(port, admin.to_string());
    let swarm = yaml("conf/prometheus.swarm.yml");
    let tasks = &swarm["scrape_configs"][0]["dns_sd_configs"][0];
    let service = tasks["names"][0]
        .as_str()
        .unwrap()
        .strip_prefix("tasks.")
        .unwrap();
    assert!(services(STACKS[1]).contains_key(service));
    assert_eq!(tasks["port"], admin);
    for file in ["conf/prometheus.yml", "conf/prometheus.swarm.yml"] {
        assert_eq!(yaml(file)["rule_files"][0], "prometheus-alerts.yml");
        // The alerts that ask for a job ask for this one.
        assert_eq!(yaml(file)["scrape_configs"][0]["job_name"], "remuda");
        if installed("promtool") {
            succeed(
                Command::new("promtool")
                    .args(["check", "config"])
                    .arg(repository(file)),
            );
        }
    }
}

/// The names of the alerts, and whether each says what happened and what to do.
fn alerts() -> Vec<String> {
    let rules = yaml("conf/prometheus-alerts.yml");
    let groups = rules["groups"].as_sequence().unwrap();
    let alerts = groups
        .iter()
        .flat_map(|group| group["rules"].as_sequence().unwrap());
    let name = |alert: &Value| {
        let name = alert["alert"].as_str().unwrap();
        for text in ["summary", "description"] {
            assert!(alert["annotations"][text].is_string(), "{name}: {text}");
        }
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["warning", "critical"].contains(&severity), "{name}");
        name.to_owned()
    };
    alerts.map(name).collect()
}

#[test]
fn every_alert_has_a_test() {
    let tests = yaml("tests/packaging/alerts.yml");
    let expected = &tests["tests"][0]["promql_expr_test"][0]["exp_samples"];
    let expected: Vec<&str> = expected
        .as_sequence()
        .unwrap()
        .iter()
        .map(|sample| sample["labels"].as_str().unwrap())
        .collect();
    for alert in alerts() {
        let tested = format!("alertname=\"{alert}\"");
        assert!(
            expected.iter().any(|labels| labels.contains(&tested)),
            "{alert}"
        );
    }
}

#[test]
fn alerts_fire_where_there_is_trouble_and_nowhere_else() {
    if !installed("promtool") {
        return;
    }
    let rules = repository("conf/prometheus-alerts.yml");
    succeed(Command::new("promtool").args(["check", "rules"]).arg(rules));
    let tests = repository("tests/packaging/alerts.yml");
    succeed(Command::new("promtool").args(["test", "rules"]).arg(tests));
}

/// A machine with nothing but these tools, and `remuda.sh` on it.
struct Machine(TempDir);

impl Machine {
    fn with(tools: &[&str]) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        fs::create_dir(machine.path("bin")).unwrap();
        for tool in tools {
            let place = succeed(Command::new("sh").args(["-c", &format!("command -v {tool}")]));
            symlink(place.trim(), machine.path("bin").join(tool)).unwrap();
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new("/bin/sh")
            .arg(repository("remuda.sh"))
            .args(arguments)
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.0.path())
            .env("CARGO_TARGET_DIR", self.path("target"))
            .output()
            .unwrap()
    }
}

const USUAL: [&str; 7] = ["dirname", "find", "sed", "cut", "sort", "head", "id"];

#[test]
fn a_binary_newer_than_the_sources_is_run_without_cargo() {
    let machine = Machine::with(&USUAL);
    machine.script("target/release/remuda", r#"printf '<%s>' "$@""#);
    let output = machine.run(&["demo", "--listen", "a b"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "<demo><--listen><a b>"
    );
    assert!(output.stderr.is_empty());
}

#[test]
fn without_a_toolchain_it_says_what_to_install() {
    let output = Machine::with(&USUAL).run(&["demo"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && told.contains("https://rustup.rs"),
        "{told}"
    );

    let old = Machine::with(&USUAL);
    old.script("bin/cargo", "exit 70");
    old.script("bin/rustc", "echo 'rustc 1.63.0 (4b91a6ea7 2022-08-08)'");
    let output = old.run(&["demo"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && told.contains("this is 1.63.0"),
        "{told}"
    );
}

#[test]
fn without_cmake_and_a_way_to_install_it_it_says_so() {
    let machine = Machine::with(&USUAL);
    machine.script("bin/cargo", "exit 70");
    machine.script("bin/rustc", "echo 'rustc 1.99.0 (0 2027-01-01)'");
    machine.script("bin/cc", "exit 70");
    let output = machine.run(&["demo"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && told.contains("missing: cmake"),
        "{told}"
    );
}

#[test]
fn a_stale_binary_is_built_anew() {
    let machine = Machine::with(&USUAL);
    machine.script("bin/cmake", "exit 70");
    machine.script("bin/cc", "exit 70");
    machine.script("bin/rustc", "echo 'rustc 1.99.0 (0 2027-01-01)'");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for built in ["release", "trial"] {
        let binary = format!("target/{built}/remuda");
        machine.script(&binary, "echo old");
        let binary = fs::File::options().append(true).open(machine.path(&binary));
        binary.unwrap().set_modified(long_ago).unwrap();
    }
    // `cargo build --profile PROFILE …`
    machine.script(
        "bin/cargo",
        r#"printf '#!/bin/sh\necho new "%s"\n' "$3" > "$CARGO_TARGET_DIR/$3/remuda""#,
    );
    // What is only tried out is built in less time than what serves.
    for (command, built) in [
        ("demo", "new trial\n"),
        ("serve", "new release\n"),
        ("demo", "new release\n"),
    ] {
        let output = machine.run(&[command]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), built, "{output:?}");
    }
}
