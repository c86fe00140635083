//! The vectors of an answer, which may come in the bodies of several requests.

use http::HeaderMap;

use super::super::forms;
use super::super::passing::has_vectors;
use super::progress::Sink;
use super::{Source, Translation};
use crate::client::Operation;
use crate::dialect::openai;
use crate::ir::{Embeddings, Fault, Usage};
use crate::wire::ndjson::unmarked;

impl Translation {
    /// Takes over what one call of several gave, when its body has come whole and another call follows.
    ///
    /// # Errors
    /// If that body was no answer.
    pub fn part(&mut self, headers: &HeaderMap) -> Result<(), Fault> {
        if let (Sink::Vectors(_, all), Source::Vectors { form, body, .. }) =
            (&mut self.sink, &mut self.source)
        {
            join(all, forms::read_embeddings(form, unmarked(body), headers)?)?;
            self.progress.usage = all.usage;
            self.source = Source::vectors(form);
        }
        Ok(())
    }

    pub(super) fn write_vectors(&mut self, headers: &HeaderMap) {
        let (Sink::Vectors(client, all), Source::Vectors { form, body, .. }) =
            (&mut self.sink, &self.source)
        else {
            return;
        };
        if self.progress.fault.is_some() {
            return;
        }
        let body = unmarked(body);
        if self.passes
            && has_vectors(Operation::OpenAiEmbeddings, body, self.vectors)
            && let Some(usage) = openai::embeddings::encoded_as(body, self.reply.base64)
        {
            self.progress.usage = usage;
            self.progress.ended = true;
            return self.out.extend_from_slice(body);
        }
        let last = forms::read_embeddings(form, body, headers);
        let joined = last.and_then(|last| join(all, last));
        match joined.and_then(|()| complete(all, self.vectors)) {
            Ok(()) => {
                self.progress.usage = all.usage;
                self.progress.ended = true;
                (client.write)(all, &self.reply, &mut self.out);
            }
            Err(fault) => self.progress.fault = Some(fault),
        }
    }
}

/// Checks that there is a vector for each input.
fn complete(all: &Embeddings, wanted: Option<usize>) -> Result<(), Fault> {
    let is_short = wanted.is_some_and(|wanted| all.vectors.len() != wanted);
    if is_short || all.vectors.iter().any(Vec::is_empty) {
        Err(Fault::garbled(
            "the provider's answer does not have one vector for each input",
        ))
    } else {
        Ok(())
    }
}

fn join(all: &mut Embeddings, more: Embeddings) -> Result<(), Fault> {
    all.extend(more.vectors)?;
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
    };
    let usage = Usage {
        prompt: sum(all.usage.prompt, more.usage.prompt),
        total_duration: sum(all.usage.total_duration, more.usage.total_duration),
        load_duration: sum(all.usage.load_duration, more.usage.load_duration),
        ..more.usage
    };
    all.usage = usage;
    Ok(())
}
