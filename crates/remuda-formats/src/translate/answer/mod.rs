//! A provider's answer in the client's format, as it comes: whole or streamed on either side.

mod progress;
mod second;
mod vectors;

use std::borrow::Cow;

use http::HeaderMap;

use super::forms::{self, WHOLE_TYPE};
use super::inputs;
use super::pending::{Pending, completion};
use super::resume::interrupted::Interrupted;
use super::stops::Stops;
use crate::dialect::exchange::{ProviderRequest, Reply};
use crate::dialect::form::{ClientChat, ClientEmbeddings, ProviderChat, ProviderEmbeddings};
use crate::dialect::openai;
use crate::ir::{Class, Decode, Embeddings, Event, Fault, FaultKind, ToolNames, Usage};
use crate::wire::ndjson::unmarked;
use crate::wire::units::Cutter;
use progress::{Progress, Sink};
use second::Second;

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
    /// What the client speaks, where it is a chat.
    client: Option<&'static ClientChat>,
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

impl Translation {
    /// Begins the answer to a chat. `streamed` says that the provider was asked to stream, and `streams` that the
    /// client gets a stream.
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
            client: Some(client),
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

    /// Vectors in OpenAI's format for its clients, who asked for them with `body`: written anew if they are not encoded
    /// as the client wants them.
    pub fn encoded(reply: Reply, body: &[u8]) -> Self {
        let (client, form) = (&openai::embeddings::CLIENT, &openai::embeddings::PROVIDER);
        Translation {
            passes: true,
            ..Translation::vectors((client, form), reply, body)
        }
    }

    /// Begins an answer of vectors; `body` is the client's request.
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
            client: None,
            content_type: WHOLE_TYPE,
            names: ToolNames::default(),
            reply,
            passes: false,
            gathered: 0,
            out: Vec::new(),
        }
    }

    /// Returns whether the client gets a stream.
    pub fn streams(&self) -> bool {
        matches!(self.sink, Sink::Stream(_))
    }

    /// Returns the client's content type.
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

    /// Ends the answer when the provider's body has come to its end. Returns the last bytes for the client.
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

    /// Returns whether the provider's answer is one body rather than a stream.
    pub fn is_one_body(&self) -> bool {
        matches!(self.source, Source::Whole { .. } | Source::Vectors { .. })
    }

    /// Returns whether the provider's answer lacks nothing but the end of its last line or event, or of its body's
    /// framing.
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

    /// Settles an answer of which nothing comes any more although the provider's body is open. Returns the last bytes
    /// for the client if the answer is over for all that.
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

    /// Keeps what the client is told, so that the answer may go on elsewhere if it breaks off: what ends it is not told
    /// before [`Self::give_up`].
    pub fn watch(&mut self) {
        if self.streams() {
            self.progress.sent = Some(Box::default());
        }
    }

    /// Returns whether the answer may go on elsewhere if it breaks off now, or has.
    pub fn may_go_on(&self) -> bool {
        self.progress.may_go_on()
    }

    /// Returns the answer as its client has it, which broke off as `text` says if the provider did not say why; `None` if
    /// it cannot go on elsewhere.
    pub fn interrupted(&self, text: &'static str) -> Option<Interrupted> {
        let sent = self.progress.sent.as_deref();
        let fault = self.progress.fault.clone();
        Some(Interrupted {
            sent: sent.filter(|sent| sent.obstacle().is_none())?.clone(),
            reply: Some(self.reply.clone()),
            fault: fault
                .unwrap_or_else(|| Fault::new(Class::Transient, FaultKind::Incomplete, text)),
        })
    }

    /// Takes that the answer does not go on elsewhere. Returns what the client is told of its end, if that has come.
    pub fn give_up(&mut self) -> &[u8] {
        self.out.clear();
        self.progress.sent = None;
        if let Some(fault) = &self.progress.fault
            && std::mem::take(&mut self.progress.untold)
        {
            let failed = Event::Failed(Cow::Borrowed(fault));
            self.sink.event(&failed, &mut self.out);
        }
        &self.out
    }

    /// Makes this the second telling of an answer that broke off elsewhere: what its client has is left out, and if it is
    /// not the same, the client is told what ended the first.
    pub fn go_on_from(&mut self, from: &Interrupted) {
        self.second(from, Second::of);
    }

    /// Makes this what is written on from an answer that broke off elsewhere: its client has none of it.
    pub fn write_on_from(&mut self, from: &Interrupted) {
        self.second(from, Second::written_on);
    }

    fn second(&mut self, from: &Interrupted, second: fn(&Interrupted, bool) -> Second) {
        let Some(client) = self.client else { return };
        from.adopt(&mut self.reply);
        let has_comments = self.content_type.starts_with("text/event-stream");
        self.sink = Sink::Stream(from.encoder(client, self.reply.clone()));
        self.progress.sent = Some(Box::new(from.sent.clone()));
        self.progress.second = Some(Box::new(second(from, has_comments)));
    }

    /// Returns whether the answer is the second telling of another that was not the same.
    pub fn differs(&self) -> bool {
        let second = self.progress.second.as_ref();
        second.is_some_and(|second| second.differs())
    }

    /// Returns whether the answer is a second telling of which nothing new has come.
    pub fn is_withheld(&self) -> bool {
        let second = self.progress.second.as_ref();
        second.is_some_and(|second| second.is_withheld())
    }

    /// Returns how many bytes are held, to be read as a whole when all have come.
    pub fn held(&self) -> usize {
        match &self.source {
            Source::Whole { body, .. } | Source::Vectors { body, .. } => body.len(),
            Source::Stream { .. } => 0,
        }
    }

    /// Returns whether the client's answer has begun: until then another backend may be tried. A whole answer begins
    /// when it is whole.
    pub fn begun(&self) -> bool {
        self.streams() && (self.progress.content_events > 0 || self.progress.finished)
    }

    /// Returns whether the answer is over, though bytes may still come.
    pub fn over(&self) -> bool {
        self.progress.ended || self.progress.fault.is_some()
    }

    /// Returns whether the gateway ended it, so that the connection has to be closed.
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

    /// Returns about how many tokens of output have come, for an answer that did not live to tell: four bytes are one,
    /// and an event is at least one.
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

    /// After a call, the reason `stop` becomes `tool_calls`, as Ollama sends the call before a bare `done`
    /// (ollama/ollama#7963); the reason `length` is kept.
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
