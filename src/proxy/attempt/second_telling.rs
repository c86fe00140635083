//! What reads an answer that may go on elsewhere, or that goes on with what broke off elsewhere.

use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::attempt::upstream_request::{RequestSource, UpstreamRequest};
use crate::proxy::attempt::upstreams::Upstreams;
use crate::proxy::failure::Failure;
use crate::proxy::prepared::{Resuming, answering};
use remuda_formats::ir::Refused;
use remuda_formats::translate::{Interrupted, retelling};

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
            Resuming::From(first) => self.go_on_from(from, first, &mut written.reader)?,
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
}
