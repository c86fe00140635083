//! The models that the simulated Bedrock serves, by which ids they can be called, and what they take.

use serde_json::{Value, json};

/// One foundation model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Model {
    pub(super) id: &'static str,
    name: &'static str,
    provider: &'static str,
    pub(super) kind: Kind,
    /// Callable only by an inference profile.
    pub(super) by_profile: bool,
    pub(super) images: bool,
    pub(super) max_output: u64,
    pub(super) context: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Claude(Claude),
    Nova,
    /// Converses, and has nothing of its own.
    Plain,
    TitanV1,
    TitanV2,
    /// Its vectors have so many numbers, and may be shortened.
    CohereV3(usize),
    CohereV4,
    NovaEmbeddings,
}

/// What one generation of Claude takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Claude {
    pub(super) sampling: bool,
    /// `thinking.type` may be `enabled`.
    pub(super) budget: bool,
    /// `thinking.type` may be `adaptive`.
    pub(super) adaptive: bool,
    pub(super) always_thinks: bool,
    pub(super) forced_tools: bool,
    pub(super) prefill: bool,
}

const CLAUDE_4_5: Claude = Claude {
    sampling: true,
    budget: true,
    adaptive: false,
    always_thinks: false,
    forced_tools: true,
    prefill: true,
};

const CLAUDE_4_6: Claude = Claude {
    adaptive: true,
    prefill: false,
    ..CLAUDE_4_5
};

const CLAUDE_5: Claude = Claude {
    sampling: false,
    budget: false,
    ..CLAUDE_4_6
};

const CLAUDE_5_5: Claude = Claude {
    always_thinks: true,
    forced_tools: false,
    ..CLAUDE_5
};

const HAIKU: Model = Model {
    id: "anthropic.claude-haiku-4-5-20251001-v1:0",
    name: "Claude Haiku 4.5",
    provider: "Anthropic",
    kind: Kind::Claude(CLAUDE_4_5),
    by_profile: true,
    images: true,
    max_output: 64_000,
    context: 200_000,
};

const NOVA_LITE: Model = Model {
    id: "amazon.nova-lite-v1:0",
    name: "Nova Lite",
    provider: "Amazon",
    kind: Kind::Nova,
    by_profile: false,
    images: true,
    max_output: 10_000,
    context: 300_000,
};

const TITAN_V2: Model = Model {
    id: "amazon.titan-embed-text-v2:0",
    name: "Titan Text Embeddings V2",
    kind: Kind::TitanV2,
    images: false,
    max_output: 1,
    context: 8_192,
    ..NOVA_LITE
};

const COHERE_V4: Model = Model {
    id: "cohere.embed-v4:0",
    name: "Embed v4",
    provider: "Cohere",
    kind: Kind::CohereV4,
    ..TITAN_V2
};

/// All foundation models.
pub(super) const MODELS: [Model; 17] = [
    HAIKU,
    Model {
        id: "anthropic.claude-sonnet-4-5-20250929-v1:0",
        name: "Claude Sonnet 4.5",
        ..HAIKU
    },
    Model {
        id: "anthropic.claude-opus-4-6-v1",
        name: "Claude Opus 4.6",
        kind: Kind::Claude(CLAUDE_4_6),
        ..HAIKU
    },
    Model {
        id: "anthropic.claude-sonnet-5",
        name: "Claude Sonnet 5",
        kind: Kind::Claude(CLAUDE_5),
        ..HAIKU
    },
    Model {
        id: "anthropic.claude-opus-5-5",
        name: "Claude Opus 5.5",
        kind: Kind::Claude(CLAUDE_5_5),
        ..HAIKU
    },
    Model {
        id: "amazon.nova-micro-v1:0",
        name: "Nova Micro",
        images: false,
        ..NOVA_LITE
    },
    NOVA_LITE,
    Model {
        id: "amazon.nova-pro-v1:0",
        name: "Nova Pro",
        ..NOVA_LITE
    },
    Model {
        id: "amazon.nova-premier-v1:0",
        name: "Nova Premier",
        by_profile: true,
        ..NOVA_LITE
    },
    Model {
        id: "amazon.nova-2-lite-v1:0",
        name: "Nova 2 Lite",
        by_profile: true,
        max_output: 64_000,
        ..NOVA_LITE
    },
    Model {
        id: "meta.llama3-3-70b-instruct-v1:0",
        name: "Llama 3.3 70B Instruct",
        provider: "Meta",
        kind: Kind::Plain,
        by_profile: true,
        images: false,
        max_output: 8_192,
        context: 128_000,
    },
    Model {
        id: "amazon.titan-embed-text-v1",
        name: "Titan Embeddings G1 - Text",
        kind: Kind::TitanV1,
        ..TITAN_V2
    },
    TITAN_V2,
    Model {
        id: "amazon.nova-2-multimodal-embeddings-v1:0",
        name: "Nova Multimodal Embeddings",
        kind: Kind::NovaEmbeddings,
        ..TITAN_V2
    },
    Model {
        id: "cohere.embed-english-v3",
        name: "Embed English",
        kind: Kind::CohereV3(1_024),
        ..COHERE_V4
    },
    Model {
        id: "cohere.embed-multilingual-v3",
        name: "Embed Multilingual",
        kind: Kind::CohereV3(1_024),
        ..COHERE_V4
    },
    COHERE_V4,
];

/// The ids that can be called: of models on demand, and of profiles.
pub(super) const CALLABLE: [&str; 21] = [
    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "eu.anthropic.claude-haiku-4-5-20251001-v1:0",
    "global.anthropic.claude-haiku-4-5-20251001-v1:0",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "us.anthropic.claude-opus-4-6-v1",
    "us.anthropic.claude-sonnet-5",
    "us.anthropic.claude-opus-5-5",
    "global.anthropic.claude-opus-5-5",
    "amazon.nova-micro-v1:0",
    "amazon.nova-lite-v1:0",
    "us.amazon.nova-lite-v1:0",
    "amazon.nova-pro-v1:0",
    "us.amazon.nova-premier-v1:0",
    "us.amazon.nova-2-lite-v1:0",
    "us.meta.llama3-3-70b-instruct-v1:0",
    "amazon.titan-embed-text-v1",
    "amazon.titan-embed-text-v2:0",
    "amazon.nova-2-multimodal-embeddings-v1:0",
    "cohere.embed-english-v3",
    "cohere.embed-multilingual-v3",
    "cohere.embed-v4:0",
];

/// Geographies that profiles begin with.
const GEOGRAPHIES: [&str; 5] = ["us.", "eu.", "apac.", "jp.", "global."];

/// Returns the part of an id that names the model, and whether the id is that of a profile.
pub(super) fn base(id: &str) -> (&str, bool) {
    let geography = GEOGRAPHIES
        .iter()
        .find(|geography| id.starts_with(**geography));
    match geography {
        Some(geography) => (&id[geography.len()..], true),
        None => (id, false),
    }
}

/// Returns the foundation model of that id, without a geography.
pub(super) fn find(id: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.id == id)
}

impl Model {
    /// A model that is not in the table: it converses and takes what all do.
    pub(super) const UNKNOWN: Self = Self {
        id: "",
        name: "",
        provider: "",
        kind: Kind::Plain,
        images: true,
        ..NOVA_LITE
    };

    /// Returns whether Converse is for it.
    pub(super) fn converses(&self) -> bool {
        matches!(self.kind, Kind::Claude(_) | Kind::Nova | Kind::Plain)
    }

    pub(super) fn claude(&self) -> Option<Claude> {
        match self.kind {
            Kind::Claude(claude) => Some(claude),
            _ => None,
        }
    }

    fn modalities(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let mut input = vec!["TEXT"];
        if self.images {
            input.push("IMAGE");
        }
        let output = if self.converses() {
            "TEXT"
        } else {
            "EMBEDDING"
        };
        (input, vec![output])
    }

    /// Returns whether the model passes the filters of a listing.
    pub(super) fn passes(
        &self,
        provider: Option<&str>,
        output: Option<&str>,
        inference: Option<&str>,
    ) -> bool {
        provider.is_none_or(|provider| self.provider.eq_ignore_ascii_case(provider))
            && output.is_none_or(|output| self.modalities().1.contains(&output))
            && inference.is_none_or(|inference| inference == "ON_DEMAND" && !self.by_profile)
    }

    /// Returns the model as `GET /foundation-models` has it.
    pub(super) fn show(&self, region: &str) -> Value {
        let (input, output) = self.modalities();
        json!({
            "modelArn": format!("arn:aws:bedrock:{region}::foundation-model/{}", self.id),
            "modelId": self.id,
            "modelName": self.name,
            "providerName": self.provider,
            "inputModalities": input,
            "outputModalities": output,
            "responseStreamingSupported": self.converses(),
            "customizationsSupported": [],
            "inferenceTypesSupported": [if self.by_profile { "INFERENCE_PROFILE" } else { "ON_DEMAND" }],
            "modelLifecycle": {"status": "ACTIVE"},
        })
    }

    /// Returns a profile of the model as `GET /inference-profiles` has it.
    pub(super) fn profile(&self, id: &str, region: &str) -> Value {
        let geography = id.split('.').next().unwrap_or_default().to_uppercase();
        json!({
            "inferenceProfileName": format!("{geography} {}", self.name),
            "inferenceProfileArn": format!("arn:aws:bedrock:{region}:111122223333:inference-profile/{id}"),
            "inferenceProfileId": id,
            "description": format!("Routes requests to {} in {geography}.", self.name),
            "models": [{"modelArn": format!("arn:aws:bedrock:{region}::foundation-model/{}", self.id)}],
            "status": "ACTIVE",
            "type": "SYSTEM_DEFINED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_callable_id_names_a_model_that_it_may_call() {
        for id in CALLABLE {
            let (base, by_profile) = base(id);
            let model = find(base).unwrap_or_else(|| panic!("{id}"));
            assert!(by_profile || !model.by_profile, "{id}");
        }
    }
}
