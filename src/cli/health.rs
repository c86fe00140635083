//! `remuda health`: asks a running gateway whether it is ready, and answers with the exit code.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Uri;

/// Longer than a status line of any server is.
const MAX_STATUS_LINE: u64 = 8 << 10;

/// Ask a running gateway whether it is ready: exit code 0 if it is, 1 if not
///
/// For the health checks of containers, which have no curl.
#[derive(Args)]
pub(super) struct HealthArgs {
    /// What to ask; any 2xx answer is healthy
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:11435/health/ready"
    )]
    url: Uri,

    /// How long to wait for the connection and again for the answer
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Why a gateway does not count as healthy.
#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("only http:// is supported; the admin listener speaks plain HTTP")]
    Scheme,
    #[error("the URL names no host")]
    Host,
    #[error("{0}; is the gateway running, and is `server.admin` this address?")]
    Io(#[from] io::Error),
    #[error("the answer is not HTTP")]
    NotHttp,
    #[error("the gateway answered {0}")]
    Status(u16),
}

pub(super) fn run(args: &HealthArgs) -> ExitCode {
    match ask(&args.url, args.timeout) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", args.url);
            ExitCode::FAILURE
        }
    }
}

fn ask(url: &Uri, timeout: Duration) -> Result<(), HealthError> {
    if url.scheme_str() != Some("http") {
        return Err(HealthError::Scheme);
    }
    let authority = url.authority().ok_or(HealthError::Host)?;
    let host = authority.host();
    let port = authority.port_u16().unwrap_or(80);
    let mut stream = connect(host.trim_matches(['[', ']']), port, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;

    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_STATUS_LINE)).read_until(b'\n', &mut line)?;
    match status(&line).ok_or(HealthError::NotHttp)? {
        200..=299 => Ok(()),
        other => Err(HealthError::Status(other)),
    }
}

/// Tries every address of the name, as `localhost` may be `::1` first.
pub(super) fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The code in `HTTP/1.1 200 OK` (RFC 9112 section 4).
pub(super) fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.strip_prefix("HTTP/1.")?.split_ascii_whitespace();
    words.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

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
        let result = ask(&url.parse().unwrap(), Duration::from_secs(10));
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
            matches!(result, Err(HealthError::Status(503))),
            "{result:?}"
        );
        let (result, _) = ask_server("SSH-2.0-OpenSSH_9.9\r\n");
        assert!(matches!(result, Err(HealthError::NotHttp)), "{result:?}");
        let (result, _) = ask_server("");
        assert!(matches!(result, Err(HealthError::NotHttp)), "{result:?}");
    }

    #[test]
    fn no_server_is_not_healthy() {
        // Bound, but not listening: connections are refused, and nobody else gets the port.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let result = ask(&url.parse().unwrap(), Duration::from_secs(10));
        assert!(matches!(result, Err(HealthError::Io(_))), "{result:?}");
    }

    #[test]
    fn other_schemes_are_refused() {
        let result = ask(
            &"https://127.0.0.1/".parse().unwrap(),
            Duration::from_secs(1),
        );
        assert!(matches!(result, Err(HealthError::Scheme)), "{result:?}");
        let result = ask(&"/health".parse().unwrap(), Duration::from_secs(1));
        assert!(matches!(result, Err(HealthError::Scheme)), "{result:?}");
    }
}
