//! Members that a provider's API does not have, in requests that pass as they came: Ollama's, which are named, and marks for
//! prompt caches where the provider keeps prompts whatever it is told. OpenAI refuses a request for either.

use memchr::memmem;

use super::fit::Fit;
use crate::dialect::exchange::Target;
use crate::dialect::local;
use crate::ir::Dropped;
use crate::provider::ProviderKind;
use crate::wire::json::{Fate, Object, PathStep, prune};

const MARK: &str = "cache_control";

/// Where marks stand; those in a schema or in arguments are somebody else's.
const MARKED: [&str; 3] = ["messages", "input", "tools"];

/// Returns whether a provider's API is known to have none of them. Another server with this API may be Ollama's own.
pub fn concern(kind: ProviderKind) -> bool {
    matches!(
        kind,
        ProviderKind::OpenAi | ProviderKind::Azure | ProviderKind::OpenRouter
    )
}

/// Returns a request that is no chat without them; `None` if it may pass as it is.
pub fn fitted(body: &[u8], target: &Target<'_>) -> Option<(Vec<u8>, Dropped)> {
    let kind = target.provider.kind;
    if !concern(kind) {
        return None;
    }
    let mut body = Object::read(body)?;
    let mut dropped = Dropped::default();
    remove(&mut body, &mut dropped, kind);
    body.written().map(|body| (body, dropped))
}

pub(super) fn leave_out(fit: &mut Fit<'_, '_>) {
    let kind = fit.target.provider.kind;
    if concern(kind) {
        remove(&mut fit.body, &mut fit.dropped, kind);
    }
}

fn remove(body: &mut Object<'_>, dropped: &mut Dropped, kind: ProviderKind) {
    local::leave_out(body, dropped);
    if kind != ProviderKind::OpenRouter {
        unmark(body);
    }
}

fn unmark(body: &mut Object<'_>) {
    body.remove(MARK);
    for name in MARKED {
        if let Some(value) = body.get(name)
            && memmem::find(value, MARK.as_bytes()).is_some()
            && let Some(without) = unmarked(value)
        {
            body.set(name, without);
        }
    }
}

/// Returns a list without the marks on its items, on parts of their content and on what an item declares; `None` if it
/// has none.
fn unmarked(list: &[u8]) -> Option<Vec<u8>> {
    let mut found = false;
    let pruned = prune(list, &mut |way, _| match way {
        [PathStep::Item] => Fate::Enter,
        [.., PathStep::Key(key)] if key == MARK => {
            found = true;
            Fate::Drop
        }
        [PathStep::Item, PathStep::Key(key)] if key == "content" || key == "function" => {
            Fate::Enter
        }
        [PathStep::Item, PathStep::Key(key), PathStep::Item] if key == "content" => Fate::Enter,
        _ => Fate::Keep,
    });
    pruned.ok().filter(|_| found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai::{chat, responses};
    use crate::facts::Facts;
    use crate::provider::ProviderProfile;

    type Fitted = Option<(Vec<u8>, Dropped)>;

    fn fit(
        kind: ProviderKind,
        fitted: fn(&[u8], &Target<'_>) -> Fitted,
        body: &str,
    ) -> Option<(String, Vec<&'static str>)> {
        let facts = Facts::bundled();
        let provider = ProviderProfile::of_kind("p", kind);
        let target = Target {
            model: "nobody-knows-it",
            facts: facts.find(kind, "nobody-knows-it"),
            provider,
            stream: false,
        };
        let (body, dropped) = fitted(body.as_bytes(), &target)?;
        Some((String::from_utf8(body).unwrap(), dropped.fields().to_vec()))
    }

    #[test]
    fn fields_of_ollama_are_left_out_and_named_where_they_are_known_to_be_foreign() {
        let body = r#"{"model":"m","keep_alive":"5m","options":{"num_ctx":8192},"num_ctx":1,"think":false,"truncate":true,"shift":null,"extra_body":{"top_k":1},"store":true}"#;
        for fitted in [chat::fitted, responses::fitted, fitted] {
            for kind in [
                ProviderKind::OpenAi,
                ProviderKind::Azure,
                ProviderKind::OpenRouter,
            ] {
                let (kept, mut dropped) = fit(kind, fitted, body).unwrap();
                assert_eq!(kept, r#"{"model":"m","store":true}"#);
                dropped.sort_unstable();
                let named = [
                    "extra_body",
                    "keep_alive",
                    "num_ctx",
                    "options",
                    "think",
                    "truncate",
                ];
                assert_eq!(dropped, named);
            }
            assert_eq!(fit(ProviderKind::OpenAiCompatible, fitted, body), None);
        }
    }

    #[test]
    fn marks_go_where_prompts_are_kept_without_them() {
        let body = r#"{"cache_control":{"type":"ephemeral"},"messages":[{"role":"system","cache_control":{},"content":[{"type":"text","text":"\"cache_control\"","cache_control":{"type":"ephemeral"}}]},{"role":"user","content":"cache_control"}],"tools":[{"type":"function","cache_control":{},"function":{"name":"f","cache_control":{},"parameters":{"type":"object","properties":{"cache_control":{"type":"string"}}}}}]}"#;
        let without = r#"{"messages":[{"role":"system","content":[{"type":"text","text":"\"cache_control\""}]},{"role":"user","content":"cache_control"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"cache_control":{"type":"string"}}}}}]}"#;
        for kind in [ProviderKind::OpenAi, ProviderKind::Azure] {
            assert_eq!(
                fit(kind, chat::fitted, body),
                Some((without.to_owned(), vec![]))
            );
            assert_eq!(fit(kind, chat::fitted, without), None);
        }
        for kind in [ProviderKind::OpenRouter, ProviderKind::OpenAiCompatible] {
            assert_eq!(fit(kind, chat::fitted, body), None);
        }
        let input = r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"t","cache_control":{}}]}]}"#;
        let (kept, dropped) = fit(ProviderKind::OpenAi, responses::fitted, input).unwrap();
        assert!(!kept.contains("cache_control") && dropped.is_empty());
    }
}
