//! When a second candidate is asked while the first keeps silent: a pure function of what the first is expected to need.

use std::time::Duration;

/// Where no candidate has a free slot when a second is due, they are looked at again after so long.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);

/// What is known of the candidate that is being asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HedgeInput {
    /// `routing.retry.hedge_after`.
    pub(crate) setting: Option<Duration>,
    /// Its first content will be seen before its answer is whole: else silence says nothing.
    pub(crate) visible: bool,
    /// How long it usually takes to its first content; zero if that is not known.
    pub(crate) usual: Duration,
    /// How long it is expected to load the model before.
    pub(crate) load: Duration,
}

/// Returns after how long without content another is asked too; `None`: never.
pub(crate) fn hedge_after(asked: &HedgeInput) -> Option<Duration> {
    let setting = asked.setting.filter(|_| asked.visible)?;
    Some(setting.max(2 * asked.usual + asked.load))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_asked_when_the_first_takes_longer_than_expected() {
        let seconds = Duration::from_secs;
        for (setting, visible, usual, load, after) in [
            (Some(10), true, 0, 0, Some(10)),
            (Some(10), true, 1, 0, Some(10)),
            // Who always takes long is not late.
            (Some(10), true, 8, 0, Some(16)),
            // A load that takes 40 s is not a server that has stalled.
            (Some(10), true, 0, 40, Some(40)),
            (Some(10), true, 2, 40, Some(44)),
            (Some(10), true, 1, 5, Some(10)),
            (Some(1), true, 0, 0, Some(1)),
            // Embeddings and whole answers of services are silent until they are done.
            (Some(10), false, 0, 0, None),
            (Some(10), false, 30, 40, None),
            (None, true, 0, 0, None),
        ] {
            let asked = HedgeInput {
                setting: setting.map(seconds),
                visible,
                usual: seconds(usual),
                load: seconds(load),
            };
            assert_eq!(hedge_after(&asked), after.map(seconds), "{asked:?}");
        }
    }
}
