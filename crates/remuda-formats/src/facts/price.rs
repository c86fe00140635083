//! List prices: exact decimals, in US dollars per million tokens, with steps by the prompt's length.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A price in US dollars per million tokens, held in billionths of a dollar; so times a number of tokens it is in
/// 10⁻¹⁵ dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsdPerMillion(u64);

impl UsdPerMillion {
    const DECIMALS: usize = 9;

    /// Returns the price in billionths of a dollar per million tokens.
    pub fn nanos(self) -> u64 {
        self.0
    }

    /// Returns what `tokens` cost, in 10⁻¹⁵ dollars.
    pub fn times(self, tokens: u64) -> u128 {
        u128::from(self.0) * u128::from(tokens)
    }

    /// Reads a plain decimal, such as `0.0625`. `None` for any other text, and for one that is not held exactly.
    pub fn parse(text: &str) -> Option<UsdPerMillion> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > Self::DECIMALS {
            return None;
        }
        let zeros = u32::try_from(Self::DECIMALS - fraction.len()).ok()?;
        let fraction = fraction.parse::<u64>().ok()? * 10_u64.pow(zeros);
        let whole = whole.parse::<u64>().ok()?;
        whole
            .checked_mul(1_000_000_000)?
            .checked_add(fraction)
            .map(UsdPerMillion)
    }
}

impl fmt::Display for UsdPerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if nanos == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{nanos:09}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl<'de> Deserialize<'de> for UsdPerMillion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UsdPerMillion, D::Error> {
        struct Decimal;

        impl Visitor<'_> for Decimal {
            type Value = UsdPerMillion;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("US dollars per million tokens, like 0.25, with at most nine decimals")
            }

            fn visit_u64<E: de::Error>(self, dollars: u64) -> Result<UsdPerMillion, E> {
                self.visit_str(&dollars.to_string())
            }

            /// The shortest decimal that reads as this number is the one that was written.
            fn visit_f64<E: de::Error>(self, dollars: f64) -> Result<UsdPerMillion, E> {
                self.visit_str(&dollars.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<UsdPerMillion, E> {
                UsdPerMillion::parse(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Decimal)
    }
}

/// What tokens cost; what is not stated is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    pub input: UsdPerMillion,
    #[serde(default)]
    pub output: UsdPerMillion,
    /// Prompt tokens that were read from the provider's cache.
    pub cached: Option<UsdPerMillion>,
    /// Prompt tokens that were written to the provider's cache, for minutes.
    pub cache_write: Option<UsdPerMillion>,
    /// The price of tokens that are written to the cache for an hour.
    pub cache_write_hour: Option<UsdPerMillion>,
}

/// The rates of prompts that are longer than a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The prompt tokens, cached ones included, above which the tier begins. The whole request is billed by the tier,
    /// not what is above alone.
    pub above: u64,
    pub rates: Rates,
}

/// A model's list price.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    #[serde(rename = "rates")]
    pub base: Rates,
    /// The tiers in the order of `above`.
    #[serde(default)]
    pub tiers: Vec<Tier>,
}

impl Price {
    /// Returns the rates for a request with so many prompt tokens, cached ones included.
    pub fn rates(&self, prompt_tokens: u64) -> &Rates {
        self.tiers
            .iter()
            .rev()
            .find(|tier| prompt_tokens > tier.above)
            .map_or(&self.base, |tier| &tier.rates)
    }
}
