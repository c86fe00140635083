//! Servers behind TLS: HTTP/2 where it is offered, the server's name in the handshake, and no answer from a server
//! whose certificate does not pass.

use std::path::Path;

use hyper::Version;

use crate::support::*;

/// How the two kinds of servers are configured and asked.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    /// After the address of its `base_url`.
    base: &'static str,
    path: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "ollama",
        base: "",
        path: "/api/chat",
    },
    Kind {
        name: "openai_compatible",
        base: "/v1",
        path: "/v1/chat/completions",
    },
];

/// One server at `https://localhost` with these keys of `pool`.
fn config(kind: Kind, port: u16, pool: &str) -> Config {
    Config::new()
        .set("provider.kind", kind.name)
        .set(
            "provider.base_url",
            format!("https://localhost:{port}{}", kind.base),
        )
        .set("provider.interval", "200ms")
        .set("provider.probe_timeout", "5s")
        .set("provider.pool", format!("{{ {pool} }}"))
        .set("queue.when_unhealthy", "refuse")
}

fn trusting(certificate: Certificate) -> String {
    format!("ca_file: {}", shown(&certificate.authority()))
}

fn shown(path: &Path) -> String {
    format!("{:?}", path.to_str().unwrap())
}

fn body(streams: bool) -> String {
    chat("scripted", "hi", &format!(r#","stream":{streams}"#))
}

/// Sends a request that does not stream, and gives what the server saw of it.
async fn speaks(kind: Kind, server: &Secure, config: &Config) -> (String, String, Version) {
    let gateway = Gateway::over(config, 1).await;
    // A fleet may be asked for a stream of it.
    server.gate.add_permits(1);
    let reply = post(gateway.address, kind.path, &body(false)).await;
    assert_eq!(reply.status, 200, "{kind:?}: {}", reply.text());
    assert!(
        reply.text().contains("over TLS") || reply.text().contains("first"),
        "{kind:?}: {}",
        reply.text()
    );
    let served = server.served().pop().unwrap();
    (served.protocol, served.server_name, served.version)
}

/// The gateway never has its one server healthy, says so to a client, and one of `whys` to its operator; nothing but
/// a handshake reaches the server.
async fn is_refused(kind: Kind, server: &Secure, config: &Config, whys: &[&str]) {
    let gateway = Gateway::start(config);
    eventually(&format!("{kind:?}: {whys:?} is told"), || async {
        let lines = gateway.process.output();
        let told = |line: &String| {
            line.contains(" WARN ")
                && line.contains(&format!("localhost:{}", server.port))
                && whys.iter().any(|why| line.contains(why))
        };
        if lines.iter().any(told) {
            Ok(())
        } else {
            Err(lines)
        }
    })
    .await;
    eventually("the server hears that", || async {
        match server.refused() {
            0 => Err("no handshake was ended"),
            _ => Ok(()),
        }
    })
    .await;
    let reply = post(gateway.address, kind.path, &body(false)).await;
    assert_eq!(reply.status, 503, "{kind:?}: {}", reply.text());
    gateway.healthy(0).await;
    assert_eq!(server.requests(), 0, "{kind:?}");
    assert!(server.served().is_empty(), "{kind:?}");
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered_and_the_server_is_named() {
    let certificate = Certificate::Localhost;
    let server = Secure::start(certificate).await;
    for kind in KINDS {
        let config = config(kind, server.port, &trusting(certificate));
        let seen = speaks(kind, &server, &config).await;
        assert_eq!(
            seen,
            ("h2".into(), "localhost".into(), Version::HTTP_2),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn http2_can_be_switched_off() {
    let certificate = Certificate::Localhost;
    let server = Secure::start(certificate).await;
    for kind in KINDS {
        let pool = format!("{}, http2: false", trusting(certificate));
        let (protocol, name, version) =
            speaks(kind, &server, &config(kind, server.port, &pool)).await;
        assert_eq!(version, Version::HTTP_11, "{kind:?}");
        // Either it is offered alone, or nothing is.
        assert_ne!(protocol, "h2", "{kind:?}");
        assert_eq!(name, "localhost", "{kind:?}");
    }
}

#[tokio::test]
async fn the_systems_authorities_are_those_to_trust_by_default() {
    let certificate = Certificate::Localhost;
    for kind in KINDS {
        let server = Secure::start(certificate).await;
        let config = config(kind, server.port, "");
        is_refused(kind, &server, &config, &["UnknownIssuer"]).await;
        // Where OpenSSL and those who follow it look for the system's authorities.
        let authority = certificate.authority();
        let config = config.environment("SSL_CERT_FILE", authority.to_str().unwrap());
        let (protocol, ..) = speaks(kind, &server, &config).await;
        assert_eq!(protocol, "h2", "{kind:?}");
    }
}

#[tokio::test]
async fn another_authority_than_the_servers_is_refused() {
    let server = Secure::start(Certificate::Localhost).await;
    for kind in KINDS {
        let config = config(kind, server.port, &trusting(Certificate::Elsewhere));
        is_refused(kind, &server, &config, &["invalid peer certificate"]).await;
    }
}

#[tokio::test]
async fn a_server_of_another_name_is_refused() {
    let certificate = Certificate::Elsewhere;
    let server = Secure::start(certificate).await;
    for kind in KINDS {
        let config = config(kind, server.port, &trusting(certificate));
        is_refused(
            kind,
            &server,
            &config,
            &["NotValidForName", "not valid for name"],
        )
        .await;
    }
}

#[tokio::test]
async fn any_certificate_will_do_if_the_operator_says_so() {
    for certificate in [Certificate::Localhost, Certificate::Elsewhere] {
        let server = Secure::start(certificate).await;
        for kind in KINDS {
            let config = config(kind, server.port, "verify: false");
            let (protocol, ..) = speaks(kind, &server, &config).await;
            assert_eq!(protocol, "h2", "{kind:?} {certificate:?}");
        }
    }
}

#[tokio::test]
async fn a_bare_address_is_not_started_with() {
    let server = Secure::start(Certificate::Localhost).await;
    let config = config(KINDS[0], server.port, "").set(
        "provider.base_url",
        format!("https://127.0.0.1:{}", server.port),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("remuda.yaml");
    std::fs::write(&path, config.yaml()).unwrap();
    let output = Process::remuda()
        .arg("serve")
        .arg("-c")
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("bare IP address"), "{said}");
    assert!(said.contains("verify: false"), "{said}");
}

#[tokio::test]
async fn streams_pass_piece_by_piece() {
    let certificate = Certificate::Localhost;
    let server = Secure::start(certificate).await;
    for kind in KINDS {
        for (protocol, switch) in [("h2", ""), ("http/1.1", ", http2: false")] {
            let pool = format!("{}{switch}", trusting(certificate));
            let gateway = Gateway::over(&config(kind, server.port, &pool), 1).await;
            let mut client = Connection::open(gateway.address).await;
            client
                .request("POST", kind.path, &[], body(true).as_bytes())
                .await;
            assert_eq!(client.head().await.status, 200);
            // The server does not go on before this has arrived.
            client.body_until("first").await;
            server.gate.add_permits(1);
            let (rest, ending) = client.rest().await;
            assert_eq!(ending, Ending::Whole, "{kind:?} {protocol}");
            let rest = String::from_utf8(rest).unwrap();
            assert!(rest.contains("\"stop\""), "{kind:?} {protocol}: {rest}");
            let served = server.served().pop().unwrap();
            assert_eq!(
                served.version == Version::HTTP_2,
                protocol == "h2",
                "{served:?}"
            );
            assert_eq!(served.path, kind.path);
            gateway.idle().await;
        }
    }
}
