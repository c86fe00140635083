//! `remuda route`: asks a running gateway where a request for a model would go, and why.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::health::{connect, status};

/// Larger than an answer about any number of providers.
const MAX_ANSWER: u64 = 4 << 20;

/// Tell where a running gateway would send a request for a model, and why
///
/// Asks the gateway's admin listener.
#[derive(Args)]
pub(super) struct RouteArgs {
    /// The model, as a client writes it
    model: String,

    /// As if the client had named this provider in X-Provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,

    /// As if this were the strategy
    #[arg(long, value_name = "NAME")]
    strategy: Option<String>,

    /// What the request needs, of vision, tools, thinking and embeddings
    #[arg(long, value_name = "NEED,NEED")]
    needs: Option<String>,

    /// As JSON
    #[arg(long)]
    json: bool,

    /// Where the admin listener is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:11435")]
    url: Uri,

    /// How long to wait for the connection and again for the answer
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum RouteError {
    #[error("only http:// is supported; the admin listener speaks plain HTTP")]
    Scheme,
    #[error("the URL names no host")]
    Host,
    #[error("{0}; is the gateway running, and is `server.admin` this address?")]
    Io(#[from] io::Error),
    #[error("the answer makes no sense; is this the admin listener of Remuda?")]
    Senseless,
    #[error("{0}")]
    Refused(String),
}

/// The answer, as far as it is shown.
#[derive(Deserialize)]
struct Told {
    decided_by: Vec<String>,
    strategy: String,
    error: Option<String>,
    steps: Vec<Step>,
    providers: Vec<Provider>,
}

#[derive(Deserialize)]
struct Step {
    model: String,
    providers: Vec<String>,
    reserve: bool,
    max_wait_seconds: Option<f64>,
    expected_wait_seconds: Option<f64>,
    due: bool,
}

#[derive(Deserialize)]
struct Provider {
    provider: String,
    kind: String,
    step: Option<usize>,
    in_flight: u32,
    slots: u32,
    why: Vec<String>,
}

/// Exit code 0 if there is a plan, 1 if there is none or no answer.
pub(super) fn run(args: &RouteArgs) -> ExitCode {
    let told = ask(args).and_then(|body| {
        let told: Told = serde_json::from_slice(&body).map_err(|_| RouteError::Senseless)?;
        let mut out = io::stdout().lock();
        match args.json {
            true => out.write_all(&body).and_then(|()| out.write_all(b"\n"))?,
            false => out.write_all(shown(&told).as_bytes())?,
        }
        Ok(told.error.is_none())
    });
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", args.url);
            ExitCode::FAILURE
        }
    }
}

fn ask(args: &RouteArgs) -> Result<Vec<u8>, RouteError> {
    if args.url.scheme_str() != Some("http") {
        return Err(RouteError::Scheme);
    }
    let authority = args.url.authority().ok_or(RouteError::Host)?;
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(80));
    let mut stream = connect(host.trim_matches(['[', ']']), port, args.timeout)?;
    stream.set_read_timeout(Some(args.timeout))?;
    stream.set_write_timeout(Some(args.timeout))?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n",
        path(args)
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").ok_or(RouteError::Senseless)?;
    let body = answer.split_off(end + 4);
    match status(&answer).ok_or(RouteError::Senseless)? {
        200 => Ok(body),
        _ => Err(refusal(&body).unwrap_or(RouteError::Senseless)),
    }
}

fn path(args: &RouteArgs) -> String {
    let parameters = [
        ("model", Some(&args.model)),
        ("provider", args.provider.as_ref()),
        ("strategy", args.strategy.as_ref()),
        ("needs", args.needs.as_ref()),
    ];
    let stated = parameters.into_iter().filter_map(|(name, value)| {
        let value = utf8_percent_encode(value?, NON_ALPHANUMERIC);
        Some(format!("{name}={value}"))
    });
    format!("/api/route?{}", stated.collect::<Vec<_>>().join("&"))
}

fn refusal(body: &[u8]) -> Option<RouteError> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    Some(RouteError::Refused(refusal.error))
}

fn shown(told: &Told) -> String {
    let mut lines = Vec::new();
    lines.extend(
        told.decided_by
            .iter()
            .map(|what| format!("decided by {what}")),
    );
    lines.push(format!("strategy   {}", told.strategy));
    lines.extend(told.error.iter().map(|error| format!("no plan    {error}")));
    for (number, step) in (1..).zip(&told.steps) {
        let reserve = if step.reserve { ", in reserve" } else { "" };
        let wait = step.max_wait_seconds;
        let wait = wait.map(|wait| match step.due {
            true => {
                format!(", taken at once, as a slot of those before takes longer than {wait} s")
            }
            false => format!(", after a wait of {wait} s"),
        });
        let expected = step.expected_wait_seconds.filter(|wait| *wait > 0.0);
        let expected = expected.map(|wait| format!(", a slot in about {wait:.1} s"));
        lines.push(format!(
            "step {number}     {} at {}{reserve}{}{}",
            step.model,
            step.providers.join(", "),
            wait.unwrap_or_default(),
            expected.unwrap_or_default()
        ));
    }
    for one in &told.providers {
        let place = match one.step {
            Some(step) => format!("step {step}"),
            None => "out".to_owned(),
        };
        let busy = format!("{} of {} slots in use", one.in_flight, one.slots);
        let why = [vec![busy], one.why.clone()].concat().join("; ");
        lines.push(format!(
            "{:<10} {place}: {} ({why})",
            one.provider, one.kind
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_shown_in_lines() {
        let told: Told = serde_json::from_str(
            r#"{"model":"m","decided_by":["rule: m to b"],"strategy":"failover","steps":[
                {"model":"m","providers":["a","b"],"reserve":false,"expected_wait_seconds":3.25,"due":false},
                {"model":"n","providers":["c"],"reserve":true,"max_wait_seconds":2.5,"expected_wait_seconds":0,"due":true},
                {"model":"o","providers":["e"],"reserve":true,"max_wait_seconds":4,"due":false}],
                "providers":[
                {"provider":"a","kind":"ollama","step":1,"healthy":true,"available":true,"in_flight":1,"slots":4,"why":[]},
                {"provider":"d","kind":"openai","healthy":true,"available":true,"in_flight":0,"slots":9,"why":["it does not list the model"]}]}"#,
        )
        .unwrap();
        assert_eq!(
            shown(&told),
            "decided by rule: m to b
strategy   failover
step 1     m at a, b, a slot in about 3.2 s
step 2     n at c, in reserve, taken at once, as a slot of those before takes longer than 2.5 s
step 3     o at e, in reserve, after a wait of 4 s
a          step 1: ollama (1 of 4 slots in use)
d          out: openai (0 of 9 slots in use; it does not list the model)
"
        );
    }

    #[test]
    fn what_is_asked_is_encoded() {
        let args = RouteArgs {
            model: "a/b&c".to_owned(),
            provider: Some("groq".to_owned()),
            strategy: None,
            needs: None,
            json: false,
            url: Uri::from_static("http://127.0.0.1"),
            timeout: Duration::from_secs(1),
        };
        assert_eq!(path(&args), "/api/route?model=a%2Fb%26c&provider=groq");
    }
}
