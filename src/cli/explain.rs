//! `remuda explain`: asks a running gateway on which server a request for a model would start, and why there.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use super::route::{Inquiry, read, with_query};
use super::target::TargetArgs;

/// Explain on which server a running gateway would start a request for a model
///
/// Shows the plan as `remuda route` does, and for each step with Ollama servers what is done there: the server that is
/// chosen, what a start on each other is expected to take, and why some take no part. Asks the gateway's admin listener. The
/// exit code is 1 where there is no plan.
#[derive(Args)]
pub(super) struct ExplainArgs {
    /// The model, as a client writes it
    model: String,

    /// Tokens of the prompt and of the answer together
    #[arg(long, value_name = "N")]
    tokens: Option<u32>,

    /// The context that the client states (num_ctx)
    #[arg(long, value_name = "N")]
    context: Option<u32>,

    /// Plan as if the client had named this provider in X-Provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: TargetArgs,
}

/// What the answer has besides the plan.
#[derive(Deserialize)]
struct Told {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    /// `None` where no fleet takes part.
    start: Option<Start>,
    #[serde(default)]
    place: Vec<Place>,
}

#[derive(Deserialize)]
struct Start {
    action: String,
    server: Option<String>,
    because: String,
    waiting: usize,
    candidates: Vec<Candidate>,
    out: Vec<Out>,
}

#[derive(Deserialize)]
struct Candidate {
    server: String,
    copy: String,
    expected_seconds: f64,
    queue_seconds: f64,
    load_seconds: f64,
    prefill_seconds: f64,
    penalty_seconds: f64,
    context: Option<u32>,
    running: u32,
    parallel: Option<u32>,
    #[serde(default)]
    evicts: Vec<String>,
    place: Option<String>,
}

#[derive(Deserialize)]
struct Out {
    server: String,
    why: String,
}

#[derive(Deserialize)]
struct Place {
    provider: String,
    models: String,
    on: Vec<String>,
    #[serde(rename = "else")]
    elsewhere: String,
}

/// Runs the subcommand; its exit code is 0 if there is a plan, and 1 if there is none or no answer.
pub(super) fn run(args: &ExplainArgs) -> ExitCode {
    let inquiry = Inquiry {
        name: "explain",
        path: path(args),
        json: args.json,
        target: &args.target,
        read: |body| {
            let (plan, is_planned) = read(body)?;
            let told: Told = serde_json::from_slice(body).ok()?;
            Some((plan + &shown(&told), is_planned))
        },
    };
    inquiry.run()
}

fn path(args: &ExplainArgs) -> String {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let (tokens, context) = (number(args.tokens), number(args.context));
    let parameters = [
        ("model", Some(&*args.model)),
        ("provider", args.provider.as_deref()),
        ("tokens", tokens.as_deref()),
        ("context", context.as_deref()),
    ];
    with_query("/api/explain", &parameters)
}

impl Candidate {
    fn line(&self, width: usize) -> String {
        let copy = match (&*self.copy, self.context) {
            ("on_disk", Some(context)) => format!("to be loaded with a context of {context}"),
            ("on_disk", None) => "to be loaded".to_owned(),
            ("loading", _) => "being loaded".to_owned(),
            ("spilled", _) => "in memory, and on the CPU in part".to_owned(),
            ("slow", _) => "in memory, and slow".to_owned(),
            ("draining", _) => "in memory, and left alone as it is slow".to_owned(),
            (_, Some(context)) => format!("in memory with a context of {context}"),
            (_, None) => "in memory".to_owned(),
        };
        let busy = self.parallel.map_or_else(
            || format!("{} in flight", self.running),
            |parallel| format!("{} of {parallel} slots in use", self.running),
        );
        let evicts =
            (!self.evicts.is_empty()).then(|| format!("evicts {}", self.evicts.join(", ")));
        let place = (self.place.as_ref()).map(|place| format!("by a rule of place: {place}"));
        let notes = [Some(copy), Some(busy), evicts, place];
        let notes: Vec<_> = notes.into_iter().flatten().collect();
        format!(
            "  {:<width$} {:.1} s and a penalty of {:.1} s: queue {:.1}, load {:.1}, prefill {:.1} ({})",
            self.server,
            self.expected_seconds,
            self.penalty_seconds,
            self.queue_seconds,
            self.load_seconds,
            self.prefill_seconds,
            notes.join("; ")
        )
    }
}

fn shown(told: &Told) -> String {
    let mut lines = Vec::new();
    for (number, step) in (1..).zip(&told.steps) {
        let Some(start) = &step.start else {
            continue;
        };
        let server = start.server.as_ref().map(|server| format!(" {server}"));
        lines.push(format!(
            "servers of step {number}: {}{}, as {}",
            start.action,
            server.unwrap_or_default(),
            start.because
        ));
        if start.waiting > 0 {
            lines.push(format!("  {} others wait for the model", start.waiting));
        }
        let names = start.candidates.iter().map(|one| &one.server);
        let names = names.chain(start.out.iter().map(|one| &one.server));
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        lines.extend(start.candidates.iter().map(|one| one.line(width)));
        let out = start.out.iter();
        lines.extend(out.map(|one| format!("  {:<width$} out: {}", one.server, one.why)));
        let rules = step.place.iter();
        lines.extend(rules.map(|rule| {
            let (provider, models) = (&rule.provider, &rule.models);
            let (on, elsewhere) = (rule.on.join(", "), &rule.elsewhere);
            format!("  rule of place at {provider}: {models} on {on}, else {elsewhere}")
        }));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_at_each_step_is_shown_in_lines() {
        let told: Told = serde_json::from_str(
            r#"{"model":"m","steps":[{"model":"m","start":{"action":"load","server":"gpu1:11434","because":"no copy serves the request",
                "waiting":2,"wait_seconds":3.5,"candidates":[
                {"server":"gpu1:11434","provider":"a","copy":"on_disk","expected_seconds":14.25,"queue_seconds":0,"load_seconds":14,
                 "prefill_seconds":0.25,"penalty_seconds":2,"context":8192,"running":0,"parallel":1,"evicts":["n"]},
                {"server":"g2:1","provider":"a","copy":"spilled","expected_seconds":1,"queue_seconds":1,"load_seconds":0,
                 "prefill_seconds":0,"penalty_seconds":9,"running":3,"place":"overflow"}],
                "out":[{"server":"g3:1","provider":"a","why":"it is not healthy"}]},
                "place":[{"provider":"a","models":"*70b*","on":["gpu1","g4"],"else":"overflow"}]},
                {"model":"m"}]}"#,
        )
        .unwrap();
        assert_eq!(
            shown(&told),
            "servers of step 1: load gpu1:11434, as no copy serves the request
  2 others wait for the model
  gpu1:11434 14.2 s and a penalty of 2.0 s: queue 0.0, load 14.0, prefill 0.2 (to be loaded with a context of 8192; 0 of 1 slots in use; evicts n)
  g2:1       1.0 s and a penalty of 9.0 s: queue 1.0, load 0.0, prefill 0.0 (in memory, and on the CPU in part; 3 in flight; by a rule of place: overflow)
  g3:1       out: it is not healthy
  rule of place at a: *70b* on gpu1, g4, else overflow
"
        );
    }

    #[test]
    fn what_is_asked_is_encoded() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: ExplainArgs,
        }
        let words = ["explain", "a/b", "--tokens", "7", "--context", "8192"];
        let line: Line = clap::Parser::parse_from(words);
        assert_eq!(
            path(&line.args),
            "/api/explain?model=a%2Fb&tokens=7&context=8192"
        );
    }
}
