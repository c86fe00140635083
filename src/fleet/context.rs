//! How many tokens a server's models hold, as the server itself tells: how it was started decides that, not what the
//! model could do.
//!
//! vLLM and SGLang say it in their list (`max_model_len`), llama.cpp in newer lists (`meta.n_ctx`) and at `/props`, LM
//! Studio at `/api/v0/models`, text-generation-inference at `/info`. Services have names of their own for it.

use ahash::AHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::catalogue;
use super::list_entry::{ListEntry, number};
use super::listed_model::Model;
use crate::settings::ProviderKind;

/// Where else a server tells its context, if its list does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// llama.cpp, of its only model.
    Props,
    /// LM Studio, of each model.
    Listing,
    /// text-generation-inference, of its only model.
    Info,
}

impl ListEntry<'_> {
    /// Returns where the server of the model `name` tells more than this.
    fn elsewhere(&self, name: &str) -> Option<Elsewhere> {
        let owner: String = self
            .owned_by
            .and_then(|owner| serde_json::from_str(owner.get()).ok())
            .unwrap_or_default();
        let meta = self.meta();
        match &*owner {
            _ if number(meta.n_ctx).is_some() => None,
            "llamacpp" => Some(Elsewhere::Props),
            _ if meta.n_ctx_train.is_some() => Some(Elsewhere::Props),
            _ if self.tokens().is_some() => None,
            "organization_owner" => Some(Elsewhere::Listing),
            owner if owner == name => Some(Elsewhere::Info),
            _ => None,
        }
    }
}

impl Elsewhere {
    /// Returns where the server whose list this is tells more, if it does.
    pub(super) fn of(body: &[u8], models: &[Model]) -> Option<Elsewhere> {
        #[derive(Deserialize)]
        struct List<'a> {
            #[serde(borrow)]
            data: Vec<&'a RawValue>,
        }
        let list: List<'_> = serde_json::from_slice(body).ok()?;
        let first = ListEntry::read(list.data.first()?);
        let found = first.elsewhere(&models.first()?.name)?;
        // What is told of one model says nothing of several.
        (found == Elsewhere::Listing || list.data.len() == 1).then_some(found)
    }

    /// Returns the path, at the root of a server whose API is below `base`.
    pub(super) fn path(self, base: &str) -> String {
        let root = base.strip_suffix("/v1").unwrap_or(base);
        let path = match self {
            Elsewhere::Props => "/props",
            Elsewhere::Listing => "/api/v0/models",
            Elsewhere::Info => "/info",
        };
        format!("{root}{path}")
    }

    /// Adds what the answer says to `models`. An answer that makes no sense changes nothing.
    pub(super) fn enter(self, body: &[u8], models: &mut [Model]) {
        match self {
            Elsewhere::Listing => {
                let Some(page) = catalogue::read(ProviderKind::OpenAiCompatible, body) else {
                    return;
                };
                let told: AHashMap<_, _> = page
                    .models
                    .into_iter()
                    .map(|model| (model.name, model.context))
                    .collect();
                for model in models {
                    let told = told.get(&model.name).copied().flatten();
                    model.context = told.or(model.context);
                }
            }
            Elsewhere::Props | Elsewhere::Info => {
                let told = match self {
                    Elsewhere::Props => props(body),
                    _ => info(body),
                };
                for model in models {
                    model.context = told.or(model.context);
                }
            }
        }
    }
}

/// Reads the context of one slot, which is what a request has, from llama.cpp's `/props`.
fn props(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Props<'a> {
        #[serde(borrow)]
        default_generation_settings: Settings<'a>,
    }
    #[derive(Deserialize)]
    struct Settings<'a> {
        #[serde(borrow)]
        n_ctx: Option<&'a RawValue>,
    }
    let props: Props<'_> = serde_json::from_slice(body).ok()?;
    number(props.default_generation_settings.n_ctx)
}

/// Reads the context from text-generation-inference's `/info`.
fn info(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Info<'a> {
        #[serde(borrow)]
        max_total_tokens: Option<&'a RawValue>,
    }
    let info: Info<'_> = serde_json::from_slice(body).ok()?;
    number(info.max_total_tokens)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(list: &str) -> (Vec<Model>, Option<Elsewhere>) {
        let page = catalogue::read(ProviderKind::OpenAiCompatible, list.as_bytes()).unwrap();
        let elsewhere = Elsewhere::of(list.as_bytes(), &page.models);
        (page.models, elsewhere)
    }

    /// What servers list, which context that tells, and where else to ask for it.
    const SERVERS: &[(&str, &str, Option<u64>, Option<Elsewhere>)] = &[
        (
            "llama.cpp, newer",
            r#"{"data":[{"id":"m","owned_by":"llamacpp","meta":{"n_ctx":2048,"n_ctx_train":131072}}]}"#,
            Some(2048),
            None,
        ),
        (
            "llama.cpp, older",
            r#"{"models":[{"name":"m"}],"data":[{"id":"m","owned_by":"llamacpp","meta":{"n_ctx_train":131072}}]}"#,
            Some(131_072),
            Some(Elsewhere::Props),
        ),
        (
            "llama.cpp, before its model is loaded",
            r#"{"data":[{"id":"m","owned_by":"llamacpp","meta":null}]}"#,
            None,
            Some(Elsewhere::Props),
        ),
        (
            "llama.cpp with several models",
            r#"{"data":[{"id":"m","owned_by":"llamacpp"},{"id":"n","owned_by":"llamacpp"}]}"#,
            None,
            None,
        ),
        (
            "vLLM",
            r#"{"data":[{"id":"m","owned_by":"vllm","max_model_len":4096,"permission":[]}]}"#,
            Some(4096),
            None,
        ),
        (
            "SGLang",
            r#"{"data":[{"id":"m","owned_by":"sglang","root":"m","max_model_len":40960}]}"#,
            Some(40_960),
            None,
        ),
        (
            "LM Studio",
            r#"{"data":[{"id":"m","owned_by":"organization_owner"},{"id":"n","owned_by":"organization_owner"}]}"#,
            None,
            Some(Elsewhere::Listing),
        ),
        (
            "text-generation-inference",
            r#"{"data":[{"id":"org/m","created":0,"owned_by":"org/m"}]}"#,
            None,
            Some(Elsewhere::Info),
        ),
        (
            "Groq",
            r#"{"data":[{"id":"m","owned_by":"Meta","context_window":131072}]}"#,
            Some(131_072),
            None,
        ),
        (
            "OpenRouter",
            r#"{"data":[{"id":"m","context_length":1048576}]}"#,
            Some(1_048_576),
            None,
        ),
        (
            "one that tells nonsense",
            r#"{"data":[{"id":"m","owned_by":7,"meta":"x","max_model_len":"many","context_length":-1}]}"#,
            None,
            None,
        ),
    ];

    #[test]
    fn every_server_tells_in_its_own_words() {
        for (server, list, context, elsewhere) in SERVERS {
            let (models, further) = read(list);
            assert_eq!(models[0].context, *context, "{server}");
            assert_eq!(further, *elsewhere, "{server}");
        }
    }

    #[test]
    fn what_is_told_elsewhere_counts_more() {
        let (mut models, _) = read(r#"{"data":[{"id":"m","meta":{"n_ctx_train":131072}}]}"#);
        Elsewhere::Props.enter(b"no JSON", &mut models);
        assert_eq!(models[0].context, Some(131_072));
        let props =
            br#"{"default_generation_settings":{"id":0,"n_ctx":2048,"params":{}},"total_slots":4}"#;
        Elsewhere::Props.enter(props, &mut models);
        assert_eq!(models[0].context, Some(2048));
        Elsewhere::Info.enter(br#"{"model_id":"m","max_total_tokens":5000}"#, &mut models);
        assert_eq!(models[0].context, Some(5000));

        let (mut models, _) = read(r#"{"data":[{"id":"m"},{"id":"n"},{"id":"o"}]}"#);
        let list = br#"{"data":[{"id":"n","max_context_length":32768},
            {"id":"m","state":"loaded","max_context_length":32768,"loaded_context_length":4096}]}"#;
        Elsewhere::Listing.enter(list, &mut models);
        let told: Vec<_> = models.iter().map(|model| model.context).collect();
        assert_eq!(told, [Some(4096), Some(32_768), None]);
    }

    #[test]
    fn it_is_asked_at_the_root_of_the_server() {
        assert_eq!(Elsewhere::Props.path("/v1"), "/props");
        assert_eq!(Elsewhere::Info.path("/tgi/v1"), "/tgi/info");
        assert_eq!(Elsewhere::Listing.path(""), "/api/v0/models");
    }

    proptest! {
        #[test]
        fn never_panics(body in any::<String>()) {
            let mut models = Vec::new();
            for further in [Elsewhere::Props, Elsewhere::Listing, Elsewhere::Info] {
                further.enter(body.as_bytes(), &mut models);
            }
            let _ = Elsewhere::of(body.as_bytes(), &models);
        }
    }
}
