//! Fields by which a router of models (OpenRouter, and proxies like it) takes a request to other models than `model` names.

use crate::wire::json::{Kind, Scanner};

/// What is neither a list of models nor of tools; any value may name some.
const ROUTING: [&str; 5] = ["route", "plugins", "preset", "fallbacks", "fallback_models"];
/// How OpenRouter's own tools begin, of which some ask other models.
const ROUTERS_TOOL: &str = "openrouter:";

/// The first field of a request that may take it to a model that is not to be used, as `may` says of each name.
pub fn beyond(body: &[u8], may: impl Fn(&str) -> bool) -> Option<&'static str> {
    let mut scanner = Scanner::new(body);
    scanner.begin_object().ok()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first).ok()? {
        first = false;
        let kind = scanner.kind().ok()?;
        let value = scanner.skip_value().ok()?.of(body);
        // Whoever reads the request may take a name in any case.
        let key = key.text(body);
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        if kind == Kind::Null || value == b"[]" {
            continue;
        }
        if is("models") && !all(value, &may) {
            return Some("models");
        }
        if is("tools") && lead_elsewhere(value, &may) {
            return Some("tools");
        }
        // One that OpenAI keeps has tools and a model of its own; that of completions is a text or a list.
        if is("prompt") && kind == Kind::Object {
            return Some("prompt");
        }
        if let Some(name) = ROUTING.into_iter().find(|name| is(name)) {
            return Some(name);
        }
    }
    None
}

/// Returns whether a list has names only, and all of them may be used.
fn all(list: &[u8], may: impl Fn(&str) -> bool) -> bool {
    let names: Result<Vec<String>, _> = serde_json::from_slice(list);
    names.is_ok_and(|names| names.iter().all(|name| may(name)))
}

/// Returns whether one of the tools asks other models: OpenRouter's own, and those that name one (OpenAI's
/// `image_generation`, Anthropic's advisor).
fn lead_elsewhere(tools: &[u8], may: impl Fn(&str) -> bool) -> bool {
    #[derive(serde::Deserialize)]
    struct Tool {
        #[serde(default)]
        r#type: String,
        #[serde(default)]
        model: Option<String>,
    }
    let tools: Result<Vec<Tool>, _> = serde_json::from_slice(tools);
    // What is not understood here may be understood there.
    tools.map_or(true, |tools| {
        tools.iter().any(|tool| {
            let elsewhere = tool.model.as_deref().is_some_and(|model| !may(model));
            elsewhere || tool.r#type.starts_with(ROUTERS_TOOL)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_lead_to_other_models_are_found() {
        for (body, field) in [
            (r#"{"model":"mini"}"#, None),
            (r#"{"model":"mini","models":["mini","mini"]}"#, None),
            (
                r#"{"model":"mini","models":null,"plugins":[],"route":null}"#,
                None,
            ),
            (r#"{"tools":[{"type":"function"}],"models":[]}"#, None),
            (
                r#"{"model":"mini","models":["mini","big"]}"#,
                Some("models"),
            ),
            (r#"{"model":"mini","\u006dodels":["big"]}"#, Some("models")),
            (r#"{"models":["mini"],"Models":"big"}"#, Some("models")),
            (r#"{"models":[{"id":"mini"}]}"#, Some("models")),
            (r#"{"route":"fallback"}"#, Some("route")),
            (r#"{"plugins":[{"id":"auto-router"}]}"#, Some("plugins")),
            (r#"{"pl\u0075gins":[{"id":"fusion"}]}"#, Some("plugins")),
            (r#"{"preset":"x"}"#, Some("preset")),
            (
                r#"{"tools":[{"type":"openrouter:advisor"}]}"#,
                Some("tools"),
            ),
            (
                r#"{"tools":[{"type":"function"},{"type":"image_generation","model":"big"}]}"#,
                Some("tools"),
            ),
            (
                r#"{"tools":[{"type":"image_generation","mode\u006c":"big"}]}"#,
                Some("tools"),
            ),
            (
                r#"{"tools":[{"type":"advisor_20260301","model":"mini"},{"type":"image_generation"}]}"#,
                None,
            ),
            (
                r#"{"tools":[{"type":"image_generation","model":"mini","model":"big"}]}"#,
                Some("tools"),
            ),
            (r#"{"prompt":{"id":"pmpt_1"}}"#, Some("prompt")),
            (r#"{"prompt":"a text"}"#, None),
        ] {
            assert_eq!(
                beyond(body.as_bytes(), |name| name == "mini"),
                field,
                "{body}"
            );
        }
    }
}
