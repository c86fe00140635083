//! What reads an answer that may go on elsewhere, or that goes on with what broke off elsewhere.

use bytes::Bytes;

use crate::proxy::attempt::continuation::Continuation;
use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::attempt::upstream_request::{RequestSource, UpstreamRequest};
use crate::proxy::attempt::upstreams::Upstreams;
use crate::proxy::failure::Failure;
use crate::proxy::prepared::{Resuming, answering};
use remuda_formats::client::Operation;
use remuda_formats::dialect::exchange::ProviderRequest;
use remuda_formats::dialect::ollama;
use remuda_formats::ir::Refused;
use remuda_formats::translate::{Interrupted, can_be_written_on, retelling, writing_on};

impl Upstreams {
    /// Has the answer read so that it may go on elsewhere, or so that it goes on with what its client has.
    ///
    /// # Errors
    /// If such an answer cannot be told again.
    pub(super) fn watched(
        &self,
        from: &RequestSource<'_>,
        mut written: UpstreamRequest,
    ) -> Result<UpstreamRequest, Box<Failure>> {
        match &from.request.resume {
            Resuming::Never => {}
            Resuming::Possible => written.reader.watch(),
            Resuming::From(first) => {
                written.continuation = self.continuation(from, first, &written.body)?;
                self.go_on_from(from, first, &mut written.reader)?;
            }
        }
        Ok(written)
    }

    fn go_on_from(
        &self,
        from: &RequestSource<'_>,
        first: &Interrupted,
        reader: &mut AnswerReader,
    ) -> Result<(), Box<Failure>> {
        if let AnswerReader::Across(translation) = reader {
            translation.go_on_from(first);
            return Ok(());
        }
        let RequestSource {
            inbound,
            request,
            backend,
            ..
        } = *from;
        let second = request.wanted.as_ref().and_then(|wanted| {
            let own = self.own_name(wanted, backend);
            let reply = self.reply_to(inbound, answering(&wanted.asked, &own));
            retelling(request.operation, &request.body.bytes, reply, first)
        });
        let refused = || Refused::new("the answer to this request cannot be told again");
        *reader = AnswerReader::Across(second.ok_or_else(|| Failure::inexpressible(refused()))?);
        Ok(())
    }

    /// Returns how the answer to a request, of which `body` asks a server for all, is written on there; `None` if it has to be
    /// told again.
    ///
    /// # Errors
    /// If a request cannot be written.
    fn continuation(
        &self,
        from: &RequestSource<'_>,
        first: &Interrupted,
        body: &Bytes,
    ) -> Result<Option<Box<Continuation>>, Box<Failure>> {
        let RequestSource {
            inbound,
            request,
            backend,
            ..
        } = *from;
        let is_chat = matches!(
            request.operation,
            Operation::Chat
                | Operation::OpenAiChat
                | Operation::OpenAiResponses
                | Operation::AnthropicMessages
        );
        let (true, true, Some(wanted)) = (
            is_chat,
            backend.provider.settings.kind.is_fleet(),
            &request.wanted,
        ) else {
            return Ok(None);
        };
        let client_body = &request.body.bytes;
        if !can_be_written_on(request.operation, client_body, first.sent()) {
            return Ok(None);
        }
        let own = self.own_name(wanted, backend);
        let reply = self.reply_to(inbound, answering(&wanted.asked, &own));
        let Some(question) = ollama::asking_for_prompt(body) else {
            return Ok(None);
        };
        let Some(reader) = writing_on(request.operation, client_body, reply, first) else {
            return Ok(None);
        };
        let to = |path: &str, body: Vec<u8>| -> Result<_, Box<Failure>> {
            let outgoing = ProviderRequest {
                path: path.to_owned(),
                body,
                ..ProviderRequest::default()
            };
            let head = self.provider_head(from, &outgoing)?;
            Ok((head, Bytes::from(outgoing.body)))
        };
        Ok(Some(Box::new(Continuation {
            question: Some(to("/api/chat", question)?),
            head: to("/api/generate", Vec::new())?.0,
            body: body.clone(),
            said: first.sent().words(),
            tokens: first.sent().pieces(),
            reader: AnswerReader::Across(reader),
        })))
    }
}
