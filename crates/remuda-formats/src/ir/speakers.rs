//! Names of those who speak (OpenAI's `name` of a message), for formats that have no field for them.

use super::{Dropped, Message, Part, Role, Text};

/// Puts each name before the words of its turn, `name: …`, as OpenRouter does for models that know none. What the model
/// itself is called is named in `dropped`: put before its words it would begin its answers so.
pub fn name_speakers(messages: &mut [Message<'_>], dropped: &mut Dropped) {
    for message in messages {
        let Some(mut name) = message.name.take() else {
            continue;
        };
        if message.role == Role::Assistant {
            dropped.add("messages.name");
            continue;
        }
        name.push(&Text::escaped(": "));
        let mut parts = message.parts.iter_mut();
        let first = parts.find_map(|part| match part {
            Part::Text(text) => Some(text),
            _ => None,
        });
        match first {
            Some(text) => {
                name.push(text);
                *text = name;
            }
            None => message.parts.insert(0, Part::Text(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_before_the_first_words() {
        let turn = |role, texts: &[&'static str]| Message {
            name: Some(Text::escaped("ann")),
            ..Message::new(
                role,
                texts
                    .iter()
                    .map(|text| Part::Text(Text::escaped(*text)))
                    .collect(),
            )
        };
        let mut messages = [
            turn(Role::User, &["a", "b"]),
            turn(Role::System, &[]),
            turn(Role::Assistant, &["c"]),
            Message::new(Role::User, vec![Part::Text(Text::escaped("d"))]),
        ];
        let mut dropped = Dropped::default();
        name_speakers(&mut messages, &mut dropped);
        let said: Vec<Vec<&str>> = messages
            .iter()
            .map(|message| {
                let texts = message.parts.iter().map(|part| match part {
                    Part::Text(text) => text.as_escaped(),
                    _ => "",
                });
                texts.collect()
            })
            .collect();
        assert_eq!(
            said,
            [vec!["ann: a", "b"], vec!["ann: "], vec!["c"], vec!["d"]]
        );
        assert_eq!(dropped.fields(), ["messages.name"]);
        assert!(messages.iter().all(|message| message.name.is_none()));
    }
}
