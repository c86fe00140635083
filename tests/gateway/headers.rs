//! Which header fields cross the gateway, which stay on their side, and which it adds.

use super::support::{
    Asked, Config, Connection, Gateway, Process, Reply, Simulation, Step, Upstream, chat, get,
    json, post, request, unstreamed,
};

const ANSWER: &str =
    r#"{"model":"scripted","message":{"role":"assistant","content":"ok"},"done":true}"#;

/// A server that sends `head` lines of its own with its answer, and a gateway.
async fn gateway(
    fields: &'static str,
    configure: impl FnOnce(Config) -> Config,
) -> (Upstream, Gateway) {
    let server = Upstream::start(move |_: &Asked| {
        let answer = String::from_utf8(json(200, ANSWER)).unwrap();
        let (status, rest) = answer.split_once("\r\n").unwrap();
        vec![Step::Send(
            format!("{status}\r\n{fields}{rest}").into_bytes(),
        )]
    })
    .await;
    let config = configure(Config::over(&[server.address]));
    let gateway = Gateway::over(&config, 1).await;
    (server, gateway)
}

/// Sends a request with `fields` and gives what the server saw of it, names in lower case, and the answer.
async fn sent(
    server: &Upstream,
    gateway: &Gateway,
    fields: &[(&str, &str)],
) -> (Vec<(String, String)>, Reply) {
    let body = chat("scripted", "hi", r#","stream":false"#);
    let reply = request(
        gateway.address,
        "POST",
        "/api/chat?x=%20y",
        fields,
        body.as_bytes(),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let asked = server.asked().pop().unwrap();
    assert_eq!(unstreamed(&asked.body), body);
    let mut lines = asked.head.trim_end().split("\r\n");
    assert_eq!(lines.next(), Some("POST /api/chat?x=%20y HTTP/1.1"));
    let seen = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    });
    (seen.collect(), reply)
}

fn values<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    fields
        .iter()
        .filter(|(own, _)| own == name)
        .map(|(_, value)| value.as_str())
        .collect()
}

#[tokio::test]
async fn hop_by_hop_fields_stay_on_the_clients_side() {
    let (server, gateway) = gateway("", |config| config).await;
    let (seen, _) = sent(
        &server,
        &gateway,
        &[
            ("Connection", "keep-alive, X-Nominated"),
            ("Connection", "x-also"),
            ("X-Nominated", "1"),
            ("X-Also", "2"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authenticate", "Basic"),
            ("TE", "trailers"),
            ("Trailer", "X-Sum"),
            ("Upgrade", "websocket"),
            ("Accept-Encoding", "gzip"),
            ("X-Own", "a"),
            ("X-Own", "b"),
            ("User-Agent", "ollama-python/0.6"),
            ("Accept", "application/x-ndjson"),
        ],
    )
    .await;
    for gone in [
        "connection",
        "x-nominated",
        "x-also",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "te",
        "trailer",
        "upgrade",
        "transfer-encoding",
    ] {
        assert!(values(&seen, gone).is_empty(), "{gone}: {seen:?}");
    }
    assert_eq!(values(&seen, "accept-encoding"), ["identity"]);
    assert_eq!(values(&seen, "x-own"), ["a", "b"]);
    assert_eq!(values(&seen, "user-agent"), ["ollama-python/0.6"]);
    assert_eq!(values(&seen, "accept"), ["application/x-ndjson"]);
    assert_eq!(values(&seen, "content-length").len(), 1);
}

#[tokio::test]
async fn hop_by_hop_fields_stay_on_the_servers_side() {
    let fields = "Connection: X-Nominated, close\r\nX-Nominated: 1\r\nKeep-Alive: timeout=9\r\n\
         Proxy-Connection: close\r\nTrailer: X-Sum\r\nUpgrade: h2c\r\nOpenai-Version: a\r\nOpenai-Version: b\r\n\
         Server: ollama\r\n";
    let (server, gateway) = gateway(fields, |config| config).await;
    let (_, reply) = sent(&server, &gateway, &[]).await;
    assert_eq!(reply.text(), ANSWER);
    for gone in [
        "x-nominated",
        "keep-alive",
        "proxy-connection",
        "trailer",
        "upgrade",
    ] {
        assert_eq!(reply.header(gone), None, "{gone}");
    }
    // What the server does with its connection is nothing to the client's.
    assert_ne!(reply.header("connection"), Some("close"));
    assert_eq!(values(&reply.headers, "openai-version"), ["a", "b"]);
    assert_eq!(reply.header("server"), None);
}

#[tokio::test]
async fn credentials_of_clients_never_reach_a_server() {
    let (server, gateway) = gateway("", |config| config).await;
    let (seen, _) = sent(
        &server,
        &gateway,
        &[
            ("Authorization", "Bearer of-the-client"),
            ("Proxy-Authorization", "Basic of-the-client"),
            ("X-Api-Key", "of-the-client"),
            ("Api-Key", "of-the-client"),
            ("X-Goog-Api-Key", "of-the-client"),
            ("Cookie", "session=of-the-client"),
        ],
    )
    .await;
    assert!(values(&seen, "authorization").is_empty());
    let leaked: Vec<_> = seen
        .iter()
        .filter(|(_, value)| value.contains("of-the-client"))
        .collect();
    assert!(leaked.is_empty(), "{leaked:?}");
}

#[tokio::test]
async fn the_providers_key_is_sent_in_place_of_the_clients() {
    let (server, gateway) = gateway("", |config| {
        config
            .set("provider.api_key", "${SERVER_KEY}")
            .environment("SERVER_KEY", "of-the-provider")
    })
    .await;
    let (seen, _) = sent(
        &server,
        &gateway,
        &[("Authorization", "Bearer of-the-client")],
    )
    .await;
    assert_eq!(values(&seen, "authorization"), ["Bearer of-the-provider"]);
}

#[tokio::test]
async fn the_providers_key_is_masked_where_the_configuration_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("remuda.yaml");
    let config =
        Config::over(&["127.0.0.1:1".parse().unwrap()]).set("provider.api_key", "of-the-provider");
    std::fs::write(&path, config.yaml()).unwrap();
    let output = Process::remuda()
        .arg("check")
        .arg("-c")
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success());
    let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(shown.contains("api_key:"), "{shown}");
    assert!(!shown.contains("of-the-provider"), "{shown}");
}

const FORWARDED: [(&str, &str); 4] = [
    ("X-Forwarded-For", "1.2.3.4"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "models.example.org"),
    ("Forwarded", "for=1.2.3.4;proto=https"),
];

#[tokio::test]
async fn forwarding_is_appended_to_what_came() {
    let (server, gateway) = gateway("", |config| config).await;
    let (seen, _) = sent(&server, &gateway, &FORWARDED).await;
    assert_eq!(values(&seen, "x-forwarded-for"), ["1.2.3.4, 127.0.0.1"]);
    assert_eq!(values(&seen, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&seen, "x-forwarded-host"), ["models.example.org"]);
    assert_eq!(
        values(&seen, "forwarded"),
        ["for=1.2.3.4;proto=https, for=127.0.0.1;proto=http"]
    );
    let (seen, _) = sent(&server, &gateway, &[]).await;
    assert_eq!(values(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&seen, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&seen, "x-forwarded-host"), ["localhost"]);
}

/// A list may come as several fields (RFC 9110 section 5.3); none of it may be lost.
#[tokio::test]
async fn forwarding_in_several_fields_is_kept_whole() {
    let (server, gateway) = gateway("", |config| config).await;
    let (seen, _) = sent(
        &server,
        &gateway,
        &[
            ("X-Forwarded-For", "1.2.3.4"),
            ("X-Forwarded-For", "5.6.7.8"),
            ("Forwarded", "for=1.2.3.4"),
            ("Forwarded", "for=5.6.7.8"),
        ],
    )
    .await;
    assert_eq!(
        values(&seen, "x-forwarded-for").join(", "),
        "1.2.3.4, 5.6.7.8, 127.0.0.1"
    );
    assert_eq!(
        values(&seen, "forwarded").join(", "),
        "for=1.2.3.4, for=5.6.7.8, for=127.0.0.1;proto=http"
    );
}

#[tokio::test]
async fn forwarding_is_replaced_where_clients_are_not_trusted() {
    let (server, gateway) = gateway("", |config| config.set("server.forwarded", "replace")).await;
    let (seen, _) = sent(&server, &gateway, &FORWARDED).await;
    assert_eq!(values(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&seen, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&seen, "x-forwarded-host"), ["localhost"]);
    assert!(values(&seen, "forwarded").is_empty());
}

#[tokio::test]
async fn forwarding_is_not_told_where_it_is_off() {
    let (server, gateway) = gateway("", |config| config.set("server.forwarded", "off")).await;
    let (seen, _) = sent(&server, &gateway, &FORWARDED).await;
    for (name, _) in FORWARDED {
        assert!(
            values(&seen, &name.to_ascii_lowercase()).is_empty(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_host_is_the_servers() {
    let (server, gateway) = gateway("", |config| config).await;
    let (seen, _) = sent(&server, &gateway, &[]).await;
    assert_eq!(values(&seen, "host"), [server.address.to_string()]);
}

#[tokio::test]
async fn a_request_id_is_accepted_passed_on_and_returned() {
    let (server, gateway) = gateway("X-Request-Id: of-the-server\r\n", |config| config).await;
    let (seen, reply) = sent(&server, &gateway, &[("X-Request-Id", "trace-1/a:b")]).await;
    assert_eq!(values(&seen, "x-request-id"), ["trace-1/a:b"]);
    assert_eq!(values(&reply.headers, "x-request-id"), ["trace-1/a:b"]);
    gateway
        .process
        .wait_for("the id in the access log", |line| {
            line.contains("id=trace-1/a:b").then_some(())
        });
}

#[tokio::test]
async fn a_request_id_is_made_where_none_came_or_it_is_unfit() {
    let (server, gateway) = gateway("", |config| config).await;
    let long = "x".repeat(129);
    let mut made = Vec::new();
    for unfit in ["", "two words", "b\u{e9}", &long] {
        let (seen, reply) = sent(&server, &gateway, &[("X-Request-Id", unfit)]).await;
        let id = reply.header("x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 24, "{id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(values(&seen, "x-request-id"), [id.as_str()]);
        made.push(id);
    }
    let (_, reply) = sent(&server, &gateway, &[]).await;
    made.push(reply.header("x-request-id").unwrap().to_owned());
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 5, "ids repeat");
}

#[tokio::test]
async fn every_answer_carries_the_request_id() {
    let (_server, gateway) = gateway("", |config| config).await;
    let id = [("X-Request-Id", "my-id")];
    for (method, path, status) in [
        ("GET", "/", 200),
        ("GET", "/api/tags", 200),
        ("GET", "/__proxy/health", 200),
        ("GET", "/nothing", 404),
        ("GET", "/api/chat", 405),
        ("POST", "/api/chat", 400),
        ("POST", "/api/pull", 403),
    ] {
        let reply = request(gateway.address, method, path, &id, b"").await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(reply.header("x-request-id"), Some("my-id"), "{path}");
    }
}

#[tokio::test]
async fn the_backend_is_named_only_where_the_operator_says_so() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2"]);
    let body = chat("llama3.2", "hi", "");
    for (setting, named) in [("true", true), ("false", false)] {
        let config = Config::over(&sim.servers).set("server.expose_backend", setting);
        let gateway = Gateway::over(&config, 1).await;
        let reply = post(gateway.address, "/api/chat", &body).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("x-remuda-backend").is_some(), named);
        assert_eq!(reply.header("x-remuda-attempts"), named.then_some("1"),);
        let rows = get(gateway.address, "/api/ps").await;
        assert_eq!(rows.text().contains("127.0.0.1:"), named, "{}", rows.text());
    }
}

#[tokio::test]
async fn an_allow_header_says_which_methods_a_path_takes() {
    let (_server, gateway) = gateway("", |config| config).await;
    for (method, path, allow) in [
        ("GET", "/api/chat", "POST"),
        ("PUT", "/api/tags", "GET, HEAD"),
        ("POST", "/api/ps", "GET"),
        ("POST", "/api/delete", "DELETE"),
    ] {
        let reply = request(gateway.address, method, path, &[], b"").await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allow)));
        assert_eq!(
            reply.json()["error"],
            format!("Method {method} not allowed for {path}")
        );
    }
}

/// The connection's fate is the gateway's to tell.
#[tokio::test]
async fn a_client_that_asks_to_close_is_closed() {
    let (_server, gateway) = gateway("", |config| config).await;
    let mut client = Connection::open(gateway.address).await;
    client
        .request("GET", "/api/version", &[("Connection", "close")], b"")
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );
    assert!(client.try_head().await.is_none());
}
