//! Tools, the choice among them, and the form of an answer: what OpenAI demands of them and of their schemas.

use serde_json::{Map, Value};

use super::super::mind::{Choice, Form, Prompt, Tool};
use super::error::Refusal;
use super::fields::{empty_array, given, name, text, too_long_array, type_name, wrong_type};

/// Reads `tools` of a chat request. Custom tools take any text, which here is a schema of its own: a string.
pub(crate) fn chat_tools(map: &Map<String, Value>) -> Result<Vec<Tool>, Refusal> {
    let list = match given(map, "tools") {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.is_empty() => return Err(empty_array("tools")),
        Some(Value::Array(list)) if list.len() > 128 => {
            return Err(too_long_array("tools", 128, list.len()));
        }
        Some(Value::Array(list)) => list,
        Some(other) => return Err(wrong_type("tools", "an array of objects", type_name(other))),
    };
    let read = |(index, tool): (usize, &Value)| {
        let at = format!("tools[{index}]");
        match text(tool, "type", &at)? {
            "function" => function(&format!("{at}.function"), tool.get("function")),
            "custom" => Ok(Tool {
                name: name(&format!("{at}.custom.name"), tool["custom"].get("name"))?,
                schema: Value::Null,
            }),
            other => Err(Refusal::value(
                &format!("{at}.type"),
                other,
                &["function", "custom"],
            )),
        }
    };
    list.iter().enumerate().map(read).collect()
}

/// Reads one function; `at` is where it stands.
pub(crate) fn function(at: &str, value: Option<&Value>) -> Result<Tool, Refusal> {
    let value = value.ok_or_else(|| Refusal::missing(at))?;
    let name = name(&format!("{at}.name"), value.get("name"))?;
    let schema = value.get("parameters").cloned().unwrap_or_default();
    let said = format!("Invalid schema for function '{name}'");
    let invalid = |message: String| {
        Refusal::bad(format!("{said}: {message}"))
            .of(format!("{at}.parameters"))
            .code("invalid_function_parameters")
    };
    match &schema {
        Value::Null => {}
        Value::Object(map) if map.get("type") == Some(&"object".into()) => {
            check_schema(&schema, "()", value["strict"] == true).map_err(invalid)?;
        }
        Value::Object(map) => {
            let kind = map.get("type").and_then(Value::as_str).unwrap_or("None");
            return Err(invalid(format!(
                "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
            )));
        }
        other => {
            return Err(wrong_type(
                &format!("{at}.parameters"),
                "an object",
                type_name(other),
            ));
        }
    }
    Ok(Tool { name, schema })
}

/// Returns what OpenAI finds wrong with a schema; `strict` has rules of its own.
fn check_schema(schema: &Value, context: &str, strict: bool) -> Result<(), String> {
    match schema["type"].as_str() {
        Some("object") => {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                return Err(format!(
                    "In context={context}, object schema missing properties."
                ));
            };
            if strict {
                check_strict(schema, properties, context)?;
            }
            for (name, property) in properties {
                let inside = format!("{}'properties', '{name}')", opened(context));
                check_schema(property, &inside, strict)?;
            }
        }
        Some("array") => match schema.get("items") {
            None => return Err(format!("In context={context}, array schema missing items.")),
            Some(items) => check_schema(items, &format!("{}'items')", opened(context)), strict)?,
        },
        _ => {}
    }
    Ok(())
}

fn check_strict(
    schema: &Value,
    properties: &Map<String, Value>,
    context: &str,
) -> Result<(), String> {
    if schema["additionalProperties"] != false {
        return Err(format!(
            "In context={context}, 'additionalProperties' is required to be supplied and to be false."
        ));
    }
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    match properties
        .keys()
        .find(|name| !required.contains(&Value::from(name.as_str())))
    {
        None => Ok(()),
        Some(name) => Err(format!(
            "In context={context}, 'required' is required to be supplied and to be an array including every key in properties. Missing '{name}'."
        )),
    }
}

/// `('a', ` of `('a')`, to which more is added.
fn opened(context: &str) -> String {
    match context.strip_suffix(')') {
        Some("(") | None => "(".to_owned(),
        Some(inside) => format!("{inside}, "),
    }
}

/// Reads `tool_choice` into `prompt`, and keeps the tools that are allowed.
///
/// `named` finds the name in a choice of one tool: chat and Responses write it in different places.
pub(crate) fn choose(
    map: &Map<String, Value>,
    prompt: &mut Prompt,
    named: impl Fn(&Value) -> Option<&str>,
) -> Result<(), Refusal> {
    let without_tools = |param: &str| {
        Refusal::bad(format!(
            "Invalid value for '{param}': '{param}' is only allowed when 'tools' are specified."
        ))
        .of(param)
    };
    prompt.one_call = given(map, "parallel_tool_calls") == Some(&Value::Bool(false));
    if given(map, "parallel_tool_calls").is_some() && prompt.tools.is_empty() {
        return Err(without_tools("parallel_tool_calls"));
    }
    let Some(choice) = given(map, "tool_choice") else {
        return Ok(());
    };
    prompt.choice = match choice {
        Value::String(word) => match word.as_str() {
            "none" => Choice::None,
            "auto" => Choice::Auto,
            "required" => Choice::Required,
            other => {
                return Err(Refusal::value(
                    "tool_choice",
                    other,
                    &["none", "auto", "required"],
                ));
            }
        },
        Value::Object(object) if object.get("type") == Some(&"allowed_tools".into()) => {
            let allowed = object.get("allowed_tools").unwrap_or(choice);
            allow(allowed, prompt, &named)?
        }
        Value::Object(_) => {
            let name = named(choice).ok_or_else(|| Refusal::missing("tool_choice.function"))?;
            Choice::Named(name.to_owned())
        }
        other => {
            return Err(wrong_type(
                "tool_choice",
                "a string or an object",
                type_name(other),
            ));
        }
    };
    if prompt.tools.is_empty() && prompt.choice != Choice::None {
        return Err(without_tools("tool_choice"));
    }
    match &prompt.choice {
        Choice::Named(name) if !prompt.tools.iter().any(|tool| tool.name == *name) => {
            Err(Refusal::bad(format!(
                "Tool choice '{name}' not found in 'tools' parameter."
            ))
            .of("tool_choice"))
        }
        _ => Ok(()),
    }
}

fn allow(
    allowed: &Value,
    prompt: &mut Prompt,
    named: &impl Fn(&Value) -> Option<&str>,
) -> Result<Choice, Refusal> {
    let Some(tools) = allowed["tools"].as_array() else {
        return Err(Refusal::missing("tool_choice.allowed_tools.tools"));
    };
    let names: Vec<&str> = tools.iter().filter_map(named).collect();
    prompt
        .tools
        .retain(|tool| names.contains(&tool.name.as_str()));
    match allowed["mode"].as_str() {
        Some("auto") => Ok(Choice::Auto),
        Some("required") => Ok(Choice::Required),
        _ => Err(Refusal::value(
            "tool_choice.allowed_tools.mode",
            "",
            &["auto", "required"],
        )),
    }
}

/// Reads the form of an answer: `format` is `response_format`, or `text.format` of Responses, which is `flat`.
pub(crate) fn form(format: Option<&Value>, param: &str, flat: bool) -> Result<Form, Refusal> {
    let Some(format) = format.filter(|format| !format.is_null()) else {
        return Ok(Form::Text);
    };
    match text(format, "type", param)? {
        "text" => Ok(Form::Text),
        "json_object" => Ok(Form::Json),
        "json_schema" => {
            let at = if flat {
                param.to_owned()
            } else {
                format!("{param}.json_schema")
            };
            let inner = if flat {
                Some(format)
            } else {
                format.get("json_schema")
            };
            let inner = inner.ok_or_else(|| Refusal::missing(&at))?;
            let name = name(&format!("{at}.name"), inner.get("name"))?;
            let schema = match inner.get("schema") {
                Some(schema @ Value::Object(_)) => schema.clone(),
                Some(other) if !other.is_null() => {
                    return Err(wrong_type(
                        &format!("{at}.schema"),
                        "an object",
                        type_name(other),
                    ));
                }
                _ if flat => return Err(Refusal::missing(&format!("{at}.schema"))),
                _ => return Ok(Form::Json),
            };
            if inner["strict"] == true {
                check_schema(&schema, "()", true).map_err(|message| {
                    let said = param.rsplit('.').next().unwrap_or(param);
                    Refusal::bad(format!("Invalid schema for {said} '{name}': {message}"))
                        .of(param)
                        .code("invalid_json_schema")
                })?;
            }
            Ok(Form::Schema(schema))
        }
        other => Err(Refusal::value(
            &format!("{param}.type"),
            other,
            &["json_object", "json_schema", "text"],
        )),
    }
}

/// JSON without a schema wants to be spoken of in the conversation.
pub(crate) fn speaks_of_json(form: &Form, messages: &Value, param: &str) -> Result<(), Refusal> {
    if *form != Form::Json || messages.to_string().to_lowercase().contains("json") {
        return Ok(());
    }
    Err(Refusal::bad(format!(
        "'{param}' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
    ))
    .of(param))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tools(tool: Value) -> Result<Vec<Tool>, Refusal> {
        chat_tools(
            json!({"tools": [{"type": "function", "function": tool}]})
                .as_object()
                .unwrap(),
        )
    }

    #[test]
    fn schemas_have_rules() {
        let object = |properties: Value| json!({"name": "f", "parameters": {"type": "object", "properties": properties}});
        assert_eq!(tools(object(json!({}))).unwrap()[0].name, "f");
        assert!(tools(json!({"name": "f"})).is_ok());
        for (tool, says) in [
            (
                json!({"name": "f", "parameters": {"type": "object"}}),
                "missing properties",
            ),
            (
                json!({"name": "f", "parameters": {}}),
                "got 'type: \"None\"'",
            ),
            (
                object(json!({"a": {"type": "array"}})),
                "In context=('properties', 'a'), array schema missing items",
            ),
            (json!({"name": "a b"}), "does not match pattern"),
            (
                json!({}),
                "Missing required parameter: 'tools[0].function.name'",
            ),
            (
                json!({"name": "f", "strict": true, "parameters": {"type": "object", "properties": {}}}),
                "'additionalProperties' is required",
            ),
            (
                json!({"name": "f", "strict": true, "parameters": {"type": "object",
                    "properties": {"a": {}}, "additionalProperties": false, "required": []}}),
                "Missing 'a'",
            ),
        ] {
            let refusal = tools(tool).unwrap_err();
            assert!(refusal.message.contains(says), "{}", refusal.message);
        }
    }

    #[test]
    fn choices_need_their_tools() {
        let choice = |choice: Value, names: &[&str]| {
            let tool = |name: &&str| Tool {
                name: (*name).into(),
                schema: Value::Null,
            };
            let mut prompt = Prompt {
                tools: names.iter().map(tool).collect(),
                ..Prompt::default()
            };
            let body = json!({"tool_choice": choice});
            choose(body.as_object().unwrap(), &mut prompt, |value| {
                value["function"]["name"].as_str()
            })
            .map(|()| prompt)
        };
        let f = json!({"type": "function", "function": {"name": "f"}});
        assert_eq!(
            choice(f.clone(), &["f"]).unwrap().choice,
            Choice::Named("f".into())
        );
        assert!(choice(f.clone(), &["g"]).is_err());
        assert!(choice("required".into(), &[]).is_err());
        assert!(choice("any".into(), &["f"]).is_err());
        let allowed =
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [f]}});
        let prompt = choice(allowed, &["g", "f"]).unwrap();
        assert_eq!((prompt.tools.len(), prompt.choice), (1, Choice::Required));
    }

    #[test]
    fn forms_have_names() {
        let of = |format: Value| form(Some(&format), "response_format", false);
        assert_eq!(of(json!({"type": "text"})).unwrap(), Form::Text);
        let schema = json!({"type": "object"});
        let named = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        assert_eq!(of(named).unwrap(), Form::Schema(schema.clone()));
        let nameless = json!({"type": "json_schema", "json_schema": {"schema": schema}});
        assert!(
            of(nameless)
                .unwrap_err()
                .message
                .contains("json_schema.name")
        );
        let flat = json!({"type": "json_schema", "name": "x", "schema": schema});
        assert!(form(Some(&flat), "text.format", true).is_ok());
        assert!(speaks_of_json(&Form::Json, &json!("in Json please"), "messages").is_ok());
        assert!(speaks_of_json(&Form::Json, &json!("hi"), "messages").is_err());
    }
}
