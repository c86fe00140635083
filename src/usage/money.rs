//! Amounts of money, and what tokens cost by a price list.

use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;

use super::Tokens;
use remuda_formats::facts::Price;

/// US dollars in whole billionths: one token of the cheapest models costs some of them, so that requests of a
/// few tokens are not rounded to nothing. Sums are exact; only a request's own cost is rounded, to the nearest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(u64);

impl Usd {
    pub const ZERO: Usd = Usd(0);
    /// What one request costs at most: more is a mistake of who states it.
    const MOST: u64 = 1_000_000 * Self::DOLLAR;
    const DOLLAR: u64 = 1_000_000_000;

    pub fn nanos(nanos: u64) -> Usd {
        Usd(nanos)
    }

    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the amount in millionths of a dollar, rounded to the nearest.
    pub fn micros(self) -> u64 {
        self.0 / 1000 + u64::from(self.0 % 1000 >= 500)
    }

    /// Returns the amount in dollars, for metrics and JSON, whose numbers are floats.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / Self::DOLLAR as f64
    }

    /// Returns the cost of a request as a provider states it; `None` if that is no amount of money.
    pub fn stated(dollars: f64) -> Option<Usd> {
        let nanos = (dollars * Self::DOLLAR as f64).round();
        (nanos >= 0.0 && nanos <= Self::MOST as f64).then_some(Usd(nanos as u64))
    }

    /// Reads a sum that [`Usd::dollars`] has made, to the nearest billionth.
    pub fn sum_of_dollars(dollars: f64) -> Usd {
        Usd((dollars * Self::DOLLAR as f64).round() as u64)
    }

    /// Returns the cost by the list: each token at the rate of its sort, and all rates by the length of the whole
    /// prompt. Where the list has no rate for a cache, the prompt's own holds, which is never less for reading.
    pub fn by_list(price: &Price, tokens: &Tokens) -> Usd {
        let rates = price.rates(tokens.input);
        let write = rates.cache_write.unwrap_or(rates.input);
        let write_hour = rates.cache_write_hour.unwrap_or(write);
        // In 10⁻¹⁵ dollars; the counts are bounded so that nothing overflows.
        let exact = rates.input.times(tokens.fresh())
            + rates.cached.unwrap_or(rates.input).times(tokens.cache_read)
            + write.times(tokens.cache_write - tokens.cache_write_hour)
            + write_hour.times(tokens.cache_write_hour)
            + rates.output.times(tokens.output);
        let nanos = (exact + 500_000) / 1_000_000;
        Usd(u64::try_from(nanos).unwrap_or(Self::MOST).min(Self::MOST))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Usd) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Usd>>(amounts: I) -> Usd {
        amounts.fold(Usd::ZERO, |mut sum, amount| {
            sum += amount;
            sum
        })
    }
}

/// Dollars with six decimals.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.micros();
        let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use remuda_formats::facts::{Rates, Tier, UsdPerMillion};

    fn rate(text: &str) -> UsdPerMillion {
        UsdPerMillion::parse(text).unwrap()
    }

    fn list() -> Price {
        let rates = Rates {
            input: rate("3"),
            output: rate("15"),
            cached: Some(rate("0.30")),
            cache_write: Some(rate("3.75")),
            cache_write_hour: Some(rate("6")),
        };
        Price {
            base: rates,
            tiers: vec![Tier {
                above: 200_000,
                rates: Rates {
                    input: rate("6"),
                    output: rate("22.5"),
                    cached: None,
                    cache_write: None,
                    cache_write_hour: None,
                },
            }],
        }
    }

    fn tokens(input: u64, read: u64, write: u64, hour: u64, output: u64) -> Tokens {
        Tokens {
            input,
            cache_read: read,
            cache_write: write,
            cache_write_hour: hour,
            output,
            reasoning: 0,
        }
    }

    #[test]
    fn each_sort_of_token_has_its_rate() {
        let list = list();
        for (tokens, nanos) in [
            (tokens(1000, 0, 0, 0, 500), 3_000_000 + 7_500_000),
            (tokens(1000, 600, 0, 0, 0), 400 * 3_000 + 600 * 300),
            (
                tokens(1000, 200, 300, 100, 10),
                500 * 3_000 + 200 * 300 + 200 * 3_750 + 100 * 6_000 + 10 * 15_000,
            ),
            (tokens(0, 0, 0, 0, 0), 0),
        ] {
            assert_eq!(Usd::by_list(&list, &tokens), Usd(nanos), "{tokens:?}");
        }
    }

    #[test]
    fn a_long_prompt_is_billed_by_its_tier_as_a_whole() {
        let list = list();
        let long = tokens(200_001, 100_000, 50_000, 50_000, 10);
        // The tier has no rates of its own for caches: the prompt's holds.
        assert_eq!(
            Usd::by_list(&list, &long),
            Usd(200_001 * 6_000 + 10 * 22_500)
        );
        let short = tokens(200_000, 0, 0, 0, 0);
        assert_eq!(Usd::by_list(&list, &short), Usd(200_000 * 3_000));
    }

    #[test]
    fn few_cheap_tokens_are_not_free() {
        let mut list = Price::default();
        list.base.input = rate("0.02");
        let one = Usd::by_list(&list, &tokens(1, 0, 0, 0, 0));
        assert_eq!(one, Usd(20));
        assert_eq!(one.micros(), 0);
        let many: Usd = std::iter::repeat_n(one, 1_000_000).sum();
        assert_eq!(many.to_string(), "0.020000");
    }

    #[test]
    fn a_provider_s_own_statement_is_taken_as_it_is() {
        assert_eq!(Usd::stated(0.00125), Some(Usd(1_250_000)));
        assert_eq!(Usd::stated(0.1 + 0.2), Some(Usd(300_000_000)));
        for nonsense in [-1.0, f64::NAN, f64::INFINITY, 1e7] {
            assert_eq!(Usd::stated(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn amounts_are_shown_in_dollars() {
        assert_eq!(Usd(1_234_567_890).to_string(), "1.234568");
        assert_eq!(format!("{:>10}", Usd(500)), "  0.000001");
    }

    proptest! {
        #[test]
        fn the_sum_of_many_is_within_half_a_nano_each(
            counts in prop::collection::vec((0..100_000u64, 0..5_000u64), 1..200),
        ) {
            let list = list();
            let costs = counts.iter().map(|(input, output)| Usd::by_list(&list, &tokens(*input, 0, 0, 0, *output)));
            let sum: Usd = costs.sum();
            let exact: u128 = counts.iter().map(|(input, output)| {
                rate("3").times(*input) + rate("15").times(*output)
            }).sum();
            let difference = (u128::from(sum.as_nanos()) * 1_000_000).abs_diff(exact);
            prop_assert!(difference <= 500_000 * counts.len() as u128);
        }
    }
}
