//! Signatures, paths and event frames against botocore, AWS's own client library for Python.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use remuda::dialect::bedrock::path::Call;
use remuda::dialect::bedrock::sign::{Signer, Unsigned};
use remuda::wire::eventstream::{self, Frame, FrameSplitter};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

/// botocore's answers, in the order of the questions.
fn ask(questions: &[Value]) -> Vec<Value> {
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
fn samples<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Whose requests, from where and when.
#[derive(Clone, Debug)]
struct Account {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
    region: String,
    time: u64,
}

impl Account {
    fn any() -> impl Strategy<Value = Account> {
        let token = prop::option::of("[A-Za-z0-9/+=]{1,400}");
        // 2000 to 2099, so with leap days and turns of years.
        let time = 946_684_800..4_102_444_800_u64;
        (
            "A[KS]IA[A-Z0-9]{16}",
            "[A-Za-z0-9/+]{40}",
            token,
            "[a-z]{2}-[a-z]{4,9}-[1-9]",
            time,
        )
            .prop_map(
                |(access_key, secret_key, session_token, region, time)| Account {
                    access_key,
                    secret_key,
                    session_token,
                    region,
                    time,
                },
            )
    }

    fn question(&self, ask: &str) -> Value {
        json!({
            "ask": ask, "access_key": self.access_key, "secret_key": self.secret_key,
            "session_token": self.session_token, "region": self.region, "time": self.time,
        })
    }

    fn sign(&self, request: &Unsigned<'_>) -> serde_json::Map<String, Value> {
        let token = self.session_token.as_deref();
        let signer = Signer::new(&self.access_key, &self.secret_key, token, &self.region);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.time);
        let headers = signer.sign(request, time).unwrap();
        headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_str().unwrap().into()))
            .collect()
    }
}

fn with(mut question: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    question.as_object_mut().unwrap().extend(more);
    question
}

/// Text that a path, a host or a name may be made of, with what is odd in URLs well represented.
const ODD: &str =
    "([a-zA-Z0-9._~-]|[:/?#\\[\\]@!$&'()*+,;=% \"<>\\\\^`{|}]|é|ß|日本|🐎|\u{301}){1,40}";

#[test]
fn requests_are_signed_as_botocore_signs_them() {
    let path = prop_oneof![
        ODD.prop_map(|model| Call::ConverseStream.path(&model)),
        // Characters that stand in a path unencoded, and lower-case escapes; no segments of dots alone,
        // which are resolved before a request is made.
        "(/([._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2}){0,3}[a-zA-Z0-9]([a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2}){0,9}){1,6}/?",
        "/(foundation-models|inference-profiles)(\\?[a-zA-Z]{1,9}=[A-Za-z0-9_.~-]{0,9}(&[a-zA-Z]{1,9}=(%3A|%2F|a){1,4}){0,2})?",
    ];
    let host = "[a-z0-9-]{1,20}\\.[a-z]{2}-[a-z]{4}-1\\.amazonaws\\.com(:[1-9][0-9]{3})?";
    let kind = prop::option::of("[a-z]{1,9}/[a-z.-]{1,20}(; *charset=utf-8)?");
    let body = prop::collection::vec(any::<u8>(), 0..300);
    let method = prop_oneof!["GET", "POST", "PUT"];
    let requests = samples(&(Account::any(), method, host, path, kind, body), 3000);
    let questions: Vec<Value> = requests
        .iter()
        .map(|(account, method, host, path, content_type, body)| {
            with(
                account.question("sign"),
                json!({
                    "method": method, "host": host, "path": path,
                    "content_type": content_type, "body": hex(body),
                }),
            )
        })
        .collect();
    for ((account, method, host, path, content_type, body), theirs) in
        requests.iter().zip(ask(&questions))
    {
        let content_type = content_type.as_deref();
        let ours = account.sign(&Unsigned {
            method,
            host,
            path,
            content_type,
            body,
        });
        assert_eq!(
            Value::Object(ours),
            theirs,
            "{method} {host} {path} {content_type:?}"
        );
    }
}

#[test]
fn a_whole_call_is_made_as_botocore_makes_it() {
    let accounts = samples(&Account::any(), 3);
    let models = samples(&ODD, 200);
    let asked: Vec<(&Account, &String, (&str, Call))> = models
        .iter()
        .enumerate()
        .map(|(at, model)| {
            let calls = [
                ("converse", Call::Converse),
                ("converse_stream", Call::ConverseStream),
            ];
            (&accounts[at % accounts.len()], model, calls[at % 2])
        })
        .collect();
    let questions: Vec<Value> = asked
        .iter()
        .map(|(account, model, (call, _))| {
            let messages = json!([{"role": "user", "content": [{"text": model}]}]);
            let parameters = json!({"messages": messages});
            let call = json!({"call": call, "model": model, "parameters": parameters});
            with(account.question("call"), call)
        })
        .collect();
    for ((account, model, (_, call)), theirs) in asked.iter().zip(ask(&questions)) {
        let url = theirs["url"].as_str().unwrap();
        let (host, path) = url
            .strip_prefix("https://")
            .unwrap()
            .split_once('/')
            .unwrap();
        assert_eq!(format!("/{path}"), call.path(model));
        let headers = &theirs["headers"];
        let ours = account.sign(&Unsigned {
            method: theirs["method"].as_str().unwrap(),
            host,
            path: &call.path(model),
            content_type: headers["content-type"].as_str(),
            body: &from_hex(theirs["body"].as_str().unwrap()),
        });
        for (name, value) in ours {
            assert_eq!(value, headers[&name], "{name} of {model}");
        }
    }
}

#[test]
fn botocore_reads_the_frames_that_are_written() {
    let frames = samples(&(".{0,60}", ".{0,400}", 0..3_u8), 1000);
    let mut questions = Vec::new();
    let mut expected = Vec::new();
    for (kind, text, which) in &frames {
        let payload = text.as_bytes();
        let (frame, headers, payload) = match which {
            0 => (
                Frame::Event { kind, payload },
                json!({":message-type": "event", ":event-type": kind, ":content-type": "application/json"}),
                payload,
            ),
            1 => (
                Frame::Exception { kind, payload },
                json!({":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"}),
                payload,
            ),
            _ => (
                Frame::Error {
                    code: kind,
                    message: text,
                },
                json!({":message-type": "error", ":error-code": kind, ":error-message": text}),
                &b""[..],
            ),
        };
        let mut bytes = Vec::new();
        eventstream::write(&frame, &mut bytes).unwrap();
        questions.push(json!({"ask": "decode", "bytes": hex(&bytes)}));
        expected.push(json!([{"headers": headers, "payload": hex(payload)}]));
    }
    assert_eq!(ask(&questions), expected);
}

#[test]
fn frames_that_botocore_accepts_are_read() {
    let more = prop::collection::vec(("[a-zé:-]{1,12}", ".{0,30}"), 0..4);
    let frames = samples(
        &(
            more,
            ".{0,60}",
            prop::collection::vec(any::<u8>(), 0..400),
            0..4_usize,
        ),
        1000,
    );
    let questions: Vec<Value> = frames
        .iter()
        .map(|(more, kind, payload, place)| {
            let mut headers: Vec<_> = more
                .iter()
                .enumerate()
                .map(|(at, (name, value))| (format!("{name}{at}"), value.clone()))
                .collect();
            let place = (*place).min(headers.len());
            headers.insert(place, (":event-type".to_owned(), kind.clone()));
            headers.insert(place, (":message-type".to_owned(), "event".to_owned()));
            json!({"ask": "encode", "headers": headers, "payload": hex(payload)})
        })
        .collect();
    let stream: Vec<u8> = ask(&questions)
        .iter()
        .flat_map(|frame| from_hex(frame.as_str().unwrap()))
        .collect();
    for size in [7, 1000, stream.len()] {
        let mut splitter = FrameSplitter::default();
        let mut expected = frames.iter();
        for piece in stream.chunks(size) {
            splitter
                .feed(piece, |frame| {
                    let (_, kind, payload, _) = expected.next().unwrap();
                    assert_eq!(frame, Frame::Event { kind, payload });
                })
                .unwrap();
        }
        assert_eq!((splitter.finish(), expected.next()), (Ok(()), None));
    }
}
