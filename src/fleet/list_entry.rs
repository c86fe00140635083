//! What an entry of a service's list says of its model's context.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What an entry of a list says of its model's context.
#[derive(Default, Deserialize)]
pub(super) struct ListEntry<'a> {
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
    pub(super) owned_by: Option<&'a RawValue>,
    max_model_len: Option<&'a RawValue>,
    loaded_context_length: Option<&'a RawValue>,
    context_length: Option<&'a RawValue>,
    context_window: Option<&'a RawValue>,
    max_context_length: Option<&'a RawValue>,
}

/// What llama.cpp says of a model in its list.
#[derive(Default, Deserialize)]
pub(super) struct Meta<'a> {
    #[serde(borrow)]
    pub(super) n_ctx: Option<&'a RawValue>,
    pub(super) n_ctx_train: Option<&'a RawValue>,
}

impl ListEntry<'_> {
    pub(super) fn read(entry: &RawValue) -> ListEntry<'_> {
        serde_json::from_str(entry.get()).unwrap_or_default()
    }

    /// Returns the tokens that the model holds, prompt and answer together.
    pub(super) fn tokens(&self) -> Option<u64> {
        let meta = self.meta();
        let stated = [
            meta.n_ctx,
            self.max_model_len,
            self.loaded_context_length,
            self.context_length,
            self.context_window,
            self.max_context_length,
            meta.n_ctx_train,
        ];
        stated.into_iter().find_map(number)
    }

    /// Reads what llama.cpp says; it is empty where another server says it.
    pub(super) fn meta(&self) -> Meta<'_> {
        let read = self.meta.map(|meta| serde_json::from_str(meta.get()));
        read.and_then(Result::ok).unwrap_or_default()
    }
}

/// Reads a number of tokens, if it makes sense.
pub(super) fn number(value: Option<&RawValue>) -> Option<u64> {
    let tokens: f64 = serde_json::from_str(value?.get()).ok()?;
    (1.0..=1e12).contains(&tokens).then_some(tokens as u64)
}
