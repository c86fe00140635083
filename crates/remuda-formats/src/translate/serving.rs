//! How a request is to be served and kept, as far as a form has fields for it: between two APIs of one provider nothing is
//! lost that both have. The rest is named.

use super::forms::{ClientForm, ProviderForm};
use crate::dialect::exchange::Target;
use crate::ir::{ChatRequest, Dropped, Text};
use crate::provider::ProviderKind;

/// Fields that say nothing of the answer: that they are left out is told, and is no reason to refuse a request.
const BESIDES: [&str; 16] = [
    "store",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "client_metadata",
    "user",
    "metadata.user_id",
    "cache_control",
    "cache_control.ttl",
    "keep_alive",
    // The other provider has room for the prompt, or says that it has not.
    "num_ctx",
    "shift",
    "stream_options.include_obfuscation",
    "tools.eager_input_streaming",
];

/// Returns whether an answer without this field is the same.
pub(super) fn is_beside(field: &str) -> bool {
    BESIDES.contains(&field)
}

/// What a target has fields for.
#[derive(Clone, Copy, Debug)]
struct Takes {
    /// Tiers, in OpenAI's words; `None` takes any.
    tiers: Option<&'static [&'static str]>,
    verbosity: bool,
    /// `prompt_cache_key`, `safety_identifier` and `metadata`.
    marks: bool,
    /// `store` and what becomes of a prompt in the cache.
    keeping: bool,
}

const ALL: Takes = Takes {
    tiers: None,
    verbosity: true,
    marks: true,
    keeping: true,
};

const NOTHING: Takes = Takes {
    tiers: Some(&[]),
    verbosity: false,
    marks: false,
    keeping: false,
};

impl Takes {
    fn of(form: ProviderForm, target: &Target<'_>) -> Takes {
        let provider = target.provider;
        match (form, provider.kind) {
            (ProviderForm::OpenAiChat | ProviderForm::OpenAiResponses, ProviderKind::OpenAi) => ALL,
            // Its dated versions refuse fields that are younger than they are.
            (ProviderForm::OpenAiChat | ProviderForm::OpenAiResponses, ProviderKind::Azure)
                if provider.api_version.is_none() =>
            {
                ALL
            }
            // It ignores what it does not know, and gives OpenAI's models what they know.
            (ProviderForm::OpenAiChat, ProviderKind::OpenRouter) => Takes {
                keeping: false,
                ..ALL
            },
            // Who has that API has its fields; many servers with chats refuse those that they do not know.
            (ProviderForm::OpenAiResponses, ProviderKind::OpenAiCompatible) => ALL,
            (ProviderForm::AnthropicMessages, _) => Takes {
                tiers: Some(&["auto", "default"]),
                ..NOTHING
            },
            (ProviderForm::BedrockConverse, _) => Takes {
                tiers: Some(&["default", "flex", "priority"]),
                ..NOTHING
            },
            _ => NOTHING,
        }
    }
}

/// Returns the client's name for what tells its own users apart, which is one [`ChatRequest::user`] to the provider.
pub(super) fn name_of_user(client: ClientForm, request: &ChatRequest<'_>) -> &'static str {
    match client {
        ClientForm::AnthropicMessages => "metadata.user_id",
        _ if request.user.is_none() => "safety_identifier",
        _ => "user",
    }
}

/// Leaves in the request what the target has a field for, and names the rest as the client knows it.
pub(super) fn fit(
    request: &mut ChatRequest<'_>,
    (client, form): (ClientForm, ProviderForm),
    target: &Target<'_>,
    dropped: &mut Dropped,
) {
    let takes = Takes::of(form, target);
    let serving = &mut request.serving;
    let is = |text: &Text<'_>, words: &[&str]| words.contains(&text.as_escaped());
    if let Some(tiers) = takes.tiers
        && let Some(tier) = serving.tier.take_if(|tier| !is(tier, tiers))
    {
        // What every provider does by itself.
        dropped.add_if(!is(&tier, &["auto", "default"]), "service_tier");
    }
    if !takes.verbosity
        && let Some(verbosity) = serving.verbosity.take()
    {
        let name = match client {
            ClientForm::OpenAiResponses => "text.verbosity",
            _ => "verbosity",
        };
        dropped.add_if(!is(&verbosity, &["medium"]), name);
    }
    if !takes.marks {
        dropped.add_if(serving.cache_key.take().is_some(), "prompt_cache_key");
        dropped.add_if(serving.metadata.take().is_some(), "metadata");
        match serving.safety_identifier.take() {
            // Either tells one user from another.
            identifier if request.user.is_none() => request.user = identifier,
            identifier => dropped.add_if(identifier.is_some(), "safety_identifier"),
        }
    }
    if !takes.keeping {
        let (retention, options) = (serving.cache_retention.take(), serving.cache_options.take());
        dropped.add_if(retention.is_some(), "prompt_cache_retention");
        dropped.add_if(options.is_some(), "prompt_cache_options");
        // That nothing is kept is how it is.
        dropped.add_if(serving.store.take() == Some(true), "store");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::ir::{Json, Serving};
    use crate::provider::ProviderProfile;

    fn asked() -> ChatRequest<'static> {
        let text = |text| Some(Text::escaped(text));
        ChatRequest {
            serving: Serving {
                tier: text("flex"),
                cache_key: text("k"),
                cache_retention: text("24h"),
                cache_options: None,
                metadata: Some(Json::trusted("{\"a\":\"b\"}")),
                safety_identifier: text("s"),
                store: Some(true),
                verbosity: text("low"),
            },
            ..ChatRequest::default()
        }
    }

    fn fitted(
        mut request: ChatRequest<'static>,
        client: ClientForm,
        form: ProviderForm,
        kind: ProviderKind,
    ) -> (ChatRequest<'static>, Vec<&'static str>) {
        let (facts, provider) = (Facts::bundled(), ProviderProfile::of_kind("p", kind));
        let target = Target {
            model: "m",
            facts: facts.find(kind, "m"),
            provider,
            stream: false,
        };
        let mut dropped = Dropped::default();
        fit(&mut request, (client, form), &target, &mut dropped);
        (request, dropped.fields().to_vec())
    }

    #[test]
    fn between_two_apis_of_one_provider_nothing_is_lost() {
        use ClientForm::{OpenAiChat, OpenAiResponses};
        for kind in [ProviderKind::OpenAi, ProviderKind::Azure] {
            for (client, form) in [
                (OpenAiChat, ProviderForm::OpenAiResponses),
                (OpenAiResponses, ProviderForm::OpenAiChat),
            ] {
                assert_eq!(fitted(asked(), client, form, kind), (asked(), vec![]));
            }
        }
    }

    #[test]
    fn what_is_not_taken_is_named_as_the_client_knows_it() {
        let (fitted_request, dropped) = fitted(
            asked(),
            ClientForm::OpenAiResponses,
            ProviderForm::GoogleContent,
            ProviderKind::Google,
        );
        assert_eq!(fitted_request.serving, Serving::default());
        // Named by the form that has no place for it.
        assert_eq!(fitted_request.user, Some(Text::escaped("s")));
        let expected = [
            "service_tier",
            "text.verbosity",
            "prompt_cache_key",
            "metadata",
            "prompt_cache_retention",
            "store",
        ];
        assert_eq!(dropped, expected);
    }

    #[test]
    fn what_is_so_anyway_is_not_missed() {
        let said = ChatRequest {
            serving: Serving {
                tier: Some(Text::escaped("auto")),
                store: Some(false),
                verbosity: Some(Text::escaped("medium")),
                ..Serving::default()
            },
            ..ChatRequest::default()
        };
        let (client, form) = (ClientForm::OpenAiChat, ProviderForm::OllamaChat);
        let (_, dropped) = fitted(said, client, form, ProviderKind::Ollama);
        assert_eq!(dropped, [""; 0]);
    }

    #[test]
    fn a_tier_goes_where_it_is_known() {
        for (form, kind, tier, stays) in [
            (
                ProviderForm::BedrockConverse,
                ProviderKind::Bedrock,
                "flex",
                true,
            ),
            (
                ProviderForm::BedrockConverse,
                ProviderKind::Bedrock,
                "scale",
                false,
            ),
            (
                ProviderForm::AnthropicMessages,
                ProviderKind::Anthropic,
                "default",
                true,
            ),
            (
                ProviderForm::AnthropicMessages,
                ProviderKind::Anthropic,
                "flex",
                false,
            ),
        ] {
            let mut request = ChatRequest::default();
            request.serving.tier = Some(Text::escaped(tier));
            let (fitted, dropped) = fitted(request, ClientForm::OpenAiChat, form, kind);
            assert_eq!(fitted.serving.tier.is_some(), stays, "{form:?} {tier}");
            assert_eq!(dropped.is_empty(), stays);
        }
    }
}
