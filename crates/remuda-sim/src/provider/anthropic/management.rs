//! `context_management`: edits of a long history, which the API takes under a beta header of their own.

use super::fields::Fields;
use super::refused::Refused;
use super::thinking::Thinking;

/// The field, known only to those who ask for this beta, or for compaction's.
const FIELD: &str = "context_management";
const BETAS: [&str; 2] = ["context-management-2025-06-27", "compact-2026-01-12"];

const CLEAR_TOOLS: &str = "clear_tool_uses_20250919";
const CLEAR_THINKING: &str = "clear_thinking_20251015";
const COMPACT: &str = "compact_20260112";

/// The beta headers of a request, each of which may list several.
pub(super) struct Betas<'a>(Vec<&'a str>);

impl<'a> Betas<'a> {
    pub(super) fn of(headers: impl Iterator<Item = &'a str>) -> Betas<'a> {
        Betas(
            headers
                .flat_map(|one| one.split(','))
                .map(str::trim)
                .collect(),
        )
    }

    fn has(&self, beta: &str) -> bool {
        self.0.contains(&beta)
    }

    /// Fields that are there for these betas alone.
    pub(super) fn fields(&self) -> &'static [&'static str] {
        if BETAS.iter().any(|beta| self.has(beta)) {
            &[FIELD]
        } else {
            &[]
        }
    }
}

/// Returns whether edits are asked for, if they can be had.
pub(super) fn check(fields: &Fields, thinking: Thinking) -> Result<bool, Refused> {
    if fields.nullable(FIELD).is_none() {
        return Ok(false);
    }
    let Some(management) = fields.object(FIELD)? else {
        return Ok(false);
    };
    management.only(&["edits"])?;
    let edits = management.list("edits")?.into_iter().flatten();
    for (index, edit) in edits.enumerate() {
        let path = format!("{}.{index}", management.path("edits"));
        edit_at(&Fields::of(edit, path)?, index, thinking)?;
    }
    Ok(true)
}

fn edit_at(edit: &Fields, index: usize, thinking: Thinking) -> Result<(), Refused> {
    edit.required("type")?;
    match edit.word("type", &[CLEAR_TOOLS, CLEAR_THINKING, COMPACT])? {
        Some(CLEAR_TOOLS) => {
            edit.only(&[
                "type",
                "trigger",
                "keep",
                "clear_at_least",
                "exclude_tools",
                "clear_tool_inputs",
            ])?;
            edit.list("exclude_tools")?;
            amount(edit, "trigger", &["input_tokens", "tool_uses"])?;
            amount(edit, "keep", &["tool_uses"])?;
            amount(edit, "clear_at_least", &["input_tokens"])
        }
        Some(CLEAR_THINKING) => {
            edit.only(&["type", "keep"])?;
            if index > 0 {
                let why = format!("`{CLEAR_THINKING}` must be the first edit");
                return Err(edit.wrong("type", &why));
            }
            if thinking == Thinking::Off {
                return Err(Refused::invalid(format!(
                    "{}: `{CLEAR_THINKING}` strategy requires `thinking` to be enabled or adaptive",
                    edit.here()
                )));
            }
            match edit.get("keep").and_then(serde_json::Value::as_str) {
                Some("all") => Ok(()),
                _ => amount(edit, "keep", &["thinking_turns"]),
            }
        }
        _ => {
            edit.only(&["type", "trigger", "pause_after_compaction", "instructions"])?;
            amount(edit, "trigger", &["input_tokens"])
        }
    }
}

/// `{"type": "input_tokens", "value": 30000}`.
fn amount(edit: &Fields, key: &str, sorts: &[&str]) -> Result<(), Refused> {
    if edit.nullable(key).is_none() {
        return Ok(());
    }
    if let Some(amount) = edit.object(key)? {
        amount.only(&["type", "value"])?;
        amount.required("type")?;
        amount.word("type", sorts)?;
        amount.required("value")?;
        amount.integer("value", 0)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(management: Value, thinking: Thinking) -> Result<bool, Refused> {
        let body = json!({"context_management": management});
        check(&Fields::root(&body).unwrap(), thinking)
    }

    #[test]
    fn the_field_is_known_under_its_betas_alone() {
        let fields = |headers: &[&'static str]| Betas::of(headers.iter().copied()).fields();
        assert_eq!(fields(&[]), [""; 0]);
        assert_eq!(fields(&["effort-2025-11-24,files"]), [""; 0]);
        assert_eq!(
            fields(&["effort", "a, context-management-2025-06-27"]),
            ["context_management"]
        );
    }

    #[test]
    fn edits_are_those_that_there_are() {
        let on = Thinking::Shown;
        for edits in [
            json!([]),
            json!([{"type": "clear_thinking_20251015", "keep": "all"}]),
            json!([{"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 2}},
                {"type": "clear_tool_uses_20250919", "trigger": {"type": "input_tokens", "value": 30000},
                 "keep": {"type": "tool_uses", "value": 3}, "exclude_tools": ["web_search"]}]),
            json!([{"type": "compact_20260112"}]),
        ] {
            assert!(checked(json!({"edits": edits}), on).unwrap(), "{edits}");
        }
        assert!(!checked(Value::Null, on).unwrap());
        for (edits, thinking) in [
            (json!([{"type": "forget"}]), on),
            (json!([{}]), on),
            (json!([{"type": "clear_thinking_20251015"}]), Thinking::Off),
            (
                json!([{"type": "compact_20260112"}, {"type": "clear_thinking_20251015"}]),
                on,
            ),
            (
                json!([{"type": "clear_tool_uses_20250919", "keep": {"type": "turns", "value": 1}}]),
                on,
            ),
            (
                json!([{"type": "clear_tool_uses_20250919", "sometimes": true}]),
                on,
            ),
        ] {
            checked(json!({"edits": edits}), thinking).unwrap_err();
        }
    }
}
