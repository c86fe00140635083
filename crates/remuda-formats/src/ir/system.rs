//! What the system says: its prompt before the first turn, and its words amid the conversation, which stay where they are.
//! Elsewhere they would mean something else, and would spoil what a provider has kept of the prompt before them.

use std::borrow::Cow;

use ahash::AHashSet;

use super::normalise::split_results;
use super::{Message, Part, Role, Text, ToolResult};

/// Takes the system prompt out: what the system says before anybody else, a blank line between its texts.
pub fn hoist_system<'a>(messages: &mut Vec<Message<'a>>) -> Option<Text<'a>> {
    let mut texts = hoist_prompt(messages).into_iter();
    texts.find_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    })
}

/// Returns the same as one text up to each breakpoint, for providers that know such.
pub fn hoist_prompt<'a>(messages: &mut Vec<Message<'a>>) -> Vec<Part<'a>> {
    let end = messages
        .iter()
        .position(|message| message.role != Role::System)
        .unwrap_or(messages.len());
    let mut prompt: Vec<Part<'a>> = Vec::new();
    for part in messages.drain(..end).flat_map(|message| message.parts) {
        match (part, prompt.last_mut()) {
            (Part::Text(text), _) if text.is_blank() => {}
            (Part::Text(text), Some(Part::Text(all))) => {
                all.push(&Text::escaped(r"\n\n"));
                all.push(&text);
            }
            (Part::Text(text), _) => prompt.push(Part::Text(text)),
            (Part::Breakpoint(ttl), Some(Part::Text(_))) => prompt.push(Part::Breakpoint(ttl)),
            _ => {}
        }
    }
    prompt
}

/// Lets no words of the system stand between calls and their results: they come after those.
pub fn results_before_system<'a>(messages: &mut Vec<Message<'a>>) {
    if messages.iter().all(|message| message.role != Role::System) {
        return;
    }
    let mut sorted: Vec<Message<'a>> = Vec::with_capacity(messages.len() + 1);
    let mut rest = std::mem::take(messages).into_iter().peekable();
    while let Some(message) = rest.next() {
        let has_called = calls(&message);
        sorted.push(message);
        if !has_called {
            continue;
        }
        let mut called = Called::default();
        called.note(sorted.last());
        // Until the assistant speaks again; calls of one turn may be several messages.
        let mut said = Vec::new();
        let mut answered = false;
        while let Some(next) = rest.next_if(|next| {
            let called_meanwhile = !answered && calls(next);
            next.role != Role::Assistant || called_meanwhile
        }) {
            match next.role {
                Role::Assistant => {
                    sorted.push(next);
                    called.note(sorted.last());
                }
                role => {
                    answered |= role == Role::User;
                    said.push(next);
                }
            }
        }
        put_results_first(said, &called, &mut sorted);
    }
    *messages = sorted;
}

/// The names by which the results of a turn's calls are known; others are words like any.
#[derive(Default)]
struct Called<'a>(AHashSet<Cow<'a, str>>);

impl<'a> Called<'a> {
    fn note(&mut self, message: Option<&Message<'a>>) {
        for part in message.into_iter().flat_map(|message| &message.parts) {
            if let Part::ToolCall(call) = part {
                let id = call.id.clone().map(Text::into_inner);
                self.0
                    .extend(id.into_iter().chain([call.name.clone().into_inner()]));
            }
        }
    }

    fn answers(&self, result: &ToolResult<'_>) -> bool {
        let named = [&result.id, &result.name].into_iter().flatten();
        let mut named = named.map(Text::as_escaped).peekable();
        named.peek().is_none() || named.any(|name| self.0.contains(name))
    }
}

fn calls(message: &Message<'_>) -> bool {
    let parts = &message.parts;
    message.role == Role::Assistant && parts.iter().any(|part| matches!(part, Part::ToolCall(_)))
}

/// Appends what was said after calls, the results among it first.
fn put_results_first<'a>(
    said: Vec<Message<'a>>,
    called: &Called<'a>,
    sorted: &mut Vec<Message<'a>>,
) {
    if said.iter().all(|message| message.role != Role::System) {
        return sorted.extend(said);
    }
    let mut results = Message::new(Role::User, Vec::new());
    let mut others = Vec::with_capacity(said.len());
    for mut message in said {
        let own = split_results(&mut message.parts, |result| called.answers(result));
        results.parts.extend(own);
        if !message.parts.is_empty() {
            others.push(message);
        }
    }
    if !results.parts.is_empty() {
        sorted.push(results);
    }
    sorted.extend(others);
}

/// Has the user say what the system says amid the conversation, in its place.
pub fn system_as_user(messages: &mut [Message<'_>]) {
    for message in messages {
        if message.role == Role::System {
            message.role = Role::User;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CacheTtl, Json, ToolCall, ToolResult};
    use super::*;

    fn text(text: &'static str) -> Part<'static> {
        Part::Text(Text::escaped(text))
    }

    fn said(role: Role, what: &'static str) -> Message<'static> {
        Message::new(role, vec![text(what)])
    }

    fn call(id: &'static str) -> Message<'static> {
        let call = ToolCall {
            id: Some(Text::escaped(id)),
            name: Text::escaped("f"),
            arguments: Json::empty_object(),
            signature: None,
        };
        Message::new(Role::Assistant, vec![Part::ToolCall(call)])
    }

    fn result(id: &'static str) -> Part<'static> {
        Part::ToolResult(ToolResult {
            id: Some(Text::escaped(id)),
            name: None,
            parts: vec![text("42")],
            is_error: false,
        })
    }

    /// Roles and what is said: `a!` calls, `a=` is a result.
    fn shown(messages: &[Message<'_>]) -> String {
        let part = |part: &Part<'_>| match part {
            Part::Text(text) => text.as_escaped().to_owned(),
            Part::ToolCall(call) => format!("{}!", call.id.as_ref().unwrap().as_escaped()),
            Part::ToolResult(result) => format!("{}=", result.id.as_ref().unwrap().as_escaped()),
            other => format!("{other:?}"),
        };
        let turn = |message: &Message<'_>| {
            let parts: Vec<String> = message.parts.iter().map(part).collect();
            format!("{:?}:{}", message.role, parts.join("+"))
        };
        messages.iter().map(turn).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_prompt_is_hoisted_and_later_words_stay() {
        let mut messages = vec![
            Message::new(Role::System, vec![text("a"), text(" ")]),
            said(Role::System, "b"),
            said(Role::User, "q"),
            said(Role::System, "c"),
        ];
        assert_eq!(hoist_system(&mut messages).unwrap().as_escaped(), r"a\n\nb");
        assert_eq!(shown(&messages), "User:q System:c");
        assert_eq!(hoist_system(&mut messages), None);
        system_as_user(&mut messages);
        assert_eq!(shown(&messages), "User:q User:c");
    }

    #[test]
    fn a_prompt_is_one_text_up_to_each_breakpoint() {
        let mark = || Part::Breakpoint(CacheTtl::Hour);
        let mut messages = vec![
            Message::new(Role::System, vec![mark(), text("a"), text("b"), mark()]),
            Message::new(Role::System, vec![text("c"), mark(), mark(), text("d")]),
        ];
        let prompt = hoist_prompt(&mut messages);
        let expected = [text(r"a\n\nb"), mark(), text("c"), mark(), text("d")];
        assert_eq!(prompt, expected);
    }

    #[test]
    fn results_follow_their_calls() {
        let system = || said(Role::System, "s");
        let user = |parts| Message::new(Role::User, parts);
        for (mut messages, expected) in [
            (
                vec![call("a"), system(), user(vec![result("a")])],
                "Assistant:a! User:a= System:s",
            ),
            (
                vec![
                    call("a"),
                    system(),
                    call("b"),
                    user(vec![result("a")]),
                    system(),
                    user(vec![result("b"), text("t")]),
                    said(Role::Assistant, "x"),
                    system(),
                ],
                "Assistant:a! Assistant:b! User:a=+b= System:s System:s User:t Assistant:x System:s",
            ),
            (
                vec![
                    call("a"),
                    system(),
                    user(vec![text("t"), result("x"), result("a")]),
                ],
                "Assistant:a! User:a= System:s User:t+x=",
            ),
            (
                vec![call("a"), user(vec![result("a")]), call("b"), system()],
                "Assistant:a! User:a= Assistant:b! System:s",
            ),
            (
                vec![call("a"), system(), said(Role::Assistant, "x")],
                "Assistant:a! System:s Assistant:x",
            ),
        ] {
            results_before_system(&mut messages);
            assert_eq!(shown(&messages), expected);
        }
    }
}
