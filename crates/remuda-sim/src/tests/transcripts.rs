//! What a real Ollama server said to 72 requests, compared with what a simulated one says to them: status, header
//! fields, the shape of each piece, and the words of each error.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;

/// How the simulated server differs, by transcript, and why it may.
///
/// `+` is more than the real one said, `-` is less, `~` is something else.
const DIFFERENCES: &[(&str, &[&str], &str)] = &[
    (
        "show",
        &[
            "+/license",
            "+/model_info/general.file_type",
            "+/model_info/general.parameter_count",
            "+/model_info/general.quantization_version",
            "+/model_info/tokenizer.ggml.tokens",
            "-/tensors",
        ],
        "a model of the library has a licence and more facts; the tensors of a tiny one are no help",
    ),
    (
        "pull-without-network",
        &["~/error"],
        "the simulated registry is always there, and does not have the model",
    ),
];

/// One request and its answer.
struct Transcript {
    name: String,
    method: Method,
    path: String,
    fields: Vec<(String, String)>,
    body: String,
    /// `None`: the client left before there was any.
    status: Option<u16>,
    headers: Vec<(String, String)>,
    text: String,
}

fn string(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl Transcript {
    fn all() -> Vec<Self> {
        // The same file as that of the gateway's test.
        let text = include_str!("../../../../tests/gateway/fixtures/ollama-transcripts.jsonl");
        text.lines().map(Self::read).collect()
    }

    fn read(line: &str) -> Self {
        let row: Value = serde_json::from_str(line).unwrap();
        let (request, response) = (&row["request"], &row["response"]);
        let fields = request["headers"].as_object().unwrap().iter();
        let headers = response["headers"].as_array().unwrap().iter();
        let chunks = response["chunks"].as_array().unwrap().iter();
        Self {
            name: string(&row["name"]),
            method: string(&request["method"]).parse().unwrap(),
            path: string(&request["path"]),
            fields: fields
                .map(|(name, value)| (name.clone(), string(value)))
                .filter(|(name, _)| name != "Content-Length")
                .collect(),
            body: match &request["body"] {
                Value::Null => String::new(),
                body => long(&body.to_string()),
            },
            status: response["status"].as_u64().map(|status| status as u16),
            headers: headers
                .map(|field| {
                    let (name, value) = field.as_str().unwrap().split_once(": ").unwrap();
                    (name.to_ascii_lowercase(), value.to_owned())
                })
                .collect(),
            text: chunks.map(string).collect(),
        }
    }

    /// Asks the simulated server the same.
    async fn play(&self, address: SocketAddr) -> Answer {
        let stream = TcpStream::connect(address).await.unwrap();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.path)
            .header("host", "sim");
        for (name, value) in &self.fields {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(self.body.clone())));
        let response = sender.send_request(request.unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(sender);
        let _ = connection.await;
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }
}

/// Writes out texts that are told by their length: the real model's tokens are six times shorter than these.
fn long(body: &str) -> String {
    let mut text = body.to_owned();
    for count in [12_000, 96_000] {
        let told = format!("<{count} characters>");
        text = text.replace(&told, &"these words ".repeat(count / 2));
    }
    text
}

/// The lines or events of a body, each parsed; what is no JSON is a string.
fn events(text: &str) -> Vec<Value> {
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| text.into());
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.map(parsed).collect();
    if events.is_empty() {
        return text.lines().map(parsed).collect();
    }
    events
}

/// Where two values differ in keys or kinds, by the path of keys; the words of errors are compared, numbers apart.
fn compare(path: &str, real: &Value, played: &Value, found: &mut BTreeSet<String>) {
    match (real, played) {
        (Value::Object(real), Value::Object(played)) => {
            for (key, value) in real {
                match played.get(key) {
                    Some(other) => compare(&format!("{path}/{key}"), value, other, found),
                    None => drop(found.insert(format!("-{path}/{key}"))),
                }
            }
            let more = played.keys().filter(|key| !real.contains_key(*key));
            found.extend(more.map(|key| format!("+{path}/{key}")));
        }
        (Value::Array(real), Value::Array(played)) => {
            if let (Some(real), Some(played)) = (real.first(), played.first()) {
                compare(path, real, played, found);
            } else if real.is_empty() != played.is_empty() {
                found.insert(format!("~{path}"));
            }
        }
        (Value::String(real), Value::String(played)) => {
            let words = [
                "/error",
                "/done_reason",
                "/finish_reason",
                "/type",
                "/object",
            ];
            let exact = path.is_empty() || words.iter().any(|end| path.contains(end));
            if exact && without_numbers(real) != without_numbers(played) {
                found.insert(format!("~{path}"));
            }
        }
        (real, played) if std::mem::discriminant(real) == std::mem::discriminant(played) => {}
        _ => drop(found.insert(format!("~{path}"))),
    }
}

fn without_numbers(text: &str) -> String {
    let mut words = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        words.push_str(piece.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    words
}

/// How the played answer differs from the real one.
fn differences(real: &Transcript, played: &Answer) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if real.status != Some(played.status.as_u16()) {
        found.insert(format!("~status {}", played.status.as_u16()));
    }
    // The time, the connection and how its body is framed are each connection's own.
    let own = ["date", "connection", "transfer-encoding", "content-length"];
    let names = real.headers.iter().map(|(name, _)| name.as_str());
    let names: BTreeSet<&str> = names
        .chain(played.headers.keys().map(|name| name.as_str()))
        .filter(|name| !own.contains(name))
        .collect();
    for name in names {
        let said = real.headers.iter().filter(|(own, _)| own == name);
        let said: Vec<&str> = said.map(|(_, value)| value.as_str()).collect();
        let values = played.headers.get_all(name).iter();
        let also: Vec<&str> = values.map(|value| value.to_str().unwrap()).collect();
        match (said.is_empty(), also.is_empty()) {
            _ if said == also => {}
            (true, _) => drop(found.insert(format!("+{name}"))),
            (_, true) => drop(found.insert(format!("-{name}"))),
            _ => drop(found.insert(format!("~{name}"))),
        }
    }
    if real.text.ends_with('\n') != played.text().ends_with('\n') {
        found.insert("~last line".to_owned());
    }
    let (said, also) = (events(&real.text), events(played.text()));
    if said.len() != also.len() {
        found.insert("~pieces".to_owned());
        return found;
    }
    for (said, also) in said.iter().zip(&also) {
        compare("", said, also, &mut found);
    }
    found
}

fn expected(of: &Transcript) -> BTreeSet<String> {
    let rows = DIFFERENCES.iter().filter(|(name, ..)| *name == of.name);
    rows.flat_map(|(_, what, _)| what.iter().map(|what| (*what).to_owned()))
        .collect()
}

/// The server of the transcripts: five small models, of which the second is broken, and one for embeddings.
async fn recorded() -> Running {
    let running = with("tiny1,tiny2,tiny3,tiny4,tiny5,emb1", |options| {
        for model in &mut options.models[0] {
            model.capabilities = match model.name.base() {
                "emb1" => &["embedding"],
                _ => &["completion"],
            };
        }
        options.machine.vram = 0;
        options.machine.max_loaded = 1;
    })
    .await;
    running.inject(&fault("fail_load:model=tiny2"));
    running
}

#[tokio::test]
async fn the_simulated_server_says_what_a_real_one_said() {
    let running = recorded().await;
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    let all = Transcript::all();
    assert_eq!(all.len(), 72);
    // A client that leaves is told nothing; what it leaves behind is the scheduler's tests' matter.
    for transcript in all.iter().filter(|transcript| transcript.status.is_some()) {
        let answer = transcript.play(running.addresses()[0]).await;
        let (found, expected) = (differences(transcript, &answer), expected(transcript));
        let more: Vec<&String> = found.difference(&expected).collect();
        if !more.is_empty() {
            wrong.push(json!({transcript.name.as_str(): more}).to_string());
        }
        seen.extend(found);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed = DIFFERENCES.iter().flat_map(|(_, what, _)| what.iter());
    for what in listed {
        assert!(seen.contains(*what), "{what} is listed and not met");
    }
}

/// What can be compared as numbers too: how much of a long prompt was read.
#[tokio::test]
async fn prompts_are_cut_to_the_length_that_a_real_server_cut_them_to() {
    let running = recorded().await;
    let mut compared = 0;
    for transcript in Transcript::all() {
        if ["generate-cut", "openai-cut"].contains(&transcript.name.as_str()) {
            let played = transcript.play(running.addresses()[0]).await.json();
            let real: Value = serde_json::from_str(&transcript.text).unwrap();
            let count = |answer: &Value| match &answer["prompt_eval_count"] {
                Value::Null => answer["usage"]["prompt_tokens"].as_u64().unwrap(),
                count => count.as_u64().unwrap(),
            };
            assert_eq!(count(&played), count(&real), "{}", transcript.name);
            compared += 1;
        }
    }
    assert_eq!(compared, 2);
}
