//! What follows a failed attempt: who is asked next, after how long, and how often in all.

use std::time::Duration;

/// Which provider is asked after one has failed. Within a fleet of Ollama servers another server is asked first,
/// whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// No other: the client is told.
    None,
    /// The next of the plan (default).
    #[default]
    NextAvailable,
    /// The same again after a pause, then the next of the plan.
    RetrySame,
    /// The one that the strategy chooses now, without those that have failed.
    BestAlternative,
}

impl Fallback {
    /// Every strategy, as the configuration names it.
    pub const NAMES: &'static [(&'static str, Fallback)] = &[
        ("none", Fallback::None),
        ("next_available", Fallback::NextAvailable),
        ("retry_same", Fallback::RetrySame),
        ("best_alternative", Fallback::BestAlternative),
    ];

    /// Returns the name that the configuration has for it.
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, fallback)| *fallback == self);
        named.map_or("", |(name, _)| name)
    }
}

/// Pauses between attempts, and the bound on attempts over all requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Further attempts at the same provider under [`Fallback::RetrySame`] (default 3).
    pub attempts: u32,
    /// The first pause, doubled each time (default 1 s).
    pub base: Duration,
    /// No pause is longer (default 60 s).
    pub max: Duration,
    /// A provider that asks for a longer pause is not waited for (default 10 s).
    pub max_wait: Duration,
    /// No further attempt of a request lasts longer than this after its first began (default 600 s).
    pub within: Duration,
    /// Where nothing has come for so long, another candidate is asked too (default 10 s); `None`: never.
    pub hedge_after: Option<Duration>,
    /// Of the recent requests to a cloud service, the share that may be attempts in vain after another (default 0.2).
    pub budget: f64,
    /// So many of those are allowed within ten seconds however few requests there are (default 10).
    pub budget_floor: u32,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: 3,
            base: Duration::from_secs(1),
            max: Duration::from_secs(60),
            max_wait: Duration::from_secs(10),
            within: Duration::from_secs(600),
            hedge_after: Some(Duration::from_secs(10)),
            budget: 0.2,
            budget_floor: 10,
        }
    }
}
