//! The memory that a copy of a model takes, by its context: `weights + context × bytes per token`, solved from what probes show.

/// What has been seen of one model: the copies with the smallest and the largest context, and their sizes in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Footprint {
    small: Option<(u32, u64)>,
    large: Option<(u32, u64)>,
}

impl Footprint {
    pub(super) fn add(&mut self, context: u32, size: u64) {
        let seen = Some((context, size));
        if self.small.is_none_or(|(least, _)| context <= least) {
            self.small = seen;
        }
        if self.large.is_none_or(|(most, _)| context >= most) {
            self.large = seen;
        }
    }

    /// Bytes for each token of context; `on_disk` is what the weights take. `None` until a copy has been seen.
    fn slope(&self, on_disk: u64) -> Option<f64> {
        let ((small, least), (large, most)) = (self.small?, self.large?);
        let (tokens, bytes) = if large > small {
            (large - small, most.saturating_sub(least))
        } else {
            (large, most.saturating_sub(on_disk))
        };
        Some(bytes as f64 / f64::from(tokens.max(1)))
    }

    /// Bytes of a copy with this context.
    pub(super) fn size(&self, on_disk: u64, context: u32) -> Option<u64> {
        let slope = self.slope(on_disk)?;
        let (known, size) = self.large?;
        let more = slope * (f64::from(context) - f64::from(known));
        // The casts saturate.
        Some((size as f64 + more).max(on_disk as f64) as u64)
    }

    /// The largest context of a copy that takes no more than so many bytes.
    pub(super) fn most(&self, on_disk: u64, bytes: u64) -> Option<u32> {
        let slope = self.slope(on_disk).filter(|slope| *slope > 0.0)?;
        let (known, size) = self.large?;
        Some((f64::from(known) + (bytes as f64 - size as f64) / slope) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn two_observations_tell_weights_and_bytes_per_token() {
        let mut footprint = Footprint::default();
        assert_eq!(footprint.size(4000 * MIB, 8192), None);
        footprint.add(4096, 4000 * MIB + 4096 * MIB / 8);
        // With one, what is more than on disk is the context's.
        assert_eq!(
            footprint.size(4000 * MIB, 8192),
            Some(4000 * MIB + 1024 * MIB)
        );
        // The weights take more in memory than on disk.
        footprint.add(16_384, 4000 * MIB + 4096 * MIB / 8 + 12_288 * MIB / 16);
        let expected = 4000 * MIB + 4096 * MIB / 8 + 4096 * MIB / 16;
        assert_eq!(footprint.size(4000 * MIB, 8192), Some(expected));
        assert_eq!(footprint.most(4000 * MIB, expected), Some(8192));
    }
}
