//! `queue:`, where requests wait for a slot.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::field::Field;
use super::reader::Section;
use super::retry::Share;
use super::scalar::{Choice, Count, Whole};
use crate::settings::{self, WhenUnhealthy};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Queue {
    max_concurrent: Field<Count<0>>,
    size: Field<Count<0>>,
    timeout: Field<Duration>,
    ageing: Field<Duration>,
    aged_share: Field<Share>,
    when_unhealthy: Field<WhenUnhealthy>,
    priorities: Field<bool>,
}

impl Choice for WhenUnhealthy {
    const NAMES: &'static [(&'static str, WhenUnhealthy)] = &[
        ("wait", WhenUnhealthy::Wait),
        ("refuse", WhenUnhealthy::Refuse),
    ];
}

impl Queue {
    pub(super) fn used(self, mut at: Section<'_, '_>, default: settings::Queue) -> settings::Queue {
        settings::Queue {
            max_concurrent: at
                .stated_or(
                    "max_concurrent",
                    self.max_concurrent,
                    "MAX_CONCURRENT_REQUESTS",
                )
                .map_or(default.max_concurrent, Whole::size),
            size: at
                .stated_or("size", self.size, "MAX_QUEUE_SIZE")
                .map_or(default.size, Whole::size),
            timeout: at
                .stated_or("timeout", self.timeout, "QUEUE_TIMEOUT_SECONDS")
                .unwrap_or(default.timeout),
            ageing: at.stated("ageing", self.ageing).unwrap_or(default.ageing),
            aged_share: at
                .stated("aged_share", self.aged_share)
                .map_or(default.aged_share, |share| share.0),
            when_unhealthy: at
                .stated("when_unhealthy", self.when_unhealthy)
                .unwrap_or(default.when_unhealthy),
            priorities: at
                .stated_or("priorities", self.priorities, "ENABLE_PRIORITIZATION")
                .unwrap_or(default.priorities),
        }
    }
}

impl From<&settings::Queue> for Queue {
    fn from(used: &settings::Queue) -> Queue {
        Queue {
            max_concurrent: Whole::of(used.max_concurrent).into(),
            size: Whole::of(used.size).into(),
            timeout: used.timeout.into(),
            ageing: used.ageing.into(),
            aged_share: Share(used.aged_share).into(),
            when_unhealthy: used.when_unhealthy.into(),
            priorities: used.priorities.into(),
        }
    }
}
