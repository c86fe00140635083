//! Writes JSON by appending: a comma stands before whatever does not open its object or array.

/// Begins a member of the object that is being written.
pub(super) fn key(name: &str, out: &mut Vec<u8>) {
    separate(out);
    out.push(b'"');
    put(name, out);
    put("\":", out);
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
