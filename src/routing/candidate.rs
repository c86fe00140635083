//! A provider under the name by which it serves a model, with what is known of that model there.

use super::ask::Needs;
use super::plan::StepModel;
use crate::ids::ProviderId;
use crate::settings::{Provider, ProviderKind};
use remuda_formats::client::Operation;
use remuda_formats::facts::{Capability, ModelFacts, Price};
use remuda_formats::translate::{self, Question};

/// Tokens of an answer, where prices are compared.
const TYPICAL_ANSWER: u64 = 500;

/// Order of kinds whose prices are not known, cheapest first: own servers, then services as they usually are.
const USUAL_PRICES: [ProviderKind; 9] = [
    ProviderKind::Ollama,
    ProviderKind::OpenRouter,
    ProviderKind::OpenAiCompatible,
    ProviderKind::Google,
    ProviderKind::Perplexity,
    ProviderKind::Anthropic,
    ProviderKind::OpenAi,
    ProviderKind::Azure,
    ProviderKind::Bedrock,
];

/// One provider that may serve a model.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Position in the configuration.
    pub(super) provider: ProviderId,
    pub(super) model: StepModel,
    /// Every name by which the model is known there.
    pub(super) names: Vec<String>,
    facts: ModelFacts,
}

impl Candidate {
    pub(super) fn new(
        provider: ProviderId,
        model: StepModel,
        names: Vec<String>,
        facts: &ModelFacts,
    ) -> Candidate {
        Candidate {
            provider,
            model,
            names,
            facts: facts.clone(),
        }
    }

    /// Returns the candidate with the size of the context that the server itself has told: that is as it was started,
    /// whatever the model could hold.
    pub(super) fn with_context(mut self, told: Option<u64>) -> Candidate {
        self.facts.context = told.or(self.facts.context);
        self
    }

    /// Adds a name by which clients know the model there, too.
    pub(super) fn also_called(mut self, name: &str) -> Candidate {
        self.names.push(name.to_owned());
        self
    }

    /// Returns what the request needs and the model cannot do, as far as is known.
    pub(super) fn lacks(&self, needs: &Needs, provider: &Provider) -> Option<&'static str> {
        let needed = [
            (needs.vision, Capability::Vision, "it cannot see images"),
            (needs.tools, Capability::Tools, "it calls no tools"),
            (needs.thinking, Capability::Thinking, "it does not think"),
            (
                needs.embeddings,
                Capability::Embedding,
                "it makes no embeddings",
            ),
        ];
        let mut needed = needed.into_iter();
        let missing = needed.find(|(wanted, what, _)| *wanted && !self.facts.can(*what));
        if let Some((_, _, why)) = missing {
            return Some(why);
        }
        if self.facts.context.is_some_and(|most| needs.tokens > most) {
            return Some("the prompt is longer than its context");
        }
        let operation = needs.operation?;
        let question = Question {
            operation,
            provider: provider.profile(),
            facts: &self.facts,
            tools: needs.tools,
            raw: needs.raw,
        };
        // Of these the gateway makes an estimate itself.
        let counts = operation == Operation::AnthropicCountTokens;
        (!counts && translate::way(&question).is_err()).then_some("it has no such operation")
    }

    /// Returns what prices are compared by: whether the price is known, then the price of the request in 10⁻¹⁵ dollars,
    /// then what such services usually come to. Own servers cost nothing.
    pub(super) fn price(&self, kind: ProviderKind, prompt: u64) -> (bool, u128, usize) {
        let usual = USUAL_PRICES.iter().position(|known| *known == kind);
        let usual = usual.unwrap_or(USUAL_PRICES.len());
        let of = |price: &Price| {
            let rates = price.rates(prompt);
            rates.input.times(prompt) + rates.output.times(TYPICAL_ANSWER)
        };
        match (&self.facts.price, kind) {
            (Some(price), _) => (false, of(price), usual),
            (None, ProviderKind::Ollama) => (false, 0, usual),
            (None, _) => (true, 0, usual),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remuda_formats::facts::Facts;

    fn candidate(facts: &Facts, kind: ProviderKind, model: &str) -> Candidate {
        let named = StepModel::Named(model.into());
        Candidate::new(
            ProviderId::at(0),
            named,
            vec![model.to_owned()],
            facts.find(kind, model),
        )
    }

    #[test]
    fn what_a_model_lacks_is_told() {
        let facts = Facts::bundled();
        let openai = Provider::of_kind("openai", ProviderKind::OpenAi);
        let small = candidate(&facts, openai.kind, "text-embedding-3-small");
        let tools = Needs {
            tools: true,
            ..Needs::default()
        };
        assert_eq!(small.lacks(&tools, &openai), Some("it calls no tools"));
        let long = Needs {
            tokens: 1 << 40,
            ..Needs::default()
        };
        let why = small.lacks(&long, &openai);
        assert_eq!(why, Some("the prompt is longer than its context"));
        assert_eq!(small.lacks(&Needs::default(), &openai), None);
        // Of an unknown one everything is expected.
        let unknown = candidate(&facts, openai.kind, "nobody-knows");
        assert_eq!(unknown.lacks(&tools, &openai), None);
        assert_eq!(unknown.lacks(&long, &openai), None);

        let anthropic = Provider::of_kind("anthropic", ProviderKind::Anthropic);
        let unknown = candidate(&facts, anthropic.kind, "nobody-knows");
        let embed = Needs {
            operation: Some(Operation::OpenAiEmbeddings),
            embeddings: true,
            ..Needs::default()
        };
        let why = unknown.lacks(&embed, &anthropic);
        assert_eq!(why, Some("it has no such operation"));
    }

    #[test]
    fn known_prices_go_before_usual_ones() {
        let facts = Facts::bundled();
        let price = |kind, model: &str| candidate(&facts, kind, model).price(kind, 1000);
        let own = price(ProviderKind::Ollama, "llama3.2");
        let opus = price(ProviderKind::Anthropic, "claude-opus-5-5");
        let sonnet = price(ProviderKind::Anthropic, "claude-sonnet-5-5");
        let router = price(ProviderKind::OpenRouter, "nobody-knows");
        let google = price(ProviderKind::Google, "nobody-knows");
        let bedrock = price(ProviderKind::Bedrock, "nobody-knows");
        assert!(own < sonnet && sonnet < opus && opus < router);
        assert!(router < google && google < bedrock);
        // 1,000 tokens at 2 dollars a million, and 500 at 10.
        assert_eq!(sonnet.1, 7_000_000_000_000);
    }
}
