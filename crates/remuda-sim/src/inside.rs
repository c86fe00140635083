//! The inside of one loaded model: its slots, the prompts that it remembers, and whether it still answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::catalogue::Model;
use super::prefix::Prompts;

/// Families whose models take one request at a time, whatever the server is set to.
const ONE_AT_A_TIME: [&str; 11] = [
    "mllama",
    "qwen3vl",
    "qwen3vlmoe",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "lfm2",
    "lfm2moe",
    "nemotron_h",
    "nemotron_h_moe",
    "nemotron_h_omni",
];

/// What the process holds that runs one copy of a model.
pub(super) struct Inside {
    slots: Arc<Semaphore>,
    prompts: Mutex<Prompts>,
    hung: AtomicBool,
    frozen: AtomicBool,
}

/// How many requests a copy of `model` takes at a time on a server that is set to `parallel`.
pub(super) fn parallel(model: &Model, parallel: usize) -> usize {
    let single = !model.can("completion") || ONE_AT_A_TIME.contains(&model.family);
    if single { 1 } else { parallel }
}

impl Inside {
    pub(super) fn new(model: &Model, slots: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            prompts: Mutex::new(Prompts::new(model.cache_per_token)),
            hung: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
        }
    }

    /// Waits for one of the slots, first come first served.
    pub(super) async fn slot(&self) -> OwnedSemaphorePermit {
        let slots = self.slots.clone();
        let slot = slots.acquire_owned().await;
        slot.expect("slots are never closed")
    }

    /// How many tokens of a prompt need not be computed again.
    pub(super) fn remembered(&self, prompt: &str) -> u64 {
        self.prompts().remembered(prompt)
    }

    /// Remembers a prompt, with what was answered to it.
    pub(super) fn remember(&self, text: &str) {
        self.prompts().remember(text);
    }

    /// From now on nothing is generated any more; all else is answered.
    pub(super) fn hang(&self) {
        self.hung.store(true, Ordering::Relaxed);
    }

    /// From now on the process does not even say that it is there.
    pub(super) fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }

    /// Never returns if this copy generates nothing more.
    pub(super) async fn works(&self) {
        if self.is_frozen() || self.hung.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    fn prompts(&self) -> std::sync::MutexGuard<'_, Prompts> {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_models_take_one_request_at_a_time() {
        let slots = |name: &str, family: Option<&'static str>| {
            let mut model = Model::parse(name).unwrap();
            model.family = family.unwrap_or(model.family);
            parallel(&model, 4)
        };
        assert_eq!(slots("llama3.2", None), 4);
        assert_eq!(slots("nomic-embed-text", None), 1);
        assert_eq!(slots("llama3.2-vision", None), 1);
        for family in ONE_AT_A_TIME {
            assert_eq!(slots("thing", Some(family)), 1, "{family}");
        }
    }
}
