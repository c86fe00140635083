//! Log probabilities: of chats as they are, and those of completions, which stand in parallel arrays.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::field::Field;
use super::object::{Object, list};
use crate::ir::{Json, Text};

/// `logprobs` of a choice, in either form.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Logprobs<'a> {
    #[serde(borrow)]
    content: Field<'a>,
    tokens: Option<Vec<Text<'a>>>,
    token_logprobs: Option<Vec<Option<f64>>>,
    top_logprobs: Option<Vec<Option<Top<'a>>>>,
}

/// Tokens and their values, in the order in which they stand.
struct Top<'a>(Vec<(Text<'a>, f64)>);

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<'a>(std::marker::PhantomData<&'a ()>);

        impl<'de: 'a, 'a> serde::de::Visitor<'de> for Pairs<'a> {
            type Value = Top<'a>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of numbers")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Top<'a>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((token, value)) =
                    map.next_entry::<std::borrow::Cow<'de, str>, f64>()?
                {
                    pairs.push((Text::plain(&token).into_owned(), value));
                }
                Ok(Top(pairs))
            }
        }

        deserializer.deserialize_map(Pairs(std::marker::PhantomData))
    }
}

/// Reads an array of `{"token","logprob","bytes","top_logprobs"}`; `None` if there is nothing.
pub(super) fn read(field: &RawValue) -> Option<Json<'_>> {
    let logprobs: Logprobs<'_> = serde_json::from_str(field.get()).ok()?;
    if let Some(content) = logprobs.content {
        let inside = content.get().strip_prefix('[')?.trim_ascii();
        return (inside != "]").then(|| Json::of(content));
    }
    let tokens = logprobs.tokens.filter(|tokens| !tokens.is_empty())?;
    let values = logprobs.token_logprobs.unwrap_or_default();
    let tops = logprobs.top_logprobs.unwrap_or_default();
    let mut array = b"[".to_vec();
    for (place, token) in tokens.iter().enumerate() {
        if place > 0 {
            array.push(b',');
        }
        let mut entry = entry(token, values.get(place).copied().flatten(), &mut array);
        let top = entry.key("top_logprobs");
        top.push(b'[');
        if let Some(Some(Top(pairs))) = tops.get(place) {
            for (place, (token, value)) in pairs.iter().enumerate() {
                if place > 0 {
                    top.push(b',');
                }
                self::entry(token, Some(*value), top).end();
            }
        }
        top.push(b']');
        entry.end();
    }
    array.push(b']');
    Some(Json::trusted(
        String::from_utf8(array).expect("made of strings"),
    ))
}

fn entry<'o>(token: &Text<'_>, value: Option<f64>, out: &'o mut Vec<u8>) -> Object<'o> {
    let mut entry = Object::new(out);
    entry.text("token", token);
    // The first token of a prompt has none.
    entry.number("logprob", value.unwrap_or(0.0));
    let bytes = token.decoded();
    let list = entry.key("bytes");
    list.push(b'[');
    for (place, byte) in bytes.bytes().enumerate() {
        if place > 0 {
            list.push(b',');
        }
        list.extend_from_slice(byte.to_string().as_bytes());
    }
    list.push(b']');
    entry
}

/// Appends the array as the parallel arrays of a completion. `length` is the number of characters of all tokens before,
/// and then of these too.
pub(super) fn write_parallel(array: &Json<'_>, length: &mut usize, out: &mut Vec<u8>) {
    #[derive(Deserialize)]
    struct Entry<'a> {
        #[serde(borrow)]
        token: Text<'a>,
        logprob: Option<f64>,
        top_logprobs: Option<Vec<Entry<'a>>>,
    }
    let entries: Vec<Entry<'_>> = serde_json::from_str(array.as_str()).unwrap_or_default();
    let value = |entry: &Entry<'_>, out: &mut Vec<u8>| {
        serde_json::to_writer(out, &entry.logprob).expect("writing to a vector cannot fail");
    };
    let mut parallel = Object::new(out);
    list(&entries, parallel.key("tokens"), |entry, out| {
        entry.token.write(out);
    });
    list(&entries, parallel.key("token_logprobs"), value);
    list(&entries, parallel.key("top_logprobs"), |entry, out| {
        out.push(b'{');
        for (place, top) in entry.top_logprobs.iter().flatten().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            top.token.write(out);
            out.push(b':');
            value(top, out);
        }
        out.push(b'}');
    });
    list(&entries, parallel.key("text_offset"), |entry, out| {
        out.extend_from_slice(length.to_string().as_bytes());
        *length += entry.token.decoded().chars().count();
    });
    parallel.end();
}
