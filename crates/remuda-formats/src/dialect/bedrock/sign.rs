//! Signs requests by AWS Signature Version 4. Bedrock's signing name is `bedrock` for the runtime
//! and for the control plane alike, and the path already on the wire is encoded once more.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_runtime_api::client::identity::Identity;
use http::HeaderValue;
use std::fmt;
use std::time::SystemTime;

/// The request cannot be signed: its path or a header is not one of HTTP, or the session token is not.
#[derive(Debug, thiserror::Error)]
#[error("the request to Bedrock cannot be signed: check region, host and session token")]
pub struct SignError;

/// Credentials and region of one provider.
pub struct Signer {
    identity: Identity,
    region: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signer { region, .. } = self;
        formatter
            .debug_struct("Signer")
            .field("region", region)
            .finish_non_exhaustive()
    }
}

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    pub method: &'a str,
    /// The host as its header has it: with its port unless that is the scheme's own.
    pub host: &'a str,
    /// Path and query as on the wire: `/model/anthropic.claude-v2%3A1/converse`.
    pub path: &'a str,
    /// The `content-type` header; none for a request without body.
    pub content_type: Option<&'a str>,
    pub body: &'a [u8],
}

impl Signer {
    /// Creates a signer; temporary credentials come with a session token.
    pub fn new(
        access_key: &str,
        secret_key: &str,
        session_token: Option<&str>,
        region: &str,
    ) -> Signer {
        let token = session_token.map(str::to_owned);
        let credentials = Credentials::new(access_key, secret_key, token, None, "remuda");
        Signer {
            identity: credentials.into(),
            region: region.to_owned(),
        }
    }

    /// Returns the header fields to add, in the order in which they come: `x-amz-date`, `authorization` and, for
    /// temporary credentials, `x-amz-security-token`.
    ///
    /// AWS refuses a signature that is more than five minutes old, so each attempt is signed anew.
    pub fn sign(
        &self,
        request: &Unsigned<'_>,
        now: SystemTime,
    ) -> Result<Vec<(&'static str, HeaderValue)>, SignError> {
        let params = SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name("bedrock")
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| SignError)?
            .into();
        let headers = request.content_type.map(|value| ("content-type", value));
        let headers = headers.into_iter().chain([("host", request.host)]);
        let body = SignableBody::Bytes(request.body);
        let signable = SignableRequest::new(request.method, request.path, headers, body)
            .map_err(|_| SignError)?;
        let (instructions, _) = sign(signable, &params).map_err(|_| SignError)?.into_parts();
        let (headers, _) = instructions.into_parts();
        headers
            .into_iter()
            .map(|header| {
                let mut value = HeaderValue::from_str(header.value()).map_err(|_| SignError)?;
                value.set_sensitive(header.name() != "x-amz-date");
                Ok((header.name(), value))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BODY: &[u8] = br#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// Reads a moment, such as 2026-01-02T03:04:05Z.
    fn moment() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045)
    }

    fn signed(token: Option<&str>, path: &str) -> Vec<(&'static str, String)> {
        let signer = Signer::new("AKIDEXAMPLE", SECRET, token, "us-east-1");
        let request = Unsigned {
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path,
            content_type: Some("application/json"),
            body: BODY,
        };
        let headers = signer.sign(&request, moment()).unwrap();
        headers
            .into_iter()
            .map(|(name, value)| (name, value.to_str().unwrap().to_owned()))
            .collect()
    }

    #[test]
    fn signs_a_profile_id_whose_path_is_encoded_twice() {
        let path = "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse";
        let authorization = "AWS4-HMAC-SHA256 \
            Credential=AKIDEXAMPLE/20260102/us-east-1/bedrock/aws4_request, \
            SignedHeaders=content-type;host;x-amz-date, \
            Signature=a9e2ddee7983975acfe7ec4ddc10af309020f208d27103fa23c25efb8a5133e9";
        let expected = [
            ("x-amz-date", "20260102T030405Z"),
            ("authorization", authorization),
        ];
        let expected = expected.map(|(name, value)| (name, value.to_owned()));
        assert_eq!(signed(None, path), expected);
    }

    #[test]
    fn signs_the_session_token_too() {
        let path = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A111122223333%3A\
            application-inference-profile%2Fabc123def456/converse-stream";
        let headers = signed(Some("SESSIONTOKEN"), path);
        let (_, authorization) = &headers[1];
        assert!(
            authorization
                .contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,")
                && authorization.ends_with(
                    "Signature=e7efb368563ad4499f0e8f69145fd60fc71c7d3047e09df8250b8f6624efb393"
                ),
            "{authorization}"
        );
        assert_eq!(
            headers[2],
            ("x-amz-security-token", "SESSIONTOKEN".to_owned())
        );
    }

    #[test]
    fn credentials_are_not_shown() {
        let signer = Signer::new("AKIDEXAMPLE", SECRET, Some("SESSIONTOKEN"), "us-east-1");
        let request = Unsigned {
            method: "GET",
            host: "bedrock.us-east-1.amazonaws.com",
            path: "/foundation-models",
            content_type: None,
            body: b"",
        };
        let shown = format!("{signer:?} {:?}", signer.sign(&request, moment()).unwrap());
        for secret in ["AKIDEXAMPLE", SECRET, "SESSIONTOKEN", "Signature"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn what_is_no_http_is_refused() {
        let request = Unsigned {
            method: "POST",
            host: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/a b/converse",
            content_type: Some("application/json"),
            body: b"",
        };
        let signer = Signer::new("AKIDEXAMPLE", SECRET, None, "us-east-1");
        assert!(signer.sign(&request, moment()).is_err());
        let signer = Signer::new("AKIDEXAMPLE", SECRET, Some("line\nbreak"), "us-east-1");
        let request = Unsigned {
            path: "/",
            ..request
        };
        assert!(signer.sign(&request, moment()).is_err());
    }
}
