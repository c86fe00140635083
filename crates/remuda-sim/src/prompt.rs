//! What a model is given to read: turns in a plain template, cut to the context as Ollama cuts them.

use serde::Serialize;
use serde_json::Value;

use super::reply::Refusal;

/// What opens the turn that the model is to write.
pub(super) const OPENING: &str = "<|im_start|>assistant\n";

/// Ollama's template for it.
pub(super) const TEMPLATE: &str = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n";

/// Bytes that a token stands for.
const TOKEN: usize = 4;

/// Tokens of an image.
const IMAGE: usize = 256;

/// Tokens at the beginning that a cut spares where `num_keep` does not say, and those that begin every prompt.
const KEPT: u32 = 4;
const BEGINNING: u32 = 2;

/// What the model is to read.
#[derive(Clone, Debug, Default)]
pub(super) struct Prompt {
    pub(super) turns: Vec<Turn>,
    /// The one turn is all of it, without a template.
    pub(super) raw: bool,
    /// Nothing to read: load or unload only.
    pub(super) empty: bool,
    /// Tool definitions, and whether the last message is a tool's result.
    pub(super) tools: Vec<Value>,
    pub(super) tool_answered: bool,
    /// Fill in the middle.
    pub(super) suffix: bool,
    /// Tokens of an earlier answer (`context`).
    pub(super) context: usize,
}

/// One message.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn {
    pub(super) role: String,
    pub(super) text: String,
    pub(super) images: usize,
}

/// What of a prompt is read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) text: String,
    pub(super) tokens: u64,
}

/// What a request says about a prompt that is too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Tokens of context.
    pub(super) context: u32,
    pub(super) truncate: bool,
    pub(super) shift: bool,
    pub(super) num_keep: Option<u32>,
}

impl Prompt {
    /// A prompt of one message.
    pub(super) fn of(system: &str, text: String, images: usize) -> Self {
        let mut prompt = Self::default();
        if !system.is_empty() {
            prompt.say("system", system, 0);
        }
        prompt.say("user", text, images);
        prompt
    }

    pub(super) fn say(&mut self, role: &str, text: impl Into<String>, images: usize) {
        self.turns.push(Turn {
            role: role.to_ascii_lowercase(),
            text: text.into(),
            images,
        });
    }

    pub(super) fn images(&self) -> usize {
        self.turns.iter().map(|turn| turn.images).sum()
    }

    /// The whole prompt as the model would read it.
    #[cfg(test)]
    pub(super) fn rendered(&self) -> String {
        let all: Vec<&Turn> = self.turns.iter().collect();
        self.render(&all)
    }

    /// Tokens of the whole prompt.
    pub(super) fn tokens(&self) -> u64 {
        let size = |turn: &Turn| {
            if self.raw {
                turn.text.len()
            } else {
                turn.size()
            }
        };
        let bytes: usize = self.turns.iter().map(size).sum();
        self.count(bytes, self.images())
    }

    /// What of the prompt is read with these limits, or why it is refused.
    ///
    /// The oldest messages are left out first, but for system messages and the last one. What is too long even then is
    /// cut to about half of the context: the tokens that are kept at the beginning, and the end.
    pub(super) fn read(&self, limits: Limits) -> Result<Read, Refusal> {
        let context = u64::from(limits.context);
        let tokens = self.tokens();
        if tokens > context && !limits.truncate {
            return Err(exceeds(tokens, limits.context));
        }
        let mut turns: Vec<&Turn> = self.turns.iter().collect();
        let mut tokens = tokens;
        while tokens > context {
            let last = turns.len().saturating_sub(1);
            let Some(oldest) = turns[..last].iter().position(|turn| turn.role != "system") else {
                return self.cut(&turns, limits);
            };
            turns.remove(oldest);
            tokens = self.count(
                turns.iter().map(|turn| turn.size()).sum(),
                turns.iter().map(|turn| turn.images).sum(),
            );
        }
        let text = self.render(&turns);
        Ok(Read { text, tokens })
    }

    fn cut(&self, turns: &[&Turn], limits: Limits) -> Result<Read, Refusal> {
        if !limits.shift {
            return Err(Refusal::bad(TOO_LONG));
        }
        let kept = limits.num_keep.unwrap_or(KEPT).saturating_add(BEGINNING);
        let kept = kept.min(limits.context);
        let tokens = kept + (limits.context - kept) / 2;
        let whole = self.render(turns);
        let head = floor(&whole, kept as usize * TOKEN);
        let tail = whole.len().saturating_sub((tokens - kept) as usize * TOKEN);
        let tail = floor(&whole, tail.max(head));
        Ok(Read {
            text: [&whole[..head], &whole[tail..]].concat(),
            tokens: tokens.into(),
        })
    }

    fn count(&self, bytes: usize, images: usize) -> u64 {
        let opening = if self.raw { 0 } else { OPENING.len() };
        ((bytes + opening) / TOKEN + 1 + IMAGE * images + self.context) as u64
    }

    fn render(&self, turns: &[&Turn]) -> String {
        if self.raw {
            return turns.iter().map(|turn| turn.text.as_str()).collect();
        }
        let size: usize = turns.iter().map(|turn| turn.size()).sum();
        let mut text = String::with_capacity(size + OPENING.len());
        for turn in turns {
            for part in ["<|im_start|>", &turn.role, "\n"] {
                text.push_str(part);
            }
            for image in 0..turn.images {
                text.push_str(&format!("[img-{image}]"));
            }
            text.push_str(&turn.text);
            text.push_str("<|im_end|>\n");
        }
        text.push_str(OPENING);
        text
    }
}

impl Turn {
    /// Bytes of it in the template, images apart.
    fn size(&self) -> usize {
        self.role.len() + self.text.len() + "<|im_start|>\n<|im_end|>\n".len()
    }
}

/// The largest place in `text` up to `at` that is not within a character.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

const TOO_LONG: &str = "the prompt is longer than the context length currently available to the model; shorten the prompt, adjust the context length in settings, or use a model with a longer context length";

/// The runner's own words, which the server passes on as a string.
fn exceeds(tokens: u64, context: u32) -> Refusal {
    let message = format!(
        "request ({tokens} tokens) exceeds the available context size ({context} tokens), try increasing it"
    );
    Refusal::of_runner(&Exceeds {
        error: Exceeded {
            code: 400,
            message,
            r#type: "exceed_context_size_error",
            n_prompt_tokens: tokens,
            n_ctx: context,
        },
    })
}

/// The fields in the order in which a runner writes them.
#[derive(Serialize)]
struct Exceeds {
    error: Exceeded,
}

#[derive(Serialize)]
struct Exceeded {
    code: u16,
    message: String,
    r#type: &'static str,
    n_prompt_tokens: u64,
    n_ctx: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        context: 4_096,
        truncate: true,
        shift: true,
        num_keep: None,
    };

    fn chat(turns: &[(&str, &str)]) -> Prompt {
        let mut prompt = Prompt::default();
        for (role, text) in turns {
            prompt.say(role, *text, 0);
        }
        prompt
    }

    #[test]
    fn a_chat_is_rendered_in_the_plain_template() {
        let prompt = chat(&[("User", "hello there"), ("assistant", "Once upon")]);
        assert_eq!(
            prompt.rendered(),
            "<|im_start|>user\nhello there<|im_end|>\n<|im_start|>assistant\nOnce upon<|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(prompt.tokens(), prompt.rendered().len() as u64 / 4 + 1);
        let read = prompt.read(LIMITS).unwrap();
        assert_eq!(
            (read.text, read.tokens),
            (prompt.rendered(), prompt.tokens())
        );
    }

    #[test]
    fn the_oldest_messages_go_but_for_the_systems_and_the_last() {
        let long = "x".repeat(12_000);
        let prompt = chat(&[
            ("system", "s"),
            ("user", &long),
            ("assistant", "ok"),
            ("user", &long),
            ("assistant", "fine"),
            ("user", "last"),
        ]);
        let read = prompt.read(LIMITS).unwrap();
        assert_eq!(read.text.matches("xxx<").count(), 1, "one of the long ones");
        assert!(
            read.text.contains("\nok<"),
            "which is the later one's answer"
        );
        assert!(read.text.starts_with("<|im_start|>system\ns<"));
        assert!(read.text.contains("last<") && read.tokens < 4_096);
        assert!(read.tokens > 3_000, "no more is left out than has to be");
    }

    #[test]
    fn what_is_too_long_by_itself_is_cut_to_about_half_of_the_context() {
        let text = "abc\u{e9}".repeat(30_000);
        let mut raw = Prompt::of("", text.clone(), 0);
        raw.raw = true;
        let chat = chat(&[("system", "s"), ("user", "old"), ("user", &text)]);
        for (prompt, context, tokens) in [
            (&raw, 4_096, 2_051),
            (&raw, 2_048, 1_027),
            (&chat, 4_096, 2_051),
        ] {
            let read = prompt.read(Limits { context, ..LIMITS }).unwrap();
            assert_eq!(read.tokens, tokens);
            assert!(read.text.len() as u64 / 4 <= tokens + 1);
            let whole = prompt.rendered();
            assert!(
                read.text
                    .ends_with(&whole[floor(&whole, whole.len() - 1_000)..])
            );
        }
        let kept = Limits {
            num_keep: Some(994),
            context: 2_000,
            ..LIMITS
        };
        assert_eq!(raw.read(kept).unwrap().tokens, 1_498);
        let all = Limits {
            num_keep: Some(u32::MAX),
            ..LIMITS
        };
        assert_eq!(raw.read(all).unwrap().tokens, 4_096);
    }

    #[test]
    fn a_prompt_that_may_not_be_cut_is_refused_with_both_numbers() {
        let prompt = chat(&[("user", &"x".repeat(40_000)), ("user", "last")]);
        let refusal = prompt
            .read(Limits {
                truncate: false,
                ..LIMITS
            })
            .unwrap_err();
        let said: Value = serde_json::from_str(&refusal.text).unwrap();
        assert_eq!(refusal.status.as_u16(), 400);
        assert_eq!(said["error"]["n_prompt_tokens"], prompt.tokens());
        assert_eq!(said["error"]["n_ctx"], 4_096);
        assert!(
            prompt
                .read(Limits {
                    shift: false,
                    ..LIMITS
                })
                .is_ok(),
            "the last message fits"
        );
        let alone = chat(&[("user", &"x".repeat(40_000))]);
        let refusal = alone
            .read(Limits {
                shift: false,
                ..LIMITS
            })
            .unwrap_err();
        assert!(
            refusal
                .text
                .starts_with("the prompt is longer than the context length")
        );
    }
}
