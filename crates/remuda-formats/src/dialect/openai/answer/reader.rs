//! From chunks to events, with all that servers make of OpenAI's format.

use std::borrow::Cow;

use super::super::error::{fault_in_body, fault_in_words};
use super::super::field::{Field, full};
use super::super::logprobs;
use super::api::Api;
use super::calls::{Calls, Untellable};
use super::chunk::{CallDelta, Choice, Choices, Chunk, Delta, Timings};
use super::judge::{calls_of, failure, finish_of, is_error, misshapen, read, says_nothing};
use super::say::{say, thoughts};
use super::sources::Sources;
use crate::dialect::events::{Reads, Unreadable};
use crate::ir::{Event, Fault, Finish, HeldFinish, Text, ToolNames, Usage};

/// So many chunks, or tokens, without anything that can be read are no empty answer, but one in an unknown form.
const TOO_MANY_EMPTY: u64 = 16;

pub(super) struct Reader {
    api: Api,
    names: ToolNames,
    started: bool,
    /// How it is served has been told.
    served: bool,
    /// Something of the answer could be read.
    said: bool,
    /// Something was said before any reason to end: it is not stated with each chunk, as some servers do.
    open: bool,
    /// The usage has come with the reason to end, or after it.
    counted: bool,
    finish: HeldFinish,
    over: bool,
    calls: Calls,
    sources: Sources,
    empty: u64,
    others: Others,
}

/// How far the choices beside the answer are, as bits of their numbers; the last bit stands for all that follow.
#[derive(Default)]
struct Others {
    begun: u128,
    ended: u128,
    spoke: bool,
}

impl Reader {
    pub(super) fn new(api: Api, names: ToolNames) -> Self {
        Reader {
            api,
            names,
            started: false,
            served: false,
            said: false,
            open: false,
            counted: false,
            finish: HeldFinish::default(),
            over: false,
            calls: Calls::default(),
            sources: Sources::default(),
            empty: 0,
            others: Others::default(),
        }
    }

    /// Takes `[DONE]`, by which the server says that this was all, be it without a reason.
    fn done(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if self.finish.is_stated() || self.said {
            self.complete(emit);
        } else {
            self.fail(Fault::incomplete(), emit);
        }
    }

    /// Ends the answer, of which nothing more can come.
    fn complete(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        let is_plain = self.finish.reason() == Finish::Stop;
        // No reason was given, and half a call is none.
        if !self.finish.is_stated() && self.calls.is_torn() {
            return self.fail(Fault::incomplete(), emit);
        }
        if !self.said && is_plain && self.empty > TOO_MANY_EMPTY {
            return self.fail(unreadable(), emit);
        }
        if let Err(Untellable(why)) = self.calls.end(&self.names, emit) {
            if self.calls.whole {
                emit(Event::Malformed);
            }
            return self.fail(Fault::garbled(why), emit);
        }
        self.sources.emit(emit);
        self.over = true;
        emit(self.finish.take());
        emit(Event::End);
    }

    fn chunk(
        &mut self,
        chunk: Chunk<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Unreadable> {
        let Choices { answer, others } = chunk.choices.unwrap_or_default();
        let choice = answer;
        let has_choice = choice.is_some() || !others.is_empty();
        let calls = match &choice {
            Some(choice) => calls_of(choice)?,
            None => Vec::new(),
        };
        let was_said = self.said;
        self.served(chunk.service_tier, chunk.system_fingerprint, emit);
        self.start(chunk.id, chunk.model, has_choice, emit);
        if let Some(array) = chunk.search_results {
            self.sources.replace(array);
        }
        if let Some(array) = chunk.citations {
            self.sources.addresses(array);
        }
        let mut quiet = true;
        if let Some(choice) = choice {
            quiet = self.choice(choice, calls, emit);
        }
        for other in others {
            quiet &= self.other(&other, emit);
        }
        if self.over {
            return Ok(());
        }
        let usage = usage_of(chunk.usage.map(|counts| counts.usage()), chunk.timings);
        if usage != Usage::default() {
            quiet = false;
            self.counted = self.finish.is_last();
            emit(Event::Usage(usage));
        }
        if quiet && was_said == self.said {
            emit(Event::Ping);
        }
        Ok(())
    }

    /// Every chunk says it.
    fn served(&mut self, tier: Field<'_>, fingerprint: Field<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let (tier, fingerprint) = (full(tier), full(fingerprint));
        if !self.served && (tier.is_some() || fingerprint.is_some()) {
            self.served = true;
            emit(Event::Served { tier, fingerprint });
        }
    }

    /// Azure's first chunks have neither id nor model, and no choice.
    fn start(
        &mut self,
        id: Field<'_>,
        model: Field<'_>,
        has_choice: bool,
        emit: &mut dyn FnMut(Event<'_>),
    ) {
        if self.started {
            return;
        }
        let (id, model) = (full(id), full(model));
        if has_choice || id.is_some() {
            self.started = true;
            emit(Event::Start { id, model });
        }
    }

    /// Returns whether the choice said nothing.
    fn choice(
        &mut self,
        choice: Choice<'_>,
        calls: Vec<CallDelta<'_>>,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> bool {
        if let Some(fault) = failure(&choice) {
            self.fail(fault, emit);
            return false;
        }
        let reason = full(choice.finish_reason);
        let mut spoke = false;
        let text = full(choice.text);
        let in_text = self.api == Api::Completions && text.is_some();
        if self.api == Api::Completions && !in_text && choice.speaks() {
            return self.misplaced(emit);
        }
        // Servers exist that write both.
        if let Some(delta) = choice.delta.or(choice.message).filter(|_| !in_text) {
            spoke |= self.delta(delta, calls, emit);
        }
        if self.api == Api::Chat && text.is_some() && !spoke {
            return self.misplaced(emit);
        }
        if let Some(text) = text.filter(|_| in_text) {
            spoke = true;
            emit(Event::Text(text));
        }
        if let Some(array) = choice.logprobs.and_then(logprobs::read) {
            emit(Event::Logprobs(array));
        }
        self.said |= spoke;
        self.empty += u64::from(!spoke);
        if spoke {
            self.finish.go_on();
        }
        let Some(reason) = reason else {
            self.open |= spoke && !self.finish.is_stated();
            return !spoke;
        };
        let stop = choice.stop_reason.and_then(Text::of);
        self.finish.state(finish_of(&reason), stop);
        false
    }

    /// Refuses an answer whose text stands where the other API has it, where clients of this one find none. It is no
    /// answer, be it that its bytes would pass or that it would be translated: the same server is judged alike both
    /// ways.
    fn misplaced(&mut self, emit: &mut dyn FnMut(Event<'_>)) -> bool {
        self.fail(Fault::misframed(), emit);
        false
    }

    /// Notes how far a choice beside the answer is, of which nothing else matters. Returns whether it said nothing.
    fn other(&mut self, choice: &Choice<'_>, emit: &mut dyn FnMut(Event<'_>)) -> bool {
        if let Some(fault) = failure(choice) {
            self.fail(fault, emit);
            return false;
        }
        let bit = 1 << choice.number().min(127);
        self.others.begun |= bit;
        let ends = full(choice.finish_reason).is_some();
        if ends {
            self.others.ended |= bit;
        }
        let speaks = choice.speaks();
        if speaks && !self.over {
            self.others.spoke = true;
            emit(Event::Foreign);
        }
        !speaks && !ends
    }

    /// Returns whether the delta said anything.
    fn delta(
        &mut self,
        delta: Delta<'_>,
        calls: Vec<CallDelta<'_>>,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> bool {
        let mut spoke = false;
        // Servers that know several names say the same under all.
        let thinking = [
            delta.reasoning_content,
            delta.reasoning,
            delta.reasoning_text,
        ]
        .into_iter()
        .find_map(full);
        let told = thinking.is_some();
        if let Some(text) = thinking {
            spoke = true;
            emit(Event::Thinking(text));
        }
        if let Some(array) = delta.reasoning_details {
            spoke |= thoughts(array, told, emit);
        }
        if let Some(content) = delta.content {
            spoke |= say(content, emit);
        }
        if let Some(text) = full(delta.refusal) {
            spoke = true;
            emit(Event::Refusal(text));
        }
        for call in calls {
            spoke |= self.calls.delta(call, &self.names, emit);
        }
        if let Some(function) = delta.function_call {
            spoke |= self.calls.function(function, &self.names, emit);
        }
        if let Some(array) = delta.annotations {
            self.sources.annotations(array);
        }
        // Answers in sound, and images.
        if [delta.audio, delta.images]
            .into_iter()
            .flatten()
            .any(|value| !says_nothing(value))
        {
            spoke = true;
            emit(Event::Foreign);
        }
        spoke
    }
}

impl Reads for Reader {
    fn is_over(&self) -> bool {
        self.over
    }

    fn is_fresh(&self) -> bool {
        !self.started && !self.over
    }

    fn lacks_nothing(&self) -> bool {
        let is_whole = self.others.begun == self.others.ended && !self.calls.is_torn();
        is_whole && self.open && self.counted && self.finish.is_last()
    }

    fn is_amid_words(&self) -> bool {
        !self.finish.is_stated() && self.calls.is_empty() && self.sources.is_empty()
    }

    fn event(
        &mut self,
        name: &[u8],
        data: &[u8],
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Unreadable> {
        if data.starts_with(b"[DONE]") {
            self.done(emit);
            return Ok(());
        }
        if name == b"error" {
            self.fail(fault_in_words(data), emit);
            return Ok(());
        }
        let chunk = read(data).ok_or(Unreadable)?;
        if is_error(&chunk) {
            self.fail(fault_in_body(data), emit);
            return Ok(());
        }
        self.chunk(chunk, emit)
    }

    fn whole(&mut self, body: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        let Some(chunk) = read(body) else {
            return self.fail(
                Fault::garbled("the provider's answer is not a JSON object"),
                emit,
            );
        };
        if is_error(&chunk) {
            return self.fail(fault_in_body(body), emit);
        }
        let output = chunk.usage.as_ref().and_then(|counts| {
            let usage = counts.usage();
            Some(usage.output? - usage.reasoning.unwrap_or(0).min(usage.output?))
        });
        let mut chunk = chunk;
        let choices = chunk.choices.take().map(Choices::with_answer);
        let Some(Choices {
            answer: Some(choice),
            others,
        }) = &choices
        else {
            return self.fail(Fault::garbled("the provider's answer has no choice"), emit);
        };
        let mut all = std::iter::once(choice).chain(others);
        if let Some(what) = all.find_map(misshapen) {
            emit(Event::Malformed);
            return self.fail(Fault::garbled(what), emit);
        }
        chunk.choices = choices;
        self.calls.whole = true;
        if self.chunk(chunk, emit).is_err() {
            emit(Event::Malformed);
            let fault = Fault::garbled("the tool calls of the provider's answer are not a list");
            return self.fail(fault, emit);
        }
        if self.over {
            return;
        }
        if !self.said && !self.finish.is_stated() && !self.others.spoke {
            return self.fail(Fault::garbled("the provider's answer says nothing"), emit);
        }
        if !self.said && !self.others.spoke && output.is_some_and(|tokens| tokens > TOO_MANY_EMPTY)
        {
            return self.fail(unreadable(), emit);
        }
        self.complete(emit);
    }

    /// The body has ended: properly only if the server has said why the answer ends, and each choice beside it.
    fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if self.over {
            return;
        }
        if self.finish.is_stated() && self.others.begun == self.others.ended {
            self.complete(emit);
        } else {
            self.fail(Fault::incomplete(), emit);
        }
    }

    fn fail(&mut self, fault: Fault, emit: &mut dyn FnMut(Event<'_>)) {
        if !self.over {
            self.over = true;
            emit(Event::Failed(Cow::Owned(fault)));
        }
    }
}

fn unreadable() -> Fault {
    Fault::garbled("the provider's answer has no text that could be read")
}

fn usage_of(counts: Option<Usage>, timings: Option<Timings>) -> Usage {
    let mut usage = counts.unwrap_or_default();
    if let Some(timings) = timings {
        let nanoseconds = |milliseconds: Option<f64>| {
            // The cast saturates.
            milliseconds
                .map(|time| (time * 1e6) as u64)
                .filter(|time| *time > 0)
        };
        usage.prompt_duration = nanoseconds(timings.prompt_ms);
        usage.output_duration = nanoseconds(timings.predicted_ms);
    }
    usage
}
