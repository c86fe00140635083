//! A provider's error, sorted by what can be done about it.

use std::borrow::Cow;
use std::time::Duration;

/// What a failure means for the request and for the other candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Wrong on any provider: the client's 400.
    Permanent,
    /// The route is wrong: credentials, model name, capability. Another candidate may do; this one will not.
    Route,
    /// No capacity now: another candidate at once, this one after a while.
    Capacity,
    /// Broken for the moment.
    Transient,
}

/// What went wrong, as the clients' formats tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    InvalidRequest,
    ContextLength,
    TooLarge,
    ContentFilter,
    Credentials,
    Billing,
    ModelNotFound,
    /// The provider has no such operation, or the model cannot do what is asked.
    Unsupported,
    RateLimit,
    Overloaded,
    Timeout,
    Server,
    /// The stream ended without its terminator.
    Incomplete,
    /// What came is not the provider's format.
    Garbled,
}

/// What a request may be said once more without, where a provider refused it for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// To think, which the model cannot.
    Thinking,
    /// The proofs of thoughts: they are another provider's, or spoilt.
    Signatures,
    /// Vectors as base64: the gateway can write them so itself.
    Encoding,
    /// To reason beside what else it asks for: the model has to be told not to.
    Reasoning,
    /// A parameter that only refines the answer, by OpenAI's name for it.
    Parameter(&'static str),
}

impl Mend {
    /// Returns the metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Mend::Thinking => "thinking",
            Mend::Signatures => "signatures",
            Mend::Encoding => "encoding",
            Mend::Reasoning => "reasoning",
            Mend::Parameter(_) => "parameter",
        }
    }
}

/// Tokens of a request that does not fit, as far as its provider told them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflow {
    /// The tokens of the prompt.
    pub input: Option<u64>,
    /// The tokens of the answer that was asked for.
    pub output: Option<u64>,
    /// The tokens of both.
    pub all: Option<u64>,
    /// The tokens that would fit.
    pub most: Option<u64>,
}

impl Overflow {
    /// Returns what is known, and the rest from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Overflow {
            input: self.input.or(other.input),
            output: self.output.or(other.output),
            all: self.all.or(other.all),
            most: self.most.or(other.most),
        }
    }

    /// Returns how many tokens there are, and how many would fit, if both are known and the first is more.
    pub fn excess(&self) -> Option<(u64, u64)> {
        let both = || Some(self.input?.saturating_add(self.output?));
        let used = self.all.or_else(both).or(self.input)?;
        let most = self.most?;
        (used > most).then_some((used, most))
    }
}

/// A provider's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub class: Class,
    pub kind: FaultKind,
    /// The provider's own words, without credentials, account names and addresses.
    pub message: Cow<'static, str>,
    /// When it may be better.
    pub retry_after: Option<Duration>,
    /// The field that the provider blames.
    pub param: Option<String>,
    /// The provider's own word for the error, where its format is OpenAI's.
    pub code: Option<Box<str>>,
    /// By how much the prompt is too long, if the kind is [`FaultKind::ContextLength`] and it was said.
    pub overflow: Option<Box<Overflow>>,
    /// What the request may be sent without, so that the fault does not come again.
    pub mend: Option<Mend>,
}

impl Fault {
    pub fn new(class: Class, kind: FaultKind, message: impl Into<Cow<'static, str>>) -> Self {
        Fault {
            class,
            kind,
            message: message.into(),
            retry_after: None,
            param: None,
            code: None,
            overflow: None,
            mend: None,
        }
    }

    /// Returns the fault of a body that ended before its terminator.
    pub fn incomplete() -> Self {
        Fault::new(
            Class::Transient,
            FaultKind::Incomplete,
            "the provider's answer broke off before its end",
        )
    }

    /// Returns the fault of an answer that cannot be read; `what` says what was expected.
    pub fn garbled(what: &'static str) -> Self {
        Fault::new(Class::Transient, FaultKind::Garbled, what)
    }

    /// Returns the fault of an answer to something else than was asked.
    pub fn misframed() -> Self {
        Fault::garbled("the provider's answer does not come in the form that was asked for")
    }

    /// Returns the fault of a call without a name, by which nobody can be called.
    pub fn nameless_call() -> Self {
        Fault::garbled("a tool call of the provider's answer has no name")
    }

    #[must_use]
    pub fn after(self, retry_after: Option<Duration>) -> Self {
        Fault {
            retry_after,
            ..self
        }
    }

    #[must_use]
    pub fn without(self, mend: Option<Mend>) -> Self {
        Fault { mend, ..self }
    }

    /// Returns the status that the client gets when no candidate is left. It follows from the class, and is never the
    /// provider's own.
    pub fn client_status(&self) -> u16 {
        match (self.class, self.kind) {
            (Class::Permanent | Class::Route, FaultKind::TooLarge) => 413,
            (Class::Permanent, _) => 400,
            (Class::Route, FaultKind::ModelNotFound) => 404,
            (Class::Route, FaultKind::Unsupported | FaultKind::ContextLength) => 400,
            // What the model made of the request is nothing that its server can use.
            (Class::Route, FaultKind::InvalidRequest) => 500,
            (Class::Route, _) => 502,
            (Class::Capacity, FaultKind::RateLimit) => 429,
            (Class::Capacity, _) => 503,
            (Class::Transient, FaultKind::Timeout) => 504,
            (Class::Transient, FaultKind::Overloaded) => 503,
            (Class::Transient, _) => 502,
        }
    }
}
