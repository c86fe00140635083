//! How long a provider is to keep the prompt up to a mark.

/// How long the provider keeps the prompt up to a breakpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheTtl {
    /// The provider's own time, five minutes.
    #[default]
    Short,
    /// An hour, which costs more to write.
    Hour,
}

impl CacheTtl {
    /// Returns the time by the name that Anthropic, Bedrock and OpenRouter give it.
    pub fn named(name: Option<&str>) -> Self {
        match name {
            Some("1h") => CacheTtl::Hour,
            _ => CacheTtl::Short,
        }
    }
}
