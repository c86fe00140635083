//! What a real Ollama server said to 72 requests, said again by a scripted one: what comes out of the gateway is the
//! same in status, header fields, pieces and text, but for a short list of differences, each with its reason.
//!
//! `fixtures/ollama-transcripts.jsonl` was taken from Ollama's server with tiny models. Long texts of requests are told
//! by their length alone, and the middle of four long answers is made up.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::*;

/// How the gateway's answer differs, by transcript (`*` is all of a path that begins so), and why it should.
///
/// `+` is more than the server said, `-` is less, `~` is something else.
const DIFFERENCES: &[(&str, &[&str], &str)] = &[
    ("*", &["+x-request-id"], "every answer has the request's id"),
    (
        "version",
        &["~/version"],
        "0.0.0 is what a build says that states no version, and clients refuse it as too old",
    ),
    (
        "unknown-path",
        &["~", "~content-type"],
        "every error has the form of an API, and says which path was not found",
    ),
    (
        "wrong-method",
        &["~", "~content-type"],
        "every error has the form of an API, and says which method was not allowed",
    ),
    (
        "delete-unknown",
        &["~/error"],
        "the name is told with its tag, as most versions do",
    ),
    (
        "/v1/*",
        &["~content-type", "~spelling"],
        "JSON says its charset, and has no newline at its end",
    ),
    (
        "/v1/*",
        &[
            "~/id",
            "~/created",
            "~/message/id",
            "~/item/id",
            "~/item_id",
            "~/response/id",
            "~/response/created_at",
            "~/response/completed_at",
            "~/response/output/id",
            "~/request_id",
        ],
        "who writes an answer gives it its id and its time",
    ),
    (
        "/v1/*",
        &["-/system_fingerprint"],
        "it stands for Ollama's own layer, which is not asked",
    ),
    (
        "/v1/*",
        &[
            "+/choices/logprobs",
            "+/choices/message/refusal",
            "+/usage",
            "+/usage/completion_tokens_details",
            "+/usage/prompt_tokens_details",
            "+cache-control",
            "+/stop_sequence",
            "+/delta/stop_sequence",
            "+/message/stop_reason",
            "+/message/stop_sequence",
            "+/message/usage/cache_creation_input_tokens",
            "+/message/usage/cache_read_input_tokens",
            "+/usage/cache_creation_input_tokens",
            "+/usage/cache_read_input_tokens",
            "~/message/usage/input_tokens",
        ],
        "OpenAI's and Anthropic's own answers have them, and their SDKs read them",
    ),
    (
        "openai-stream",
        &["~pieces 8 for 7", "~/choices/delta/content"],
        "the role comes in a chunk of its own, as OpenAI's does",
    ),
    (
        "responses-stream",
        &[
            "~/item/status",
            "~/response/output/status",
            "~/response/status",
            "~/response/incomplete_details",
            "~/type",
        ],
        "an answer that was cut is incomplete, as OpenAI says; Ollama's layer calls it completed",
    ),
    (
        "responses-stream",
        &[
            "-/response/completed_at",
            "-/response/frequency_penalty",
            "-/response/max_tool_calls",
            "-/response/presence_penalty",
            "-/response/prompt_cache_key",
            "-/response/reasoning",
            "-/response/safety_identifier",
            "-/response/service_tier",
            "-/response/text",
            "-/response/top_logprobs",
            "-/response/truncation",
            "~/response/max_output_tokens",
            "~/response/temperature",
            "~/response/top_p",
            "+/response/usage/input_tokens_details/cache_write_tokens",
        ],
        "what only repeats the request, or defaults that the server may not have, is not told",
    ),
    (
        "unknown-model-openai",
        &["~/error/code"],
        "OpenAI's code for it, on which clients act",
    ),
    (
        "load-fails-openai",
        &["+x-should-retry"],
        "the SDKs would ask twice more what no server can do",
    ),
    (
        "v1-models",
        &["~/data/id"],
        "Ollama lists models of the same second in any order",
    ),
];

/// One request and its answer.
#[derive(Clone, Debug)]
struct Transcript {
    name: String,
    method: String,
    path: String,
    fields: Vec<(String, String)>,
    body: String,
    /// `None`: the client left before there was any.
    status: Option<u16>,
    headers: Vec<(String, String)>,
    pieces: Vec<String>,
}

impl Transcript {
    fn all() -> Vec<Self> {
        let text = include_str!("fixtures/ollama-transcripts.jsonl");
        let read = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            let (request, response) = (&row["request"], &row["response"]);
            let fields = request["headers"].as_object().unwrap().iter();
            let headers = response["headers"].as_array().unwrap().iter();
            Self {
                name: string(&row["name"]),
                method: string(&request["method"]),
                path: string(&request["path"]),
                fields: fields
                    .map(|(name, value)| (name.clone(), string(value)))
                    .filter(|(name, _)| name != "Content-Length")
                    .collect(),
                body: match &request["body"] {
                    Value::Null => String::new(),
                    body => body.to_string(),
                },
                status: response["status"].as_u64().map(|status| status as u16),
                headers: headers
                    .map(|field| {
                        let (name, value) = field.as_str().unwrap().split_once(": ").unwrap();
                        (name.to_ascii_lowercase(), value.to_owned())
                    })
                    .collect(),
                pieces: response["chunks"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(string)
                    .collect(),
            }
        };
        text.lines().map(read).collect()
    }

    fn text(&self) -> String {
        self.pieces.concat()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        let found = fields.find(|(own, _)| own == name);
        found.map(|(_, value)| &**value)
    }

    /// What the server writes: these bytes, or nothing before the client leaves.
    fn steps(&self) -> Vec<Step> {
        let Some(status) = self.status else {
            return vec![Step::Hold];
        };
        let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
        for (name, value) in &self.headers {
            let stated = match &**name {
                "connection" => continue,
                "content-length" if self.method != "HEAD" => self.text().len().to_string(),
                _ => value.clone(),
            };
            head.push_str(&format!("{name}: {stated}\r\n"));
        }
        head.push_str("\r\n");
        let mut steps = vec![Step::Send(head.into_bytes())];
        let chunked = self.header("transfer-encoding").is_some();
        for piece in &self.pieces {
            steps.push(Step::Send(if chunked {
                chunk(piece.as_bytes())
            } else {
                piece.clone().into_bytes()
            }));
        }
        if chunked {
            steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
        }
        steps
    }

    /// What the same server says in its own format to what the gateway makes of a request to `/v1`.
    fn native(&self, streams: bool) -> Vec<Step> {
        let body: Value = serde_json::from_slice(self.text().as_bytes()).unwrap_or_default();
        if self.status != Some(200) {
            let message = &body["error"]["message"];
            return vec![Step::Send(json(
                self.status.unwrap(),
                &json!({"error": message}).to_string(),
            ))];
        }
        if self.path == "/v1/embeddings" {
            let coded = body["data"][0]["embedding"].as_str().unwrap();
            let bytes = STANDARD.decode(coded).unwrap();
            let numbers = bytes
                .chunks(4)
                .map(|four| f32::from_le_bytes(four.try_into().unwrap()));
            let vector: Vec<f32> = numbers.collect();
            let answer = json!({"model": "emb1", "embeddings": [vector], "total_duration": 1, "load_duration": 1, "prompt_eval_count": 2});
            return vec![Step::Send(json(200, &answer.to_string()))];
        }
        let (words, prompt, answer) = self.said();
        let line = |text: &str| match &*self.path {
            "/v1/completions" => {
                json!({"model": "tiny1", "created_at": "2026-11-30T11:56:21Z", "response": text, "done": false})
            }
            _ => {
                json!({"model": "tiny1", "created_at": "2026-11-30T11:56:21Z", "message": {"role": "assistant", "content": text}, "done": false})
            }
        };
        let mut last = line(&if streams {
            String::new()
        } else {
            words.concat()
        });
        let ends = json!({"done": true, "done_reason": "length", "total_duration": 5, "load_duration": 1,
            "prompt_eval_count": prompt, "prompt_eval_duration": 1, "eval_count": answer, "eval_duration": 1});
        last.as_object_mut()
            .unwrap()
            .extend(ends.as_object().unwrap().clone());
        if !streams {
            return vec![Step::Send(json(200, &last.to_string()))];
        }
        let mut steps = vec![Step::Send(STREAM_HEAD.to_vec())];
        let lines = words.iter().map(|word| line(word)).chain([last]);
        steps.extend(lines.map(|line| Step::Send(chunk(format!("{line}\n").as_bytes()))));
        steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
        steps
    }

    /// The words of an answer to `/v1`, and the tokens of prompt and answer.
    fn said(&self) -> (Vec<String>, u64, u64) {
        let (mut words, mut prompt, mut answer) = (Vec::new(), 0, 0);
        let text = self.text();
        for event in events(&text) {
            let response = &event["response"];
            for usage in [&event["usage"], &response["usage"]] {
                let count = |names: [&str; 2]| names.iter().find_map(|name| usage[name].as_u64());
                prompt = count(["prompt_tokens", "input_tokens"]).unwrap_or(prompt);
                answer = count(["completion_tokens", "output_tokens"]).unwrap_or(answer);
            }
            let choice = &event["choices"][0];
            let places = [
                &choice["delta"]["content"],
                &choice["message"]["content"],
                &choice["text"],
                &event["content"][0]["text"],
                &event["delta"]["text"],
                &event["delta"],
            ];
            words.extend(
                places
                    .into_iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned),
            );
        }
        (words, prompt, answer)
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The lines or events of a body, each parsed; what is no JSON is a string.
fn events(text: &str) -> Vec<Value> {
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| text.into());
    if text.contains("data: ") {
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(parsed).collect()
    } else {
        text.lines().map(parsed).collect()
    }
}

/// Where two values differ, by the path of keys.
fn compare(path: &str, server: &Value, gateway: &Value, found: &mut BTreeSet<String>) {
    match (server, gateway) {
        (Value::Object(server), Value::Object(gateway)) => {
            for (key, value) in server {
                match gateway.get(key) {
                    Some(other) => compare(&format!("{path}/{key}"), value, other, found),
                    None => drop(found.insert(format!("-{path}/{key}"))),
                }
            }
            let more = gateway.keys().filter(|key| !server.contains_key(*key));
            found.extend(more.map(|key| format!("+{path}/{key}")));
        }
        (Value::Array(server), Value::Array(gateway)) if server.len() == gateway.len() => {
            for (server, gateway) in server.iter().zip(gateway) {
                compare(path, server, gateway, found);
            }
        }
        (server, gateway) if server == gateway => {}
        _ => drop(found.insert(format!("~{path}"))),
    }
}

/// How the gateway's answer differs from the server's.
fn differences(transcript: &Transcript, reply: &Reply) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if transcript.status != Some(reply.status) {
        found.insert(format!("~status {}", reply.status));
    }
    // The time, the connection and how its body is framed are each connection's own.
    let own = ["date", "connection", "transfer-encoding", "content-length"];
    let of = |fields: &[(String, String)], name: &str| -> Vec<String> {
        let values = fields.iter().filter(|(own, _)| own == name);
        values.map(|(_, value)| value.clone()).collect()
    };
    let names = transcript.headers.iter().chain(&reply.headers);
    let names: BTreeSet<&str> = names.map(|(name, _)| &**name).collect();
    for name in names.into_iter().filter(|name| !own.contains(name)) {
        let (server, gateway) = (of(&transcript.headers, name), of(&reply.headers, name));
        match (server.is_empty(), gateway.is_empty()) {
            _ if server == gateway => {}
            (true, _) => drop(found.insert(format!("+{name}"))),
            (_, true) => drop(found.insert(format!("-{name}"))),
            _ => drop(found.insert(format!("~{name}"))),
        }
    }
    if transcript.text().as_bytes() == reply.body {
        return found;
    }
    let (server, gateway) = (transcript.text(), reply.text().to_owned());
    let (server, gateway) = (events(&server), events(&gateway));
    if server.len() != gateway.len() {
        found.insert(format!("~pieces {} for {}", gateway.len(), server.len()));
    }
    if server == gateway {
        found.insert("~spelling".to_owned());
    }
    // Where there are more or fewer, ends are compared with ends.
    let ends = server.last().zip(gateway.last()).into_iter();
    let each = server
        .iter()
        .zip(&gateway)
        .take(if server.len() == gateway.len() {
            server.len()
        } else {
            1
        });
    for (server, gateway) in each.chain(ends) {
        compare("", server, gateway, &mut found);
    }
    found
}

/// What the list says of a transcript.
fn expected(name: &str, path: &str) -> BTreeSet<String> {
    let holds = |of: &str| {
        of == name
            || of
                .strip_suffix('*')
                .is_some_and(|begins| path.starts_with(begins))
    };
    let rows = DIFFERENCES.iter().filter(|(of, ..)| holds(of));
    rows.flat_map(|(_, what, _)| what.iter().map(|what| (*what).to_owned()))
        .collect()
}

/// A server that says what the present transcript has, and lists these models.
struct Replay {
    upstream: Upstream,
    gateway: Gateway,
    present: Arc<Mutex<Option<Transcript>>>,
}

impl Replay {
    async fn start(tags: &str, ps: &str) -> Self {
        let present = Arc::<Mutex<Option<Transcript>>>::default();
        let shared = present.clone();
        let upstream = Upstream::listing(["0.0.0", tags, ps], move |asked: &Asked| {
            let present = shared.lock().unwrap().clone();
            let transcript =
                present.unwrap_or_else(|| panic!("nothing is to be asked: {}", asked.head));
            let path = asked.head.split(' ').nth(1).unwrap();
            if path == transcript.path {
                transcript.steps()
            } else {
                let body: Value = serde_json::from_slice(&asked.body).unwrap();
                transcript.native(body["stream"] != false)
            }
        })
        .await;
        let config = Config::over(&[upstream.address])
            .set("server.manage", "true")
            .set("server.expose_backend", "false");
        Self {
            gateway: Gateway::over(&config, 1).await,
            upstream,
            present,
        }
    }

    async fn ask(&self, transcript: &Transcript) -> Option<Reply> {
        *self.present.lock().unwrap() = Some(transcript.clone());
        let asked = self.upstream.asked().len();
        let mut client = Connection::open(self.gateway.address).await;
        let fields: Vec<(&str, &str)> = transcript
            .fields
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let (method, path) = (&transcript.method, &transcript.path);
        client
            .request(method, path, &fields, transcript.body.as_bytes())
            .await;
        if transcript.status.is_some() {
            return Some(client.reply_to(method).await);
        }
        let before = self.upstream.left().len();
        self.upstream.asked_for(asked).await;
        drop(client);
        eventually("that the server sees its client leave", || async {
            if self.upstream.left().len() > before {
                Ok(())
            } else {
                Err(before)
            }
        })
        .await;
        None
    }
}

#[tokio::test]
async fn what_a_real_server_said_comes_out_as_it_was_said() {
    let transcripts = Transcript::all();
    assert_eq!(transcripts.len(), 72);
    let of = |name: &str| transcripts.iter().find(|one| one.name == name).unwrap();
    // Models that came and went while the transcripts were taken.
    let tags: Value = serde_json::from_str(&of("tags").text()).unwrap();
    let mut all = tags.clone();
    for name in ["emb1", "tinycopy", "tinymade"] {
        let mut model = tags["models"][0].clone();
        model["name"] = format!("{name}:latest").into();
        model["model"] = model["name"].clone();
        all["models"].as_array_mut().unwrap().push(model);
    }
    // In memory, so that the gateway has nothing to load.
    let mut loaded = all.clone();
    for model in loaded["models"].as_array_mut().unwrap() {
        model["size_vram"] = model["size"].clone();
        model["expires_at"] = "2318-01-02T03:04:05Z".into();
    }
    let (tags, all) = (tags.to_string(), all.to_string());
    let everything = Replay::start(&all, &loaded.to_string()).await;
    let as_it_was = Replay::start(&of("tags").text(), r#"{"models":[]}"#).await;
    assert_eq!(tags.len(), of("tags").text().len());
    let mut wrong = Vec::new();
    for transcript in &transcripts {
        let name = &*transcript.name;
        let lists = matches!(
            name,
            "tags" | "localhost-origin" | "v1-models" | "unknown-model" | "delete-unknown"
        );
        let reply = match name {
            _ if transcript.path == "/api/ps" => {
                Replay::start(&tags, &transcript.text())
                    .await
                    .ask(transcript)
                    .await
            }
            _ if lists => as_it_was.ask(transcript).await,
            _ => everything.ask(transcript).await,
        };
        let found = reply
            .as_ref()
            .map(|reply| differences(transcript, reply))
            .unwrap_or_default();
        let expected = expected(name, &transcript.path);
        // Not every answer that is translated has all that such answers may have.
        let listed = if transcript.path.starts_with("/v1/") {
            found.is_subset(&expected)
        } else {
            found == expected
        };
        if reply.is_some() && !listed {
            let reply = reply.map(|reply| reply.text().to_owned());
            wrong.push(format!(
                "{name}: {found:?}, listed {expected:?}\n  {}\n  {reply:?}",
                transcript.text()
            ));
        }
    }
    everything.gateway.idle().await;
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
