//! A provider's answer in the client's format, as it comes: whole or streamed on either side.

use std::borrow::Cow;
use std::collections::HashSet;

use http::HeaderMap;

use super::forms::{self, WHOLE_TYPE};
use super::halves::Halves;
use super::inputs;
use super::passing::has_vectors;
use super::pending::{Pending, completion};
use super::stops::{Passed, Stops};
use crate::client::Operation;
use crate::dialect::exchange::{ProviderRequest, Reply};
use crate::dialect::form::{ClientChat, ClientEmbeddings, ProviderChat, ProviderEmbeddings};
use crate::dialect::openai;
use crate::ir::{
    Assembler, Class, Decode, Embeddings, Encode, Event, Fault, FaultKind, Finish, Text, ToolNames,
    Usage,
};
use crate::wire::ndjson::unmarked;
use crate::wire::units::Cutter;

/// Bytes of a whole answer: 2,048 vectors of 3,072 numbers fit.
const MAX_WHOLE: usize = 96 << 20;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// The client has been told of an error, or is to be.
    Failed,
}

/// The answer to one request on its way from a provider's format to a client's.
pub struct Translation {
    content_type: &'static str,
    names: ToolNames,
    reply: Reply,
    source: Source,
    sink: Sink,
    progress: Progress,
    /// What is as the client wants it passes as it came.
    passes: bool,
    /// How many vectors were asked for, where that is known.
    vectors: Option<usize>,
    /// Bytes of a stream that is put together for a client who wants the answer whole.
    gathered: usize,
    out: Vec<u8>,
}

enum Source {
    Stream {
        decoder: Box<dyn Decode>,
        /// What has come of a line or an event; of nothing that is not made of them.
        cutter: Option<Cutter>,
        pending: Pending,
    },
    /// The one body of a chat, gathered.
    Whole {
        form: &'static ProviderChat,
        body: Vec<u8>,
        pending: Pending,
    },
    /// The body that holds vectors, gathered.
    Vectors {
        form: &'static ProviderEmbeddings,
        body: Vec<u8>,
        pending: Pending,
    },
}

impl Source {
    fn vectors(form: &'static ProviderEmbeddings) -> Self {
        Source::Vectors {
            form,
            body: Vec::new(),
            pending: Pending::default(),
        }
    }
}

enum Sink {
    Stream(Box<dyn Encode>),
    Whole(&'static ClientChat, Box<Assembler>),
    /// What earlier calls gave.
    Vectors(&'static ClientEmbeddings, Embeddings),
}

/// What has been seen of the answer.
#[derive(Default)]
struct Progress {
    halves: Halves,
    stops: Option<Stops>,
    usage: Usage,
    content_events: u64,
    /// Bytes of text, reasoning and arguments.
    said: u64,
    calls: bool,
    /// Of the calls so far, as they stand in JSON.
    ids: HashSet<Box<str>>,
    finished: bool,
    ended: bool,
    fault: Option<Fault>,
    /// Events of the provider's that could not be read and were passed over.
    malformed: u64,
    /// The gateway has ended the answer itself; nothing more of the provider's is wanted.
    cut: bool,
}

impl Translation {
    /// `streamed`: the provider was asked to stream; `streams`: the client was.
    pub(super) fn chat(
        (client, form): (&'static ClientChat, &'static ProviderChat),
        reply: Reply,
        outgoing: &mut ProviderRequest,
        streamed: bool,
        streams: bool,
    ) -> Self {
        let names = std::mem::take(&mut outgoing.names);
        Translation {
            source: if streamed {
                Source::Stream {
                    decoder: (form.decoder)(names.clone()),
                    cutter: form.unit.map(Cutter::new),
                    pending: Pending::default(),
                }
            } else {
                Source::Whole {
                    form,
                    body: Vec::new(),
                    pending: Pending::default(),
                }
            },
            sink: if streams {
                Sink::Stream((client.encoder)(reply.clone()))
            } else {
                Sink::Whole(client, Box::default())
            },
            progress: Progress {
                stops: Stops::new(std::mem::take(&mut outgoing.stop)),
                ..Progress::default()
            },
            content_type: if streams {
                client.stream_type
            } else {
                WHOLE_TYPE
            },
            names,
            reply,
            passes: false,
            vectors: None,
            gathered: 0,
            out: Vec::new(),
        }
    }

    /// Vectors in OpenAI's format for its clients, who asked for them with `body`: written anew if they are not encoded as
    /// the client wants them.
    pub fn encoded(reply: Reply, body: &[u8]) -> Self {
        let (client, form) = (&openai::embeddings::CLIENT, &openai::embeddings::PROVIDER);
        Translation {
            passes: true,
            ..Translation::vectors((client, form), reply, body)
        }
    }

    /// `body` is the client's.
    pub(super) fn vectors(
        (client, form): (&'static ClientEmbeddings, &'static ProviderEmbeddings),
        reply: Reply,
        body: &[u8],
    ) -> Self {
        Translation {
            vectors: inputs::count(client.operation, body),
            source: Source::vectors(form),
            sink: Sink::Vectors(client, Embeddings::default()),
            progress: Progress::default(),
            content_type: WHOLE_TYPE,
            names: ToolNames::default(),
            reply,
            passes: false,
            gathered: 0,
            out: Vec::new(),
        }
    }

    /// Whether the client gets a stream.
    pub fn streams(&self) -> bool {
        matches!(self.sink, Sink::Stream(_))
    }

    /// The client's content type.
    pub fn content_type(&self) -> &'static str {
        self.content_type
    }

    /// Takes the next bytes of the provider's answer and gives those for the client.
    pub fn feed(&mut self, piece: &[u8]) -> &[u8] {
        self.out.clear();
        match &mut self.source {
            Source::Stream { .. }
                if matches!(self.sink, Sink::Whole(..))
                    && self.gathered.saturating_add(piece.len()) > MAX_WHOLE =>
            {
                let fault =
                    Fault::garbled("the provider's answer is larger than this gateway reads");
                self.progress.pass(
                    Event::Failed(Cow::Owned(fault)),
                    &mut self.sink,
                    &mut self.out,
                );
            }
            Source::Stream {
                decoder, cutter, ..
            } => {
                self.gathered = self.gathered.saturating_add(piece.len());
                if let Some(cutter) = cutter {
                    cutter.feed(piece, |_| {});
                }
                let (sink, progress, out) = (&mut self.sink, &mut self.progress, &mut self.out);
                decoder.feed(piece, &mut |event| progress.pass(event, sink, out));
            }
            Source::Whole { body, .. } | Source::Vectors { body, .. }
                if body.len() + piece.len() > MAX_WHOLE =>
            {
                let fault =
                    Fault::garbled("the provider's answer is larger than this gateway reads");
                self.progress.pass(
                    Event::Failed(Cow::Owned(fault)),
                    &mut self.sink,
                    &mut self.out,
                );
            }
            Source::Whole { body, pending, .. } | Source::Vectors { body, pending, .. } => {
                body.extend_from_slice(piece);
                if pending.is_events(body) {
                    // Its end may be long in coming.
                    let fault = Event::Failed(Cow::Owned(Fault::misframed()));
                    self.progress.pass(fault, &mut self.sink, &mut self.out);
                }
            }
        }
        &self.out
    }

    /// The provider's body has come to its end. Gives the last bytes for the client.
    pub fn finish(&mut self, headers: &HeaderMap) -> (Ending, &[u8]) {
        self.out.clear();
        if let Sink::Vectors(..) = self.sink {
            self.write_vectors(headers);
            return (self.ending(), &self.out);
        }
        let (sink, progress, out) = (&mut self.sink, &mut self.progress, &mut self.out);
        let mut pass = |event: Event<'_>| progress.pass(event, sink, out);
        match &mut self.source {
            Source::Stream { decoder, .. } => decoder.finish(&mut pass),
            Source::Whole { form, body, .. } => {
                forms::read_whole(form, unmarked(body), &self.names, &mut pass);
            }
            Source::Vectors { .. } => {}
        }
        if !progress.ended && progress.fault.is_none() {
            let fault = Fault::incomplete();
            progress.pass(Event::Failed(Cow::Owned(fault)), sink, out);
        }
        if let Sink::Whole(client, assembler) = &mut self.sink
            && self.progress.fault.is_none()
        {
            match std::mem::take(&mut **assembler).finish() {
                Ok(response) => {
                    (client.write_whole)(&response, &self.reply, &mut self.out);
                }
                Err(fault) => self.progress.fault = Some(fault),
            }
        }
        (self.ending(), &self.out)
    }

    /// Whether the provider's answer is one body rather than a stream.
    pub fn is_one_body(&self) -> bool {
        matches!(self.source, Source::Whole { .. } | Source::Vectors { .. })
    }

    /// Whether the provider's answer lacks nothing but the end of its last line or event, or of its body's framing.
    pub fn nearly_over(&mut self) -> bool {
        let over = self.over();
        match &mut self.source {
            Source::Stream {
                cutter: Some(cutter),
                pending,
                decoder,
            } if !over => {
                pending.is_last(cutter) || (cutter.is_between() && decoder.lacks_nothing())
            }
            Source::Whole { body, pending, .. } | Source::Vectors { body, pending, .. }
                if !over =>
            {
                pending.is_whole(body)
            }
            _ => false,
        }
    }

    /// Nothing comes any more although the provider's body is open. Gives the last bytes for the client if the answer is
    /// over for all that.
    pub fn settle(&mut self) -> Option<&[u8]> {
        self.out.clear();
        let nearly = self.nearly_over();
        if self.over() {
            return None;
        }
        let (sink, progress, out) = (&mut self.sink, &mut self.progress, &mut self.out);
        match &mut self.source {
            Source::Stream {
                decoder,
                cutter: Some(cutter),
                ..
            } if nearly => {
                let rest = completion(cutter.unit(), cutter.held());
                let mut pass = |event: Event<'_>| progress.pass(event, sink, out);
                decoder.feed(rest, &mut pass);
                // What does not stream is read when it is known to be all.
                decoder.finish(&mut pass);
            }
            Source::Stream {
                decoder, cutter, ..
            } if cutter.as_ref().is_none_or(Cutter::is_between) => {
                decoder.finish(&mut |event| match event {
                    // Why it is none is known better.
                    Event::Failed(_) => {}
                    event => progress.pass(event, sink, out),
                });
            }
            _ => return None,
        }
        self.over().then_some(&*self.out)
    }

    /// Ends the client's stream with an error in place of what the provider did not send.
    pub fn break_off(&mut self, text: &'static str) -> &[u8] {
        self.out.clear();
        let fault = Fault::new(Class::Transient, FaultKind::Incomplete, text);
        self.progress.pass(
            Event::Failed(Cow::Owned(fault)),
            &mut self.sink,
            &mut self.out,
        );
        &self.out
    }

    /// Bytes that are read as a whole when all have come.
    pub fn held(&self) -> usize {
        match &self.source {
            Source::Whole { body, .. } | Source::Vectors { body, .. } => body.len(),
            Source::Stream { .. } => 0,
        }
    }

    /// Takes over what one call of several gave, when its body has come whole and another call follows.
    ///
    /// # Errors
    /// If that body was no answer.
    pub fn part(&mut self, headers: &HeaderMap) -> Result<(), Fault> {
        if let (Sink::Vectors(_, all), Source::Vectors { form, body, .. }) =
            (&mut self.sink, &mut self.source)
        {
            join(all, forms::read_embeddings(form, unmarked(body), headers)?)?;
            self.progress.usage = all.usage;
            self.source = Source::vectors(form);
        }
        Ok(())
    }

    fn write_vectors(&mut self, headers: &HeaderMap) {
        let (Sink::Vectors(client, all), Source::Vectors { form, body, .. }) =
            (&mut self.sink, &self.source)
        else {
            return;
        };
        if self.progress.fault.is_some() {
            return;
        }
        let body = unmarked(body);
        if self.passes
            && has_vectors(Operation::OpenAiEmbeddings, body, self.vectors)
            && let Some(usage) = openai::embeddings::encoded_as(body, self.reply.base64)
        {
            self.progress.usage = usage;
            self.progress.ended = true;
            return self.out.extend_from_slice(body);
        }
        let last = forms::read_embeddings(form, body, headers);
        let joined = last.and_then(|last| join(all, last));
        match joined.and_then(|()| complete(all, self.vectors)) {
            Ok(()) => {
                self.progress.usage = all.usage;
                self.progress.ended = true;
                (client.write)(all, &self.reply, &mut self.out);
            }
            Err(fault) => self.progress.fault = Some(fault),
        }
    }

    /// Whether the client's answer has begun: until then another backend may be tried. A whole answer begins when it
    /// is whole.
    pub fn begun(&self) -> bool {
        self.streams() && (self.progress.content_events > 0 || self.progress.finished)
    }

    /// Whether the answer is over, though bytes may still come.
    pub fn over(&self) -> bool {
        self.progress.ended || self.progress.fault.is_some()
    }

    /// Whether the gateway ended it, so that the connection has to be closed.
    pub fn cut(&self) -> bool {
        self.progress.cut
    }

    pub fn fault(&self) -> Option<&Fault> {
        self.progress.fault.as_ref()
    }

    pub fn usage(&self) -> Usage {
        self.progress.usage
    }

    /// Events that carried content.
    pub fn content_events(&self) -> u64 {
        self.progress.content_events
    }

    /// Events of the provider's that could not be read and were passed over.
    pub fn malformed(&self) -> u64 {
        self.progress.malformed
    }

    /// About how many tokens of output have come, for an answer that did not live to tell: four bytes are one, and an
    /// event is at least one.
    pub fn output_so_far(&self) -> u64 {
        self.progress.content_events.max(self.progress.said / 4)
    }

    fn ending(&self) -> Ending {
        match self.progress.fault {
            Some(_) => Ending::Failed,
            None => Ending::Complete,
        }
    }
}

/// Whether there is a vector for each input.
fn complete(all: &Embeddings, wanted: Option<usize>) -> Result<(), Fault> {
    let is_short = wanted.is_some_and(|wanted| all.vectors.len() != wanted);
    if is_short || all.vectors.iter().any(Vec::is_empty) {
        Err(Fault::garbled(
            "the provider's answer has not one vector for each input",
        ))
    } else {
        Ok(())
    }
}

fn join(all: &mut Embeddings, more: Embeddings) -> Result<(), Fault> {
    all.extend(more.vectors)?;
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
    };
    let usage = Usage {
        prompt: sum(all.usage.prompt, more.usage.prompt),
        total_duration: sum(all.usage.total_duration, more.usage.total_duration),
        load_duration: sum(all.usage.load_duration, more.usage.load_duration),
        ..more.usage
    };
    all.usage = usage;
    Ok(())
}

impl Progress {
    /// Passes an event on, in whole characters.
    fn pass(&mut self, event: Event<'_>, sink: &mut Sink, out: &mut Vec<u8>) {
        let mut halves = std::mem::take(&mut self.halves);
        halves.pass(event, &mut |event| self.pass_whole(event, sink, out));
        self.halves = halves;
    }

    /// Passes an event on, put right where providers differ in what they mean.
    fn pass_whole(&mut self, event: Event<'_>, sink: &mut Sink, out: &mut Vec<u8>) {
        if self.ended || self.fault.is_some() {
            return;
        }
        if let Event::Text(text)
        | Event::Thinking(text)
        | Event::Refusal(text)
        | Event::ToolArguments { fragment: text, .. } = &event
        {
            self.said += text.as_escaped().len() as u64;
        }
        let event = self.identified(event);
        match event {
            // Nothing reaches the client of it, so its answer has not begun.
            Event::Foreign | Event::Reframed => {}
            Event::Malformed => self.malformed += 1,
            Event::Text(text) if self.stops.is_some() => self.pass_text(&text, sink, out),
            Event::Finish { reason, stop } => {
                self.release_held(sink, out);
                let reason = match reason {
                    // Ollama and Gemini say `stop` after a call as well.
                    Finish::Stop if self.calls => Finish::ToolCalls,
                    other => other,
                };
                self.finished = true;
                sink.event(&Event::Finish { reason, stop }, out);
            }
            event => {
                match &event {
                    Event::ToolStart { .. } | Event::ToolCall { .. } => {
                        self.release_held(sink, out);
                        self.calls = true;
                    }
                    Event::Usage(usage) => self.usage.update(usage),
                    Event::End => self.ended = true,
                    Event::Failed(fault) => self.fault = Some(fault.clone().into_owned()),
                    _ => {}
                }
                self.content_events += u64::from(event.is_content() && !self.ended);
                sink.event(&event, out);
            }
        }
    }

    /// A call whose id another has had gets one of its own, which whoever writes it makes.
    fn identified<'e>(&mut self, mut event: Event<'e>) -> Event<'e> {
        if let Event::ToolStart { id, .. } | Event::ToolCall { id, .. } = &mut event
            && let Some(given) = id
            && !self.ids.insert(given.as_escaped().into())
        {
            *id = None;
        }
        event
    }

    fn pass_text(&mut self, text: &Text<'_>, sink: &mut Sink, out: &mut Vec<u8>) {
        let Some(stops) = &mut self.stops else {
            return;
        };
        let (passed, met) = match stops.feed(text) {
            Passed::Text(passed) => (passed, None),
            Passed::Stopped(passed, index) => (passed, Some(index)),
        };
        let met = met.map(|index| Text::plain(stops.string(index)).into_owned());
        if !passed.is_empty() {
            self.content_events += 1;
            sink.event(&Event::Text(Text::plain(&passed)), out);
        }
        if let Some(stop) = met {
            self.finished = true;
            self.ended = true;
            self.cut = true;
            let reason = Finish::Stop;
            sink.event(
                &Event::Finish {
                    reason,
                    stop: Some(stop),
                },
                out,
            );
            sink.event(&Event::Usage(self.usage), out);
            sink.event(&Event::End, out);
        }
    }

    fn release_held(&mut self, sink: &mut Sink, out: &mut Vec<u8>) {
        let held = self.stops.as_mut().map(Stops::finish).unwrap_or_default();
        if !held.is_empty() {
            sink.event(&Event::Text(Text::plain(&held)), out);
        }
    }
}

impl Sink {
    fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Sink::Stream(encoder) => encoder.event(event, out),
            Sink::Whole(_, assembler) => assembler.event(event),
            Sink::Vectors(..) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::ollama;

    /// What a client of OpenAI's reads of an Ollama server's stream, and how it ended.
    fn told(lines: &[&str], stop: &[&str]) -> (String, Ending, bool) {
        let reply = Reply {
            include_usage: true,
            ..Reply::sample()
        };
        let mut outgoing = ProviderRequest {
            stop: stop.iter().map(|&stop| stop.to_owned()).collect(),
            ..ProviderRequest::default()
        };
        let forms = (&openai::chat::CLIENT, &ollama::chat::PROVIDER);
        let mut translation = Translation::chat(forms, reply, &mut outgoing, true, true);
        let mut text = Vec::new();
        for line in lines {
            text.extend_from_slice(translation.feed(line.as_bytes()));
            text.extend_from_slice(translation.feed(b"\n"));
        }
        let (ending, last) = translation.finish(&HeaderMap::new());
        text.extend_from_slice(last);
        (String::from_utf8(text).unwrap(), ending, translation.cut())
    }

    const CALL: &str = r#"{"message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]},"done":false}"#;

    fn done(reason: &str) -> String {
        format!(
            r#"{{"message":{{"role":"assistant","content":""}},"done":true,"done_reason":"{reason}","prompt_eval_count":3,"eval_count":2}}"#
        )
    }

    /// After a call, the reason `stop` becomes `tool_calls`, as Ollama sends the call before a bare `done` (ollama/ollama#7963);
    /// the reason `length` is kept.
    #[test]
    fn a_stop_after_a_call_is_a_call() {
        for (reason, finish) in [("stop", "tool_calls"), ("length", "length")] {
            let (text, ending, _) = told(&[CALL, &done(reason)], &[]);
            assert_eq!(ending, Ending::Complete);
            assert!(
                text.contains(&format!("\"finish_reason\":\"{finish}\"")),
                "{text}"
            );
            assert!(text.ends_with("data: [DONE]\n\n"));
        }
    }

    /// A provider that disconnects in the middle of an answer has failed (Portkey-AI/gateway#1797).
    #[test]
    fn an_answer_without_its_end_is_an_error() {
        let (text, ending, _) = told(&[CALL], &[]);
        assert_eq!(ending, Ending::Failed);
        assert!(
            text.contains("data: {\"error\":") && !text.contains("[DONE]"),
            "{text}"
        );
    }

    #[test]
    fn a_stop_string_ends_the_answer_and_what_was_held_is_told() {
        let say = |text: &str| {
            format!(r#"{{"message":{{"role":"assistant","content":"{text}"}},"done":false}}"#)
        };
        let (one, two) = (say("one E"), say("ND two"));
        let (text, ending, cut) = told(&[&one, &two, CALL], &["END"]);
        assert!(cut && ending == Ending::Complete);
        assert!(text.contains("\"one \"") && !text.contains("two"), "{text}");
        assert!(!text.contains("tool_calls"), "{text}");
        let (text, _, cut) = told(&[&one, CALL, &done("stop")], &["END"]);
        assert!(!cut && text.contains("\"E\""), "{text}");
    }
}
