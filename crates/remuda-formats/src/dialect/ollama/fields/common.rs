//! `stream`, `format`, `think`, `logprobs` and `options`, as Ollama reads them.

use super::options;
use crate::dialect::ollama::go::{Field, Reader};
use crate::ir::{
    ChatRequest, Dropped, Effort, Format, Json, Local, Refused, Sampling, Text, Thinking,
};
use crate::wire::json::Kind;

/// What the client said in the fields that both operations have.
///
/// What concerns Ollama's servers alone (`keep_alive`, `truncate`, `shift`, how a model is loaded) is kept apart, and
/// named where another provider answers.
#[derive(Debug, Default)]
pub(in crate::dialect::ollama) struct Common<'a> {
    stream: Option<bool>,
    format: Format<'a>,
    think: Option<Thinking>,
    logprobs: bool,
    top_logprobs: i64,
    sampling: Sampling<'a>,
    max_tokens: Option<u64>,
    stop: Vec<Text<'a>>,
    local: Local<'a>,
    /// There were more options than are kept.
    more_options: bool,
    /// What changes the answer and has no place in the neutral model.
    dropped: Dropped,
}

/// Options that are kept for a server without being known here.
const MOST_OPTIONS: usize = 64;

impl<'a> Common<'a> {
    /// Reads the value of the field `key` of the struct `path`, or skips it.
    pub(in crate::dialect::ollama) fn field(
        &mut self,
        reader: &mut Reader<'a>,
        path: &'static str,
        key: &str,
    ) -> Result<(), Refused> {
        match key {
            "stream" => {
                self.stream = reader.boolean(Field(path, "stream"))?.or(self.stream);
            }
            "format" => self.format = format(reader)?,
            "think" => self.think = think(reader)?.or(self.think),
            "logprobs" => {
                let wanted = reader.boolean(Field(path, "logprobs"))?;
                self.logprobs = wanted.unwrap_or(self.logprobs);
            }
            "top_logprobs" => {
                let count = reader.integer(Field(path, "top_logprobs"))?;
                self.top_logprobs = count.unwrap_or(self.top_logprobs);
            }
            "options" => {
                let field = Field(path, "options");
                reader.structure(field, "map[string]interface {}", |reader, key| {
                    self.option(reader, key)
                })?;
            }
            "keep_alive" => self.local.keep_alive = as_said(reader)?,
            "truncate" => self.local.truncate = reader.boolean(Field(path, "truncate"))?,
            "shift" => self.local.shift = reader.boolean(Field(path, "shift"))?,
            "_debug_render_only" => self.note(reader, "_debug_render_only")?,
            // Of a picture that is to be drawn.
            "width" => self.note(reader, "width")?,
            "height" => self.note(reader, "height")?,
            "steps" => self.note(reader, "steps")?,
            _ => reader.skip()?,
        }
        Ok(())
    }

    /// Names a field that is not read, if it says anything.
    fn note(&mut self, reader: &mut Reader<'a>, name: &'static str) -> Result<(), Refused> {
        let (kind, value) = reader.json()?;
        let says = kind != Kind::Null && !matches!(value.as_str(), "false" | "0");
        self.dropped.add_if(says, name);
        Ok(())
    }

    /// Puts it into a request.
    pub(in crate::dialect::ollama) fn into_request(
        self,
        request: &mut ChatRequest<'a>,
    ) -> Result<(), Refused> {
        let alternatives = u8::try_from(self.top_logprobs)
            .ok()
            .filter(|count| *count <= 20)
            .ok_or_else(|| {
                Refused::field("top_logprobs", "top_logprobs must be between 0 and 20")
            })?;
        request.stream = self.stream.unwrap_or(true);
        request.format = self.format;
        request.thinking = self.think;
        request.logprobs = self.logprobs.then_some(alternatives);
        request.sampling = self.sampling;
        request.max_tokens = self.max_tokens;
        request.stop = self.stop;
        request.dropped.merge(&self.dropped);
        request.dropped.add_if(self.more_options, "options");
        request.local = self.local;
        Ok(())
    }

    /// Adds to a request of another format what it does not say itself.
    pub(super) fn complete(self, request: &mut ChatRequest<'a>) -> Result<(), Refused> {
        fn put<T>(into: &mut Option<T>, value: Option<T>) {
            *into = into.take().or(value);
        }
        let (into, said) = (&mut request.sampling, self.sampling);
        put(&mut into.temperature, said.temperature);
        put(&mut into.top_p, said.top_p);
        put(&mut into.top_k, said.top_k);
        put(&mut into.min_p, said.min_p);
        put(&mut into.typical_p, said.typical_p);
        put(&mut into.repeat_penalty, said.repeat_penalty);
        put(&mut into.repeat_last_n, said.repeat_last_n);
        put(&mut into.presence_penalty, said.presence_penalty);
        put(&mut into.frequency_penalty, said.frequency_penalty);
        put(&mut into.seed, said.seed);
        put(&mut request.max_tokens, self.max_tokens);
        put(&mut request.thinking, self.think);
        if request.stop.is_empty() {
            request.stop = self.stop;
        }
        if request.format == Format::Text {
            request.format = self.format;
        }
        request.dropped.add_if(self.more_options, "options");
        request.local.complete(self.local);
        Ok(())
    }

    /// Returns what of it concerns Ollama's servers alone.
    pub(super) fn into_local(self, dropped: &mut Dropped) -> Local<'a> {
        dropped.add_if(self.more_options, "options");
        self.local
    }

    pub(super) fn option(&mut self, reader: &mut Reader<'a>, key: &str) -> Result<(), Refused> {
        let sampling = &mut self.sampling;
        match key {
            "temperature" => options::float(reader, "temperature", &mut sampling.temperature),
            "top_p" => options::float(reader, "top_p", &mut sampling.top_p),
            "top_k" => options::integer(reader, "top_k", &mut sampling.top_k),
            "min_p" => options::float(reader, "min_p", &mut sampling.min_p),
            "typical_p" => options::float(reader, "typical_p", &mut sampling.typical_p),
            "repeat_penalty" => {
                options::float(reader, "repeat_penalty", &mut sampling.repeat_penalty)
            }
            "repeat_last_n" => {
                options::integer(reader, "repeat_last_n", &mut sampling.repeat_last_n)
            }
            "presence_penalty" => {
                options::float(reader, "presence_penalty", &mut sampling.presence_penalty)
            }
            "frequency_penalty" => {
                options::float(reader, "frequency_penalty", &mut sampling.frequency_penalty)
            }
            "seed" => {
                options::integer(reader, "seed", &mut sampling.seed)?;
                // Ollama's word for a random one.
                sampling.seed = sampling.seed.filter(|seed| *seed != -1);
                Ok(())
            }
            "num_predict" => {
                let mut limit = None;
                options::integer(reader, "num_predict", &mut limit)?;
                if let Some(limit) = limit {
                    // −1 and −2 are no limit.
                    self.max_tokens = u64::try_from(limit).ok().filter(|limit| *limit > 0);
                }
                Ok(())
            }
            "stop" => options::strings(reader, "stop", &mut self.stop),
            // How a model is loaded concerns no other provider, but Ollama checks the types all the same.
            "num_keep" => self.load(reader, "num_keep"),
            "num_ctx" => self.load(reader, "num_ctx"),
            "num_batch" => self.load(reader, "num_batch"),
            "num_gpu" => self.load(reader, "num_gpu"),
            "main_gpu" => self.load(reader, "main_gpu"),
            "num_thread" => self.load(reader, "num_thread"),
            "draft_num_predict" => self.load(reader, "draft_num_predict"),
            "use_mmap" => {
                if let Some(value) = options::boolean(reader, "use_mmap")? {
                    let value = if value { "true" } else { "false" };
                    self.keep(Text::escaped("use_mmap"), Json::trusted(value));
                }
                Ok(())
            }
            name => {
                if let Some(value) = as_said(reader)? {
                    self.keep(Text::plain(name).into_owned(), value);
                }
                Ok(())
            }
        }
    }

    /// Reads an integer that says how a model is loaded.
    fn load(&mut self, reader: &mut Reader<'a>, name: &'static str) -> Result<(), Refused> {
        let mut value = None;
        options::integer(reader, name, &mut value)?;
        if let Some(value) = value {
            self.keep(Text::escaped(name), Json::trusted(value.to_string()));
        }
        Ok(())
    }

    fn keep(&mut self, name: Text<'a>, value: Json<'a>) {
        if self.local.options.len() < MOST_OPTIONS {
            self.local.option(name, value);
        } else {
            self.more_options = true;
        }
    }
}

/// Reads a value that a server is sent as the client wrote it; `None` for `null`.
fn as_said<'a>(reader: &mut Reader<'a>) -> Result<Option<Json<'a>>, Refused> {
    let (kind, value) = reader.json()?;
    Ok((kind != Kind::Null).then_some(value))
}

/// Reads `"json"`, a schema, or nothing.
fn format<'a>(reader: &mut Reader<'a>) -> Result<Format<'a>, Refused> {
    let (kind, value) = reader.json()?;
    match (kind, value.as_str()) {
        (Kind::Null, _) | (Kind::String, r#""""#) => Ok(Format::Text),
        (Kind::String, r#""json""#) => Ok(Format::Json),
        (Kind::Object, _) => Ok(Format::Schema {
            name: None,
            description: None,
            schema: value,
            strict: None,
        }),
        (_, shown) => {
            // What is short is a word like `xml`, and Ollama repeats it.
            let shown = if shown.len() <= 32 {
                shown
            } else {
                kind.go_name()
            };
            Err(Refused::field(
                "format",
                format!("invalid format: {shown}; expected \"json\" or a valid JSON Schema object"),
            ))
        }
    }
}

fn think(reader: &mut Reader<'_>) -> Result<Option<Thinking>, Refused> {
    let kind = reader.kind()?;
    let value = reader.raw()?;
    match (kind, value) {
        (Kind::Null, _) => Ok(None),
        (Kind::Bool, b"true") => Ok(Some(Thinking::On)),
        (Kind::Bool, _) => Ok(Some(Thinking::Off)),
        (Kind::String, br#""low""#) => Ok(Some(Thinking::Effort(Effort::Low))),
        (Kind::String, br#""medium""#) => Ok(Some(Thinking::Effort(Effort::Medium))),
        (Kind::String, br#""high""#) => Ok(Some(Thinking::Effort(Effort::High))),
        (Kind::String, br#""max""#) => Ok(Some(Thinking::Effort(Effort::Max))),
        (Kind::String, level) if level.len() <= 32 => Err(Refused::field(
            "think",
            format!(
                "invalid think value: {} (must be \"high\", \"medium\", \"low\", \"max\", true, or false)",
                String::from_utf8_lossy(level)
            ),
        )),
        _ => Err(Refused::field(
            "think",
            "think must be a boolean or string (\"high\", \"medium\", \"low\", \"max\", true, or false)",
        )),
    }
}
