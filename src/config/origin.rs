//! What stands in front of the routes: the origins of web pages that may ask, the names by which clients may call the gateway,
//! and a path that a proxy passes on.

use std::sync::Arc;

use super::scalar::{Scalar, text};
use super::yaml::Value;
use crate::settings::{HostName, Origin};

const EXPECTED_ORIGIN: &str =
    "expected an origin such as https://app.example or moz-extension://*, with one * at most";

impl Scalar for Origin {
    fn read(value: &Value) -> Result<Origin, String> {
        text(value)
            .and_then(|text| Origin::parse(&text))
            .ok_or_else(|| EXPECTED_ORIGIN.into())
    }

    fn write(&self) -> Value {
        self.to_string().into()
    }
}

impl Scalar for HostName {
    fn read(value: &Value) -> Result<HostName, String> {
        text(value)
            .and_then(|text| HostName::parse(&text))
            .ok_or_else(|| {
                "expected a host's name without scheme and port, such as llm.example, *.llm.example or *".into()
            })
    }

    fn write(&self) -> Value {
        self.to_string().into()
    }
}

/// Several, with commas between them, as Ollama's server takes them from its environment.
pub(super) struct Origins(pub(super) Vec<Origin>);

impl Scalar for Origins {
    fn read(value: &Value) -> Result<Origins, String> {
        let text = text(value).unwrap_or_default();
        let text = text.trim_matches(['"', '\'']);
        let origins = text.split(',').map(str::trim);
        let origins = origins
            .filter(|origin| !origin.is_empty())
            .map(|origin| Origin::parse(origin).ok_or_else(|| EXPECTED_ORIGIN.into()));
        origins.collect::<Result<_, _>>().map(Origins)
    }

    fn write(&self) -> Value {
        let origins: Vec<String> = self.0.iter().map(Origin::to_string).collect();
        origins.join(",").into()
    }
}

/// `/ollama`; `/` is none.
#[derive(Clone)]
pub(super) struct BasePath(pub(super) Option<Arc<str>>);

/// Bytes of a base path at most.
const MAX_BASE_PATH: usize = 200;
/// What the gateway's own routes begin with.
const OWN: [&str; 5] = ["api", "v1", "health", "metrics", "__proxy"];

impl From<BasePath> for Option<Arc<str>> {
    fn from(BasePath(path): BasePath) -> Option<Arc<str>> {
        path
    }
}

impl Scalar for BasePath {
    fn read(value: &Value) -> Result<BasePath, String> {
        let text = text(value).unwrap_or_default();
        let expected =
            || "expected a path such as /ollama, of letters, digits and - _ . ~".to_owned();
        if text == "/" {
            return Ok(BasePath(None));
        }
        let path = text.strip_prefix('/').ok_or_else(expected)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let is_segment =
            |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(known);
        if path.len() > MAX_BASE_PATH || !path.split('/').all(is_segment) {
            return Err(expected());
        }
        let first = path.split('/').next().unwrap_or_default();
        if OWN.contains(&first) {
            return Err(format!(
                "expected a path such as /ollama; the gateway's own routes are under /{first}"
            ));
        }
        Ok(BasePath(Some(format!("/{path}").into())))
    }

    fn write(&self) -> Value {
        self.0.as_deref().unwrap_or("/").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_read_with_and_without_its_last_slash() {
        for (text, path) in [
            ("/ollama", Some("/ollama")),
            ("/ollama/", Some("/ollama")),
            ("/team-a/llm.v1", Some("/team-a/llm.v1")),
            ("/", None),
        ] {
            let BasePath(read) =
                BasePath::read(&text.into()).unwrap_or(BasePath(Some("bad".into())));
            assert_eq!(read.as_deref(), path, "{text}");
        }
        for bad in [
            "", "ollama", "//", "//x", "/a//b", "/a/../b", "/.", "/%2e", "/a b", "/a?b", "/api",
            "/v1/x", "/é",
        ] {
            assert!(BasePath::read(&bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_of_the_environment_is_read() {
        let text = " \"http://10.0.0.*, https://app.example/,,chrome-extension://*\" ";
        let Ok(Origins(read)) = Origins::read(&text.into()) else {
            panic!("{text}")
        };
        let read: Vec<String> = read.iter().map(Origin::to_string).collect();
        assert_eq!(
            read,
            [
                "http://10.0.0.*",
                "https://app.example",
                "chrome-extension://*"
            ]
        );
        assert!(Origins::read(&"app.example".into()).is_err());
    }
}
