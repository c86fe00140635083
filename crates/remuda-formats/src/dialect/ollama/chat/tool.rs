//! The definition of a tool, as clients of Ollama write it.

use crate::dialect::ollama::go::{Field, Reader};
use crate::ir::{Refused, Text, Tool};
use crate::wire::json::Kind;

const TOOLS: &str = "ChatRequest.tools";
const FUNCTION: &str = "ChatRequest.tools.function";

/// Reads the tool that is due; `None` if it was none, which the reader knows.
pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<Option<Tool<'a>>, Refused> {
    let mut tool = Tool {
        name: Text::default(),
        description: None,
        parameters: None,
        strict: None,
        cache: None,
    };
    let field = Field("ChatRequest", "tools");
    let found = reader.structure(field, "api.Tool", |reader, key| match key {
        "function" => reader
            .structure(
                Field(TOOLS, "function"),
                "api.ToolFunction",
                |reader, key| function(&mut tool, reader, key),
            )
            .map(|_| ()),
        _ => reader.skip(),
    })?;
    Ok(found.then_some(tool))
}

fn function<'a>(tool: &mut Tool<'a>, reader: &mut Reader<'a>, key: &str) -> Result<(), Refused> {
    match key {
        "name" => tool.name = reader.text(Field(FUNCTION, "name"))?.unwrap_or_default(),
        "description" => {
            let description = reader.text(Field(FUNCTION, "description"))?;
            tool.description = description.filter(|text| !text.is_empty());
        }
        "parameters" if reader.kind()? == Kind::Object => {
            tool.parameters = Some(reader.json()?.1);
        }
        "parameters" => {
            let field = Field(FUNCTION, "parameters");
            reader.mismatch(field, "api.ToolFunctionParameters")?;
        }
        _ => reader.skip()?,
    }
    Ok(())
}
