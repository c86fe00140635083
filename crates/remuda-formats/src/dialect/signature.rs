//! A thought's signature inside the id of its tool call: clients of formats without a place for signatures send ids back
//! as they came, and so bring the signature back.
//!
//! `<id>__thought__<signature as base64url>`. It must be unpacked before an id goes to another provider: many refuse
//! ids of more than 40 or 64 characters.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ir::{Mend, Text};

const MARK: &str = "__thought__";

/// Returns `id`, with the signature in it if there is one.
pub fn pack<'a>(id: Text<'a>, signature: Option<&Text<'_>>) -> Text<'a> {
    let Some(signature) = signature.filter(|signature| !signature.is_empty()) else {
        return id;
    };
    let mut packed = id.into_inner().into_owned();
    packed.push_str(MARK);
    URL_SAFE_NO_PAD.encode_string(signature.decoded().as_bytes(), &mut packed);
    Text::escaped(packed)
}

/// Returns the id and the signature that [`pack`] made `id` of; an id that was not packed is returned as it is.
pub fn unpack(id: Text<'_>) -> (Text<'_>, Option<Text<'static>>) {
    let found = id.as_escaped().rfind(MARK).and_then(|at| {
        let packed = &id.as_escaped()[at + MARK.len()..];
        let signature = String::from_utf8(URL_SAFE_NO_PAD.decode(packed).ok()?).ok()?;
        (!signature.is_empty()).then(|| (at, Text::plain(&signature).into_owned()))
    });
    let Some((at, signature)) = found else {
        return (id, None);
    };
    let own = match id.into_inner() {
        std::borrow::Cow::Borrowed(packed) => Text::escaped(&packed[..at]),
        std::borrow::Cow::Owned(mut packed) => {
            packed.truncate(at);
            Text::escaped(packed)
        }
    };
    (own, Some(signature))
}

/// What marks a signature of Gemini's that is not of a call: such ones look like another provider's, and who is sent
/// one of another provider refuses the request.
const GEMINI: &str = "gemini:";
/// What marks a signature of Gemini's that signs a text of the answer.
const GEMINI_TEXT: &str = "gemini-text:";

/// Marks a thought's signature of Gemini's, so that it is known when it comes back.
pub fn mark_gemini(signature: &Text<'_>) -> Text<'static> {
    let mut marked = Text::escaped(GEMINI);
    marked.push(signature);
    marked
}

/// Marks the signature of a text, as [`mark_gemini`] does that of a thought.
pub fn mark_gemini_text(signature: &Text<'_>) -> Text<'static> {
    let mut marked = Text::escaped(GEMINI_TEXT);
    marked.push(signature);
    marked
}

/// Returns Gemini's own signature, if this is one that [`mark_gemini`] or [`mark_gemini_text`] made.
pub fn of_gemini<'t>(signature: &'t Text<'_>) -> Option<Text<'t>> {
    let escaped = signature.as_escaped();
    let own = escaped
        .strip_prefix(GEMINI)
        .or_else(|| escaped.strip_prefix(GEMINI_TEXT))?;
    (!own.is_empty()).then(|| Text::escaped(own))
}

/// Returns whether it signs a text of the answer, and not a thought.
pub fn is_of_text(signature: &Text<'_>) -> bool {
    signature.as_escaped().starts_with(GEMINI_TEXT)
}

/// Returns what an error's words say of signatures: that they are not this provider's own, or were changed on the way.
/// Anthropic's words also come from Bedrock and OpenRouter.
pub fn blamed(message: &str) -> Option<Mend> {
    const WORDS: [&[&str]; 6] = [
        &["invalid `signature` in `thinking`"],
        &["invalid `data` in `redacted_thinking`"],
        &["thinking", "blocks", "cannot be modified"],
        &["invalid", "thought signature"],
        &["corrupted", "thought signature"],
        &["encrypted content", "could not be verified"],
    ];
    let message = message
        .to_ascii_lowercase()
        .replace("thought_s", "thought s");
    let says = |words: &&[&str]| words.iter().all(|word| message.contains(word));
    WORDS.iter().any(says).then_some(Mend::Signatures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn signatures_are_blamed_in_each_providers_words() {
        for words in [
            "messages.1.content.0: Invalid `signature` in `thinking` block",
            "messages.3.content.1: Invalid `data` in `redacted_thinking` block",
            "messages.1.content.2: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.",
            "Corrupted thought signature.",
            "Invalid thought_signature in part 3",
            "The encrypted content for item rs_1 could not be verified.",
        ] {
            assert_eq!(blamed(words), Some(Mend::Signatures), "{words}");
        }
        for words in [
            "messages: thinking is not supported",
            "The request signature we calculated does not match the signature you provided.",
            "Function call is missing a thought_signature in functionCall parts.",
            "",
        ] {
            assert_eq!(blamed(words), None, "{words}");
        }
    }

    #[test]
    fn other_ids_stay_as_they_are() {
        for id in [
            "call_1",
            "",
            "a__thought__",
            "a__thought__*",
            "__thought__=",
        ] {
            assert_eq!(unpack(Text::escaped(id)), (Text::escaped(id), None), "{id}");
        }
        assert_eq!(pack(Text::escaped("a"), None).as_escaped(), "a");
    }

    #[test]
    fn a_packed_id_holds_only_what_ids_may_hold() {
        let packed = pack(Text::escaped("call_1"), Some(&Text::escaped(r"a+\/b=")));
        assert_eq!(packed.as_escaped(), "call_1__thought__YSsvYj0");
    }

    #[test]
    fn geminis_signatures_are_told_apart() {
        let marked = mark_gemini(&Text::escaped("EqQ="));
        assert_eq!(of_gemini(&marked).unwrap().as_escaped(), "EqQ=");
        assert!(!is_of_text(&marked));
        let marked = mark_gemini_text(&Text::escaped("EqQ="));
        assert_eq!(of_gemini(&marked).unwrap().as_escaped(), "EqQ=");
        assert!(is_of_text(&marked));
        for other in ["EqQ=", "gemini:", ""] {
            assert_eq!(of_gemini(&Text::escaped(other)), None);
        }
    }

    proptest! {
        #[test]
        fn signatures_come_back_byte_for_byte(id in any::<String>(), signature in ".+") {
            let (id, signature) = (Text::plain(&id), Text::plain(&signature));
            let (back, found) = unpack(pack(id.clone(), Some(&signature)));
            prop_assert_eq!(back, id);
            let found = found.unwrap();
            prop_assert_eq!(found.decoded(), signature.decoded());
        }
    }
}
