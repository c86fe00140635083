//! Every command of the README does what it is said to do, on ports that the system hands out.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::demo::{Demo, Running, remuda, succeed};
use crate::page::{blocks, readme, repository};

/// The first example, on free ports.
fn write_example(directory: &Path) {
    let example = &blocks(&readme(), "yaml")[0];
    let listeners = "server: { listen: 127.0.0.1:0, admin: 127.0.0.1:0 }\n";
    std::fs::write(directory.join("remuda.yaml"), example.clone() + listeners).unwrap();
}

fn run(line: &str, demo: &Demo, directory: &Path) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["curl", ..] => assert_ne!(demo.curl(line), "", "{line}"),
        ["./remuda.sh", "demo"] => {} // It is running.
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
        ["./remuda.sh", "sim", arguments @ ..] => simulate(arguments, directory),
        [variables @ .., "./remuda.sh", "serve"] => {
            let variables = variables.iter().map(|pair| pair.split_once('=').unwrap());
            succeed(remuda(directory).envs(variables).arg("check"));
        }
        ["./test.sh"] => assert_executable("test.sh"),
        ["cargo", "build", "--release", "--locked"] => {}
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
    for block in blocks(&readme(), "sh") {
        for line in block.lines() {
            let directory = match line.contains("remuda.yaml") {
                true => with_file.path(),
                false => empty.path(),
            };
            run(line, &demo, directory);
        }
    }
}

#[test]
fn the_demo_streams_an_answer() {
    let demo = Demo::start();
    let page = readme();
    let chat = page
        .lines()
        .find(|line| line.contains("/api/chat -d"))
        .unwrap();
    let answer = demo.curl(chat);
    let lines: Vec<serde_json::Value> = answer
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (last, earlier) = lines.split_last().unwrap();
    assert!(earlier.len() > 1, "{answer}");
    assert!(earlier.iter().all(|line| line["done"] == false), "{answer}");
    assert_eq!(last["done_reason"], "stop", "{answer}");
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
