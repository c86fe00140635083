//! Why each candidate gave no answer, and what the client is told when none is left: what all of them said as one of them
//! would have said it, and what they said differently each with its own words.

use std::sync::Arc;
use std::time::Duration;

use crate::fleet::Provider;
use crate::ids::ProviderId;
use crate::metrics::AttemptOutcome;
use crate::proxy::failure::attempt::ClientError;
use crate::proxy::failure::error_answer::ErrorAnswer;
use crate::proxy::failure::{BalancerDetail, Failure, words};
use crate::settings::ProviderKind;
use remuda_formats::translate;

/// The most candidates whose words are told.
const MOST: usize = 8;
/// The most characters of each candidate's words that are told.
const LONGEST: usize = 400;

/// What went wrong so far.
#[derive(Default)]
pub(crate) struct Reasons {
    said: Vec<Reason>,
    /// How many there were beyond those in `said`.
    more: usize,
    /// What the client is told if nothing else works.
    last: Option<ClientError>,
    /// The setting that allows no further attempt, and its value.
    over: Option<(&'static str, Duration)>,
}

/// What one candidate said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reason {
    provider: ProviderId,
    kind: ProviderKind,
    /// The provider's name, with the server's where the operator lets clients know it.
    who: Arc<str>,
    /// The status that its client would have seen; `None` if it gave no answer.
    status: Option<u16>,
    text: String,
}

impl Reasons {
    /// Adds that an attempt at `provider` has failed. `server` is told if it is given.
    pub(crate) fn add(
        &mut self,
        provider: &Provider,
        server: Option<&str>,
        outcome: AttemptOutcome,
        error: Option<ClientError>,
    ) {
        let kind = provider.settings.kind;
        let (status, text) = match &error {
            Some(ClientError::Failure(failure)) => (Some(failure.status), failure.said().into()),
            Some(ClientError::Answer(answer)) => {
                (Some(answer.head.status.as_u16()), words_of(answer, kind))
            }
            None => (None, without_answer(outcome).into()),
        };
        let who = match server {
            Some(server) => format!("{} ({server})", provider.name).into(),
            None => Arc::clone(&provider.name),
        };
        self.put(Reason {
            provider: provider.id,
            kind,
            who,
            status,
            text: shortened(text),
        });
        self.last = worse(self.last.take(), error);
    }

    fn put(&mut self, said: Reason) {
        if self.said.contains(&said) {
            return;
        }
        if self.said.len() < MOST {
            self.said.push(said)
        } else {
            self.more += 1
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// Notes that no further attempt may be made, because of that setting.
    pub(crate) fn is_over(&mut self, setting: &'static str, value: Duration) {
        self.over = Some((setting, value));
    }

    /// Returns what the client is told; `None` if no candidate was asked.
    pub(crate) fn client_error(&mut self) -> Option<ClientError> {
        let first = self.said.first()?;
        let same = self
            .said
            .iter()
            .all(|said| (said.status, &said.text) == (first.status, &first.text));
        let alone = self.said.iter().all(|said| said.provider == first.provider);
        let whole = same && self.more == 0 && self.over.is_none();
        let last = self.last.take();
        if whole && let Some(last) = last {
            return Some(last.last());
        }
        if whole && alone && !first.kind.is_fleet() {
            let text = format!("provider {} {}", first.who, first.text);
            let failure = Failure::new(502, "all_attempts_failed", text);
            return Some(ClientError::Failure(Box::new(failure)).last());
        }
        Some(ClientError::Failure(Box::new(self.together(last, alone))).last())
    }

    /// Returns one failure for all that was said, with the status on which the candidates agree, or else that of the `last`
    /// error.
    fn together(&self, last: Option<ClientError>, alone: bool) -> Failure {
        let told = self.said.iter();
        let mut told: Vec<String> = told
            .map(|said| format!("{:?}", format!("{}: {}", said.who, said.text)))
            .collect();
        if self.more > 0 {
            told.push(format!("{:?}", format!("and {} more", self.more)));
        }
        let mut statuses = self.said.iter().filter_map(|said| said.status);
        let status = statuses
            .next()
            .filter(|first| statuses.all(|other| other == *first));
        let balanced = alone && self.said.iter().all(|said| said.kind.is_fleet());
        let mut failure = several_failed(last, status, &told.join(", "), balanced);
        if let Some((setting, value)) = self.over {
            let text = format!(
                "{}; the setting {setting} ({} s) allows no further attempt",
                failure.text,
                value.as_secs_f64()
            );
            failure.text = text.into();
        }
        failure
    }
}

/// Returns the failure of several candidates of which none gave an answer. It lists what each said, and has the `status` on
/// which they agree, or else that of the `last` error. `balanced` says that all were servers of one fleet.
fn several_failed(
    last: Option<ClientError>,
    status: Option<u16>,
    errors: &str,
    balanced: bool,
) -> Failure {
    let what = if balanced {
        words::ALL_ATTEMPTS_FAILED
    } else {
        "All providers failed"
    };
    let text = format!("{what}. Errors: [{errors}]");
    let base = match last {
        // By how much the last one's model was too small says nothing of the others.
        Some(ClientError::Failure(failure)) => Failure {
            overflow: None,
            param: None,
            ..*failure
        },
        _ => Failure::all_attempts_failed(),
    };
    Failure {
        text: text.into(),
        status: status.unwrap_or(base.status),
        detail: balanced.then_some(BalancerDetail::AllAttemptsFailed),
        ..base
    }
}

/// Returns what a backend's own answer says, without addresses and credentials.
fn words_of(answer: &ErrorAnswer, kind: ProviderKind) -> String {
    let (status, headers) = (answer.head.status.as_u16(), &answer.head.headers);
    let fault = translate::fault(kind, status, headers, &answer.body);
    fault.message.into_owned()
}

fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Returns why there was no answer, in words for the client.
fn without_answer(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::ConnectError => "could not be reached",
        AttemptOutcome::Timeout => "did not answer in time",
        AttemptOutcome::Reset => "broke the connection before its answer",
        _ => "gave no answer",
    }
}

/// Returns the one of two errors that the client is told: the later one, but that a limit was met only if nothing else went
/// wrong.
fn worse(before: Option<ClientError>, now: Option<ClientError>) -> Option<ClientError> {
    match (before, now) {
        (Some(ClientError::Failure(before)), Some(ClientError::Failure(now))) => {
            let retry_after = match (before.retry_after, now.retry_after) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let limited = |failure: &Failure| failure.status == 429;
            let mut kept = if limited(&now) && !limited(&before) {
                before
            } else {
                now
            };
            kept.retry_after = kept.retry_after.and(retry_after);
            Some(ClientError::Failure(kept))
        }
        (before, now) => now.or(before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remuda_formats::client::ErrorStyle;

    fn failure(status: u16, text: &'static str) -> Option<ClientError> {
        let failure = Failure::new(status, "backend_error", text);
        Some(ClientError::Failure(Box::new(failure)))
    }

    /// The provider's position, its kind, its name and its word.
    type Candidate = (
        usize,
        ProviderKind,
        &'static str,
        Option<(u16, &'static str)>,
    );

    /// Returns what the client is told of candidates.
    fn told(of: &[Candidate]) -> Option<Failure> {
        let mut reasons = Reasons::default();
        for (provider, kind, who, word) in of {
            reasons.put(Reason {
                provider: ProviderId::at(*provider),
                kind: *kind,
                who: (*who).into(),
                status: word.map(|(status, _)| status),
                text: word
                    .map_or("did not answer in time", |(_, text)| text)
                    .to_owned(),
            });
            let word = word.and_then(|(status, text)| failure(status, text));
            reasons.last = worse(reasons.last.take(), word);
        }
        match reasons.client_error()? {
            ClientError::Failure(failure) => Some(*failure),
            ClientError::Answer(_) => None,
        }
    }

    #[test]
    fn the_same_is_told_once_and_what_differs_by_each() {
        use ProviderKind::{Ollama, OpenAi};
        let sick = Some((500, "exit status 3"));
        let full = Some((500, "out of memory"));
        let shut = Some((501, "no embeddings"));
        for (of, status, text) in [
            (vec![(0, Ollama, "gpus", sick)], 500, "exit status 3"),
            (
                vec![(0, Ollama, "gpus", sick), (0, Ollama, "gpus", sick)],
                500,
                "exit status 3",
            ),
            (
                vec![(0, Ollama, "gpus", sick), (1, Ollama, "more", sick)],
                500,
                "exit status 3",
            ),
            (
                vec![(0, Ollama, "gpus", sick), (1, OpenAi, "ai", full)],
                500,
                r#"All providers failed. Errors: ["gpus: exit status 3", "ai: out of memory"]"#,
            ),
            (
                vec![(0, Ollama, "gpus", sick), (1, OpenAi, "ai", shut)],
                501,
                r#"All providers failed. Errors: ["gpus: exit status 3", "ai: no embeddings"]"#,
            ),
            (
                vec![(0, Ollama, "gpus", sick), (0, Ollama, "gpus", None)],
                500,
                r#"All backend attempts failed. Errors: ["gpus: exit status 3", "gpus: did not answer in time"]"#,
            ),
            (
                vec![(0, OpenAi, "a", None), (1, OpenAi, "b", None)],
                502,
                r#"All providers failed. Errors: ["a: did not answer in time", "b: did not answer in time"]"#,
            ),
            (
                vec![(0, OpenAi, "a", None)],
                502,
                "provider a did not answer in time",
            ),
            // In the balancer's own words, with the reason.
            (
                vec![(0, Ollama, "gpus", None)],
                502,
                r#"All backend attempts failed. Errors: ["gpus: did not answer in time"]"#,
            ),
            (
                vec![(0, Ollama, "gpus", None), (0, Ollama, "gpus", None)],
                502,
                r#"All backend attempts failed. Errors: ["gpus: did not answer in time"]"#,
            ),
        ] {
            let failure = told(&of).unwrap();
            assert_eq!((failure.status, &*failure.text), (status, text));
            assert!(failure.final_word);
            // The balancer's clients compare what they read.
            let balanced = text.starts_with("All backend attempts failed");
            let body = failure.body(ErrorStyle::Ollama, None);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let detail = balanced.then(|| "All backend attempts failed".into());
            assert_eq!(body.get("detail").cloned(), detail, "{text}");
        }
        assert!(told(&[]).is_none());
    }

    #[test]
    fn what_is_told_is_bounded() {
        let mut reasons = Reasons::default();
        for number in 0..100 {
            reasons.put(Reason {
                provider: ProviderId::at(number),
                kind: ProviderKind::OpenAi,
                who: "p".into(),
                status: Some(500),
                text: shortened(format!("{number}{}", "é".repeat(5_000))),
            });
        }
        reasons.is_over("routing.retry.within", Duration::from_millis(2_500));
        let Some(ClientError::Failure(failure)) = reasons.client_error() else {
            panic!("nothing is told");
        };
        assert!(
            failure.text.contains(r#""and 92 more"]"#),
            "{}",
            failure.text
        );
        let end = "; the setting routing.retry.within (2.5 s) allows no further attempt";
        assert!(failure.text.ends_with(end), "{}", failure.text);
        assert!(failure.text.chars().count() < 4_000);
    }
}
