//! Schemas. The API takes JSON Schema as it is; older models take a subset of OpenAPI's.

mod members;
mod pointers;
mod references;
mod subset;

use members::{Members, TooLarge};
use references::written_out;

use super::json::{key, put};
use crate::ir::Json;

pub(super) use subset::{write_parameters, write_subset};

/// Appends any schema as JSON Schema.
///
/// # Errors
/// If it cannot be written without references that stand beside other members.
pub(super) fn write_any(schema: &Json<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    match written_out(schema, false)? {
        Some(written) => put(&written, out),
        None => put(schema.as_str(), out),
    }
    Ok(())
}

/// Appends the schema of an object as JSON Schema; its root says that it is one.
///
/// # Errors
/// If the schema is too large once its references are written out.
pub(super) fn write_object(schema: &Json<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    match written_out(schema, true)? {
        Some(written) => write_typed(&Json::trusted(written), out),
        None => write_typed(schema, out),
    }
    Ok(())
}

fn write_typed(schema: &Json<'_>, out: &mut Vec<u8>) {
    let members = Members::of(schema.as_str()).unwrap_or_default();
    if members
        .get("type")
        .is_some_and(|kind| kind.get() == r#""object""#)
    {
        return schema.write(out);
    }
    put(r#"{"type":"object""#, out);
    for (name, value) in &members.0 {
        if name.as_escaped() != "type" {
            key(name.as_escaped(), out);
            put(value.get(), out);
        }
    }
    out.push(b'}');
}
