//! `remuda health`: asks a running gateway whether it is ready, and answers with the exit code.

use std::process::ExitCode;

use clap::Args;

use super::target::{AskError, Pages, TargetArgs};

/// Ask a running gateway whether it is ready: exit code 0 if it is, 1 if not
///
/// Serves as the health check of containers, which have no curl. It asks for /health/ready, or for the path in --url if
/// that has one; any 2xx answer means healthy.
#[derive(Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    target: TargetArgs,
}

/// Why a gateway does not count as healthy.
#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{0}: the gateway answered {1}{2}")]
    Status(String, u16, String),
}

pub(super) fn run(args: &HealthArgs) -> ExitCode {
    match ask(&args.target) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("remuda health: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(target: &TargetArgs) -> Result<(), HealthError> {
    let (target, answer) = target.ask(Pages::Health, "/health/ready")?;
    match answer.status {
        200..=299 => Ok(()),
        other => {
            let why = why(&answer.body).map_or_else(String::new, |why| format!(": {why}"));
            Err(HealthError::Status(target.to_string(), other, why))
        }
    }
}

/// Returns the status that the page states.
fn why(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Health {
        status: String,
    }
    let health: Health = serde_json::from_slice(body).ok()?;
    Some(health.status)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: HealthArgs,
    }

    fn asked(url: &str) -> Result<(), HealthError> {
        let line = Line::parse_from(["health", "--timeout", "10s", "--url", url]);
        ask(&line.args.target)
    }

    /// Answers one request with `answer` and hands back what was asked.
    fn ask_server(answer: &'static str) -> (Result<(), HealthError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/health/ready?x=1", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
            }
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            head
        });
        let result = asked(&url);
        (result, server.join().unwrap())
    }

    #[test]
    fn a_2xx_answer_is_healthy() {
        let (result, head) = ask_server("HTTP/1.1 204 No Content\r\n\r\n");
        assert!(result.is_ok(), "{result:?}");
        assert!(
            head.starts_with("GET /health/ready?x=1 HTTP/1.1\r\nHost: 127.0.0.1:"),
            "{head}"
        );
    }

    #[test]
    fn anything_else_is_not() {
        let (result, _) = ask_server("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert!(
            matches!(result, Err(HealthError::Status(_, 503, _))),
            "{result:?}"
        );
        let (result, _) = ask_server("SSH-2.0-OpenSSH_9.9\r\n");
        assert!(
            matches!(result, Err(HealthError::Ask(AskError::Senseless(_)))),
            "{result:?}"
        );
        let (result, _) = ask_server("");
        assert!(
            matches!(result, Err(HealthError::Ask(AskError::Senseless(_)))),
            "{result:?}"
        );
    }

    #[test]
    fn no_server_is_not_healthy() {
        // Bound, but not listening: connections are refused, and nobody else gets the port.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let result = asked(&url);
        assert!(
            matches!(result, Err(HealthError::Ask(AskError::Io { .. }))),
            "{result:?}"
        );
    }

    #[test]
    fn the_gateways_own_word_is_told() {
        let (result, _) = ask_server(
            "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"status\":\"no healthy backend\"}",
        );
        let text = result.unwrap_err().to_string();
        assert!(text.ends_with("answered 503: no healthy backend"), "{text}");
    }
}
