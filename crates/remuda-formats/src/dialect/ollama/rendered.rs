//! Going on with an answer by the prompt itself: a server tells how it renders a chat for its model, and the model writes on
//! from there and the words that it has said.

use serde::Deserialize;

use crate::ir::Text;
use crate::wire::json::Object;

/// An answer to a request that asks for the prompt alone.
#[derive(Deserialize)]
struct Rendered<'a> {
    #[serde(borrow, rename = "_debug_info")]
    info: Info<'a>,
}

#[derive(Deserialize)]
struct Info<'a> {
    #[serde(borrow)]
    rendered_template: Text<'a>,
}

/// Returns the body that asks a server for the prompt of a chat, of which `body` asks for the answer; `None` if that is no
/// object. A server that does not know the question answers with one token.
pub fn asking_for_prompt(body: &[u8]) -> Option<Vec<u8>> {
    let mut object = Object::read(body)?;
    let options = with_limit(object.get("options").unwrap_or(b"{}"), 1)?;
    object.set("options", options);
    object.set("stream", *b"false");
    object.set("_debug_render_only", *b"true");
    object.written()
}

/// Returns the body of `/api/generate` that goes on with the words `said` in so many `tokens`, by what the server has answered
/// to [`asking_for_prompt`]; `None` if it has not told the prompt, or if the answer may have no more tokens.
pub fn going_on(body: &[u8], answer: &[u8], said: &str, tokens: u64) -> Option<Vec<u8>> {
    let rendered: Rendered<'_> = serde_json::from_slice(answer).ok()?;
    let prompt = rendered.info.rendered_template;
    if prompt.is_empty() {
        return None;
    }
    let object = Object::read(body)?;
    let mut out = b"{\"model\":".to_vec();
    out.extend_from_slice(object.get("model")?);
    out.extend_from_slice(b",\"prompt\":\"");
    out.extend_from_slice(prompt.as_escaped().as_bytes());
    out.extend_from_slice(Text::plain(said).as_escaped().as_bytes());
    out.extend_from_slice(b"\",\"raw\":true,\"stream\":true");
    if let Some(options) = object.get("options") {
        let limit = limit_of(options).filter(|limit| *limit > 0);
        out.extend_from_slice(b",\"options\":");
        match limit {
            // An answer that has all its tokens lacks its end alone, which a server that begins anew tells.
            Some(limit) if limit <= tokens => return None,
            Some(limit) => out.extend(with_limit(options, limit - tokens)?),
            None => out.extend_from_slice(options),
        }
    }
    for name in ["keep_alive", "truncate", "shift"] {
        if let Some(value) = object.get(name) {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value);
        }
    }
    out.push(b'}');
    Some(out)
}

/// Returns the most tokens that `options` allow an answer, if they bound it.
fn limit_of(options: &[u8]) -> Option<u64> {
    let object = Object::read(options)?;
    std::str::from_utf8(object.get("num_predict")?)
        .ok()?
        .parse()
        .ok()
}

fn with_limit(options: &[u8], tokens: u64) -> Option<Vec<u8>> {
    let mut object = Object::read(options)?;
    object.set("num_predict", tokens.to_string());
    object.written()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"options":{"seed":1,"num_predict":9},"keep_alive":"5m"}"#;
    const RENDERED: &str = r#"{"model":"m","message":{"role":"","content":""},"done":false,"_debug_info":{"rendered_template":"<|user|>\"hi\"\n<|bot|>"}}"#;

    fn parsed(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn a_prompt_is_asked_for_and_gone_on_with() {
        let question = parsed(&asking_for_prompt(CHAT.as_bytes()).unwrap());
        let expected = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}],
            "stream": false, "options": {"seed": 1, "num_predict": 1}, "keep_alive": "5m",
            "_debug_render_only": true});
        assert_eq!(question, expected);
        for tokens in [9, 20] {
            let body = going_on(CHAT.as_bytes(), RENDERED.as_bytes(), "one", tokens);
            assert_eq!(body, None);
        }
        for (tokens, left) in [(4, 5), (8, 1)] {
            let body = going_on(CHAT.as_bytes(), RENDERED.as_bytes(), "one \"two\"", tokens);
            let expected = json!({"model": "m", "prompt": "<|user|>\"hi\"\n<|bot|>one \"two\"",
                "raw": true, "stream": true, "options": {"seed": 1, "num_predict": left},
                "keep_alive": "5m"});
            assert_eq!(parsed(&body.unwrap()), expected);
        }
    }

    #[test]
    fn what_the_client_does_not_bound_is_not_bounded() {
        for options in [r#"{"num_predict":-1}"#, r#"{"seed":1}"#] {
            let body = format!(r#"{{"model":"m","messages":[],"options":{options}}}"#);
            let going_on = going_on(body.as_bytes(), RENDERED.as_bytes(), "one", 5).unwrap();
            let expected: Value = serde_json::from_str(options).unwrap();
            assert_eq!(parsed(&going_on)["options"], expected);
        }
    }

    #[test]
    fn a_server_that_does_not_tell_the_prompt_is_told_from_one_that_does() {
        for answer in [
            r#"{"model":"m","message":{"role":"assistant","content":"x"},"done":true}"#,
            r#"{"_debug_info":{"rendered_template":""}}"#,
            r#"{"_debug_info":{"rendered_template":1}}"#,
            r#"{"_debug_info":{}}"#,
            "",
        ] {
            let body = going_on(CHAT.as_bytes(), answer.as_bytes(), "one", 1);
            assert_eq!(body, None, "{answer}");
        }
        assert_eq!(asking_for_prompt(b"[]"), None);
    }
}
