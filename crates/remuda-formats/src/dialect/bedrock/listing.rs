//! Reads what models there are: foundation models that can be called by their own id, and inference
//! profiles, by which alone many others can.

use serde::Deserialize;

/// Paths at the control plane, with their queries; to be signed as they are. The second is paged.
pub const FOUNDATION_MODELS: &str = "/foundation-models";
pub const INFERENCE_PROFILES: &str = "/inference-profiles?maxResults=1000";

/// A model by the name under which it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BedrockModel {
    pub id: String,
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BedrockPage {
    pub models: Vec<BedrockModel>,
    /// Asks for the page after this one.
    pub next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    model_summaries: Vec<Model>,
    #[serde(default)]
    inference_profile_summaries: Vec<Profile>,
    #[serde(default)]
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    model_id: String,
    #[serde(default)]
    output_modalities: Vec<String>,
    #[serde(default)]
    inference_types_supported: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    inference_profile_id: String,
    #[serde(default)]
    status: Option<String>,
}

/// Reads the models of either listing that answer with text or vectors. `None` if it is neither.
pub fn read(body: &[u8]) -> Option<BedrockPage> {
    let body: Body = serde_json::from_slice(body).ok()?;
    let models = body
        .model_summaries
        .into_iter()
        .filter(Model::can_be_called);
    let profiles = body.inference_profile_summaries.into_iter();
    let profiles =
        profiles.filter(|profile| profile.status.as_deref().is_none_or(|is| is == "ACTIVE"));
    let ids = models
        .map(|model| model.model_id)
        .chain(profiles.map(|profile| profile.inference_profile_id));
    Some(BedrockPage {
        models: ids.map(|id| BedrockModel { id }).collect(),
        next: body.next_token.filter(|token| !token.is_empty()),
    })
}

impl Model {
    fn can_be_called(&self) -> bool {
        let has = |list: &[String], names: &[&str]| {
            list.is_empty() || list.iter().any(|item| names.contains(&item.as_str()))
        };
        has(&self.output_modalities, &["TEXT", "EMBEDDING"])
            && has(&self.inference_types_supported, &["ON_DEMAND"])
    }
}

/// Returns the path of the page that `next` stands for.
pub fn next_page(next: &str) -> String {
    let next = percent_encoding::utf8_percent_encode(next, super::path::RESERVED);
    format!("{INFERENCE_PROFILES}&nextToken={next}")
}
