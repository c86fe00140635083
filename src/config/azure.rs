//! What only Azure OpenAI needs: the form of its addresses, and its deployments.

use serde::{Deserialize, Serialize};

use super::entries::{Entries, ModelName};
use super::field::Field;
use super::reader::Section;
use super::scalar::{Scalar, text};
use super::yaml::Value;
use crate::settings;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Azure {
    api_version: Field<ApiVersion>,
    deployments: Entries<ModelName>,
}

/// It goes into addresses as it is.
struct ApiVersion(String);

impl Scalar for ApiVersion {
    fn read(value: &Value) -> Result<ApiVersion, String> {
        text(value)
            .filter(|text| (1..=64).contains(&text.len()))
            .filter(|text| {
                text.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
            })
            .map(|text| ApiVersion(text.into_owned()))
            .ok_or_else(|| "expected a version such as 2024-10-21".into())
    }

    fn write(&self) -> Value {
        self.0.as_str().into()
    }
}

impl Azure {
    pub(super) fn template() -> Azure {
        Azure {
            deployments: Entries::template(),
            ..Azure::default()
        }
    }

    /// Returns the keys that the file states, for a provider of another kind.
    pub(super) fn stated_keys(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("api_version", self.api_version.is_stated()),
            ("deployments", !self.deployments.is_empty()),
        ];
        keys.into_iter()
            .filter_map(|(key, stated)| stated.then_some(key))
    }

    pub(super) fn used(self, at: &mut Section<'_, '_>) -> settings::Azure {
        let api_version = at.stated("api_version", self.api_version);
        settings::Azure {
            api_version: api_version.map(|version| version.0.into()),
            deployments: self.deployments.names(at, "deployments"),
        }
    }
}

impl From<&settings::Azure> for Azure {
    fn from(used: &settings::Azure) -> Azure {
        let api_version = used.api_version.as_deref();
        Azure {
            api_version: api_version.map(|text| ApiVersion(text.to_owned())).into(),
            deployments: (&used.deployments).into(),
        }
    }
}
