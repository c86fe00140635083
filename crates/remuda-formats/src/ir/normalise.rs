//! The order of turns that strict providers ask for. Each is a pass over the messages; dialects choose which they need.

use std::borrow::Cow;

use ahash::{AHashMap, AHashSet};

use super::cache::move_leading;
use super::{CacheTtl, Message, Part, Role, Text, ToolResult};

/// Drops blank texts, and turns in which nothing is left.
pub fn drop_blank(messages: &mut Vec<Message<'_>>) {
    let mut kept: Vec<Message<'_>> = Vec::with_capacity(messages.len());
    for mut message in messages.drain(..) {
        message
            .parts
            .retain(|part| !matches!(part, Part::Text(text) if text.is_blank()));
        message
            .parts
            .dedup_by(|next, before| next.is_breakpoint() && before.is_breakpoint());
        move_leading(&mut message, kept.last_mut());
        if !message.parts.is_empty() {
            kept.push(message);
        }
    }
    *messages = kept;
}

/// Joins neighbouring turns of one role; within a user's turn the tools' results come first.
pub fn merge_turns(messages: &mut Vec<Message<'_>>) {
    join_turns(messages);
    for message in messages {
        if message.role == Role::User {
            let mut parts = split_results(&mut message.parts, |_| true);
            parts.append(&mut message.parts);
            message.parts = parts;
        }
    }
}

/// Merges turns of one role that follow each other, every part in its place.
fn join_turns(messages: &mut Vec<Message<'_>>) {
    let mut merged: Vec<Message<'_>> = Vec::with_capacity(messages.len());
    for message in messages.drain(..) {
        match merged.last_mut() {
            Some(last) if last.role == message.role && share_a_speaker(last, &message) => {
                last.name = last.name.take().or(message.name);
                last.parts.extend(message.parts);
            }
            _ => merged.push(message),
        }
    }
    *messages = merged;
}

/// Returns whether nobody is taken for another if two turns become one. What tools answered nobody has said.
fn share_a_speaker(one: &Message<'_>, other: &Message<'_>) -> bool {
    let says = |message: &Message<'_>| {
        let is_said = |part: &Part<'_>| !matches!(part, Part::ToolResult(_) | Part::Breakpoint(_));
        message.parts.iter().any(is_said)
    };
    one.name == other.name || !says(one) || !says(other)
}

/// Takes the results that are wanted out of a turn, each with its breakpoint. All stays in its order.
pub(super) fn split_results<'a>(
    parts: &mut Vec<Part<'a>>,
    wanted: impl Fn(&ToolResult<'a>) -> bool,
) -> Vec<Part<'a>> {
    let mut results = Vec::new();
    if !parts.iter().any(|part| matches!(part, Part::ToolResult(_))) {
        return results;
    }
    let mut of_result = false;
    for part in std::mem::take(parts) {
        if !part.is_breakpoint() {
            of_result = matches!(&part, Part::ToolResult(result) if wanted(result));
        }
        if of_result {
            results.push(part);
        } else {
            parts.push(part);
        }
    }
    results
}

/// Puts `filler` first if the conversation does not begin with a user's turn. Call it after the system text was
/// hoisted.
pub fn start_with_user(messages: &mut Vec<Message<'_>>, filler: &'static str) {
    if messages
        .first()
        .is_none_or(|message| message.role != Role::User)
    {
        let parts = vec![Part::Text(Text::plain(filler))];
        messages.insert(0, Message::new(Role::User, parts));
    }
}

/// Gives every call an id that no other has, and every call exactly one result in the turn that follows: found by id,
/// else by name, else by order. A missing result is said to be missing; one that belongs to no call becomes text where
/// it stands; of two for one call the last stays. Every result gets the id and the name of its call. Merges turns.
pub fn pair_tool_results(messages: &mut Vec<Message<'_>>) {
    join_turns(messages);
    let mut ids = Ids::default();
    let mut paired = Vec::with_capacity(messages.len() + 1);
    let mut calls = Vec::new();
    for mut message in messages.drain(..) {
        if message.role == Role::User {
            answer(&mut message, std::mem::take(&mut calls));
        } else {
            paired.extend(unanswered(std::mem::take(&mut calls)));
            if message.role == Role::Assistant {
                calls = calls_of(&mut message, &mut ids);
            }
        }
        paired.push(message);
    }
    paired.extend(unanswered(calls));
    *messages = paired;
}

/// Returns the turn that says of each call that it has no result, if there are any.
fn unanswered(calls: Vec<Open<'_>>) -> Option<Message<'_>> {
    (!calls.is_empty()).then(|| {
        let mut turn = Message::new(Role::User, Vec::new());
        answer(&mut turn, calls);
        turn
    })
}

/// A call that waits for its result.
struct Open<'a> {
    /// The client's id, which calls of several turns may share.
    given: Option<Text<'a>>,
    id: Text<'a>,
    name: Text<'a>,
}

/// The result of a call, and the breakpoint after it.
#[derive(Default)]
struct Answer<'a> {
    result: Option<ToolResult<'a>>,
    cache: Option<CacheTtl>,
}

/// Ids of calls so far: Anthropic and Bedrock refuse one that comes twice, and some models count anew in each turn.
#[derive(Default)]
struct Ids<'a> {
    used: AHashSet<Cow<'a, str>>,
    made: usize,
}

impl<'a> Ids<'a> {
    fn unlike_others(&mut self, given: Option<Text<'a>>) -> Text<'a> {
        if let Some(id) = given
            && self.used.insert(id.clone().into_inner())
        {
            return id;
        }
        loop {
            self.made += 1;
            // The same at every turn of a conversation, so that prompt caches hold.
            let id = format!("call_{:016}", self.made);
            if self.used.insert(id.clone().into()) {
                return Text::escaped(id);
            }
        }
    }
}

fn calls_of<'a>(message: &mut Message<'a>, ids: &mut Ids<'a>) -> Vec<Open<'a>> {
    let mut calls = Vec::new();
    for part in &mut message.parts {
        if let Part::ToolCall(call) = part {
            let given = call.id.take();
            let id = ids.unlike_others(given.clone());
            call.id = Some(id.clone());
            calls.push(Open {
                given,
                id,
                name: call.name.clone(),
            });
        }
    }
    calls
}

fn answer<'a>(message: &mut Message<'a>, calls: Vec<Open<'a>>) {
    let mut answers: Vec<Answer<'a>> = calls.iter().map(|_| Answer::default()).collect();
    let mut waiting = Waiting::of(&calls);
    let mut rest = Vec::new();
    let mut last = None;
    for part in std::mem::take(&mut message.parts) {
        match part {
            Part::ToolResult(result) => {
                last = waiting.place(&result);
                match last {
                    Some(place) => answers[place].result = Some(result),
                    // It still tells the model something.
                    None => rest.extend(result.parts),
                }
            }
            Part::Breakpoint(ttl) if last.is_some() => {
                if let Some(answer) = last.and_then(|place| answers.get_mut(place)) {
                    answer.cache = Some(ttl);
                }
            }
            other => {
                last = None;
                rest.push(other);
            }
        }
    }
    drop(waiting);
    for (call, answer) in calls.into_iter().zip(answers) {
        let missing = || ToolResult {
            id: None,
            name: None,
            parts: vec![Part::Text(Text::escaped("no result provided"))],
            is_error: true,
        };
        let mut result = answer.result.unwrap_or_else(missing);
        result.id = Some(call.id);
        result.name = Some(call.name);
        message.parts.push(Part::ToolResult(result));
        message.parts.extend(answer.cache.map(Part::Breakpoint));
    }
    message.parts.extend(rest);
}

/// Where the calls of a turn stand, by what their results may name. However many there are and in whatever order they
/// are answered, each is passed over once in each list.
struct Waiting<'c> {
    by_id: AHashMap<Cow<'c, str>, Queue>,
    by_name: AHashMap<Cow<'c, str>, Queue>,
    all: Queue,
    /// Which calls have a result.
    answered: Vec<bool>,
}

/// Places of calls in their order.
#[derive(Default)]
struct Queue {
    places: Vec<usize>,
    /// How many at the beginning have a result.
    passed: usize,
}

impl Queue {
    fn next(&mut self, answered: &[bool]) -> Option<usize> {
        while *answered.get(*self.places.get(self.passed)?)? {
            self.passed += 1;
        }
        self.places.get(self.passed).copied()
    }
}

impl<'c> Waiting<'c> {
    fn of(calls: &'c [Open<'_>]) -> Self {
        let mut waiting = Waiting {
            by_id: AHashMap::with_capacity(calls.len()),
            by_name: AHashMap::new(),
            all: Queue::default(),
            answered: vec![false; calls.len()],
        };
        for (place, call) in calls.iter().enumerate() {
            let put = |queue: &mut Queue| queue.places.push(place);
            if let Some(id) = &call.given {
                put(waiting.by_id.entry(id.decoded()).or_default());
            }
            put(waiting.by_name.entry(call.name.decoded()).or_default());
            put(&mut waiting.all);
        }
        waiting
    }

    /// Returns the call that a result is for, which has one from now on.
    fn place(&mut self, result: &ToolResult<'_>) -> Option<usize> {
        let found = self.find(result)?;
        self.answered[found] = true;
        Some(found)
    }

    fn find(&mut self, result: &ToolResult<'_>) -> Option<usize> {
        if let Some(id) = &result.id
            && let Some(queue) = self.by_id.get_mut(&*id.decoded())
        {
            let open = queue.next(&self.answered);
            return open.or_else(|| queue.places.first().copied());
        }
        if let Some(name) = &result.name {
            return self.by_name.get_mut(&*name.decoded())?.next(&self.answered);
        }
        match result.id {
            Some(_) => None,
            None => self.all.next(&self.answered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Json, ToolCall};
    use super::*;

    fn text(text: &'static str) -> Part<'static> {
        Part::Text(Text::escaped(text))
    }

    fn call(id: Option<&'static str>, name: &'static str) -> Part<'static> {
        Part::ToolCall(ToolCall {
            id: id.map(Text::escaped),
            name: Text::escaped(name),
            arguments: Json::empty_object(),
            signature: None,
        })
    }

    fn result(
        id: Option<&'static str>,
        name: Option<&'static str>,
        says: &'static str,
    ) -> Part<'static> {
        Part::ToolResult(ToolResult {
            id: id.map(Text::escaped),
            name: name.map(Text::escaped),
            parts: vec![text(says)],
            is_error: false,
        })
    }

    fn user(parts: Vec<Part<'static>>) -> Message<'static> {
        Message::new(Role::User, parts)
    }

    fn assistant(parts: Vec<Part<'static>>) -> Message<'static> {
        Message::new(Role::Assistant, parts)
    }

    /// `id=says` for every result of a turn, and the texts after them.
    fn shown(message: &Message<'_>) -> Vec<String> {
        message
            .parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.decoded().into_owned(),
                Part::ToolResult(result) => {
                    let Part::Text(says) = &result.parts[0] else {
                        panic!("a text")
                    };
                    format!(
                        "{}/{}={}",
                        result.id.as_ref().unwrap().as_escaped(),
                        result.name.as_ref().unwrap().as_escaped(),
                        says.as_escaped()
                    )
                }
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn parallel_results_land_in_one_turn_in_the_order_of_the_calls() {
        let mut messages = vec![
            user(vec![text("q")]),
            assistant(vec![call(Some("1"), "f")]),
            assistant(vec![call(Some("2"), "g")]),
            user(vec![result(Some("2"), None, "two")]),
            user(vec![text("and"), result(Some("1"), None, "one")]),
        ];
        pair_tool_results(&mut messages);
        assert_eq!(messages.len(), 3);
        assert_eq!(shown(&messages[2]), ["1/f=one", "2/g=two", "and"]);
    }

    #[test]
    fn a_breakpoint_stays_with_what_it_follows() {
        let mark = || Part::Breakpoint(CacheTtl::Short);
        let mut messages = vec![
            user(vec![text("q"), text(" "), mark()]),
            user(vec![text(" "), mark()]),
            assistant(vec![call(Some("1"), "f"), call(Some("2"), "g"), mark()]),
            user(vec![text(" "), mark(), text("and"), mark()]),
            user(vec![result(Some("2"), None, "two"), mark()]),
            user(vec![result(Some("1"), None, "one"), text("end")]),
        ];
        drop_blank(&mut messages);
        pair_tool_results(&mut messages);
        assert_eq!(messages[0].parts, [text("q"), mark()]);
        assert_eq!(messages[1].parts.len(), 3);
        let shown: Vec<bool> = messages[2].parts.iter().map(Part::is_breakpoint).collect();
        // The results in the order of the calls, then the words.
        assert_eq!(shown, [false, false, true, false, true, false]);
    }

    #[test]
    fn results_are_found_by_id_then_name_then_order() {
        let mut messages = vec![
            assistant(vec![call(None, "f"), call(None, "g"), call(None, "f")]),
            user(vec![
                result(None, Some("g"), "g"),
                result(None, None, "first"),
                result(None, Some("f"), "second"),
            ]),
        ];
        pair_tool_results(&mut messages);
        assert_eq!(
            shown(&messages[1]),
            [
                "call_0000000000000001/f=first",
                "call_0000000000000002/g=g",
                "call_0000000000000003/f=second"
            ]
        );
    }

    #[test]
    fn every_call_has_one_result_and_no_result_is_lost() {
        let mut messages = vec![
            user(vec![result(Some("0"), None, "before")]),
            assistant(vec![call(Some("1"), "f"), call(Some("2"), "g")]),
            user(vec![
                result(Some("1"), None, "old"),
                result(Some("9"), None, "stray"),
                result(Some("1"), None, "new"),
            ]),
            assistant(vec![call(Some("3"), "h")]),
        ];
        pair_tool_results(&mut messages);
        assert_eq!(shown(&messages[0]), ["before"]);
        assert_eq!(
            shown(&messages[2]),
            ["1/f=new", "2/g=no result provided", "stray"]
        );
        assert_eq!(shown(&messages[4]), ["3/h=no result provided"]);
    }

    #[test]
    fn a_result_without_its_call_stays_where_it_was() {
        let mut messages = vec![
            user(vec![text("q")]),
            assistant(vec![text("a")]),
            user(vec![text("before")]),
            user(vec![result(Some("x"), None, "stray")]),
            user(vec![text("after")]),
            assistant(vec![call(Some("1"), "f")]),
            user(vec![
                text("so"),
                result(Some("x"), None, "stray"),
                result(Some("1"), None, "one"),
            ]),
        ];
        pair_tool_results(&mut messages);
        assert_eq!(shown(&messages[2]), ["before", "stray", "after"]);
        assert_eq!(shown(&messages[4]), ["1/f=one", "so", "stray"]);
    }

    #[test]
    fn no_two_calls_share_an_id() {
        let mut messages = vec![
            assistant(vec![call(Some("call_0"), "f"), call(Some("call_0"), "g")]),
            user(vec![
                result(Some("call_0"), None, "one"),
                result(Some("call_0"), None, "two"),
            ]),
            assistant(vec![call(Some("call_0"), "h"), call(None, "i")]),
            user(vec![
                result(None, Some("i"), "four"),
                result(Some("call_0"), None, "three"),
            ]),
        ];
        pair_tool_results(&mut messages);
        assert_eq!(
            shown(&messages[1]),
            ["call_0/f=one", "call_0000000000000001/g=two"]
        );
        assert_eq!(
            shown(&messages[3]),
            [
                "call_0000000000000002/h=three",
                "call_0000000000000003/i=four"
            ]
        );
    }
}
