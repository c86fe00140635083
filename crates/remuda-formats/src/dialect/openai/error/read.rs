//! A provider's error, in any of the shapes that servers with OpenAI's API give it.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use serde_json::value::RawValue;

use super::shapes::{Found, found_in, name, read};
use super::sort::{Said, sort};
use crate::dialect::clean::clean;
use crate::dialect::{overflow, plain, retry_after, signature};
use crate::ir::{Class, Fault, FaultKind, Mend};

/// llama.cpp says so while it loads; a load takes a few seconds.
const LOADING: &str = "Loading model";
const LOAD: Duration = Duration::from_secs(2);

/// Returns what an answer with a status other than 200 means.
pub fn fault(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let in_words = || Found {
        message: plain::words(body),
        ..Found::default()
    };
    let fault = read(body).unwrap_or_else(in_words).into_fault(Some(status));
    let hint = retry_after::from_headers(headers);
    let own = fault.retry_after;
    let mend = fault.mend.or_else(|| encoding_refused(status, body));
    fault.after(hint.or(own)).without(mend)
}

/// Returns whether `encoding_format` was refused. Servers that know vectors as arrays alone refuse the field or its
/// value, each in words of its own.
fn encoding_refused(status: u16, body: &[u8]) -> Option<Mend> {
    let names = |word: &[u8]| memchr::memmem::find(body, word).is_some();
    let of_request = matches!(status, 400 | 415 | 422 | 501);
    let refused = names(b"encoding_format") || (of_request && names(b"base64"));
    refused.then_some(Mend::Encoding)
}

/// Returns the error that an answer of status 200, or an event of a stream, is or has.
pub fn fault_in_body(body: &[u8]) -> Fault {
    read(body).unwrap_or_default().into_fault(None)
}

/// Returns what stands under `error`.
pub(in super::super) fn fault_in(error: &RawValue) -> Fault {
    found_in(error).into_fault(None)
}

/// Returns what an event that is named an error says, be it no JSON.
pub(in super::super) fn fault_in_words(data: &[u8]) -> Fault {
    match data.first() {
        Some(b'{' | b'[' | b'"') => fault_in_body(data),
        _ => fault_of_text(&String::from_utf8_lossy(data)),
    }
}

/// Reads an error that a provider has told in plain words, within an answer of status 200.
pub(in super::super) fn fault_of_text(message: &str) -> Fault {
    let found = Found {
        message: Cow::Borrowed(message),
        ..Found::default()
    };
    found.into_fault(None)
}

impl Found<'_> {
    /// Returns the fault; `status` is `None` within an answer of status 200; the error may have one as its code.
    fn into_fault(self, status: Option<u16>) -> Fault {
        let of_code = || {
            self.code
                .parse()
                .ok()
                .filter(|code| (300..600).contains(code))
        };
        let status = status.or_else(of_code);
        let (class, kind) = sort(&Said {
            status,
            words: [&self.error_type, &self.code, &self.kind],
            message: &self.message,
            moderated: self.moderated,
        });
        let message = match clean(&self.message) {
            empty if empty.is_empty() => match status {
                Some(status) => format!("the provider answered with status {status}"),
                None => "the provider reported an error".to_owned(),
            },
            message => message,
        };
        let loading = class == Class::Capacity && message.contains(LOADING);
        let mend = self.mend(kind);
        let fault = Fault::new(class, kind, message)
            .after(loading.then_some(LOAD))
            .without(mend);
        // What is wrong with the gateway's own credentials is no field of the client's.
        let ours = matches!(kind, FaultKind::Credentials | FaultKind::Billing);
        overflow::counted(Fault {
            param: self.param.filter(|_| !ours),
            code: name(&self.code).filter(|_| !ours).map(Into::into),
            overflow: self.overflow.map(Box::new),
            ..fault
        })
    }
}

/// Parameters that refine an answer, by the names that errors have for them.
const REFINING: [(&str, &str); 14] = [
    ("max_tokens", "max_tokens"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("seed", "seed"),
    ("logit_bias", "logit_bias"),
    ("logprobs", "logprobs"),
    ("top_logprobs", "logprobs"),
    ("parallel_tool_calls", "parallel_tool_calls"),
    ("user", "user"),
    ("stop", "stop"),
    ("reasoning_effort", "reasoning_effort"),
    ("reasoning.effort", "reasoning_effort"),
];

/// An effort of reasoning is refused in many words, as a parameter or beside others: "Function tools with
/// reasoning_effort are not supported", "Unrecognized request argument supplied: reasoning_effort", "Extra inputs are
/// not permitted".
const EFFORT: &str = "reasoning_effort";
const EFFORTS: [&str; 2] = [EFFORT, "reasoning.effort"];
const REFUSING: [&str; 7] = [
    "not supported",
    "unsupported",
    "not support",
    "unrecognized",
    "unknown",
    "not permitted",
    "not allowed",
];

impl Found<'_> {
    fn refuses_effort(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        let is_param = self
            .param
            .as_deref()
            .is_some_and(|param| EFFORTS.contains(&param));
        let is_named = EFFORTS.iter().any(|name| message.contains(name));
        (is_param || is_named) && REFUSING.iter().any(|words| message.contains(words))
    }

    /// Returns what it would not have come without.
    fn mend(&self, kind: FaultKind) -> Option<Mend> {
        match kind {
            FaultKind::InvalidRequest if self.code == "invalid_encrypted_content" => {
                Some(Mend::Signatures)
            }
            FaultKind::InvalidRequest | FaultKind::Unsupported if self.refuses_effort() => {
                // A model that reasons when it is told nothing has to be told.
                let has_to_be_told = self.message.contains("reasoning_effort to 'none'");
                Some(if has_to_be_told {
                    Mend::Reasoning
                } else {
                    Mend::Parameter(EFFORT)
                })
            }
            FaultKind::InvalidRequest => signature::blamed(&self.message),
            FaultKind::Unsupported
                if matches!(&*self.code, "unsupported_parameter" | "unsupported_value") =>
            {
                let blamed = self.param.as_deref()?;
                let known = REFINING.iter().find(|(name, _)| *name == blamed)?;
                Some(Mend::Parameter(known.1))
            }
            _ => None,
        }
    }
}
