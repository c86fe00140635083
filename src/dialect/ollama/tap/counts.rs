//! Token counts of an answer that passes: Ollama's numbers, and the `usage` objects of OpenAI's and Anthropic's formats.

use crate::ir::Usage;
use crate::wire::json::{Kind, Scanner, SyntaxError};

/// What has been told so far. Anthropic's events state input and output at different times, and a later zero means
/// "not told again".
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// As told: all of the prompt, or in Anthropic's format what no cache had.
    prompt: Option<u64>,
    /// The cached tokens are told as Anthropic does, and so is the prompt: they are not part of it.
    beside: bool,
    /// The prompt is told as OpenAI's chat API does, with all that is part of it.
    inclusive: bool,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_hour: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    cost: Option<f64>,
    load_duration: Option<u64>,
    prompt_duration: Option<u64>,
    output_duration: Option<u64>,
    total_duration: Option<u64>,
    told: bool,
}

impl Counts {
    /// `None` if nothing was told.
    pub(super) fn usage(&self) -> Option<Usage> {
        let (read, written) = (self.cache_read.unwrap_or(0), self.cache_write.unwrap_or(0));
        self.told.then_some(Usage {
            prompt: self
                .prompt
                .map(|prompt| match self.beside && !self.inclusive {
                    true => prompt.saturating_add(read).saturating_add(written),
                    false => prompt,
                }),
            cache_read: self.cache_read,
            cache_write: self.cache_write,
            cache_write_hour: self.cache_write_hour,
            output: self.output,
            reasoning: self.reasoning,
            cost: self.cost,
            load_duration: self.load_duration,
            prompt_duration: self.prompt_duration,
            output_duration: self.output_duration,
            total_duration: self.total_duration,
        })
    }

    /// Takes over what `later` tells.
    pub(super) fn update(&mut self, later: &Counts) {
        if !later.told {
            return;
        }
        self.told = true;
        self.beside |= later.beside;
        self.inclusive |= later.inclusive;
        put(&mut self.prompt, later.prompt);
        put(&mut self.cache_read, later.cache_read);
        put(&mut self.cache_write, later.cache_write);
        put(&mut self.cache_write_hour, later.cache_write_hour);
        put(&mut self.output, later.output);
        put(&mut self.reasoning, later.reasoning);
        put(&mut self.load_duration, later.load_duration);
        put(&mut self.prompt_duration, later.prompt_duration);
        put(&mut self.output_duration, later.output_duration);
        put(&mut self.total_duration, later.total_duration);
        self.cost = later.cost.or(self.cost);
    }

    /// A member of one of Ollama's objects.
    pub(super) fn number(&mut self, key: &[u8], digits: &[u8]) {
        let place = match key {
            b"prompt_eval_count" => &mut self.prompt,
            b"prompt_eval_cached_count" => &mut self.cache_read,
            b"eval_count" => &mut self.output,
            b"prompt_eval_duration" => &mut self.prompt_duration,
            b"eval_duration" => &mut self.output_duration,
            b"load_duration" => &mut self.load_duration,
            b"total_duration" => &mut self.total_duration,
            _ => return,
        };
        *place = Some(number(digits));
        self.told = true;
    }

    /// A `usage` object.
    pub(super) fn object(&mut self, object: &[u8]) {
        let mut found = Counts::default();
        // What was read before a mistake is not believed.
        let read = members(object, |key, kind, value| found.member(key, kind, value));
        if read.is_ok() {
            found.told = true;
            self.update(&found);
        }
    }

    fn member(&mut self, key: &[u8], kind: Kind, value: &[u8]) {
        match (key, kind) {
            (b"prompt_tokens", Kind::Number) => {
                self.prompt = Some(number(value));
                self.inclusive = true;
            }
            (b"input_tokens", Kind::Number) => self.prompt = Some(number(value)),
            (b"completion_tokens" | b"output_tokens", Kind::Number) => {
                self.output = Some(number(value));
            }
            (b"cache_read_input_tokens", Kind::Number) => {
                self.cache_read = Some(number(value));
                self.beside = true;
            }
            (b"cache_creation_input_tokens", Kind::Number) => {
                self.cache_write = Some(number(value));
                self.beside = true;
            }
            // DeepSeek's; part of the prompt.
            (b"prompt_cache_hit_tokens", Kind::Number) => self.cache_read = Some(number(value)),
            // OpenRouter's, in US dollars.
            (b"cost", Kind::Number) => self.cost = dollars(value),
            (
                b"prompt_tokens_details"
                | b"input_tokens_details"
                | b"completion_tokens_details"
                | b"output_tokens_details"
                | b"cache_creation",
                Kind::Object,
            ) => {
                // The members so far stand whatever is wrong with this one.
                let _ = members(value, |key, kind, value| self.detail(key, kind, value));
            }
            _ => {}
        }
    }

    fn detail(&mut self, key: &[u8], kind: Kind, value: &[u8]) {
        let place = match key {
            b"cached_tokens" => &mut self.cache_read,
            b"cache_write_tokens" => &mut self.cache_write,
            b"ephemeral_1h_input_tokens" => &mut self.cache_write_hour,
            b"reasoning_tokens" | b"thinking_tokens" => &mut self.reasoning,
            _ => return,
        };
        if kind == Kind::Number {
            *place = Some(number(value));
        }
    }
}

fn put(into: &mut Option<u64>, from: Option<u64>) {
    if from.is_some_and(|count| count > 0) || into.is_none() {
        *into = from;
    }
}

fn members(object: &[u8], mut each: impl FnMut(&[u8], Kind, &[u8])) -> Result<(), SyntaxError> {
    let mut scanner = Scanner::new(object);
    scanner.begin_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        let kind = scanner.kind()?;
        let value = scanner.skip_value()?;
        each(key.inside(object), kind, value.of(object));
    }
    Ok(())
}

/// A count: digits alone, or a float that is cut; anything else is 0.
fn number(digits: &[u8]) -> u64 {
    let Ok(text) = str::from_utf8(digits) else {
        return 0;
    };
    text.parse::<u64>()
        .unwrap_or_else(|_| text.parse::<f64>().map_or(0, |float| float as u64))
}

fn dollars(digits: &[u8]) -> Option<f64> {
    let text = str::from_utf8(digits).ok()?;
    text.parse()
        .ok()
        .filter(|dollars: &f64| dollars.is_finite() && *dollars > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(objects: &[&str]) -> Usage {
        let mut counts = Counts::default();
        for object in objects {
            counts.object(object.as_bytes());
        }
        counts.usage().unwrap()
    }

    #[test]
    fn openai_counts_cached_tokens_as_part_of_the_prompt() {
        let chat = r#"{"prompt_tokens":100,"completion_tokens":30,"total_tokens":130,"prompt_tokens_details":{"cached_tokens":64,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":12},"cost":0.00125}"#;
        let responses = r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":64},"output_tokens":30,"output_tokens_details":{"reasoning_tokens":12},"total_tokens":130}"#;
        let deepseek = r#"{"prompt_tokens":100,"completion_tokens":30,"prompt_cache_hit_tokens":64,"completion_tokens_details":{"reasoning_tokens":12}}"#;
        for object in [chat, responses, deepseek] {
            let usage = told(&[object]);
            assert_eq!(usage.prompt, Some(100), "{object}");
            assert_eq!(usage.cache_read, Some(64), "{object}");
            assert_eq!(usage.output, Some(30), "{object}");
            assert_eq!(usage.reasoning, Some(12), "{object}");
        }
        assert_eq!(told(&[chat]).cost, Some(0.00125));
    }

    #[test]
    fn anthropic_counts_them_beside_it_and_a_later_zero_tells_nothing() {
        let start = r#"{"input_tokens":10,"cache_creation_input_tokens":300,"cache_read_input_tokens":2000,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},"output_tokens":1}"#;
        let later = r#"{"input_tokens":0,"cache_read_input_tokens":0,"output_tokens":57,"output_tokens_details":{"thinking_tokens":40}}"#;
        let usage = told(&[start, later]);
        assert_eq!(usage.prompt, Some(2310));
        assert_eq!(usage.cache_read, Some(2000));
        assert_eq!(usage.cache_write, Some(300));
        assert_eq!(usage.cache_write_hour, Some(200));
        assert_eq!(usage.output, Some(57));
        assert_eq!(usage.reasoning, Some(40));
    }

    #[test]
    fn a_gateway_that_speaks_of_caches_as_both_do_counts_them_once() {
        let both = r#"{"prompt_tokens":100,"completion_tokens":1,"cache_read_input_tokens":64,"cache_creation_input_tokens":0}"#;
        assert_eq!(told(&[both]).prompt, Some(100));
    }

    #[test]
    fn what_is_no_object_of_counts_tells_nothing() {
        let mut counts = Counts::default();
        for object in [r#"{"prompt_tokens":1"#, "[1]", ""] {
            counts.object(object.as_bytes());
        }
        assert_eq!(counts.usage(), None);
        let odd = told(&[r#"{"prompt_tokens":"7","completion_tokens":5.0,"cost":-1}"#]);
        assert_eq!((odd.prompt, odd.output, odd.cost), (None, Some(5), None));
    }
}
