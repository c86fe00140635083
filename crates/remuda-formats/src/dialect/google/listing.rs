//! Reads what models there are.

use percent_encoding::utf8_percent_encode;
use serde::Deserialize;

use super::path::RESERVED;

/// The first page, after the base path.
pub const MODELS: &str = "/models?pageSize=1000";

/// A model that answers with text or vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoogleModel {
    /// The model's name without `models/`.
    pub id: String,
    /// Prompt tokens at most.
    pub context: Option<u64>,
    /// Tokens of an answer at most.
    pub max_output: Option<u64>,
}

/// A page of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GooglePage {
    pub models: Vec<GoogleModel>,
    /// Asks for the page after this one.
    pub next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    models: Option<Vec<Model>>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    name: String,
    #[serde(default)]
    input_token_limit: Option<u64>,
    #[serde(default)]
    output_token_limit: Option<u64>,
    #[serde(default)]
    supported_generation_methods: Vec<String>,
}

impl Model {
    fn can_be_asked(&self) -> bool {
        let methods = &self.supported_generation_methods;
        methods.is_empty()
            || methods.iter().any(|method| {
                matches!(
                    method.as_str(),
                    "generateContent" | "embedContent" | "batchEmbedContents"
                )
            })
    }
}

/// Reads a page's models. `None` if it is no list.
pub fn read(body: &[u8]) -> Option<GooglePage> {
    let body: Body = serde_json::from_slice(body).ok()?;
    let models = body.models?.into_iter().filter(Model::can_be_asked);
    let models = models.map(|model| GoogleModel {
        id: match model.name.strip_prefix("models/") {
            Some(id) => id.to_owned(),
            None => model.name,
        },
        context: model.input_token_limit,
        max_output: model.output_token_limit,
    });
    Some(GooglePage {
        models: models.collect(),
        next: body.next_page_token.filter(|token| !token.is_empty()),
    })
}

/// Returns the path of the page that `next` stands for.
pub fn next_page(next: &str) -> String {
    format!("{MODELS}&pageToken={}", utf8_percent_encode(next, RESERVED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_listed_page_by_page() {
        let body = br#"{"models":[
            {"name":"models/gemini-3.8-flash","displayName":"x","inputTokenLimit":1048576,"outputTokenLimit":65536,"supportedGenerationMethods":["generateContent","countTokens"],"thinking":true},
            {"name":"models/imagen-5","supportedGenerationMethods":["predict"]},
            {"name":"tunedModels/mine"}],"nextPageToken":"a/b="}"#;
        let page = read(body).unwrap();
        let ids: Vec<&str> = page.models.iter().map(|model| model.id.as_str()).collect();
        assert_eq!(ids, ["gemini-3.8-flash", "tunedModels/mine"]);
        assert_eq!(page.models[0].context, Some(1_048_576));
        assert_eq!(
            next_page(&page.next.unwrap()),
            "/models?pageSize=1000&pageToken=a%2Fb%3D"
        );
        assert_eq!(
            read(br#"{"models":[],"nextPageToken":""}"#),
            Some(GooglePage::default())
        );
        assert_eq!(read(br#"{"error":{}}"#), None);
    }
}
