//! `remuda route`: asks a running gateway where a request for a model would go, and why.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::target::{AskError, Pages, Target, TargetArgs, refusal};

/// Explain where a running gateway would send a request for a model
///
/// Asks the gateway's admin listener. The exit code is 1 where there is no plan.
#[derive(Args)]
pub(super) struct RouteArgs {
    /// The model, as a client writes it
    model: String,

    /// Plan as if the client had named this provider in X-Provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,

    /// Plan by this strategy
    #[arg(long, value_name = "NAME")]
    strategy: Option<String>,

    /// What the request needs, separated by commas: vision, tools, thinking, embeddings
    #[arg(long, value_name = "NEED,NEED")]
    needs: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: TargetArgs,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum RouteError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{0}")]
    Print(#[from] io::Error),
    #[error("{0}: the answer makes no sense; is this the admin listener of Remuda?")]
    Senseless(Target),
    #[error("{0}")]
    Refused(String),
}

/// What a subcommand asks of the gateway, and how it shows the answer.
pub(super) struct Inquiry<'a> {
    /// The subcommand.
    pub(super) name: &'static str,
    pub(super) path: String,
    pub(super) json: bool,
    pub(super) target: &'a TargetArgs,
    /// Returns the text for people, and whether there is a plan; `None` if the answer makes no sense.
    pub(super) read: fn(&[u8]) -> Option<(String, bool)>,
}

/// The answer, as far as it is shown.
#[derive(Deserialize)]
struct Told {
    decided_by: Vec<String>,
    strategy: String,
    error: Option<String>,
    /// Names that are like an unknown one.
    #[serde(default)]
    similar: Vec<String>,
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
    /// What was looked at where it is in the plan.
    #[serde(default)]
    facts: Vec<String>,
}

/// Runs the subcommand; its exit code is 0 if there is a plan, and 1 if there is none or no answer.
pub(super) fn run(args: &RouteArgs) -> ExitCode {
    let inquiry = Inquiry {
        name: "route",
        path: path(args),
        json: args.json,
        target: &args.target,
        read,
    };
    inquiry.run()
}

/// Returns the plan as text, and whether there is one; `None` if that is no plan.
pub(super) fn read(body: &[u8]) -> Option<(String, bool)> {
    let told: Told = serde_json::from_slice(body).ok()?;
    Some((shown(&told), told.error.is_none()))
}

impl Inquiry<'_> {
    /// Asks and shows; the exit code is 0 if there is a plan, and 1 if there is none or no answer.
    pub(super) fn run(&self) -> ExitCode {
        match self.show() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            // As in `remuda route | head`.
            Err(RouteError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("remuda {}: {error}", self.name);
                ExitCode::FAILURE
            }
        }
    }

    /// Returns whether there is a plan.
    fn show(&self) -> Result<bool, RouteError> {
        let (target, answer) = self.target.ask(Pages::Admin, &self.path)?;
        let body = answer.body;
        if answer.status != 200 {
            let refused = refusal(&body).map(RouteError::Refused);
            return Err(refused.unwrap_or(RouteError::Senseless(target)));
        }
        let Some((text, is_planned)) = (self.read)(&body) else {
            return Err(RouteError::Senseless(target));
        };
        let mut out = io::stdout().lock();
        if self.json {
            out.write_all(&body).and_then(|()| out.write_all(b"\n"))?
        } else {
            out.write_all(text.as_bytes())?
        }
        Ok(is_planned)
    }
}

fn path(args: &RouteArgs) -> String {
    let parameters = [
        ("model", Some(&*args.model)),
        ("provider", args.provider.as_deref()),
        ("strategy", args.strategy.as_deref()),
        ("needs", args.needs.as_deref()),
    ];
    with_query("/api/route", &parameters)
}

/// Returns a path with those of the parameters that have a value.
pub(super) fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let stated = parameters.iter().filter_map(|(name, value)| {
        let value = utf8_percent_encode((*value)?, NON_ALPHANUMERIC);
        Some(format!("{name}={value}"))
    });
    format!("{path}?{}", stated.collect::<Vec<_>>().join("&"))
}

/// As the gateway says it of a provider that is out for no other reason.
const ABSENT: &str = "it does not have the model";
/// Characters of what stands before a line.
const LABEL: usize = 10;

impl Provider {
    /// Returns whether there is more to say of a provider than that it has no such model.
    fn matters(&self) -> bool {
        self.step.is_some() || self.why.iter().any(|why| why != ABSENT)
    }
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
    if !told.similar.is_empty() {
        lines.push(format!(
            "           did you mean {}?",
            told.similar.join(", ")
        ));
    }
    for (number, step) in (1..).zip(&told.steps) {
        let reserve = if step.reserve { ", in reserve" } else { "" };
        let wait = step.max_wait_seconds;
        let wait = wait.map(|wait| {
            if step.due {
                format!(", taken at once, as a slot of those before takes longer than {wait} s")
            } else {
                format!(", after a wait of {wait} s")
            }
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
    let (shown, rest): (Vec<_>, Vec<_>) = told.providers.iter().partition(|one| one.matters());
    let width = shown.iter().map(|one| one.provider.chars().count());
    let width = width.max().unwrap_or(0).max(LABEL);
    for one in shown {
        let place = match one.step {
            Some(step) => format!("step {step}"),
            None => "out".to_owned(),
        };
        let busy = format!("{} of {} slots in use", one.in_flight, one.slots);
        let why = [vec![busy], one.facts.clone(), one.why.clone()].concat();
        let why = why.join("; ");
        lines.push(format!(
            "{:<width$} {place}: {} ({why})",
            one.provider, one.kind
        ));
    }
    if !rest.is_empty() {
        let names: Vec<&str> = rest.iter().map(|one| one.provider.as_str()).collect();
        lines.push(format!(
            "{:<width$} the model: {}",
            "without",
            names.join(", ")
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
                {"provider":"a","kind":"ollama","step":1,"healthy":true,"available":true,"in_flight":1,"slots":4,"why":[],
                 "facts":["loaded on 1 of 2 servers"]},
                {"provider":"e","kind":"ollama","healthy":true,"available":true,"in_flight":0,"slots":4,"why":["it does not have the model"]},
                {"provider":"f","kind":"groq","healthy":true,"available":true,"in_flight":0,"slots":4,"why":["it does not have the model"]},
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
a          step 1: ollama (1 of 4 slots in use; loaded on 1 of 2 servers)
d          out: openai (0 of 9 slots in use; it does not list the model)
without    the model: e, f
"
        );
    }

    #[test]
    fn a_name_like_an_unknown_one_is_told() {
        let told: Told = serde_json::from_str(
            r#"{"model":"m","decided_by":[],"strategy":"failover","error":"no provider has the model","similar":["n","o"],
                "steps":[],"providers":[]}"#,
        )
        .unwrap();
        let text = shown(&told);
        assert!(
            text.ends_with("no provider has the model\n           did you mean n, o?\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_asked_is_encoded() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: RouteArgs,
        }
        let line: Line = clap::Parser::parse_from(["route", "a/b&c", "--provider", "groq"]);
        assert_eq!(path(&line.args), "/api/route?model=a%2Fb%26c&provider=groq");
    }
}
