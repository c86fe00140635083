//! Requests are signed, and calls addressed, as botocore does it.

use crate::{ODD, ask, from_hex, hex, samples};
use proptest::prelude::*;
use remuda_formats::dialect::bedrock::path::RuntimeOperation;
use remuda_formats::dialect::bedrock::sign::{Signer, Unsigned};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

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

#[test]
fn requests_are_signed_as_botocore_signs_them() {
    let path = prop_oneof![
        ODD.prop_map(|model| RuntimeOperation::ConverseStream.path(&model)),
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
    let asked: Vec<(&Account, &String, (&str, RuntimeOperation))> = models
        .iter()
        .enumerate()
        .map(|(at, model)| {
            let calls = [
                ("converse", RuntimeOperation::Converse),
                ("converse_stream", RuntimeOperation::ConverseStream),
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
