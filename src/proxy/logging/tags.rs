//! The tag by which the cost of a request is told apart: that of its header field, that behind the model's name, that of its
//! key, or the default.

use std::sync::Arc;

use crate::proxy::ctx::Inbound;
use crate::proxy::failure::Failure;
use crate::proxy::logging::record::Record;
use crate::usage::Tag;

impl Record {
    /// Returns the tag that a header field gives the request.
    ///
    /// # Errors
    /// 400 if the value is no tag.
    pub(crate) fn tag_of(&self, value: &http::HeaderValue) -> Result<Option<Arc<str>>, Failure> {
        let tag = Tag::parse(value.to_str().unwrap_or_default().trim())
            .map_err(|error| Failure::bad_request(format!("X-Proxy-Tag: {error}")))?;
        Ok(self.ledger.as_ref().map(|ledger| ledger.tag(tag)))
    }

    /// Returns the model's name without a tag, and the tag behind it, if there is one. A name that is known as it is has
    /// none.
    pub(crate) fn untagged<'a>(&self, name: &'a str) -> (&'a str, Option<Arc<str>>) {
        let is_listed = |name: &str| self.fleet.models().lookup(name).is_some();
        let (model, tag) = Tag::behind(name, &self.settings, is_listed);
        let ledger = self.ledger.as_ref();
        (model, tag.and_then(|tag| Some(ledger?.tag(tag))))
    }

    /// Gives the request the first tag that there is: that of the header field, of the name, of the key, or the default.
    pub(crate) fn take_tag(&self, inbound: &mut Inbound, of_name: Option<Arc<str>>) {
        let stated = inbound.tag.take().or(of_name);
        let of_key = || inbound.key.as_ref().and_then(|key| key.tag.clone());
        let tag = stated.or_else(of_key);
        inbound.tag = tag.or_else(|| self.settings.usage.default_tag.clone());
    }
}
