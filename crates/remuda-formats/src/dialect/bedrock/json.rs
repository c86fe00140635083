//! Writes JSON by appending: a comma stands before whatever does not open its object or array.

/// Begins a member of the object that is being written.
pub(super) fn key(name: &str, out: &mut Vec<u8>) {
    separate(out);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Ends the element or member before, if there is one. No value ends with an opening bracket.
pub(super) fn separate(out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'{' | b'[' | b':')) {
        out.push(b',');
    }
}

/// Appends JSON text as it is.
pub(super) fn put(json: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(json.as_bytes());
}

/// A number that is known to be finite.
pub(super) fn number(value: f64, out: &mut Vec<u8>) {
    put(&value.to_string(), out);
}
