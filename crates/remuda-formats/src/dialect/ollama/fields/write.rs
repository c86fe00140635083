//! What both operations are told besides the prompt: format, thinking, options, streaming, log probabilities.

use std::io::Write as _;

use crate::client::only_tunes;
use crate::dialect::exchange::Target;
use crate::facts::{self, Capability};
use crate::ir::{ChatRequest, Dropped, Effort, Format, Local, Text, Thinking};
use crate::provider::CopyEdits;

/// Alternatives for a token at most.
const MAX_ALTERNATIVES: u8 = 20;

/// A request that is being written, as an object whose first field is `model`.
pub(in crate::dialect::ollama) struct Body(Vec<u8>);

impl Body {
    /// Begins a body; `capacity` is about how many bytes it will take.
    pub(in crate::dialect::ollama) fn new(model: &str, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity + 512);
        bytes.extend_from_slice(b"{\"model\":");
        Text::plain(model).write(&mut bytes);
        Body(bytes)
    }

    /// Begins a field; its value is to be appended.
    pub(in crate::dialect::ollama) fn field(&mut self, name: &str) -> &mut Vec<u8> {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        &mut self.0
    }

    pub(in crate::dialect::ollama) fn boolean(&mut self, name: &str, value: bool) {
        let word: &[u8] = if value { b"true" } else { b"false" };
        self.field(name).extend_from_slice(word);
    }

    pub(in crate::dialect::ollama) fn text(&mut self, name: &str, text: &Text<'_>) {
        text.write(self.field(name));
    }

    /// Begins a field that is an object.
    fn object(&mut self, name: &str) -> Members<'_> {
        let bytes = self.field(name);
        bytes.push(b'{');
        Members { bytes, any: false }
    }

    /// Writes what a client says to Ollama's servers alone, but for the options and `truncate`.
    pub(in crate::dialect::ollama) fn local(&mut self, local: &Local<'_>, copy: CopyEdits) {
        if let Some(keep_alive) = &local.keep_alive {
            keep_alive.write(self.field("keep_alive"));
        }
        if let Some(shift) = local.shift.filter(|_| !copy.pins) {
            self.boolean("shift", shift);
        }
    }

    /// Writes whether the server may shorten what is too long, where anybody says something of it.
    pub(in crate::dialect::ollama) fn truncate(&mut self, stated: Option<bool>, copy: CopyEdits) {
        if let Some(truncate) = stated.map(|stated| stated && !copy.whole) {
            self.boolean("truncate", truncate);
        } else if copy.whole {
            self.boolean("truncate", false);
        }
    }

    /// The options of a request that is no chat.
    pub(in crate::dialect::ollama) fn load_options(
        &mut self,
        local: &Local<'_>,
        target: &Target<'_>,
        dropped: &mut Dropped,
    ) {
        self.options(|options| options.load(local, target, dropped));
    }

    /// Writes `options`, unless there are none.
    fn options(&mut self, write: impl FnOnce(&mut Members<'_>)) {
        let before = self.0.len();
        let mut options = self.object("options");
        write(&mut options);
        let any = options.any;
        options.close();
        if !any {
            self.0.truncate(before);
        }
    }

    pub(in crate::dialect::ollama) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

/// The members of an object that is being written; those without a value are left out.
struct Members<'b> {
    bytes: &'b mut Vec<u8>,
    any: bool,
}

impl Members<'_> {
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if self.any {
            self.bytes.push(b',');
        }
        self.any = true;
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
        self.bytes
    }

    fn number(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            write!(self.name(name), "{value}").expect("writing to a vector cannot fail");
        }
    }

    fn integer(&mut self, name: &str, value: Option<i64>) {
        if let Some(value) = value {
            write!(self.name(name), "{value}").expect("writing to a vector cannot fail");
        }
    }

    fn texts(&mut self, name: &str, texts: &[Text<'_>]) {
        if texts.is_empty() {
            return;
        }
        let bytes = self.name(name);
        for (place, text) in texts.iter().enumerate() {
            bytes.push(if place == 0 { b'[' } else { b',' });
            text.write(bytes);
        }
        bytes.push(b']');
    }

    /// Writes how the model is to be loaded. The context that the operator has set goes before the client's: it is the
    /// same in every request, since each change would load the model anew.
    fn load(&mut self, local: &Local<'_>, target: &Target<'_>, dropped: &mut Dropped) {
        const CONTEXT: &str = "num_ctx";
        let copy = target.provider.copy;
        let set = copy.context.or(target.provider.num_ctx);
        self.integer(CONTEXT, set.map(i64::from));
        for (name, value) in &local.options {
            let is_context = name.as_escaped() == CONTEXT;
            match set {
                // A copy is chosen for holding what the client needs.
                Some(_) if is_context && copy.context.is_some() => {}
                Some(set) if is_context => {
                    dropped.add_if(value.as_str() != set.to_string(), CONTEXT);
                }
                _ if copy.pins && only_tunes(name.as_escaped()) => {}
                _ => value.write(self.name(name.as_escaped())),
            }
        }
    }

    fn close(self) {
        self.bytes.push(b'}');
    }
}

/// Writes everything but the prompt and the tools; notes what Ollama has no field for.
pub(in crate::dialect::ollama) fn write_common(
    request: &ChatRequest<'_>,
    target: &Target<'_>,
    body: &mut Body,
    dropped: &mut Dropped,
) {
    match &request.format {
        Format::Text => {}
        Format::Json => body.field("format").extend_from_slice(b"\"json\""),
        Format::Schema { schema, .. } => schema.write(body.field("format")),
    }
    if let Some(thinking) = request.thinking {
        think(thinking, target, body, dropped);
    }
    if let Some(alternatives) = request.logprobs {
        dropped.add_if(alternatives > MAX_ALTERNATIVES, "top_logprobs");
        body.boolean("logprobs", true);
        let alternatives = alternatives.min(MAX_ALTERNATIVES);
        write!(body.field("top_logprobs"), "{alternatives}")
            .expect("writing to a vector cannot fail");
    }
    options(request, target, body, dropped);
    body.local(&request.local, target.provider.copy);
    body.truncate(request.local.truncate, target.provider.copy);
    dropped.add_if(request.sampling.logit_bias.is_some(), "logit_bias");
    dropped.add_if(request.user.is_some(), "user");
    body.boolean("stream", target.stream);
}

/// Writes whether the model is to think. Ollama answers 400 to a model that cannot think and is told to; not to think
/// is always allowed.
fn think(thinking: Thinking, target: &Target<'_>, body: &mut Body, dropped: &mut Dropped) {
    let word: &[u8] = match level(thinking) {
        facts::EffortLevel::None => b"false",
        _ if !target.facts.can(Capability::Thinking) => return dropped.add("thinking"),
        _ if thinking == Thinking::On => b"true",
        facts::EffortLevel::Minimal | facts::EffortLevel::Low => b"\"low\"",
        facts::EffortLevel::Medium => b"\"medium\"",
        facts::EffortLevel::High => b"\"high\"",
        facts::EffortLevel::Xhigh | facts::EffortLevel::Max => b"\"max\"",
    };
    body.field("think").extend_from_slice(word);
}

fn level(thinking: Thinking) -> facts::EffortLevel {
    match thinking {
        Thinking::Off => facts::EffortLevel::None,
        Thinking::On | Thinking::Effort(Effort::Medium) => facts::EffortLevel::Medium,
        Thinking::Effort(Effort::Minimal) => facts::EffortLevel::Minimal,
        Thinking::Effort(Effort::Low) => facts::EffortLevel::Low,
        Thinking::Effort(Effort::High) => facts::EffortLevel::High,
        Thinking::Effort(Effort::XHigh) => facts::EffortLevel::Xhigh,
        Thinking::Effort(Effort::Max) => facts::EffortLevel::Max,
        Thinking::Budget(tokens) => {
            facts::EffortLevel::of_budget(u32::try_from(tokens).unwrap_or(u32::MAX))
        }
    }
}

fn options(request: &ChatRequest<'_>, target: &Target<'_>, body: &mut Body, dropped: &mut Dropped) {
    let sampling = &request.sampling;
    // Ollama counts in 32 bits where it hands the number on.
    let limit = request
        .max_tokens
        .map(|tokens| i64::from(i32::try_from(tokens).unwrap_or(i32::MAX)));
    body.options(|options| {
        options.number("temperature", sampling.temperature);
        options.number("top_p", sampling.top_p);
        // Others say −1 for "no limit", Ollama 0.
        options.integer("top_k", sampling.top_k.map(|top_k| top_k.max(0)));
        options.number("min_p", sampling.min_p);
        options.number("typical_p", sampling.typical_p);
        options.number("repeat_penalty", sampling.repeat_penalty);
        options.integer("repeat_last_n", sampling.repeat_last_n);
        options.number("presence_penalty", sampling.presence_penalty);
        options.number("frequency_penalty", sampling.frequency_penalty);
        options.integer("seed", sampling.seed);
        options.integer("num_predict", limit);
        options.texts("stop", &request.stop);
        options.load(&request.local, target, dropped);
    });
}
