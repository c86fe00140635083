//! Corrects a request that passes to a provider of the client's own format: it leaves out what the model is known to refuse,
//! mends what strict parsers refuse (also before a translation reads it), and settles how vectors are encoded.

use std::borrow::Cow;
use std::time::Instant;

use bytes::Bytes;

use crate::fleet::Backend;
use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::attempt::upstreams::Upstreams;
use crate::proxy::ctx::Inbound;
use crate::proxy::failure::Failure;
use crate::proxy::prepared::{ModelRequest, WantedModel, answering};
use crate::settings::Fidelity;
use remuda_formats::client::{self, Operation};
use remuda_formats::dialect::exchange::{Reply, Target};
use remuda_formats::ir::{Dropped, Mend};
use remuda_formats::translate::{self, Translation};
use remuda_formats::wire::json::{self, Object};

/// A request for vectors that the gateway encodes where the provider does not.
pub(crate) struct Encoded {
    pub(crate) reader: AnswerReader,
    /// The body that is sent; `None` if it is the client's.
    pub(crate) body: Option<Bytes>,
}

impl Upstreams {
    /// Returns the request by which vectors get to a client in the encoding that it wants, from a server that may not know that
    /// encoding: without the field that the server has refused, and with a reader that encodes the vectors if they come plain.
    pub(crate) fn encoded(
        &self,
        ctx: &Inbound,
        body: &[u8],
        backend: &Backend,
        (wanted, own): (&WantedModel, &str),
        mend: &mut Option<Mend>,
    ) -> Option<Encoded> {
        const FIELD: &str = "encoding_format";
        let mut object = Object::read(body)?;
        let base64 = object.get(FIELD) == Some(b"\"base64\"");
        let refusals = &self.side(backend.provider.id).refusals;
        let refused = *mend == Some(Mend::Encoding)
            || refusals.of(own, Instant::now()).contains(&Mend::Encoding);
        if refused && object.remove(FIELD) {
            *mend = mend.filter(|mend| *mend != Mend::Encoding);
        }
        let reply = Reply {
            base64,
            ..self.reply_to(ctx, answering(&wanted.asked, own))
        };
        Some(Encoded {
            reader: AnswerReader::Across(Box::new(Translation::encoded(reply, body))),
            body: object.written().map(Bytes::from),
        })
    }

    /// Returns a body that passes without what its model refuses: by the facts about it, by what it has refused of late, and by
    /// what it has refused of this request.
    pub(crate) fn refined(
        &self,
        operation: Operation,
        mut body: Bytes,
        (backend, target): (&Backend, &Target<'_>),
        schemas: bool,
        mend: Option<Mend>,
    ) -> Result<(Bytes, Dropped), Box<Failure>> {
        let fidelity = self.settings.routing.fidelity;
        let mut dropped = Dropped::default();
        if let Some((fitted, what)) = translate::fitted(operation, &body, target, schemas) {
            translate::faithful(fidelity, &what, target.provider.kind)
                .map_err(Failure::inexpressible)?;
            if fidelity == Fidelity::Lenient {
                (body, dropped) = (fitted.into(), what);
            }
        }
        if fidelity != Fidelity::Lenient {
            return match mend {
                None => Ok((body, dropped)),
                Some(_) => Err(Failure::unmendable()),
            };
        }
        let refusals = &self.side(backend.provider.id).refusals;
        for spare in refusals.of(target.model, Instant::now()) {
            if let Some((without, what)) = translate::mended(operation, &body, spare) {
                body = without.into();
                dropped.merge(&what);
            }
        }
        if let Some(wrong) = mend {
            let (without, what) =
                translate::mended(operation, &body, wrong).ok_or_else(Failure::unmendable)?;
            body = without.into();
            dropped.merge(&what);
        }
        Ok((body, dropped))
    }
}

/// Returns the body as strict parsers take it, and the places of its fields in that body. A form stays as it is, as it holds
/// files.
pub(crate) fn sound<'a>(
    request: &ModelRequest,
    wanted: &'a WantedModel,
) -> (Bytes, Cow<'a, WantedModel>) {
    let body = &request.body.bytes;
    if client::is_form(request.operation, body) {
        return (body.clone(), Cow::Borrowed(wanted));
    }
    match json::whole_characters(body) {
        None => (body.clone(), Cow::Borrowed(wanted)),
        Some(whole) if whole.len() == body.len() => (whole.into(), Cow::Borrowed(wanted)),
        Some(whole) => (whole.into(), Cow::Owned(wanted.moved(body))),
    }
}

/// Returns the body with the provider's own name for the model.
pub(crate) fn respelled(
    operation: Operation,
    body: &Bytes,
    wanted: &WantedModel,
    own: &str,
) -> Bytes {
    match wanted.span {
        Some(span) if *own != *wanted.asked => client::replace_model(operation, body, span, own),
        _ => body.clone(),
    }
}
