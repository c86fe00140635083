//! What Claude Code tells Anthropic of itself in the first line of its system prompt. It changes with every request, so that
//! nobody else who is sent it can keep what follows, and it means nothing to them.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ir::{ChatRequest, Part, Role, Text};

/// The line's beginning as that of a JSON string.
const QUOTED: &str = "\"x-anthropic-billing-header:";

/// Returns what is left of a text that begins with the line; `None` if it does not.
fn rest_of<'a>(text: &Text<'a>) -> Option<Text<'a>> {
    if !text.as_escaped().starts_with(&QUOTED[1..]) {
        return None;
    }
    let decoded = text.decoded();
    let rest = decoded.split_once('\n').map_or("", |(_, rest)| rest);
    Some(Text::plain(rest.trim_start_matches(['\r', '\n'])).into_owned())
}

/// Takes the line out of the system prompt.
pub fn leave_out_billing(request: &mut ChatRequest<'_>) {
    let of_completion = request.completion.as_mut();
    if let Some(system) = of_completion.and_then(|completion| completion.system.as_mut())
        && let Some(rest) = rest_of(system)
    {
        *system = rest;
    }
    let Some(first) = request.messages.first_mut() else {
        return;
    };
    let Some(Part::Text(text)) = first.parts.first_mut() else {
        return;
    };
    let Some(rest) = rest_of(text).filter(|_| first.role == Role::System) else {
        return;
    };
    if rest.is_blank() {
        let after = first.parts.iter().skip(1);
        let breakpoints = after.take_while(|part| part.is_breakpoint()).count();
        first.parts.drain(..=breakpoints);
    } else {
        *text = rest;
    }
    if first.parts.is_empty() {
        request.messages.remove(0);
    }
}

/// Returns a body of another format that passes as it came, without the line; `None` if its system prompt does not
/// begin with it.
pub fn without_billing(body: &[u8]) -> Option<Vec<u8>> {
    memmem::find(body, QUOTED.as_bytes())?;
    let text = std::str::from_utf8(body).ok()?;
    let (range, rest) = cut(text)?;
    let mut without = Vec::with_capacity(body.len());
    without.extend_from_slice(&body[..range.start]);
    if let Some(rest) = rest {
        rest.write(&mut without);
    }
    without.extend_from_slice(&body[range.end..]);
    Some(without)
}

/// Returns what of the body goes, and the string that takes its place, if one does.
fn cut(body: &str) -> Option<(Range<usize>, Option<Text<'static>>)> {
    #[derive(Deserialize)]
    struct Body<'a> {
        /// The system prompt of Messages and of Ollama's completions.
        #[serde(borrow)]
        system: Option<&'a RawValue>,
        /// Responses.
        instructions: Option<&'a RawValue>,
        input: Option<&'a RawValue>,
        messages: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Turn<'a> {
        #[serde(borrow)]
        role: Cow<'a, str>,
        content: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Piece<'a> {
        #[serde(borrow)]
        text: Option<&'a RawValue>,
    }
    let read: Body<'_> = serde_json::from_str(body).ok()?;
    for prompt in [read.system, read.instructions].into_iter().flatten() {
        if let Some(rest) = Text::of(prompt).as_ref().and_then(rest_of) {
            return Some((place(body, prompt), Some(rest.into_owned())));
        }
    }
    let turns = items(read.messages.or(read.input)?)?;
    let turn: Turn<'_> = serde_json::from_str(turns.first()?.get()).ok()?;
    let content = turn
        .content
        .filter(|_| matches!(&*turn.role, "system" | "developer"))?;
    let goes = |list: &[&RawValue]| {
        let next = place(body, list.get(1)?);
        Some((place(body, list[0]).start..next.start, None))
    };
    let pieces = items(content);
    let literal = match &pieces {
        None => content,
        Some(pieces) => {
            serde_json::from_str::<Piece<'_>>(pieces.first()?.get())
                .ok()?
                .text?
        }
    };
    let rest = Text::of(literal).as_ref().and_then(rest_of)?;
    let kept = (place(body, literal), Some(rest.clone().into_owned()));
    if !rest.is_blank() {
        return Some(kept);
    }
    let of_piece = pieces.and_then(|pieces| goes(&pieces));
    of_piece.or_else(|| goes(&turns)).or(Some(kept))
}

/// Returns the items of an array; `None` if it is none.
fn items(array: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(array.get()).ok()
}

/// Returns where a value stands that was read from the body.
fn place(body: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - body.as_ptr() as usize;
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::{anthropic, openai};

    const LINE: &str =
        "x-anthropic-billing-header: cc_version=2.1.42.a1b; cc_entrypoint=cli; cch=0c3f1;";

    fn passed(body: &Value) -> Option<Value> {
        let without = without_billing(body.to_string().as_bytes())?;
        Some(serde_json::from_slice(&without).unwrap())
    }

    #[test]
    fn the_line_goes_as_a_block_as_a_beginning_and_alone() {
        let both = format!("{LINE}\n\nBe \"brief\".");
        for (system, left) in [
            (
                json!([{"type": "text", "text": LINE, "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "a"}]),
                Some("a"),
            ),
            (json!(both), Some("Be \"brief\".")),
            (json!(LINE), None),
            (json!("Be brief."), Some("Be brief.")),
            (json!(format!("Say {LINE}")), Some(&*format!("Say {LINE}"))),
        ] {
            let body = json!({"max_tokens": 1, "system": system, "messages": [{"role": "user", "content": LINE}]}).to_string();
            let mut request = anthropic::read_chat(body.as_bytes()).unwrap();
            leave_out_billing(&mut request);
            let said = |message: &crate::ir::Message<'_>| match &message.parts[..] {
                [Part::Text(text)] => text.decoded().into_owned(),
                other => panic!("{other:?}"),
            };
            let texts: Vec<_> = request.messages.iter().map(said).collect();
            let expected: Vec<_> = left.into_iter().chain([LINE]).collect();
            assert_eq!(texts, expected);
        }
        let body = json!({"messages": [{"role": "system", "content": both}, {"role": "user", "content": "q"}]}).to_string();
        let mut request = openai::chat::read_chat(body.as_bytes()).unwrap();
        leave_out_billing(&mut request);
        assert_eq!(
            request.messages[0].parts,
            [Part::Text(Text::plain("Be \"brief\"."))]
        );
    }

    #[test]
    fn it_goes_from_what_passes_too() {
        let user = json!({"role": "user", "content": LINE});
        let block = json!({"type": "text", "text": LINE});
        let other = json!({"type": "text", "text": "a"});
        for (body, left) in [
            (
                json!({"messages": [{"role": "system", "content": format!("{LINE}\nä")}, user]}),
                json!({"messages": [{"role": "system", "content": "ä"}, user]}),
            ),
            (
                json!({"messages": [{"role": "developer", "content": [block, other]}, user]}),
                json!({"messages": [{"role": "developer", "content": [other]}, user]}),
            ),
            (
                json!({"messages": [{"role": "system", "content": [block]}, user]}),
                json!({"messages": [user]}),
            ),
            (
                json!({"messages": [{"role": "system", "content": LINE}]}),
                json!({"messages": [{"role": "system", "content": ""}]}),
            ),
            (
                json!({"instructions": format!("{LINE}\n\na"), "input": LINE}),
                json!({"instructions": "a", "input": LINE}),
            ),
            (
                json!({"input": [{"role": "system", "content": LINE}, user]}),
                json!({"input": [user]}),
            ),
            (
                json!({"system": LINE, "prompt": "q"}),
                json!({"system": "", "prompt": "q"}),
            ),
        ] {
            assert_eq!(passed(&body), Some(left));
        }
        for stays in [
            json!({"messages": [user]}),
            json!({"messages": [{"role": "system", "content": "a"}, user]}),
            json!({"input": LINE}),
            json!({"messages": 7, "system": [LINE]}),
        ] {
            assert_eq!(passed(&stays), None, "{stays}");
        }
    }
}
