//! The head of what is sent upstream: path, header fields, and the provider's own key or signature.

use std::time::SystemTime;

use pingora::http::RequestHeader;

use crate::fleet::Backend;
use crate::proxy::attempt::upstreams::Upstreams;
use crate::proxy::ctx::Inbound;
use crate::proxy::failure::Failure;
use crate::proxy::heads;
use crate::settings::{self, ProviderKind};
use remuda_formats::dialect::bedrock::path::one_segment;
use remuda_formats::dialect::bedrock::sign::Unsigned;
use remuda_formats::dialect::exchange::ProviderRequest;

impl Upstreams {
    /// Makes the head of a request that the gateway has written, with the provider's key at position `key`.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub(crate) fn head_to(
        &self,
        inbound: &RequestHeader,
        ctx: &Inbound,
        (backend, key): (&Backend, usize),
        outgoing: &ProviderRequest,
    ) -> Result<RequestHeader, Box<Failure>> {
        let path = format!("{}{}", backend.base_path(), outgoing.path);
        let mut head = heads::provider_request(
            inbound,
            &path,
            backend,
            outgoing.body.len(),
            &ctx.request_id,
        )
        .map_err(|_| Failure::unwritable())?;
        for (name, value) in &outgoing.headers {
            head.insert_header(name, value)
                .map_err(|_| Failure::unwritable())?;
        }
        self.authorize(&mut head, backend, key, &path, &outgoing.body)?;
        Ok(head)
    }

    /// Adds the provider's own credentials: the fields of that key, or a signature of the whole request.
    ///
    /// # Errors
    /// If a field cannot be written, or the request cannot be signed.
    pub(super) fn authorize(
        &self,
        head: &mut RequestHeader,
        backend: &Backend,
        key: usize,
        path: &str,
        body: &[u8],
    ) -> Result<(), Box<Failure>> {
        for (name, value) in backend.provider.fields_with(key) {
            // A client of the same format may need a newer version.
            if *name != heads::ANTHROPIC_VERSION || !head.headers.contains_key(name) {
                head.insert_header(name, value)
                    .map_err(|_| Failure::unwritable())?;
            }
        }
        let Some(signer) = backend.provider.signer() else {
            return Ok(());
        };
        let host = backend.host.to_str().unwrap_or_default();
        let signed = signer
            .sign(
                &Unsigned {
                    method: "POST",
                    host,
                    path,
                    content_type: Some("application/json"),
                    body,
                },
                SystemTime::now(),
            )
            .map_err(|error| {
                log::error!(
                    "cannot sign a request to {}: {error}",
                    backend.provider.name
                );
                Box::new(Failure::new(
                    502,
                    "credentials",
                    format!(
                        "the gateway cannot sign requests to provider {}; see its log",
                        backend.provider.name
                    ),
                ))
            })?;
        for (name, value) in signed {
            head.insert_header(name, value)
                .map_err(|_| Failure::unwritable())?;
        }
        Ok(())
    }

    /// Makes the head that goes to an Ollama server.
    ///
    /// # Errors
    /// If a field cannot be written.
    pub(crate) fn upstream_head(
        &self,
        inbound: &RequestHeader,
        ctx: &Inbound,
        (backend, key): (&Backend, usize),
        content_length: Option<usize>,
    ) -> pingora::Result<RequestHeader> {
        let mut head = heads::upstream_request(
            inbound,
            &heads::Rewrite {
                host: &backend.host,
                content_length,
                request_id: &ctx.request_id,
                client: ctx.client,
                forwarded: self.settings.server.forwarded,
            },
        )?;
        for (name, value) in backend.provider.fields_with(key) {
            head.insert_header(name, value)?;
        }
        Ok(head)
    }
}

/// Returns the path of `route` at a provider of OpenAI's family, behind its base path; `own` is its name for the model.
pub(super) fn openai_path(provider: &settings::Provider, route: &str, own: &str) -> String {
    let route = route.strip_prefix("/v1").unwrap_or(route);
    if provider.kind != ProviderKind::Azure {
        return route.to_owned();
    }
    match &provider.azure.api_version {
        None => format!("/openai/v1{route}"),
        Some(version) if route == "/responses" => format!("/openai{route}?api-version={version}"),
        Some(version) => {
            let deployment = one_segment(own);
            format!("/openai/deployments/{deployment}{route}?api-version={version}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_has_routes_by_deployment_and_version_and_others_as_the_client_wrote_them() {
        let mut provider = settings::Provider::named("p");
        provider.kind = ProviderKind::OpenAi;
        let path = |provider: &settings::Provider, route| openai_path(provider, route, "my gpt");
        assert_eq!(path(&provider, "/v1/responses"), "/responses");
        assert_eq!(path(&provider, "/v1/chat/completions"), "/chat/completions");
        provider.kind = ProviderKind::Azure;
        assert_eq!(path(&provider, "/v1/responses"), "/openai/v1/responses");
        provider.azure.api_version = Some("2024-10-21".into());
        assert_eq!(
            path(&provider, "/v1/responses"),
            "/openai/responses?api-version=2024-10-21"
        );
        assert_eq!(
            path(&provider, "/v1/chat/completions"),
            "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"
        );
    }
}
