//! Every command of a page does what it is said to do, on ports that the system hands out.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use crate::demo::{Demo, Running, remuda, succeed};
use crate::page::{blocks, commands, readme, repository, sessions, tried_pages};

/// The first example, on free ports.
fn write_example(directory: &Path) {
    let example = &blocks(&readme(), "yaml")[0];
    let listeners = "server: { listen: 127.0.0.1:0, admin: 127.0.0.1:0 }\n";
    std::fs::write(directory.join("remuda.yaml"), example.clone() + listeners).unwrap();
}

fn run(line: &str, demo: &Demo, directory: &Path) {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if words[0] == "remuda" {
        words[0] = "./remuda.sh"; // As it is installed.
    }
    match words.as_slice() {
        ["curl", ..] => assert_ne!(demo.curl(line), "", "{line}"),
        ["./remuda.sh", "demo"] => {} // It is running.
        ["./remuda.sh", "check", "-c", "/etc/remuda/remuda.yaml"] => {
            let installed = repository("conf/remuda.yaml");
            succeed(remuda(directory).args(["check", "-c"]).arg(installed));
        }
        ["./remuda.sh", "check", arguments @ ..] => {
            succeed(remuda(directory).arg("check").args(arguments));
        }
        ["./remuda.sh", "serve", arguments @ ..] => serve(arguments, directory),
        ["./remuda.sh", "health"] => {
            let url = format!("http://{}/health/ready", demo.admin);
            succeed(remuda(directory).args(["health", "--url", &url]));
        }
        ["./remuda.sh", "health", "--url", url] => {
            succeed(remuda(directory).args(["health", "--url", &demo.localized(url)]));
        }
        ["./remuda.sh", "explain", arguments @ ..] => {
            let url = format!("http://{}", demo.admin);
            let mut command = remuda(directory);
            command.arg("explain").args(arguments).args(["--url", &url]);
            let printed = succeed(&mut command);
            assert!(printed.contains("servers of step 1: "), "{printed}");
        }
        ["./remuda.sh", "key"] => {
            let printed = succeed(remuda(directory).arg("key"));
            assert!(printed.starts_with("key: rmd-"), "{printed}");
        }
        ["./remuda.sh", "usage", arguments @ ..] => {
            let directory = tempfile::tempdir().unwrap();
            write_usage(directory.path());
            succeed(remuda(directory.path()).arg("usage").args(arguments));
        }
        ["./remuda.sh", "sim", arguments @ ..] => simulate(arguments, directory),
        [variables @ .., "./remuda.sh", "serve"] => {
            let variables = variables.iter().map(|pair| pair.split_once('=').unwrap());
            succeed(remuda(directory).envs(variables).arg("check"));
        }
        [script @ ("./test.sh" | ".ci/run")] => assert_executable(script),
        [script, arguments @ ..] if script.starts_with("bench/") => measure(script, arguments),
        ["cargo", "bench", "--bench", name, ..] => assert!(has_benchmark("", name), "{line}"),
        ["cargo", "bench", "-p", package, "--bench", name, ..] => {
            assert!(has_benchmark(&format!("crates/{package}"), name), "{line}");
        }
        ["cargo", "build"] | ["cargo", "build", "--release", "--locked"] => {}
        ["cargo", "run", "--", "demo"] => {} // It is running.
        ["docker", "build", ..] => assert!(repository("Dockerfile").is_file()),
        ["docker", "compose", "-f", file, ..] => assert!(repository(file).is_file(), "{line}"),
        ["sudo", "install", .., file, _] if !file.starts_with('-') => {
            let built = *file == "target/release/remuda";
            assert!(built || repository(file).is_file(), "{line}");
        }
        ["sudo", "install", "-d", _] | ["sudo", "systemctl", ..] => {}
        _ => panic!("no test knows the command {line:?}"),
    }
}

fn serve(arguments: &[&str], directory: &Path) {
    let mut command = remuda(directory);
    command.arg("serve").args(arguments).stderr(Stdio::piped());
    let (mut running, _) = Running::start(&mut command);
    let log = std::io::BufReader::new(running.0.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(log).map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with("ready")), "{arguments:?}");
}

/// A script of the benchmarks, which is not run: it exists, and it or what it imports knows the flags.
fn measure(script: &str, arguments: &[&str]) {
    assert_executable(script);
    let sources: String = std::fs::read_dir(repository("bench"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "py"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for flag in arguments.iter().filter(|word| word.starts_with("--")) {
        assert!(sources.contains(&format!("\"{flag}\"")), "{script} {flag}");
    }
}

/// Returns whether the package in `folder` has a benchmark of this name.
fn has_benchmark(folder: &str, name: &str) -> bool {
    let file = repository(folder).join("benches").join(name);
    file.is_dir() || file.with_extension("rs").is_file()
}

/// The file that a gateway keeps, and a configuration that names it.
fn write_usage(directory: &Path) {
    let configuration = "usage: { path: usage.db }\n";
    std::fs::write(directory.join("remuda.yaml"), configuration).unwrap();
    let settings = remuda::settings::Usage {
        path: Some(directory.join("usage.db")),
        ..Default::default()
    };
    let (metrics, now) = (
        remuda::metrics::Metrics::new(),
        remuda::usage::Moment::now(),
    );
    remuda::usage::Ledger::open(&settings, &metrics, now)
        .unwrap()
        .close();
}

fn simulate(arguments: &[&str], directory: &Path) {
    let arguments = arguments.iter().map(|argument| match *argument {
        "24000-24009" => "0x10",
        "24000" => "0",
        other => other,
    });
    let (_running, mut lines) = Running::start(remuda(directory).arg("sim").args(arguments));
    assert!(lines.next().unwrap().starts_with("listening on http://"));
}

fn assert_executable(file: &str) {
    let mode = std::fs::metadata(repository(file)).unwrap().permissions();
    assert_ne!(mode.mode() & 0o111, 0, "{file}");
}

#[test]
fn commands_do_what_they_say() {
    let demo = Demo::start();
    let with_file = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    write_example(with_file.path());
    let top = commands(&readme());
    assert_eq!(top[..2], ["./remuda.sh demo", "./test.sh"]);
    for page in tried_pages() {
        for line in commands(&page.text) {
            let directory = if line.contains("remuda.yaml") {
                with_file.path()
            } else {
                empty.path()
            };
            run(&line, &demo, directory);
        }
    }
}

/// What differs from one run to the next.
const VARYING: [&str; 7] = [
    "id",
    "created",
    "created_at",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
];

/// Asserts that an answer is the one that a page shows, but for what differs from one run to the next.
fn assert_alike(shown: &Value, given: &Value, line: &str) {
    match (shown, given) {
        (Value::Object(shown), Value::Object(given)) => {
            let names = |object: &Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(shown), names(given), "{line}");
            for (name, shown) in shown {
                let given = &given[name];
                if VARYING.contains(&name.as_str()) {
                    assert_eq!(shown.is_string(), given.is_string(), "{line}: {name}");
                    assert_eq!(shown.is_number(), given.is_number(), "{line}: {name}");
                } else {
                    assert_alike(shown, given, line);
                }
            }
        }
        (Value::Array(shown), Value::Array(given)) => {
            assert_eq!(shown.len(), given.len(), "{line}");
            for (shown, given) in shown.iter().zip(given) {
                assert_alike(shown, given, line);
            }
        }
        _ => assert_eq!(shown, given, "{line}"),
    }
}

#[test]
fn commands_print_what_stands_beside_them() {
    let demo = Demo::start();
    let sessions: Vec<_> = tried_pages()
        .flat_map(|page| sessions(&page.text))
        .collect();
    assert!(sessions.len() >= 3, "{sessions:?}");
    for (command, shown) in sessions {
        let answer = demo.curl(&command);
        let given: Vec<&str> = answer.lines().collect();
        assert_eq!(given.len(), shown.len(), "{command}: {answer}");
        for (shown, given) in shown.iter().zip(given) {
            let read = |line: &str| serde_json::from_str::<Value>(line).unwrap();
            assert_alike(&read(shown), &read(given), &command);
        }
    }
}

#[test]
fn the_demo_streams_an_answer() {
    let demo = Demo::start();
    let mut lines = demo.introduction.iter();
    let chat = lines.find(|line| line.contains("/api/chat -d")).unwrap();
    let answer = demo.curl(chat.trim());
    let lines: Vec<Value> = answer
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (last, earlier) = lines.split_last().unwrap();
    assert!(earlier.len() > 1, "{answer}");
    assert!(earlier.iter().all(|line| line["done"] == false), "{answer}");
    assert_eq!(last["done_reason"], "stop", "{answer}");
}

/// The text of an answer in the format of `path`.
fn text<'a>(path: &str, answer: &'a Value) -> Option<&'a str> {
    let parts = |name: &str| answer[name].as_array().into_iter().flatten();
    match path {
        "/v1/responses" => parts("output")
            .filter_map(|item| item["content"][0]["text"].as_str())
            .next_back(),
        "/v1/messages" => parts("content").find_map(|block| block["text"].as_str()),
        "/v1/chat/completions" => answer["choices"][0]["message"]["content"].as_str(),
        _ => answer["message"]["content"].as_str(),
    }
}

/// The command that asks `model` in the format of `path`; models of simulated providers repeat what they are told.
fn question(path: &str, model: &str) -> String {
    let asked = match path {
        "/v1/responses" => json!({"model": model, "input": "say ahoy"}),
        "/v1/messages" => json!({"model": model, "max_tokens": 4096,
            "messages": [{"role": "user", "content": "say ahoy"}]}),
        _ => json!({"model": model, "stream": false,
            "messages": [{"role": "user", "content": "say ahoy"}]}),
    };
    let head = "-H 'Content-Type: application/json'";
    format!("curl http://localhost:11434{path} {head} -d '{asked}'")
}

#[test]
fn every_kind_of_provider_answers_every_format() {
    let demo = Demo::start();
    let models = demo.introduction.iter().map(|line| line.trim());
    let models: Vec<&str> = models
        .filter(|line| line.contains('/') && !line.contains([' ', '"']))
        .collect();
    assert_eq!(models.len(), 8, "{:?}", demo.introduction);
    for model in models.into_iter().chain(["llama3.2"]) {
        for path in [
            "/api/chat",
            "/v1/chat/completions",
            "/v1/messages",
            "/v1/responses",
        ] {
            let answer = demo.curl(&question(path, model));
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let text = text(path, &answer).unwrap_or_default();
            // A simulated Ollama server says what it likes.
            let expected = if model == "llama3.2" { " " } else { "ahoy" };
            assert!(text.contains(expected), "{path} {model}: {answer}");
        }
    }
}

#[test]
fn what_the_demo_says_to_try_works() {
    let demo = Demo::start();
    let mut tried = 0;
    for line in &demo.introduction {
        let line = line.split('#').next().unwrap().trim();
        if line.starts_with("curl ") {
            assert_ne!(demo.curl(line), "", "{line}");
            tried += 1;
        }
    }
    assert_eq!(tried, 7, "{:?}", demo.introduction);
}

#[test]
fn the_scripts_are_well_formed() {
    for script in ["remuda.sh", "test.sh", "tools/need", ".ci/run"] {
        assert_executable(script);
        let shell = match std::fs::read_to_string(repository(script)).unwrap() {
            text if text.starts_with("#!/bin/bash") => "bash",
            _ => "sh",
        };
        succeed(Command::new(shell).arg("-n").arg(repository(script)));
    }
}
