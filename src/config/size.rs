//! Sizes: `64MiB`, `1.5 GB`, or a bare number of bytes.

use bytesize::ByteSize;

use super::scalar::{Scalar, text};
use super::yaml::Value;

/// Bytes; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// More than any memory.
const MAX: u64 = 1 << 50;

impl Size {
    pub(super) fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl From<usize> for Size {
    fn from(bytes: usize) -> Size {
        Size(bytes as u64)
    }
}

impl From<Size> for usize {
    fn from(size: Size) -> usize {
        size.bytes()
    }
}

impl Scalar for Size {
    fn read(value: &Value) -> Result<Size, String> {
        text(value)
            .and_then(|text| text.parse().ok())
            .map(|ByteSize(bytes)| bytes)
            .filter(|bytes| (1..=MAX).contains(bytes))
            .map(Size)
            .ok_or_else(|| "expected a size such as 64MiB or a number of bytes, up to 1 PiB".into())
    }

    /// Writes the size in the largest unit that divides it.
    fn write(&self) -> Value {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let unit = units
            .iter()
            .find(|(_, bits)| self.0.is_multiple_of(1 << bits));
        match unit {
            Some((name, bits)) => format!("{}{name}", self.0 >> bits).into(),
            None => self.0.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_and_bare_bytes() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1.5KiB", 1536),
            ("2GB", 2_000_000_000),
            ("1024", 1024),
        ] {
            assert_eq!(Size::read(&text.into()), Ok(Size(bytes)), "{text}");
        }
        assert_eq!(Size::read(&Value::from(4096)), Ok(Size(4096)));
        for text in ["", "-1", "64Zib", "0", "1EiB", "many"] {
            assert!(Size::read(&text.into()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,20}|[0-9.]{1,30} ?[KMGTPE]?i?B?") {
            let _ = Size::read(&text.into());
        }

        #[test]
        fn reads_what_it_writes(bytes in 1u64..=MAX, bits in 0u32..40) {
            let size = Size((bytes >> bits << bits).max(1));
            prop_assert_eq!(Size::read(&size.write()), Ok(size));
        }
    }
}
