//! Makes the provider that a server plays from the setup of the simulation.

use std::sync::Arc;

use super::super::options::Machine;
use super::{Dialect, Provider, Setup, World};
use super::{anthropic, azure, bedrock, google, openai, openrouter, perplexity};

impl Dialect {
    /// Returns the models that such a provider lists when its setup names none.
    fn models(self) -> &'static [&'static str] {
        match self {
            Self::Ollama => &[],
            Self::Anthropic => &anthropic::Anthropic::MODELS,
            Self::Bedrock => &bedrock::Bedrock::MODELS,
            Self::Google => &google::Google::MODELS,
            Self::Openai | Self::Responses | Self::Azure => &openai::models::MODELS,
            Self::Openrouter => &openrouter::MODELS,
            Self::Perplexity => &perplexity::MODELS,
        }
    }
}

impl Setup {
    /// Returns the provider that one server plays; `None` for Ollama, whose routes the server has itself.
    pub(crate) fn build(&self, machine: &Machine) -> Option<Arc<dyn Provider>> {
        let mut setup = self.clone();
        if setup.models.is_empty() {
            let usual = setup.dialect.models().iter();
            setup.models = usual.map(|model| (*model).to_owned()).collect();
        }
        let world = World {
            setup,
            answer_tokens: machine.answer_tokens.clone(),
            seed: machine.seed,
        };
        Some(match self.dialect {
            Dialect::Ollama => return None,
            Dialect::Anthropic => Arc::new(anthropic::Anthropic::new(world)),
            Dialect::Bedrock => Arc::new(bedrock::Bedrock::new(world)),
            Dialect::Google => Arc::new(google::Google::new(world)),
            Dialect::Openai => Arc::new(openai::OpenAi::new(world, false)),
            Dialect::Responses => Arc::new(openai::OpenAi::new(world, true)),
            Dialect::Azure => Arc::new(azure::Azure::new(world)),
            Dialect::Openrouter => Arc::new(openrouter::OpenRouter::new(world)),
            Dialect::Perplexity => Arc::new(perplexity::Perplexity::new(world)),
        })
    }
}
