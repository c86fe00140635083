//! A provider's request, made from a client's.

use std::sync::Arc;

use super::answer::Translation;
use super::bounds;
use super::count;
use super::forms::{ClientForm, ClientFunctions, ProviderForm, ProviderFunctions};
use super::mend::{OLD_LIMIT, mend};
use super::serving;
use crate::dialect::anthropic;
use crate::dialect::exchange::{ProviderRequest, Reply, Target};
use crate::dialect::form::{ClientChat, ClientEmbeddings, ProviderChat, ProviderEmbeddings};
use crate::facts::{EffortLevel, ModelFacts, Parameter, ReasoningControl, ReasoningSetting};
use crate::ir::{
    ChatRequest, ClientTools, Dropped, Mend, Refused, Thinking, ToolChoice, name_speakers,
    place_thoughts,
};
use crate::preferences::Fidelity;
use crate::provider::ProviderKind;

/// Anthropic's own clients refuse to wait for an answer of more tokens without a stream (ten minutes at 128,000 tokens
/// an hour): such an answer is streamed to the gateway and gathered here.
const LONGEST_UNSTREAMED: u64 = 21_333;

/// What is to be translated.
#[derive(Clone, Copy, Debug)]
pub struct Translating<'a> {
    pub client: ClientForm,
    pub form: ProviderForm,
    pub body: &'a [u8],
    /// Whether the client gets a stream.
    pub streams: bool,
    /// It is to be seen as it comes, although the client gets it whole.
    pub gathered: bool,
    pub fidelity: Fidelity,
    /// What the provider has refused it for.
    pub mend: Option<Mend>,
    /// What its model has refused of late: left out as far as the client does not insist.
    pub spare: &'a [Mend],
}

/// A request for a provider and what will read its answer.
pub struct TranslatedRequest {
    pub outgoing: ProviderRequest,
    /// Further requests whose answers belong to the same, in order; embeddings beyond a provider's batch.
    pub more: Vec<ProviderRequest>,
    pub translation: Box<Translation>,
    /// What the provider cannot express, for `X-Remuda-Dropped`.
    pub dropped: Dropped,
    /// The provider is asked for a stream.
    pub streamed: bool,
}

/// Makes the request. `target.stream` is decided here.
///
/// # Errors
/// If the body is no request of the client's format, or cannot be said in the provider's.
pub fn order(
    translating: &Translating<'_>,
    target: Target<'_>,
    reply: Reply,
) -> Result<TranslatedRequest, Refused> {
    let functions = (translating.client.functions(), translating.form.functions());
    match functions {
        (ClientFunctions::Chat(client), ProviderFunctions::Chat(form)) => {
            chat(translating, (client, form), target, reply)
        }
        (ClientFunctions::Embeddings(client), ProviderFunctions::Embeddings(form)) => {
            embeddings(translating, (client, form), target, reply)
        }
        (ClientFunctions::Chat(_), ProviderFunctions::Embeddings(_))
        | (ClientFunctions::Embeddings(_), ProviderFunctions::Chat(_)) => Err(Refused::new(
            "a request for embeddings cannot be sent as a chat, nor a chat as one for embeddings",
        )),
    }
}

fn chat(
    translating: &Translating<'_>,
    (asked, answered): (&'static ClientChat, &'static ProviderChat),
    target: Target<'_>,
    mut reply: Reply,
) -> Result<TranslatedRequest, Refused> {
    let Translating {
        client,
        form,
        streams,
        ..
    } = *translating;
    let (mut request, own_stops) = read(translating, asked, target.provider.kind)?;
    request.stream = streams;
    reply.include_usage = request.include_usage;
    reply.functions = request.functions;
    reply.prompt_estimate = count::estimated(&request);
    reply.tools = Arc::new(ClientTools::of(&request.special, &request.tools));
    let long = request
        .max_tokens
        .is_none_or(|tokens| tokens > LONGEST_UNSTREAMED);
    let streamed = streams
        || translating.gathered
        || (target.provider.kind == ProviderKind::Anthropic && long);
    let target = Target {
        stream: streamed,
        ..target
    };
    let learned = learned(translating, target.facts);
    let target = Target {
        facts: learned.as_ref().unwrap_or(target.facts),
        ..target
    };
    let mut dropped = request.dropped.clone();
    if !keeps_names(form, target.provider.kind) {
        name_speakers(&mut request.messages, &mut dropped);
    }
    // An answer in the neutral model is one.
    dropped.add_if(request.answers.is_some(), "n");
    let user = serving::name_of_user(client, &request);
    dropped.add_if(is_unheard(&request, form, target.facts), "thinking");
    serving::fit(&mut request, (client, form), &target, &mut dropped);
    if !form.is_ollamas() {
        request.local.name_in(&mut dropped);
    }
    let mut outgoing = (answered.write)(request, &target)?;
    for field in outgoing.dropped.fields() {
        dropped.add(match *field {
            "user" => user,
            field => field,
        });
    }
    faithful(translating.fidelity, &dropped, target.provider.kind)?;
    outgoing.stop.extend(own_stops);
    let translation = Translation::chat((asked, answered), reply, &mut outgoing, streamed, streams);
    Ok(TranslatedRequest {
        outgoing,
        more: Vec::new(),
        translation: Box::new(translation),
        dropped,
        streamed,
    })
}

/// Reads the client's request and leaves out of it what the provider has refused. Returns it with the stop strings that
/// are left to the gateway.
fn read<'a>(
    translating: &Translating<'a>,
    asked: &'static ClientChat,
    kind: ProviderKind,
) -> Result<(ChatRequest<'a>, Vec<String>), Refused> {
    let mut request = (asked.read)(translating.body)?;
    bounds::check(&request)?;
    if keeps_thoughts_in_place(translating.form) {
        place_thoughts(&mut request.messages);
    }
    if kind != ProviderKind::Anthropic {
        anthropic::leave_out_billing(&mut request);
    }
    choosable(&request)?;
    let client = translating.client;
    let mut stops = match translating.mend {
        Some(wrong) => mend(&mut request, client, wrong)?,
        None => Vec::new(),
    };
    for known in translating.spare {
        stops.extend(mend(&mut request, client, *known).unwrap_or_default());
    }
    let stops = stops.iter().map(|text| text.decoded().into_owned());
    Ok((request, stops.collect()))
}

/// Returns whether a turn of this form is a list of thoughts, words and calls. Others would part the words, which
/// belong together, and leave the thoughts out.
fn keeps_thoughts_in_place(form: ProviderForm) -> bool {
    matches!(
        form,
        ProviderForm::AnthropicMessages
            | ProviderForm::BedrockConverse
            | ProviderForm::GoogleContent
            | ProviderForm::OpenAiResponses
    )
}

/// Returns whether a wish to reason, or not to, comes to nothing: the model is told nothing of it and does otherwise by
/// itself. Ollama's servers are told it as it is, and refuse it themselves.
fn is_unheard(request: &ChatRequest<'_>, form: ProviderForm, facts: &ModelFacts) -> bool {
    let wants = match request.thinking {
        None => return false,
        Some(Thinking::Off) => false,
        Some(_) => true,
    };
    let told = facts.ask(request.thinking) != ReasoningSetting::Nothing
        && form != ProviderForm::OpenAiCompletions;
    !form.is_ollamas() && !told && wants != facts.reasoning.is_on(ReasoningSetting::Nothing)
}

/// Returns whether messages of this form have a `name`. Servers that only speak the format refuse it, or leave it to a
/// chat template, which has no place for it.
fn keeps_names(form: ProviderForm, kind: ProviderKind) -> bool {
    use ProviderKind::{Azure, OpenAi, OpenRouter};
    form == ProviderForm::OpenAiChat && matches!(kind, OpenAi | Azure | OpenRouter)
}

/// Refuses a demanded call that has no tool: where all were left out, because no other provider has them or the choice
/// forbids them, a request without would be another one.
fn choosable(request: &ChatRequest<'_>) -> Result<(), Refused> {
    let refused = |text: &'static str| Err(Refused::field("tool_choice", text));
    match &request.tool_choice {
        ToolChoice::Auto | ToolChoice::None => Ok(()),
        ToolChoice::Required | ToolChoice::Named(_) if request.tools.is_empty() => refused(
            "`tool_choice` demands a call, and the request offers no tool that this model's provider can be given",
        ),
        ToolChoice::Named(name) if !request.tools.iter().any(|tool| tool.name == *name) => {
            refused("`tool_choice` names a tool that is not offered")
        }
        ToolChoice::Required | ToolChoice::Named(_) => Ok(()),
    }
}

/// Returns the facts of a model that has shown to refuse the limit by its older name, or has said how it is told not to
/// reason.
fn learned(translating: &Translating<'_>, facts: &ModelFacts) -> Option<ModelFacts> {
    let mut known = translating.spare.iter().chain(&translating.mend);
    let renames = known.any(|mend| *mend == Mend::Parameter(OLD_LIMIT));
    let takes_none = translating.mend == Some(Mend::Reasoning)
        && facts.reasoning.form == ReasoningControl::Unknown;
    if !renames && !takes_none {
        return None;
    }
    let mut facts = facts.clone();
    if renames {
        facts.refused.push(Parameter::MaxTokens);
    }
    if takes_none {
        facts.reasoning.form = ReasoningControl::Effort;
        facts.reasoning.efforts = vec![EffortLevel::None];
    }
    Some(facts)
}

fn embeddings(
    translating: &Translating<'_>,
    (asked, answered): (&'static ClientEmbeddings, &'static ProviderEmbeddings),
    target: Target<'_>,
    mut reply: Reply,
) -> Result<TranslatedRequest, Refused> {
    if translating.mend.is_some() {
        return Err(Refused::new("there is nothing to be left out"));
    }
    let (request, base64) = (asked.read)(translating.body)?;
    request.bounded()?;
    reply.base64 = base64;
    let mut dropped = request.dropped.clone();
    if !translating.form.is_ollamas() {
        request.local.name_in(&mut dropped);
    }
    let mut calls = (answered.write)(request, &target)?;
    for call in &calls {
        dropped.merge(&call.dropped);
    }
    faithful(translating.fidelity, &dropped, target.provider.kind)?;
    if calls.is_empty() {
        return Err(Refused::field("input", "input is empty"));
    }
    let more = calls.split_off(1);
    let outgoing = calls.swap_remove(0);
    let translation = Translation::vectors((asked, answered), reply, translating.body);
    Ok(TranslatedRequest {
        outgoing,
        more,
        translation: Box::new(translation),
        dropped,
        streamed: false,
    })
}

/// Decides what becomes of a request that is sent without something.
///
/// # Errors
/// If nothing may be left out.
pub fn faithful(fidelity: Fidelity, dropped: &Dropped, kind: ProviderKind) -> Result<(), Refused> {
    let missed: Vec<_> = dropped
        .fields()
        .iter()
        .copied()
        .filter(|field| !serving::is_beside(field))
        .collect();
    if fidelity == Fidelity::Lenient || missed.is_empty() {
        return Ok(());
    }
    Err(Refused {
        text: format!(
            "{} cannot be expressed for this model's provider ({}), and routing.fidelity is strict",
            missed.join(", "),
            kind.name()
        )
        .into(),
        param: missed.first().copied(),
    })
}
