//! Reads an object in place, member by member.

use crate::wire::json::{ByteSpan, Kind, Scanner, SyntaxError};

/// Gives each member of the object that `scanner` is at the beginning of in `text`, with its kind and where its value
/// is.
pub(super) fn members(
    scanner: &mut Scanner<'_>,
    text: &[u8],
    mut each: impl FnMut(&[u8], Kind, ByteSpan),
) -> Result<(), SyntaxError> {
    scanner.begin_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        let kind = scanner.kind()?;
        let value = scanner.skip_value()?;
        each(key.inside(text), kind, value);
    }
    Ok(())
}
