//! Signatures, paths, event frames and Converse requests against botocore, AWS's own client library for Python.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod converse;
mod frames;
mod signing;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

/// botocore's answers, in the order of the questions.
pub(crate) fn ask(questions: &[Value]) -> Vec<Value> {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aws");
    let mut oracle = Command::new(format!("{here}/python.sh"))
        .arg(format!("{here}/oracle.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash and python3 are installed");
    let mut stdin = oracle.stdin.take().unwrap();
    let lines: String = questions
        .iter()
        .map(|question| format!("{question}\n"))
        .collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let output = oracle.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "the oracle failed: its words are above"
    );
    writer.join().unwrap();
    let answers: Vec<Value> = output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

/// `count` values of a strategy, the same ones in each run.
pub(crate) fn samples<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    (0..count)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Text that a path, a host or a name may be made of, with what is odd in URLs well represented.
pub(crate) const ODD: &str =
    "([a-zA-Z0-9._~-]|[:/?#\\[\\]@!$&'()*+,;=% \"<>\\\\^`{|}]|é|ß|日本|🐎|\u{301}){1,40}";
