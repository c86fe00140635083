//! What is left out of a request when it is sent once more to a provider that has refused it for that alone.

use super::forms::ClientForm;
use crate::client::Operation;
use crate::dialect::exchange::Target;
use crate::dialect::{anthropic, openai};
use crate::facts::{ModelFacts, ReasoningControl, SamplingRule};
use crate::ir::{ChatRequest, Dropped, Mend, Part, Refused, Text, Thinking};
use crate::provider::ProviderKind;
use crate::wire::json::Object;

/// The name of signatures in `X-Remuda-Dropped`.
const SIGNATURES: &str = "thinking.signature";

/// The limit by the name that models which reason refuse; its newer one says the same.
pub(super) const OLD_LIMIT: &str = "max_tokens";
const NEW_LIMIT: &str = "max_completion_tokens";

/// Takes it out of the request and names it. Gives the stop strings at which the gateway has to cut the answer itself.
///
/// # Errors
/// If the request has nothing of the kind, or its client insists on it.
pub(super) fn mend<'a>(
    request: &mut ChatRequest<'a>,
    client: ClientForm,
    mend: Mend,
) -> Result<Vec<Text<'a>>, Refused> {
    let mut own_stops = Vec::new();
    let taken = match mend {
        Mend::Thinking if insists_on_thinking(request.thinking, client) => None,
        Mend::Thinking => request.thinking.take().map(|_| "thinking"),
        Mend::Reasoning
            if request.thinking == Some(Thinking::Off)
                || insists_on_thinking(request.thinking, client) =>
        {
            None
        }
        // One that says nothing may reason by itself.
        Mend::Reasoning => {
            request.thinking = Some(Thinking::Off);
            Some("thinking")
        }
        Mend::Signatures => unsign(request).then_some(SIGNATURES),
        Mend::Encoding => None,
        // It is said by its newer name: see [`super::order`].
        Mend::Parameter(OLD_LIMIT) if request.max_tokens.is_some() => return Ok(own_stops),
        Mend::Parameter("stop") => {
            own_stops = std::mem::take(&mut request.stop);
            if own_stops.is_empty() {
                None
            } else {
                // Nothing is lost.
                return Ok(own_stops);
            }
        }
        Mend::Parameter(name) => refine_less(request, name),
    };
    match taken {
        Some(name) => {
            request.dropped.add(name);
            Ok(own_stops)
        }
        None => Err(Refused::new("there is nothing to be left out")),
    }
}

/// Returns whether the client said in so many words that the model shall think. An effort is how much it shall, if it
/// does; and what Anthropic's clients send with every request is no wish to Ollama's own layer for them either.
fn insists_on_thinking(thinking: Option<Thinking>, client: ClientForm) -> bool {
    client != ClientForm::AnthropicMessages
        && matches!(thinking, Some(Thinking::On | Thinking::Budget(_)))
}

/// Takes signed thoughts, and the signatures of calls, out of the history.
fn unsign(request: &mut ChatRequest<'_>) -> bool {
    let mut found = false;
    for message in &mut request.messages {
        message.parts.retain_mut(|part| match part {
            Part::Thought(thought) if thought.signature.is_some() => {
                found = true;
                false
            }
            Part::ToolCall(call) => {
                found |= call.signature.take().is_some();
                true
            }
            _ => true,
        });
    }
    found
}

fn refine_less(request: &mut ChatRequest<'_>, name: &'static str) -> Option<&'static str> {
    fn took<T>(value: &mut Option<T>) -> bool {
        value.take().is_some()
    }
    let sampling = &mut request.sampling;
    let (taken, name) = match name {
        "temperature" => (took(&mut sampling.temperature), name),
        "top_p" => (took(&mut sampling.top_p), name),
        "presence_penalty" => (took(&mut sampling.presence_penalty), name),
        "frequency_penalty" => (took(&mut sampling.frequency_penalty), name),
        "seed" => (took(&mut sampling.seed), name),
        "logit_bias" => (took(&mut sampling.logit_bias), name),
        "logprobs" => (took(&mut request.logprobs), name),
        "parallel_tool_calls" => (took(&mut request.parallel_tool_calls), name),
        "user" => (took(&mut request.user), name),
        "reasoning_effort" => (took(&mut request.thinking), "thinking"),
        _ => (false, name),
    };
    taken.then_some(name)
}

/// Returns a body that passes as it came, without what its provider refuses in it; `None` if it has nothing of the
/// kind.
pub fn mended(operation: Operation, body: &[u8], mend: Mend) -> Option<(Vec<u8>, Dropped)> {
    let mut dropped = Dropped::default();
    let without = match (mend, operation) {
        (Mend::Signatures, Operation::AnthropicMessages | Operation::AnthropicCountTokens) => {
            dropped.add(SIGNATURES);
            anthropic::without_thoughts(body)
        }
        (Mend::Signatures, Operation::OpenAiResponses) => {
            dropped.add(SIGNATURES);
            openai::unsigned::without_reasoning(body)
        }
        (Mend::Signatures, Operation::OpenAiChat) => {
            dropped.add(SIGNATURES);
            openai::unsigned::without_details(body)
        }
        (Mend::Reasoning, Operation::OpenAiChat) => unreasoning(body, &mut dropped),
        (Mend::Parameter(name), Operation::OpenAiChat | Operation::OpenAiResponses) => {
            without_parameter(body, name, &mut dropped)
        }
        // What else is refused the client is told in its provider's own words.
        _ => None,
    }?;
    Some((without, dropped))
}

/// Returns a chat whose model is told not to reason.
fn unreasoning(body: &[u8], dropped: &mut Dropped) -> Option<Vec<u8>> {
    const EFFORT: &str = "reasoning_effort";
    const NONE: &[u8] = b"\"none\"";
    let mut body = Object::read(body)?;
    if body.get(EFFORT) == Some(NONE) {
        return None;
    }
    body.set(EFFORT, NONE);
    dropped.add(EFFORT);
    body.written()
}

fn without_parameter(body: &[u8], name: &'static str, dropped: &mut Dropped) -> Option<Vec<u8>> {
    let mut body = Object::read(body)?;
    body.get(name)?;
    match name {
        OLD_LIMIT if body.get(NEW_LIMIT).is_none() => body.rename(OLD_LIMIT, NEW_LIMIT),
        OLD_LIMIT => {
            body.remove(OLD_LIMIT);
        }
        name => {
            body.remove(name);
            dropped.add(name);
        }
    }
    if name == "logprobs" {
        body.remove("top_logprobs");
    }
    body.written()
}

/// Returns a body that passes as it came, as its model is known to take it, and what was left out for that; `None` if
/// it may pass. `schemas`: the request has some.
pub fn fitted(
    operation: Operation,
    body: &[u8],
    target: &Target<'_>,
    schemas: bool,
) -> Option<(Vec<u8>, Dropped)> {
    let kind = target.provider.kind;
    let foreign = openai::foreign::concern(kind) || kind == ProviderKind::Anthropic;
    if takes_anything(target.facts) && !schemas && !foreign {
        return None;
    }
    match operation {
        Operation::OpenAiChat => openai::chat::fitted(body, target),
        Operation::OpenAiResponses => openai::responses::fitted(body, target),
        Operation::OpenAiCompletions | Operation::OpenAiEmbeddings | Operation::OpenAiImages => {
            openai::foreign::fitted(body, target)
        }
        Operation::AnthropicMessages | Operation::AnthropicCountTokens => {
            anthropic::fitted(body, target)
        }
        _ => None,
    }
}

/// Returns whether nothing is known by which a request would have to be changed.
fn takes_anything(facts: &ModelFacts) -> bool {
    facts.refused.is_empty()
        && facts.refused_while_reasoning.is_empty()
        && facts.max_output.is_none()
        && facts.sampling == SamplingRule::Any
        && matches!(facts.reasoning.form, ReasoningControl::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Effort, Json, Message, Role, Thought, ToolCall};

    fn thinking(thinking: Thinking, client: ClientForm) -> Option<Vec<&'static str>> {
        let mut request = ChatRequest {
            thinking: Some(thinking),
            ..ChatRequest::default()
        };
        mend(&mut request, client, Mend::Thinking).ok()?;
        assert_eq!(request.thinking, None);
        Some(request.dropped.fields().to_vec())
    }

    #[test]
    fn thinking_is_left_out_unless_the_client_insists() {
        use ClientForm::{AnthropicMessages, OpenAiChat};
        let effort = Thinking::Effort(Effort::Low);
        assert_eq!(thinking(effort, OpenAiChat), Some(vec!["thinking"]));
        assert_eq!(thinking(Thinking::On, OpenAiChat), None);
        assert_eq!(thinking(Thinking::Budget(2048), OpenAiChat), None);
        let budget = thinking(Thinking::Budget(2048), AnthropicMessages);
        assert_eq!(budget, Some(vec!["thinking"]));
    }

    #[test]
    fn a_model_that_may_not_reason_beside_something_is_told_not_to() {
        use ClientForm::{AnthropicMessages, OllamaChat};
        let asked = |thinking, client| {
            let mut request = ChatRequest {
                thinking,
                ..ChatRequest::default()
            };
            mend(&mut request, client, Mend::Reasoning).ok()?;
            assert_eq!(request.dropped.fields(), ["thinking"]);
            request.thinking
        };
        let effort = Some(Thinking::Effort(Effort::High));
        for wanted in [None, effort, Some(Thinking::Budget(2048))] {
            assert_eq!(asked(wanted, AnthropicMessages), Some(Thinking::Off));
        }
        assert_eq!(asked(Some(Thinking::On), OllamaChat), None);
        assert_eq!(asked(Some(Thinking::Off), OllamaChat), None);
        let passing = |body: &str| {
            let (body, dropped) = mended(Operation::OpenAiChat, body.as_bytes(), Mend::Reasoning)?;
            assert_eq!(dropped.fields(), ["reasoning_effort"]);
            String::from_utf8(body).ok()
        };
        let told = r#"{"model":"m","reasoning_effort":"none"}"#;
        for body in [
            r#"{"model":"m","reasoning_effort":"high"}"#,
            r#"{"model":"m"}"#,
        ] {
            assert_eq!(passing(body).as_deref(), Some(told));
        }
        assert_eq!(passing(told), None);
    }

    #[test]
    fn signed_thoughts_go_and_calls_lose_their_signatures() {
        let thought = |signature: Option<&'static str>| {
            Part::Thought(Thought {
                signature: signature.map(Text::escaped),
                ..Thought::default()
            })
        };
        let call = |signature: Option<&'static str>| {
            Part::ToolCall(ToolCall {
                id: None,
                name: Text::escaped("f"),
                arguments: Json::empty_object(),
                signature: signature.map(Text::escaped),
            })
        };
        let of = |parts| ChatRequest {
            messages: vec![Message::new(Role::Assistant, parts)],
            ..ChatRequest::default()
        };
        let mut signed = of(vec![thought(Some("s")), thought(None), call(Some("t"))]);
        mend(&mut signed, ClientForm::OpenAiChat, Mend::Signatures).unwrap();
        assert_eq!(signed.messages[0].parts, [thought(None), call(None)]);
        assert_eq!(signed.dropped.fields(), [SIGNATURES]);
        let mut unsigned = of(vec![thought(None), call(None)]);
        assert!(mend(&mut unsigned, ClientForm::OpenAiChat, Mend::Signatures).is_err());
    }

    #[test]
    fn refinements_go_by_name_and_stop_strings_become_the_gateways() {
        let mut request = ChatRequest {
            stop: vec![Text::escaped("END")],
            logprobs: Some(3),
            ..ChatRequest::default()
        };
        request.sampling.temperature = Some(0.5);
        let mut without = |name| mend(&mut request, ClientForm::OllamaChat, Mend::Parameter(name));
        assert_eq!(without("temperature"), Ok(vec![]));
        assert!(without("temperature").is_err());
        assert_eq!(without("stop"), Ok(vec![Text::escaped("END")]));
        assert_eq!(without("logprobs"), Ok(vec![]));
        assert!(without("messages").is_err());
        assert_eq!(request.dropped.fields(), ["temperature", "logprobs"]);
    }
}
