//! What one `GenerateContentResponse` says, whole or as a piece of a stream, and how an answer ends.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{error, logprobs};
use crate::dialect::events::Unreadable;
use crate::dialect::signature::{mark_gemini, mark_gemini_text};
use crate::ir::{Class, Event, Fault, FaultKind, Finish, HeldFinish, Json, Text, ToolNames, Usage};
use crate::wire::json::{self, First};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow, default)]
    candidates: Option<First<Candidate<'a>>>,
    #[serde(borrow, default)]
    prompt_feedback: Option<Feedback<'a>>,
    #[serde(default)]
    usage_metadata: Option<TokenUsage>,
    #[serde(borrow, default)]
    model_version: Option<Text<'a>>,
    #[serde(borrow, default)]
    response_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    /// The words of an error that another program on the way has written.
    #[serde(borrow, default)]
    detail: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    logprobs_result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Option<Parts<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(default)]
    thought: Option<bool>,
    #[serde(borrow, default)]
    thought_signature: Option<Text<'a>>,
    #[serde(borrow, default)]
    function_call: Option<FunctionCall<'a>>,
    #[serde(borrow, default)]
    inline_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    executable_code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    code_execution_result: Option<&'a RawValue>,
}

impl Part<'_> {
    /// Returns whether the part is an image, or what a tool of Google's does.
    fn is_foreign(&self) -> bool {
        let foreign = self.inline_data.or(self.executable_code);
        foreign.or(self.code_execution_result).is_some()
    }

    /// Returns the signature of a part that has nothing else.
    fn only_signature(&self) -> Option<&Text<'_>> {
        let is_full = |text: &&Text<'_>| !text.is_empty();
        let says = self.text.as_ref().filter(is_full).is_some()
            || self.function_call.is_some()
            || self.thought == Some(true)
            || self.is_foreign();
        self.thought_signature
            .as_ref()
            .filter(is_full)
            .filter(|_| !says)
    }
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    args: Option<Json<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(borrow, default)]
    block_reason: Option<Text<'a>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenUsage {
    #[serde(default)]
    prompt_token_count: Option<u64>,
    #[serde(default)]
    tool_use_prompt_token_count: Option<u64>,
    #[serde(default)]
    cached_content_token_count: Option<u64>,
    #[serde(default)]
    candidates_token_count: Option<u64>,
    #[serde(default)]
    thoughts_token_count: Option<u64>,
}

impl TokenUsage {
    /// Gemini counts an answer's thoughts apart from the rest of it, and the results of its own tools apart from the
    /// prompt.
    pub(super) fn usage(self) -> Usage {
        let sum = |one: Option<u64>, more: Option<u64>| match (one, more) {
            (None, None) => None,
            (one, more) => Some(one.unwrap_or(0).saturating_add(more.unwrap_or(0))),
        };
        Usage {
            prompt: sum(self.prompt_token_count, self.tool_use_prompt_token_count),
            cache_read: self.cached_content_token_count,
            output: sum(self.candidates_token_count, self.thoughts_token_count),
            reasoning: self.thoughts_token_count,
            ..Usage::default()
        }
    }
}

/// Parts in their order; nearly every piece of a stream has one, for which nothing is allocated.
struct Parts<'a> {
    first: Option<Part<'a>>,
    more: Vec<Part<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;

        impl<'de> Visitor<'de> for Items {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of parts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Parts<'de>, A::Error> {
                let first = items.next_element()?;
                let mut more = Vec::new();
                while let Some(part) = items.next_element()? {
                    more.push(part);
                }
                Ok(Parts { first, more })
            }
        }

        deserializer.deserialize_seq(Items)
    }
}

/// A call that is told with what comes next.
#[derive(Debug)]
struct Unsigned {
    index: usize,
    id: Option<Text<'static>>,
    name: Text<'static>,
    arguments: Json<'static>,
}

impl Unsigned {
    fn tell(self, signature: Option<Text<'_>>, emit: &mut dyn FnMut(Event<'_>)) {
        let Unsigned {
            index,
            id,
            name,
            arguments,
        } = self;
        emit(Event::ToolCall {
            index,
            id,
            name,
            arguments,
            signature,
        });
    }
}

/// Where an answer stands.
#[derive(Debug)]
pub(super) struct Answer {
    names: ToolNames,
    pub(super) started: bool,
    calls: usize,
    /// A call that came without a signature, which may come after it in a part of its own.
    unsigned: Option<Unsigned>,
    /// What was said of the end; some models say it with every piece.
    finish: HeldFinish,
    /// Something was said in a piece that stated no reason to end.
    open: bool,
    /// The usage has come with the reason to end, or after it.
    counted: bool,
    /// Whether the answer has ended or failed, after which nothing more is said.
    pub(super) over: bool,
}

impl Answer {
    pub(super) fn new(names: ToolNames) -> Self {
        Answer {
            names,
            started: false,
            calls: 0,
            unsigned: None,
            finish: HeldFinish::default(),
            open: false,
            counted: false,
            over: false,
        }
    }

    /// Emits what a `GenerateContentResponse` says.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn piece(
        &mut self,
        json: &[u8],
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Unreadable> {
        // An array would be taken for the struct's fields in their order.
        let is_object = json.trim_ascii_start().starts_with(b"{");
        match json::parse::<Body<'_>>(json) {
            Ok(body) if is_object => self.say(body, emit),
            _ => self.fail(error::within(json).ok_or(Unreadable)?, emit),
        }
        Ok(())
    }

    fn say(&mut self, body: Body<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let words = body.detail.or(body.message);
        let speaks = body.candidates.is_none() && body.prompt_feedback.is_none();
        if let Some(error) = body.error.or(words.filter(|_| speaks)) {
            return self.fail(error::of(error), emit);
        }
        if !self.started {
            self.started = true;
            emit(Event::Start {
                id: body.response_id,
                model: body.model_version,
            });
        }
        let usage = body.usage_metadata.map(TokenUsage::usage);
        if let Some(usage) = usage {
            emit(Event::Usage(usage));
        }
        let blocked = body
            .prompt_feedback
            .and_then(|feedback| feedback.block_reason);
        if let Some(candidate) = body.candidates.and_then(|candidates| candidates.0) {
            self.candidate(candidate, emit);
        } else if let Some(reason) = blocked {
            let words = format!("The provider blocked the prompt ({}).", reason.decoded());
            emit(Event::Refusal(Text::plain(&words)));
            self.finish.state(Finish::Filtered, None);
        }
        self.counted = self.finish.is_last()
            && (self.counted || usage.is_some_and(|usage| usage.output.is_some()));
    }

    /// Returns whether all has come but the end of the body, which is the only terminator that there is. Models that
    /// state a reason with every piece do not show their last one.
    pub(super) fn lacks_nothing(&self) -> bool {
        self.open && self.counted
    }

    fn candidate(&mut self, candidate: Candidate<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let mut speaks = false;
        if let Some(parts) = candidate.content.and_then(|content| content.parts) {
            speaks = parts.first.is_some();
            for part in parts.first.into_iter().chain(parts.more) {
                self.part(part, emit);
                if self.over {
                    return;
                }
            }
        }
        if let Some(result) = candidate.logprobs_result
            && let Some(array) = logprobs::read(result)
        {
            emit(Event::Logprobs(array));
        }
        let reason = candidate.finish_reason.filter(|reason| !reason.is_empty());
        match reason.map(|reason| ended(reason.as_escaped())) {
            Some(Ok(finish)) => self.finish.state(finish, None),
            Some(Err(fault)) => self.fail(fault, emit),
            None => self.open |= speaks && !self.finish.is_stated(),
        }
    }

    fn part(&mut self, part: Part<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if let Some(call) = self.unsigned.take() {
            if let Some(signature) = part.only_signature() {
                return call.tell(Some(mark_gemini_text(signature)), emit);
            }
            call.tell(None, emit);
        }
        if part.is_foreign() {
            self.finish.go_on();
            emit(Event::Foreign);
        }
        let signature = part.thought_signature.filter(|text| !text.is_empty());
        if let Some(call) = part.function_call {
            return self.call(call, signature, emit);
        }
        let text = part.text.filter(|text| !text.is_empty());
        if part.thought == Some(true) {
            if let Some(text) = text {
                self.finish.go_on();
                emit(Event::Thinking(text));
            }
            if let Some(signature) = signature {
                emit(Event::Signature {
                    data: mark_gemini(&signature),
                    redacted: false,
                    id: None,
                });
            }
            return;
        }
        // Before its text: a client's stream has no place for it after the last one.
        if let Some(signature) = signature {
            emit(Event::TextSignature(mark_gemini_text(&signature)));
        }
        if let Some(text) = text {
            self.finish.go_on();
            emit(Event::Text(text));
        }
    }

    /// A call that has no signature waits for the next part, which may be one.
    fn call(
        &mut self,
        call: FunctionCall<'_>,
        signature: Option<Text<'_>>,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        let Some(name) = call.name.filter(|name| !name.is_blank()) else {
            emit(Event::Malformed);
            return self.fail(Fault::nameless_call(), emit);
        };
        let index = self.calls;
        self.calls += 1;
        self.finish.go_on();
        let id = call.id.filter(|id| !id.is_empty());
        let name = self.names.original(name);
        let arguments = call.args.filter(Json::is_object);
        let arguments = arguments.unwrap_or_else(Json::empty_object);
        if signature.is_some() {
            emit(Event::ToolCall {
                index,
                id,
                name,
                arguments,
                signature,
            });
        } else {
            self.unsigned = Some(Unsigned {
                index,
                id: id.map(Text::into_owned),
                name: name.into_owned(),
                arguments: arguments.into_owned(),
            });
        }
    }

    /// The body has come to its end, which is proper if the answer's own end has come.
    pub(super) fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if self.over {
            return;
        }
        if !self.finish.is_stated() {
            return self.fail(Fault::incomplete(), emit);
        }
        // Gemini says STOP where it calls.
        if self.calls > 0 && self.finish.reason() == Finish::Stop {
            self.finish.state(Finish::ToolCalls, None);
        }
        if let Some(call) = self.unsigned.take() {
            call.tell(None, emit);
        }
        self.over = true;
        emit(self.finish.take());
        emit(Event::End);
    }

    pub(super) fn fail(&mut self, fault: Fault, emit: &mut dyn FnMut(Event<'_>)) {
        if !self.over {
            self.over = true;
            emit(Event::Failed(Cow::Owned(fault)));
        }
    }
}

/// Returns what `finishReason` means; one that is not known is an end like another.
fn ended(reason: &str) -> Result<Finish, Fault> {
    let broken = |why| {
        Err(Fault::new(
            Class::Transient,
            FaultKind::Server,
            Cow::Borrowed(why),
        ))
    };
    match reason {
        // `CONTINUATION`: there is more to say, which only another request would bring.
        "MAX_TOKENS" | "CONTINUATION" => Ok(Finish::Length),
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" => {
            Ok(Finish::Filtered)
        }
        "MALFORMED_FUNCTION_CALL" => broken("the model wrote a call that cannot be read"),
        "MALFORMED_RESPONSE" => broken("the model wrote an answer that cannot be read"),
        "UNEXPECTED_TOOL_CALL" => broken("the model called a tool that it was not given"),
        "TOO_MANY_TOOL_CALLS" => broken("the model called tools too often"),
        "MISSING_THOUGHT_SIGNATURE" => broken("a call lacks the signature of its thought"),
        image if image.starts_with("IMAGE_") => Ok(Finish::Filtered),
        _ => Ok(Finish::Stop),
    }
}
