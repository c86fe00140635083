//! The Gemini models that the simulated API serves, and how each may be told to think.

use serde_json::{Value, json};

/// One model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Model<'a> {
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) input_limit: u64,
    pub(super) output_limit: u64,
    pub(super) kind: Kind,
    /// Calls carry a thought signature, which must come back.
    pub(super) signs: bool,
    /// Presence and frequency penalties are taken.
    pub(super) penalties: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// Does not think.
    Plain,
    /// `thinkingBudget`: 0 is off where allowed, -1 is automatic.
    Budget {
        least: i64,
        most: i64,
        can_be_off: bool,
        thinks_unasked: bool,
    },
    /// `thinkingLevel`, one of these.
    Level(&'static [&'static str]),
    /// Makes vectors of so many numbers.
    Embedding(usize),
}

const GEMINI_4: Model = Model {
    id: "gemini-4-argon",
    name: "Gemini 4 Argon",
    input_limit: 1_048_576,
    output_limit: 1_048_576,
    kind: Kind::Level(&["LOW", "MEDIUM", "HIGH"]),
    signs: true,
    penalties: false,
};

const FLASH_3: Model = Model {
    id: "gemini-3.5-flash",
    name: "Gemini 3.5 Flash",
    output_limit: 65_536,
    kind: Kind::Level(&["MINIMAL", "LOW", "MEDIUM", "HIGH"]),
    ..GEMINI_4
};

const FLASH_2_5: Model = Model {
    id: "gemini-2.5-flash",
    name: "Gemini 2.5 Flash",
    kind: Kind::Budget {
        least: 1,
        most: 24_576,
        can_be_off: true,
        thinks_unasked: true,
    },
    signs: false,
    ..FLASH_3
};

const EMBEDDING: Model = Model {
    id: "gemini-embedding-001",
    name: "Gemini Embedding 001",
    input_limit: 2_048,
    output_limit: 1,
    kind: Kind::Embedding(3_072),
    ..FLASH_2_5
};

/// All models in the order of the list.
pub(super) const MODELS: [Model<'static>; 14] = [
    GEMINI_4,
    Model {
        id: "gemini-3.8-flash",
        name: "Gemini 3.8 Flash",
        output_limit: 65_536,
        ..GEMINI_4
    },
    Model {
        id: "gemini-3.7-flash",
        name: "Gemini 3.7 Flash",
        output_limit: 65_536,
        ..GEMINI_4
    },
    Model {
        id: "gemini-3.6-flash",
        name: "Gemini 3.6 Flash",
        ..FLASH_3
    },
    FLASH_3,
    Model {
        id: "gemini-3.5-flash-lite",
        name: "Gemini 3.5 Flash-Lite",
        ..FLASH_3
    },
    Model {
        id: "gemini-3.1-pro-preview",
        name: "Gemini 3.1 Pro Preview",
        output_limit: 65_536,
        ..GEMINI_4
    },
    Model {
        id: "gemini-3.1-flash-lite",
        name: "Gemini 3.1 Flash-Lite",
        ..FLASH_3
    },
    Model {
        id: "gemini-2.5-pro",
        name: "Gemini 2.5 Pro",
        kind: Kind::Budget {
            least: 128,
            most: 32_768,
            can_be_off: false,
            thinks_unasked: true,
        },
        ..FLASH_2_5
    },
    FLASH_2_5,
    Model {
        id: "gemini-2.5-flash-lite",
        name: "Gemini 2.5 Flash-Lite",
        kind: Kind::Budget {
            least: 512,
            most: 24_576,
            can_be_off: true,
            thinks_unasked: false,
        },
        ..FLASH_2_5
    },
    Model {
        id: "gemini-2.0-flash",
        name: "Gemini 2.0 Flash",
        output_limit: 8_192,
        kind: Kind::Plain,
        penalties: true,
        ..FLASH_2_5
    },
    EMBEDDING,
    Model {
        id: "gemini-embedding-2",
        name: "Gemini Embedding 2",
        input_limit: 8_192,
        ..EMBEDDING
    },
];

pub(super) fn find(id: &str) -> Option<&'static Model<'static>> {
    MODELS.iter().find(|model| model.id == id)
}

impl<'a> Model<'a> {
    /// Returns a model that is not in the table: it embeds if its name says so, and takes everything otherwise.
    pub(super) fn unknown(id: &'a str) -> Self {
        let kind = if id.contains("embed") {
            EMBEDDING.kind
        } else {
            Kind::Plain
        };
        Self {
            id,
            name: id,
            kind,
            signs: false,
            penalties: true,
            ..FLASH_2_5
        }
    }

    pub(super) fn thinks(&self) -> bool {
        matches!(self.kind, Kind::Budget { .. } | Kind::Level(_))
    }

    /// Returns whether `method` (`generateContent`, …) is one of the model's.
    pub(super) fn can(&self, method: &str) -> bool {
        self.methods().contains(&method)
            || (method == "streamGenerateContent" && self.can("generateContent"))
            || (method == "batchEmbedContents" && self.can("embedContent"))
    }

    fn methods(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Embedding(_) => &["embedContent", "countTextTokens", "countTokens"],
            _ => &[
                "generateContent",
                "countTokens",
                "createCachedContent",
                "batchGenerateContent",
            ],
        }
    }

    pub(super) fn show(&self) -> Value {
        let mut shown = json!({
            "name": format!("models/{}", self.id),
            "version": "001",
            "displayName": self.name,
            "description": format!("{}, as simulated", self.name),
            "inputTokenLimit": self.input_limit,
            "outputTokenLimit": self.output_limit,
            "supportedGenerationMethods": self.methods(),
        });
        if !matches!(self.kind, Kind::Embedding(_)) {
            shown["temperature"] = 1.into();
            shown["maxTemperature"] = 2.into();
            shown["topP"] = 0.95.into();
            shown["topK"] = 64.into();
        }
        if self.thinks() {
            shown["thinking"] = true.into();
        }
        shown
    }
}
