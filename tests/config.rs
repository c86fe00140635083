//! `remuda check` as people run it: exit codes, messages, and what it prints.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use serde_yaml::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// A working directory and an environment of its own.
struct Place {
    directory: TempDir,
    variables: Vec<(String, String)>,
}

impl Place {
    fn new() -> Place {
        Place {
            directory: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    fn with(file: &str) -> Place {
        Place::new().file("remuda.yaml", file)
    }

    fn file(self, name: &str, text: &str) -> Place {
        fs::write(self.directory.path().join(name), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Place {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn check(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_remuda"))
            .arg("check")
            .args(arguments)
            .current_dir(&self.directory)
            .env_clear()
            .envs(self.variables.iter().cloned())
            .output()
            .unwrap()
    }

    /// The effective configuration of a good one.
    fn effective(&self) -> Value {
        let output = self.check(&["--print"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_yaml::from_slice(&output.stdout).unwrap()
    }

    /// The messages about a bad one, which prints nothing else.
    fn refused(&self) -> String {
        let output = self.check(&[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty(), "{}", stdout(&output));
        stderr(&output)
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The value at `server.listen` or `providers.0.name`.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.')
        .fold(value, |value, step| match step.parse::<usize>() {
            Ok(index) => &value[index],
            Err(_) => &value[step],
        })
}

#[track_caller]
fn assert_states(effective: &Value, path: &str, yaml: &str) {
    let wanted: Value = serde_yaml::from_str(yaml).unwrap();
    assert_eq!(at(effective, path), &wanted, "{path}");
}

const FLEET: &str = "
providers:
  - name: gpus
    discover: { ports: 25000-25010 }
";

#[test]
fn the_documented_file_is_good() {
    let output = Place::with(include_str!("../conf/remuda.yaml")).check(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let said = stdout(&output);
    assert!(
        said.starts_with(
            "OK: remuda.yaml is a good configuration, with 1 provider and no client keys, for clients at 0.0.0.0:11434.\n"
        ),
        "{said}"
    );
    // The file states the defaults, and a provider.
    let stated = "providers:\n- name: local\n  kind: ollama\n  discover:\n    host: 127.0.0.1\n    ports: 24000-24100\n";
    assert!(said.ends_with(&format!(":\n\n{stated}")), "{said}");
}

#[test]
fn what_check_prints_is_a_configuration() {
    let first = Place::with(FLEET).check(&["--print"]);
    let said = stdout(&first);
    assert!(
        said.starts_with("# OK: the effective configuration, from remuda.yaml.\n"),
        "{said}"
    );
    let second = Place::with(&said).check(&["--print"]);
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    assert_eq!(stdout(&second), said);
}

/// What stands beneath the two sentences.
fn differences(output: &Output) -> String {
    let said = stdout(output);
    let (_, yaml) = said.split_once(":\n\n").unwrap();
    yaml.to_owned()
}

#[test]
fn what_differs_is_the_whole_configuration_but_for_defaults() {
    for file in [
        FLEET,
        "server: { admin: off, public: [], listen: 7000 }\nqueue: { size: 5 }",
        "keys: [ { name: a, key: rmd-0123456789abcdef, models: ['gpt-*'], budget: { usd: 5 } } ]\nusage: { path: u.db }",
        "providers: [ { name: openai, api_key: k, cost: 2, pool: { http2: false }, models: [a], model_map: { b: c } } ]\n\
         routing: { aliases: { x: openai/y }, retry: { attempts: 1 }, models: { b: { overflow: [x] } } }",
    ] {
        let place = Place::with(file);
        let shown = differences(&place.check(&[]));
        let again = Place::with(&shown);
        assert_eq!(again.effective(), place.effective(), "{shown}");
        assert!(
            !shown.contains("null") && !shown.contains("max_header"),
            "{shown}"
        );
    }
}

#[test]
fn a_file_is_named_or_found() {
    let place = Place::with("{}").file("other.yaml", FLEET);
    for option in ["-c", "--config"] {
        let output = place.check(&[option, "other.yaml"]);
        assert!(
            stdout(&output).starts_with("OK: other.yaml is"),
            "{}",
            stderr(&output)
        );
        assert!(
            stdout(&output).contains("ports: 25000-25010"),
            "{}",
            stdout(&output)
        );
    }
    let output = place.check(&["-c", "missing.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(
        message.starts_with("missing.yaml: cannot be read: No such file"),
        "{message}"
    );

    let system_wide = Path::new("/etc/remuda/remuda.yaml");
    let source = if system_wide.exists() {
        "/etc/remuda/remuda.yaml"
    } else {
        "the environment alone"
    };
    let output = Place::new().check(&[]);
    assert!(
        stdout(&output).starts_with(&format!("OK: {source} is")),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_bad_file_is_refused_with_line_key_and_remedy() {
    let message = Place::with(
        "\
# Two mistakes and a half.
server:
  max_bdoy: 1MiB
providers:
  - name: gpus
    discover:
      ports: 24100-24000   # the wrong way round
    selector: rond_robin
",
    )
    .refused();
    assert_eq!(
        message,
        "\
remuda.yaml:3: server.max_bdoy: unknown key; did you mean \"max_body\"?
remuda.yaml:7: providers[0].discover.ports: the range is empty, as 24100 is above 24000, got \
\"24100-24000\"; write 24000-24100
remuda.yaml:8: providers[0].selector: did you mean \"round_robin\"? Expected one of least_in_flight, \
round_robin, weighted, fastest_response, cost, got \"rond_robin\"
"
    );
}

/// A credential may be written where none belongs.
#[test]
fn no_message_shows_what_an_address_has_besides_its_place() {
    for address in [
        "http://h/v1?key=kqxv7301",
        "h?key=kqxv7301",
        "https://h/v1?a=b&api_key=kqxv7301",
        "http://h/v1#kqxv7301",
        "http://me:kqxv7301@h/v1?x",
        "http://kqxv7301@h",
        "ftp://me:kqxv7301@h",
        "https://h:99999/?key=kqxv7301",
        "http://h h/?key=kqxv7301",
    ] {
        for provider in [
            format!("{{ name: a, kind: openai, base_url: '{address}' }}"),
            format!("{{ name: a, kind: ollama, backends: ['{address}'] }}"),
            format!("{{ name: a, kind: ollama, backends: [{{ url: '{address}' }}] }}"),
        ] {
            let file = format!("providers:\n  - {provider}\n");
            let output = Place::with(&file).check(&[]);
            assert!(!output.status.success(), "{address}");
            let said = format!("{}{}", stdout(&output), stderr(&output));
            assert!(!said.contains("kqxv7301"), "{said}");
        }
        let file = format!("shared: {{ url: '{address}' }}\nserver: {{ listen: '{address}' }}\n");
        let output = Place::with(&file).check(&[]);
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert!(!said.contains("kqxv7301"), "{said}");
        let output = Place::new().variable("OLLAMA_HOST", address).check(&[]);
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert!(!said.contains("kqxv7301"), "{said}");
    }
}

#[test]
fn a_file_that_is_not_yaml_is_refused_with_its_line() {
    let message = Place::with("server:\n  listen: 'unclosed\n").refused();
    assert!(message.starts_with("remuda.yaml:"), "{message}");
    assert!(message.contains("is not valid YAML: "), "{message}");
}

/// Mistakes come first, and what may be one after them.
#[test]
fn warnings_come_after_mistakes() {
    let message =
        Place::with("providers: [ { name: a, base_url: gpu1, weight: -1 } ]\nqueue: { sise: 1 }")
            .refused();
    assert_eq!(
        message,
        "remuda.yaml:2: queue.sise: unknown key; did you mean \"size\"?\n\
         remuda.yaml:1: providers[0].weight: is not positive and counts as 1 (warning)\n"
    );
}

/// What stands there is not the key, but where it would come from.
#[test]
fn nothing_more_is_said_of_a_value_whose_variable_is_missing() {
    let message = Place::with("keys: [ { name: a, key: '${NO_KEY}' } ]").refused();
    assert!(message.contains("variable NO_KEY is not set"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_key_in_the_wrong_place_is_told_where_it_belongs() {
    let message = Place::with("backend: [ http://gpu1:11434 ]\nlisten: 7000\n").refused();
    assert_eq!(
        message,
        "remuda.yaml:1: backend: unknown key here; did you mean providers[].backends?\n\
         remuda.yaml:2: listen: unknown key here; did you mean server.listen?\n"
    );
    let message =
        Place::with("providers: [ { name: a, backend: [ gpu1 ], strategy: manual } ]").refused();
    assert!(
        message.contains("backend: unknown key; did you mean \"backends\"?\n"),
        "{message}"
    );
    assert!(
        message.contains("strategy: unknown key here; did you mean keys[].strategy or routing.models.<name>.strategy or routing.strategy?"),
        "{message}"
    );
}

/// Whatever of an address that is refused may be a credential.
#[test]
fn an_address_with_a_credential_is_not_repeated() {
    for url in [
        "http://gpu1:8000/v1?api_key=hunter2",
        "gpu1?key=hunter2",
        "http://hunter2@gpu1",
        "http://gpu1:x/#hunter2",
    ] {
        for file in [
            format!("providers: [ {{ name: a, base_url: '{url}' }} ]"),
            format!("providers: [ {{ name: a, backends: [ '{url}' ] }} ]"),
            format!(
                "providers: [ {{ name: a, backends: [ gpu1 ], kind: bedrock, control_url: '{url}' }} ]"
            ),
        ] {
            let message = Place::with(&file).refused();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}

#[test]
fn names_whose_provider_is_missing_are_warned_of() {
    let output = Place::with(
        "\
providers: [ { name: gpus, backends: [ gpu1 ] } ]
routing:
  default_model: gpu/llama3.2
  aliases:
    fast: vllm/qwen3
    fine: gpus/llama3.2
    plain: llama3.2
    hosted: hf.co/someone/model
    again: fast
  models: { big: { overflow: [ anthropic/claude-opus-5 ] } }
  rules: [ { match: 'gpt-*', provider: gpsu } ]
",
    )
    .check(&[]);
    assert_eq!(output.status.code(), Some(0));
    let message = stderr(&output);
    let keys: Vec<&str> = message
        .lines()
        .map(|line| line.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "routing.aliases.fast",
            "routing.default_model",
            "routing.models.big.overflow",
            "routing.rules[0].provider"
        ],
        "{message}"
    );
    for part in [
        "\"vllm\" is no provider's name; unless a provider lists a model \"vllm/qwen3\", requests for it are 404 (warning)",
        "\"gpu\" is no provider's name (did you mean \"gpus\"?); ",
        "is neither a provider's name nor the kind of one (did you mean \"gpus\"?); the rule does not apply",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(stdout(&output).starts_with("OK: "), "{}", stdout(&output));
}

#[test]
fn warnings_are_printed_and_do_no_harm() {
    let output = Place::with("providers: [ { name: a, base_url: gpu1, weight: -1 } ]").check(&[]);
    assert_eq!(output.status.code(), Some(0));
    let message = stderr(&output);
    assert_eq!(
        message,
        "remuda.yaml:1: providers[0].weight: is not positive and counts as 1 (warning)\n"
    );
}

#[test]
fn the_environment_describes_a_port_range() {
    let effective = Place::with("")
        .variable("PROXY_HOST", "127.0.0.1")
        .variable("PROXY_PORT", "8080")
        .variable("BACKEND_HOST", "10.0.0.1")
        .variable("BACKEND_PORT_START", "25000")
        .variable("BACKEND_PORT_END", "25010")
        .variable("SCAN_INTERVAL_SECONDS", "10")
        .variable("PROBE_TIMEOUT_SECONDS", "0.5")
        .variable("MAX_RETRIES", "0")
        .variable("MAX_CONCURRENT_PER_BACKEND", "4")
        .variable("REJECT_STREAMING", "true")
        .variable("LOG_LEVEL", "WARNING")
        .effective();
    assert_states(&effective, "server.listen", "127.0.0.1:8080");
    assert_states(&effective, "server.reject_streaming", "true");
    assert_states(&effective, "providers.0.name", "local");
    assert_states(
        &effective,
        "providers.0.discover",
        "{ host: 10.0.0.1, ports: 25000-25010, interval: 10s, probe_timeout: 500ms, misses: 2 }",
    );
    assert_states(&effective, "providers.0.max_concurrent_per_backend", "4");
    assert_states(&effective, "routing.max_retries", "0");
    assert_states(&effective, "queue.timeout", "1h");
    assert_states(&effective, "timeouts.connect", "2s");
    assert_states(&effective, "monitoring.log_level", "warning");
}

#[test]
fn the_file_wins_over_the_environment_and_that_over_dot_env() {
    let file = format!("{FLEET}\nrouting: {{ max_retries: 5 }}\n");
    let effective = Place::with(&file)
        .file(
            ".env",
            "MAX_RETRIES=1\nPROXY_PORT=1111\nLOG_LEVEL='debug' # loud\n",
        )
        .variable("MAX_RETRIES", "2")
        .variable("PROXY_PORT", "2222")
        .effective();
    assert_states(&effective, "routing.max_retries", "5");
    assert_states(&effective, "server.listen", "0.0.0.0:2222");
    assert_states(&effective, "monitoring.log_level", "debug");
    assert_states(&effective, "queue.timeout", "1m");
    assert_eq!(at(&effective, "providers").as_sequence().unwrap().len(), 1);
}

#[test]
fn a_bad_variable_or_dot_env_is_refused() {
    let message = Place::with("").variable("PROXY_PORT", "http").refused();
    assert_eq!(
        message,
        "environment: PROXY_PORT: expected a whole number from 0 to 65535, got \"http\"\n"
    );
    let message = Place::with("")
        .file(".env", "A=1\nOLLAMA_API_KEY=two words\n")
        .refused();
    assert_eq!(
        message,
        ".env:2: is not NAME=value; quote a value that has spaces or a #\n"
    );
}

#[test]
fn variables_are_filled_in_anywhere_in_a_text() {
    let place = Place::with(
        "
providers:
  - name: ${SITE:-home}-gpus
    backends:
      - http://${GPU_HOST}:${GPU_PORT:-11434}
      - ${SPARE:-${GPU_HOST}}:12000
    max_concurrent_per_backend: ${SLOTS:-2}
    api_key: ${${PREFIX}_KEY}
",
    )
    .variable("PREFIX", "LAB")
    .variable("LAB_KEY", "hunter2");
    let missing = place.refused();
    assert_eq!(missing.lines().count(), 2, "{missing}");
    assert!(
        missing
            .starts_with("remuda.yaml:5: providers[0].backends[0]: variable GPU_HOST is not set; "),
        "{missing}"
    );

    let effective = place.variable("GPU_HOST", "gpu1").effective();
    assert_states(&effective, "providers.0.name", "home-gpus");
    assert_states(
        &effective,
        "providers.0.backends.0.url",
        "http://gpu1:11434",
    );
    assert_states(
        &effective,
        "providers.0.backends.1.url",
        "http://gpu1:12000",
    );
    assert_states(&effective, "providers.0.max_concurrent_per_backend", "2");
    assert_states(&effective, "providers.0.api_key", "'***'");
}

#[test]
fn secrets_come_from_files_and_are_masked() {
    for api_key in ["api_key: ${LAB_KEY}", "api_key_file: key.txt"] {
        let place = Place::with(&format!("{FLEET}    {api_key}\n"))
            .file("key.txt", "hunter2\n")
            .variable("LAB_KEY_FILE", "key.txt");
        assert_states(&place.effective(), "providers.0.api_key", "'***'");
        for arguments in [&[][..], &["--print"]] {
            let output = place.check(arguments);
            assert!(stdout(&output).contains("'***'"), "{}", stdout(&output));
            assert!(!stdout(&output).contains("hunter2"), "{}", stdout(&output));
        }

        // What was read is the file's contents: a bad one is noticed, and not repeated.
        let message = place.file("key.txt", "hunter2 hunter3\n").refused();
        assert!(
            message.starts_with("remuda.yaml:5: providers[0].api_key"),
            "{message}"
        );
        assert!(message.contains("expected a credential"), "{message}");
        assert!(!message.contains("hunter"), "{message}");
    }
    let message = Place::with(&format!("{FLEET}    api_key: ${{LAB_KEY}}\n"))
        .variable("LAB_KEY_FILE", "missing.txt")
        .refused();
    assert!(
        message.starts_with(
            "remuda.yaml:5: providers[0].api_key: cannot read missing.txt (LAB_KEY_FILE): "
        ),
        "{message}"
    );
}

#[test]
fn the_providers_file_is_good_once_its_keys_are_there() {
    let text = include_str!("../conf/providers.yaml");
    let names: Vec<&str> = text
        .split("${")
        .skip(1)
        .map(|rest| rest.split('}').next().unwrap())
        .collect();
    let missing = Place::with(text).refused();
    for name in &names {
        assert!(
            missing.contains(&format!("variable {name} is not set")),
            "{name}: {missing}"
        );
    }
    let place = names.iter().fold(Place::with(text), |place, name| {
        place.variable(name, "hunter2")
    });
    let output = place.check(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    assert!(!stdout(&output).contains("hunter2"));
}

#[test]
fn a_key_in_the_environment_makes_a_provider() {
    let place = Place::with("")
        .variable("GROQ_API_KEY_FILE", "key.txt")
        .file("key.txt", "hunter2\n");
    let effective = place.effective();
    assert_states(&effective, "providers.0.name", "groq");
    assert_states(&effective, "providers.0.kind", "openai_compatible");
    let url = "https://api.groq.com:443/openai/v1";
    assert_states(&effective, "providers.0.backends.0.url", url);
    assert_states(&effective, "providers.0.api_key", "'***'");
    assert_eq!(at(&effective, "providers").as_sequence().unwrap().len(), 1);
}

#[test]
fn the_command_line_explains_itself() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_remuda"))
            .args(arguments)
            .output();
        output.unwrap()
    };
    let version = stdout(&run(&["--version"]));
    assert_eq!(version, format!("remuda {}\n", env!("CARGO_PKG_VERSION")));
    let help = run(&["--help"]);
    assert!(help.status.success());
    for command in ["serve", "demo", "sim", "check", "health"] {
        assert!(
            stdout(&help).contains(&format!("  {command} ")),
            "{}",
            stdout(&help)
        );
        assert!(run(&[command, "--help"]).status.success(), "{command}");
    }
    assert_eq!(run(&["chekc"]).status.code(), Some(2));
}

#[test]
fn health_answers_with_its_exit_code() {
    let health = |address: SocketAddr| {
        let url = format!("http://{address}/health/ready");
        let mut command = Command::new(env!("CARGO_BIN_EXE_remuda"));
        command.args(["health", "--url", &url]).output().unwrap()
    };
    // Bound, but not listening: connections are refused, and nobody else gets the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let output = health(socket.local_addr().unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("is the gateway running"),
        "{}",
        stderr(&output)
    );

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for (status, code) in [("200 OK", 0), ("503 Service Unavailable", 1)] {
        let output = thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                write!(stream, "HTTP/1.1 {status}\r\n\r\n").unwrap();
            });
            health(address)
        });
        assert_eq!(output.status.code(), Some(code), "{status}");
        assert_eq!(stderr(&output).is_empty(), code == 0, "{}", stderr(&output));
    }
}
