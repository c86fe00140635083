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
    for file in rust_files(&directory.path().join("src")) {
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

#[test]
fn the_compose_file_is_whole() {
    let compose = yaml("conf/docker-compose.yml");
    let services = compose["services"].as_mapping().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("remuda.yaml");
    fs::write(
        &file,
        compose["configs"]["remuda"]["content"].as_str().unwrap(),
    )
    .unwrap();
    let effective = succeed(
        Command::new(env!("CARGO_BIN_EXE_remuda"))
            .env_clear()
            .current_dir(directory.path())
            .args(["check", "-c", "remuda.yaml"]),
    );
    let effective: Value = serde_yaml::from_str(&effective).unwrap();
    for backend in effective["providers"][0]["backends"].as_sequence().unwrap() {
        let url = backend["url"].as_str().or(backend.as_str()).unwrap();
        let (host, port) = url.trim_start_matches("http://").split_once(':').unwrap();
        assert!(services.contains_key(host), "{host}");
        assert_eq!(port, "11434");
    }
    let gateway = &services["remuda"];
    assert_eq!(gateway["ports"][0], "11434:11434");
    assert!(
        repository("conf")
            .join(gateway["build"].as_str().unwrap())
            .join("Dockerfile")
            .exists()
    );
    for (name, service) in services {
        for volume in service["volumes"].as_sequence().into_iter().flatten() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            let known = match source.strip_prefix("./") {
                Some(file) => repository("conf").join(file).exists(),
                None => compose["volumes"]
                    .as_mapping()
                    .unwrap()
                    .contains_key(source),
            };
            assert!(known, "{name:?}: {source}");
        }
    }
}

#[test]
fn prometheus_finds_the_admin_listener() {
    let target =
        &yaml("conf/prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"][0];
    let (host, port) = target.as_str().unwrap().split_once(':').unwrap();
    assert!(
        yaml("conf/docker-compose.yml")["services"]
            .as_mapping()
            .unwrap()
            .contains_key(host)
    );
    assert_eq!(
        port,
        settings::Server::default()
            .admin
            .unwrap()
            .port()
            .to_string()
    );
    if installed("promtool") {
        let file = repository("conf/prometheus.yml");
        succeed(Command::new("promtool").args(["check", "config"]).arg(file));
    }
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
    machine.script("target/release/remuda", "echo old");
    let binary = machine.path("target/release/remuda");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    fs::File::options()
        .append(true)
        .open(&binary)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    machine.script(
        "bin/cargo",
        r#"printf '#!/bin/sh\necho new\n' > "$CARGO_TARGET_DIR/release/remuda""#,
    );
    let output = machine.run(&["demo"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "new\n",
        "{output:?}"
    );
}
