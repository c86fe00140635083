//! From the steps of an answer to the whole of it, for clients that asked for no stream.

use super::{CallHead, Event, Fault, Finish, Json, Text, Thought, Usage};

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    pub id: Option<Text<'static>>,
    pub model: Option<Text<'static>>,
    /// The tier that served the answer, as [`Event::Served`] told it.
    pub tier: Option<Text<'static>>,
    pub fingerprint: Option<Text<'static>>,
    /// The pieces in the order in which they came.
    pub items: Vec<ResponseItem>,
    pub finish: Finish,
    pub stop: Option<Text<'static>>,
    pub usage: Usage,
    /// A JSON array, as [`Event::Logprobs`].
    pub logprobs: Option<Json<'static>>,
    /// A JSON array, as [`Event::Sources`].
    pub sources: Option<Json<'static>>,
}

/// A piece of a whole answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseItem {
    Thought(Thought<'static>),
    Text(Text<'static>),
    Refusal(Text<'static>),
    Call(Call),
}

/// A whole call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub id: Option<Text<'static>>,
    pub name: Text<'static>,
    /// The text of the arguments as the model wrote it, as the inside of a string literal; empty for none.
    pub text: Text<'static>,
    pub signature: Option<Text<'static>>,
}

impl Call {
    /// Returns what is told of the call besides its arguments, as the one with this number.
    pub fn head(&self, index: usize) -> CallHead<'_> {
        CallHead {
            index,
            id: self.id.as_ref(),
            name: &self.name,
            signature: self.signature.as_ref(),
        }
    }

    /// Returns the arguments as an object; what is none stands under `_raw`.
    pub fn arguments(&self) -> Json<'static> {
        Json::arguments(self.text.decoded()).0.into_owned()
    }

    /// Returns the text of the arguments as it stands in JSON, `{}` for none.
    pub fn argument_text(&self) -> &str {
        if self.text.is_empty() {
            "{}"
        } else {
            self.text.as_escaped()
        }
    }
}

impl Response {
    /// Returns all text, one piece after another.
    pub fn text(&self) -> Text<'static> {
        let mut text = Text::default();
        for item in &self.items {
            if let ResponseItem::Text(more) | ResponseItem::Refusal(more) = item {
                text.push(more);
            }
        }
        text
    }

    /// Returns all reasoning text.
    pub fn thinking(&self) -> Text<'static> {
        let mut text = Text::default();
        for item in &self.items {
            if let ResponseItem::Thought(thought) = item {
                text.push(&thought.text);
            }
        }
        text
    }

    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.items.iter().filter_map(|item| match item {
            ResponseItem::Call(call) => Some(call),
            _ => None,
        })
    }
}

/// Gathers [`Event`]s.
#[derive(Debug, Default)]
pub struct Assembler {
    id: Option<Text<'static>>,
    model: Option<Text<'static>>,
    tier: Option<Text<'static>>,
    fingerprint: Option<Text<'static>>,
    items: Vec<ResponseItem>,
    /// Where each call stands in `items`.
    calls: Vec<usize>,
    /// Whether the last item is a thought that may still grow.
    thinking: bool,
    finish: Option<(Finish, Option<Text<'static>>)>,
    usage: Usage,
    logprobs: Option<Vec<u8>>,
    sources: Option<Json<'static>>,
    ended: bool,
    failed: Option<Fault>,
}

impl Assembler {
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Start { id, model } => {
                self.id = id.clone().map(Text::into_owned).or(self.id.take());
                self.model = model.clone().map(Text::into_owned).or(self.model.take());
            }
            Event::Served { tier, fingerprint } => {
                self.tier = tier.clone().map(Text::into_owned).or(self.tier.take());
                let fingerprint = fingerprint.clone().map(Text::into_owned);
                self.fingerprint = fingerprint.or(self.fingerprint.take());
            }
            Event::Thinking(text) => self.think(text),
            Event::Signature { data, redacted, id } => self.sign(data, *redacted, id.as_ref()),
            Event::TextSignature(data) => self.sign_text(data),
            Event::Text(text) => match self.items.last_mut() {
                Some(ResponseItem::Text(before)) => before.push(text),
                _ => self.put(ResponseItem::Text(text.clone().into_owned())),
            },
            Event::Refusal(text) => match self.items.last_mut() {
                Some(ResponseItem::Refusal(before)) => before.push(text),
                _ => self.put(ResponseItem::Refusal(text.clone().into_owned())),
            },
            Event::ToolStart {
                id,
                name,
                signature,
                ..
            } => self.call(id.as_ref(), name, Text::default(), signature.as_ref()),
            Event::ToolArguments { index, fragment } => {
                let item = self
                    .calls
                    .get(*index)
                    .and_then(|at| self.items.get_mut(*at));
                if let Some(ResponseItem::Call(call)) = item {
                    call.text.push(fragment);
                }
            }
            Event::ToolCall {
                id,
                name,
                arguments,
                signature,
                ..
            } => {
                let text = arguments.to_text().into_owned();
                self.call(id.as_ref(), name, text, signature.as_ref());
            }
            Event::ToolEnd { .. }
            | Event::Ping
            | Event::Foreign
            | Event::Malformed
            | Event::Reframed => {}
            Event::Logprobs(array) => self.log(array),
            Event::Sources(array) => self.sources = Some(array.clone().into_owned()),
            Event::Usage(usage) => self.usage.update(usage),
            Event::Finish { reason, stop } => {
                self.finish = Some((*reason, stop.clone().map(Text::into_owned)));
            }
            Event::End => self.ended = true,
            Event::Failed(fault) => self.failed = Some(fault.clone().into_owned()),
        }
    }

    /// Returns the whole answer.
    ///
    /// # Errors
    /// The provider's fault, or that the answer broke off.
    pub fn finish(self) -> Result<Response, Fault> {
        if let Some(fault) = self.failed {
            return Err(fault);
        }
        let Some((finish, stop)) = self.finish.filter(|_| self.ended) else {
            return Err(Fault::incomplete());
        };
        Ok(Response {
            id: self.id,
            model: self.model,
            tier: self.tier,
            fingerprint: self.fingerprint,
            items: self.items,
            finish,
            stop,
            usage: self.usage,
            logprobs: self.logprobs.map(|mut array| {
                array.push(b']');
                Json::trusted(String::from_utf8(array).expect("made of strings"))
            }),
            sources: self.sources,
        })
    }

    fn put(&mut self, item: ResponseItem) {
        self.thinking = matches!(&item, ResponseItem::Thought(thought) if !thought.redacted);
        self.items.push(item);
    }

    fn think(&mut self, text: &Text<'_>) {
        match self.items.last_mut() {
            Some(ResponseItem::Thought(thought)) if self.thinking => thought.text.push(text),
            _ => self.put(ResponseItem::Thought(Thought {
                text: text.clone().into_owned(),
                ..Thought::default()
            })),
        }
    }

    fn sign(&mut self, data: &Text<'_>, redacted: bool, id: Option<&Text<'_>>) {
        let id = id.map(|id| id.clone().into_owned());
        match self.items.last_mut() {
            Some(ResponseItem::Thought(thought)) if self.thinking && !redacted => {
                thought.signature = Some(data.clone().into_owned());
                thought.id = id;
            }
            _ => self.put(ResponseItem::Thought(Thought {
                text: Text::default(),
                signature: Some(data.clone().into_owned()),
                redacted,
                id,
            })),
        }
        self.thinking = false;
    }

    /// Puts the signature before its text, so that an answer does not end with a thought that says nothing. A text that
    /// has a signature already is whole: another one is of what comes next.
    fn sign_text(&mut self, data: &Text<'_>) {
        let signature = ResponseItem::Thought(Thought {
            signature: Some(data.clone().into_owned()),
            ..Thought::default()
        });
        let place = match self.items.as_slice() {
            [.., ResponseItem::Thought(before), ResponseItem::Text(_)] if is_lone_proof(before) => {
                self.items.len()
            }
            [.., ResponseItem::Text(_)] => self.items.len() - 1,
            _ => self.items.len(),
        };
        // Calls stand before it, whose places stay.
        self.items.insert(place, signature);
        self.thinking = false;
    }

    fn call(
        &mut self,
        id: Option<&Text<'_>>,
        name: &Text<'_>,
        text: Text<'static>,
        signature: Option<&Text<'_>>,
    ) {
        self.calls.push(self.items.len());
        self.put(ResponseItem::Call(Call {
            id: id.map(|id| id.clone().into_owned()),
            name: name.clone().into_owned(),
            text,
            signature: signature.map(|signature| signature.clone().into_owned()),
        }));
    }

    fn log(&mut self, array: &Json<'_>) {
        let inside = array.as_str().trim_ascii();
        let inside = inside
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .map_or("", str::trim_ascii);
        if inside.is_empty() {
            return;
        }
        match &mut self.logprobs {
            Some(all) => all.push(b','),
            none => *none = Some(b"[".to_vec()),
        }
        if let Some(all) = &mut self.logprobs {
            all.extend_from_slice(inside.as_bytes());
        }
    }
}

/// Returns whether it is the signature of what follows, and no thought.
fn is_lone_proof(thought: &Thought<'_>) -> bool {
    thought.text.is_empty() && !thought.redacted && thought.signature.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn text(text: &'static str) -> Text<'static> {
        Text::escaped(text)
    }

    fn assembled(events: &[Event<'_>]) -> Result<Response, Fault> {
        let mut assembler = Assembler::default();
        for event in events {
            assembler.event(event);
        }
        assembler.finish()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one answer has every kind of piece")]
    fn pieces_become_items_in_their_order() {
        let response = assembled(&[
            Event::Start {
                id: Some(text("r1")),
                model: None,
            },
            Event::Thinking(text("a")),
            Event::Thinking(text("b")),
            Event::Signature {
                data: text("sig"),
                redacted: false,
                id: None,
            },
            Event::Thinking(text("c")),
            Event::Text(text("x")),
            Event::Text(text("y")),
            Event::ToolStart {
                index: 0,
                id: Some(text("1")),
                name: text("f"),
                signature: None,
            },
            Event::ToolStart {
                index: 1,
                id: None,
                name: text("g"),
                signature: None,
            },
            Event::ToolArguments {
                index: 1,
                fragment: text(r#"{\"b\":"#),
            },
            Event::ToolArguments {
                index: 0,
                fragment: text(""),
            },
            Event::ToolArguments {
                index: 1,
                fragment: text("2}"),
            },
            Event::Logprobs(Json::trusted("[{\"token\":\"x\"}]")),
            Event::Logprobs(Json::trusted("[]")),
            Event::Logprobs(Json::trusted("[{\"token\":\"y\"}]")),
            Event::Finish {
                reason: Finish::ToolCalls,
                stop: None,
            },
            Event::Usage(Usage {
                prompt: Some(3),
                ..Usage::default()
            }),
            Event::End,
        ])
        .unwrap();
        assert_eq!(response.thinking(), text("abc"));
        assert_eq!(response.text(), text("xy"));
        assert_eq!(response.items.len(), 5);
        let calls: Vec<_> = response.calls().collect();
        assert_eq!(calls[0].arguments().as_str(), "{}");
        assert_eq!(calls[0].argument_text(), "{}");
        assert_eq!(calls[1].arguments().as_str(), r#"{"b":2}"#);
        assert_eq!(
            response.logprobs.unwrap().as_str(),
            r#"[{"token":"x"},{"token":"y"}]"#
        );
        assert_eq!(response.usage.prompt, Some(3));
    }

    #[test]
    fn a_texts_signature_stands_before_it_and_signs_no_thought() {
        let signed = |events: &[Event<'_>]| {
            let finish = Event::Finish {
                reason: Finish::Stop,
                stop: None,
            };
            assembled(&[events, &[finish, Event::End]].concat())
                .unwrap()
                .items
        };
        let thought = |text: &'static str, signature: Option<&'static str>| {
            ResponseItem::Thought(Thought {
                text: self::text(text),
                signature: signature.map(self::text),
                ..Thought::default()
            })
        };
        let expected = [
            thought("t", None),
            thought("", Some("sig")),
            ResponseItem::Text(text("xy")),
        ];
        let (thinking, sign) = (
            Event::Thinking(text("t")),
            Event::TextSignature(text("sig")),
        );
        let (x, y) = (Event::Text(text("x")), Event::Text(text("y")));
        for events in [
            [&thinking, &x, &sign, &y],
            [&thinking, &x, &y, &sign],
            [&thinking, &sign, &x, &y],
        ] {
            assert_eq!(signed(&events.map(Event::clone)), expected);
        }
        let second = Event::TextSignature(text("sig2"));
        let signed_each = [
            thought("", Some("sig")),
            ResponseItem::Text(text("x")),
            thought("", Some("sig2")),
            ResponseItem::Text(text("y")),
        ];
        let events = [&sign, &x, &second, &y];
        assert_eq!(signed(&events.map(Event::clone)), signed_each);
    }

    #[test]
    fn an_answer_without_its_end_is_none() {
        let finish = Event::Finish {
            reason: Finish::Stop,
            stop: None,
        };
        assert_eq!(
            assembled(std::slice::from_ref(&finish)),
            Err(Fault::incomplete())
        );
        assert_eq!(assembled(&[Event::End]), Err(Fault::incomplete()));
        let fault = Fault::garbled("x");
        assert_eq!(
            assembled(&[finish, Event::End, Event::Failed(Cow::Borrowed(&fault))]),
            Err(fault)
        );
    }
}
