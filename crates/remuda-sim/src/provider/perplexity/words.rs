//! A run as Perplexity words it: sources before the text, events about the search, and costs in the usage.

use serde_json::{Value, json};

use super::super::exchange::Request;
use super::super::responses::words::{Event, ResponseWords};
use super::asked::Asked;

/// One run's answer.
pub(super) struct Answer<'a> {
    asked: &'a Asked,
    pub(super) words: ResponseWords<'a>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(asked: &'a Asked, request: &'a Request) -> Self {
        let mut thought = asked.prompt.think();
        let mut first = Vec::new();
        if let Some(query) = &asked.search {
            if !thought.text.is_empty() {
                thought.text.push(" [1]".into());
            }
            first.push(
                json!({"type": "search_results", "queries": [query], "results": results(query)}),
            );
        }
        let words = ResponseWords {
            request,
            manner: &asked.manner,
            thought,
            first,
        };
        Self { asked, words }
    }

    /// Returns a response that has ended, with Perplexity's usage.
    pub(super) fn finished(&self, mut response: Value) -> Value {
        let (input, output) = (self.asked.manner.prompt_tokens, self.words.thought.tokens());
        let searches = u64::from(self.asked.search.is_some());
        let (input_cost, output_cost) = (input as f64 * 0.000_000_25, output as f64 * 0.000_002_5);
        let tool_cost = searches as f64 * 0.005;
        let mut usage = json!({
            "input_tokens": input,
            "output_tokens": output,
            "total_tokens": input + output,
            "input_tokens_details": {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
            "cost": {"currency": "USD", "input_cost": input_cost, "output_cost": output_cost,
                "tool_calls_cost": tool_cost, "total_cost": input_cost + output_cost + tool_cost},
        });
        if searches > 0 {
            usage["tool_calls_details"] = json!({"search_web": {"invocation": searches}});
        }
        response["usage"] = usage;
        response
    }

    pub(super) fn events(&self) -> Vec<Event> {
        let mut events = self.words.events();
        if let Some(last) = events.last_mut() {
            last.value["response"] = self.finished(last.value["response"].take());
        }
        let before = self
            .research()
            .into_iter()
            .map(|value| Event { value, tokens: 0 });
        // After `response.created` and `response.in_progress`.
        events.splice(2..2, before);
        for (number, event) in events.iter_mut().enumerate() {
            event.value["sequence_number"] = number.into();
        }
        events
    }

    /// Events that tell of reasoning and searching.
    fn research(&self) -> Vec<Value> {
        let mut events = Vec::new();
        if self.asked.search.is_none() && !self.asked.reasons {
            return events;
        }
        let thought = format!("The user said {:?}.", self.asked.prompt.said);
        events.push(json!({"type": "response.reasoning.started", "thought": thought}));
        if let Some(query) = &self.asked.search {
            events.push(json!({"type": "response.reasoning.search_queries", "queries": [query]}));
            events.push(
                json!({"type": "response.reasoning.search_results", "results": results(query)}),
            );
        }
        events.push(json!({"type": "response.reasoning.stopped"}));
        events
    }
}

fn results(query: &str) -> Value {
    json!([
        {"id": 1, "url": "https://example.com/one", "title": "One", "snippet": query, "date": "2026-11-01"},
        {"id": 2, "url": "https://example.com/two", "title": "Two", "snippet": query, "date": "2026-11-02"},
    ])
}
