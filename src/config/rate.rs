//! Rates of requests: `10/s`, `600/m`, as nginx writes them `10r/s`, or `off`.

use std::time::Duration;

use super::scalar::{Scalar, text};
use super::yaml::Value;
use crate::settings::RequestRate;

/// Units by the letter that stands for them.
const UNITS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];
/// More in a stretch of time than a gateway serves.
const MOST: u32 = 100_000_000;

/// A rate, or none where it is `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MaybeRate(pub(super) Option<RequestRate>);

impl From<MaybeRate> for Option<RequestRate> {
    fn from(MaybeRate(rate): MaybeRate) -> Option<RequestRate> {
        rate
    }
}

impl Scalar for MaybeRate {
    fn read(value: &Value) -> Result<MaybeRate, String> {
        let text = text(value).unwrap_or_default();
        if matches!(&*text, "off" | "0") {
            return Ok(MaybeRate(None));
        }
        parse(&text)
            .map(|rate| MaybeRate(Some(rate)))
            .ok_or_else(|| {
                "expected a rate of requests such as 10/s, 600/m or 5000/h, or off".into()
            })
    }

    fn write(&self) -> Value {
        self.0.map_or("off".into(), |rate| rate.to_string().into())
    }
}

fn parse(text: &str) -> Option<RequestRate> {
    let (requests, unit) = text.split_once('/')?;
    let requests = requests.strip_suffix('r').unwrap_or(requests);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(RequestRate {
        requests: requests
            .parse()
            .ok()
            .filter(|count| (1..=MOST).contains(count))?,
        per: Duration::from_secs(*seconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_written() {
        for (text, requests, seconds) in [("10/s", 10, 1), ("600r/m", 600, 60), ("5/h", 5, 3600)] {
            let MaybeRate(rate) = MaybeRate::read(&text.into()).unwrap();
            let per = Duration::from_secs(seconds);
            assert_eq!(rate, Some(RequestRate { requests, per }));
            assert_eq!(
                MaybeRate::read(&MaybeRate(rate).write()),
                Ok(MaybeRate(rate))
            );
        }
        for text in ["off", "0"] {
            assert_eq!(MaybeRate::read(&text.into()), Ok(MaybeRate(None)));
        }
        for text in [
            "",
            "10",
            "0/s",
            "-1/s",
            "1/d",
            "1.5/s",
            "/s",
            "10/",
            "10 r/s",
            "100000001/h",
        ] {
            assert!(MaybeRate::read(&text.into()).is_err(), "{text}");
        }
    }
}
