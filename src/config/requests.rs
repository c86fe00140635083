//! What a provider serves, and how requests to it are written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entries::{Entries, ModelName};
use super::field::Field;
use super::headers::{self, FieldValue};
use super::reader::Section;
use super::scalar::{Choice, Count, Whole};
use crate::settings::{self, ChatApi, ProviderKind, SamplingFields};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Requests {
    models: Vec<Field<ModelName>>,
    model_map: Entries<ModelName>,
    list_models: Field<bool>,
    headers: Entries<FieldValue>,
    chat_api: Field<ChatApi>,
    sampling_fields: Field<SamplingFields>,
    num_ctx: Field<Count<1>>,
}

impl Choice for ChatApi {
    const NAMES: &'static [(&'static str, ChatApi)] = &[
        ("auto", ChatApi::Auto),
        ("chat", ChatApi::Chat),
        ("responses", ChatApi::Responses),
    ];
}

impl Choice for SamplingFields {
    const NAMES: &'static [(&'static str, SamplingFields)] = &[
        ("standard", SamplingFields::Standard),
        ("vllm", SamplingFields::Vllm),
        ("llama_cpp", SamplingFields::LlamaCpp),
    ];
}

/// Returns whether the key means anything to the kind.
fn matters(key: &str, kind: ProviderKind) -> bool {
    use ProviderKind::{Azure, Ollama, OpenAi, OpenAiCompatible, OpenRouter};
    match key {
        "list_models" => kind != Ollama,
        "chat_api" => [OpenAi, OpenAiCompatible, Azure, OpenRouter].contains(&kind),
        "sampling_fields" => kind == OpenAiCompatible,
        "num_ctx" => kind == Ollama,
        _ => true,
    }
}

impl Requests {
    pub(super) fn template() -> Requests {
        Requests {
            models: vec![Field::Absent],
            model_map: Entries::template(),
            headers: Entries::template(),
            ..Requests::default()
        }
    }

    /// Returns the keys that the file states and that mean nothing to the kind.
    pub(super) fn idle_keys(&self, kind: ProviderKind) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("list_models", self.list_models.is_stated()),
            ("chat_api", self.chat_api.is_stated()),
            ("sampling_fields", self.sampling_fields.is_stated()),
            ("num_ctx", self.num_ctx.is_stated()),
        ];
        let idle = move |(key, stated)| (stated && !matters(key, kind)).then_some(key);
        keys.into_iter().filter_map(idle)
    }

    /// Fills in `used`, which has the kind's defaults.
    pub(super) fn used(self, at: &mut Section<'_, '_>, used: &mut settings::Provider) {
        let mut list = at.section("models");
        let models = self.models.into_iter().enumerate();
        let models = models.filter_map(|(index, model)| list.stated_item(index, model));
        used.models = models.map(|model| model.0).collect();
        used.model_map = self.model_map.names(at, "model_map");
        used.headers = headers::used(self.headers, at);
        if let Some(lists) = at.stated("list_models", self.list_models) {
            used.list_models = lists;
        }
        if let Some(api) = at.stated("chat_api", self.chat_api) {
            used.chat_api = api;
        }
        if let Some(fields) = at.stated("sampling_fields", self.sampling_fields) {
            used.sampling = fields;
        }
        used.num_ctx = at.stated("num_ctx", self.num_ctx).map(|tokens| tokens.0);
    }
}

impl From<&settings::Provider> for Requests {
    fn from(used: &settings::Provider) -> Requests {
        fn field<T>(key: &str, kind: ProviderKind, value: T) -> Field<T> {
            matters(key, kind).then_some(value).into()
        }
        let name = |model: &Arc<str>| ModelName(Arc::clone(model)).into();
        Requests {
            models: used.models.iter().map(name).collect(),
            model_map: (&used.model_map).into(),
            list_models: field("list_models", used.kind, used.list_models),
            headers: headers::written(&used.headers),
            chat_api: field("chat_api", used.kind, used.chat_api),
            sampling_fields: field("sampling_fields", used.kind, used.sampling),
            num_ctx: used.num_ctx.map(Whole).into(),
        }
    }
}
