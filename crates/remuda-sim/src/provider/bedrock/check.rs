//! A Converse request as Bedrock and the model behind it check it.

use serde_json::Value;

use super::super::ledger::Ledger;
use super::content::{self, NAME_PATTERN, in_name};
use super::extra::{self, Reasoning};
use super::fields::Fields;
use super::models::Model;
use super::refused::Refused;
use super::turns::{self, Turn};

/// A request that Bedrock takes.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub(super) system: Vec<&'a str>,
    pub(super) turns: Vec<Turn<'a>>,
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) choice: Choice<'a>,
    pub(super) max_tokens: Option<u64>,
    pub(super) stop: Vec<&'a str>,
    /// The schema of `outputConfig.textFormat`.
    pub(super) schema: Option<Value>,
    pub(super) reasoning: Reasoning,
    /// `additionalModelResponseFieldPaths` has the stop sequence.
    pub(super) tells_stop: bool,
    pub(super) ledger: Ledger,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Tool<'a> {
    pub(super) name: &'a str,
    pub(super) schema: &'a Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    Auto,
    Any,
    Tool(&'a str),
}

const KNOWN: [&str; 12] = [
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "guardrailConfig",
    "additionalModelRequestFields",
    "promptVariables",
    "additionalModelResponseFieldPaths",
    "requestMetadata",
    "performanceConfig",
    "serviceTier",
    "outputConfig",
];

/// Stop strings of one request.
const MAX_STOPS: usize = 2_500;

/// Checks a body for `model`.
pub(super) fn check<'a>(body: &'a Value, model: &Model) -> Result<Checked<'a>, Refused> {
    let fields = Fields::root(body)?;
    fields.only(&KNOWN)?;
    around(&fields)?;
    let mut ledger = Ledger::default();
    let tool_config = fields.structure("toolConfig")?;
    let (tools, choice) = match &tool_config {
        Some(config) => tools(config, &mut ledger)?,
        None => (Vec::new(), Choice::Auto),
    };
    let system = system(&fields, &mut ledger)?;
    let turns = turns::check(&fields, model, tool_config.is_some(), &mut ledger)?;
    let config = fields.structure("inferenceConfig")?;
    let max_tokens = config
        .as_ref()
        .map(|config| max_tokens(config, model))
        .transpose()?
        .flatten();
    let reasoning = extra::check(
        &fields,
        config.as_ref(),
        model,
        max_tokens,
        choice != Choice::Auto,
    )?;
    let tokens = ledger.tokens();
    if tokens > model.context {
        return Err(Refused::model("Input is too long for requested model."));
    }
    let paths = fields.strings("additionalModelResponseFieldPaths")?;
    Ok(Checked {
        system,
        turns,
        tools,
        choice,
        max_tokens,
        stop: config.as_ref().map(stop).transpose()?.unwrap_or_default(),
        schema: schema(&fields)?,
        reasoning,
        tells_stop: paths.contains(&"/stop_sequence"),
        ledger,
    })
}

/// Checks what does not reach the model.
fn around(fields: &Fields) -> Result<(), Refused> {
    if let Some(config) = fields.structure("performanceConfig")? {
        config.only(&["latency"])?;
        config.word("latency", &["standard", "optimized"])?;
    }
    if let Some(tier) = fields.structure("serviceTier")? {
        tier.only(&["type"])?;
        tier.word("type", &["priority", "default", "flex", "reserved"])?;
    }
    let metadata = fields.get("requestMetadata").and_then(Value::as_object);
    if metadata.is_some_and(|metadata| metadata.values().any(|value| !value.is_string())) {
        Err(Refused::constraint(
            "requestMetadata",
            "…",
            "be a map of strings",
        ))
    } else {
        Ok(())
    }
}

fn max_tokens(config: &Fields, model: &Model) -> Result<Option<u64>, Refused> {
    config.only(&["maxTokens", "temperature", "topP", "stopSequences"])?;
    config.unit("temperature")?;
    config.unit("topP")?;
    let most = config.integer("maxTokens")?;
    match most {
        Some(most) if most < 1 => Err(Refused::constraint(
            &config.path("maxTokens"),
            &most.to_string(),
            "have value greater than or equal to 1",
        )),
        Some(most) if most as u64 > model.max_output => Err(Refused::invalid(format!(
            "The maximum tokens you requested exceeds the model limit of {}. Try again with a maximum tokens value that is lower than {}.",
            model.max_output, model.max_output
        ))),
        most => Ok(most.map(|most| most as u64)),
    }
}

fn stop<'a>(config: &Fields<'a>) -> Result<Vec<&'a str>, Refused> {
    let stop = config.strings("stopSequences")?;
    if stop.len() > MAX_STOPS {
        let why = format!("have length less than or equal to {MAX_STOPS}");
        return Err(Refused::constraint(
            &config.path("stopSequences"),
            "…",
            &why,
        ));
    }
    match stop.iter().position(|stop| stop.is_empty()) {
        Some(index) => Err(Refused::constraint(
            &format!("{}.{index}", config.path("stopSequences")),
            "",
            "have length greater than or equal to 1",
        )),
        None => Ok(stop),
    }
}

fn system<'a>(fields: &Fields<'a>, ledger: &mut Ledger) -> Result<Vec<&'a str>, Refused> {
    let mut texts = Vec::new();
    for block in fields.structures("system")? {
        match block.union(&["text", "guardContent", "cachePoint"])? {
            "text" => texts.push(content::text(&block, ledger)?),
            "cachePoint" => {
                content::cache_point(&block.required_structure("cachePoint")?, ledger)?;
            }
            _ => {}
        }
    }
    Ok(texts)
}

fn tools<'a>(
    config: &Fields<'a>,
    ledger: &mut Ledger,
) -> Result<(Vec<Tool<'a>>, Choice<'a>), Refused> {
    config.only(&["tools", "toolChoice"])?;
    config.required("tools")?;
    let mut tools: Vec<Tool> = Vec::new();
    for tool in config.structures("tools")? {
        match tool.union(&["toolSpec", "systemTool", "cachePoint"])? {
            "toolSpec" => {
                let spec = specification(&tool.required_structure("toolSpec")?, ledger)?;
                if tools.iter().any(|other| other.name == spec.name) {
                    return Err(Refused::invalid(format!(
                        "The tool name {} is already defined at toolConfig.tools.",
                        spec.name
                    )));
                }
                tools.push(spec);
            }
            "cachePoint" => {
                content::cache_point(&tool.required_structure("cachePoint")?, ledger)?;
            }
            _ => {}
        }
    }
    if tools.is_empty() {
        return Err(Refused::constraint(
            &config.path("tools"),
            "[]",
            "have length greater than or equal to 1",
        ));
    }
    let Some(choice) = config.structure("toolChoice")? else {
        return Ok((tools, Choice::Auto));
    };
    let choice = match choice.union(&["auto", "any", "tool"])? {
        "auto" => Choice::Auto,
        "any" => Choice::Any,
        _ => {
            let tool = choice.required_structure("tool")?;
            tool.only(&["name"])?;
            Choice::Tool(tool.matching("name", 64, NAME_PATTERN, in_name)?)
        }
    };
    match choice {
        Choice::Tool(name) if !tools.iter().any(|tool| tool.name == name) => {
            Err(Refused::invalid(format!(
                "The tool {name} at toolConfig.toolChoice.tool.name is not defined at toolConfig.tools."
            )))
        }
        choice => Ok((tools, choice)),
    }
}

fn specification<'a>(spec: &Fields<'a>, ledger: &mut Ledger) -> Result<Tool<'a>, Refused> {
    spec.only(&["name", "description", "inputSchema", "strict"])?;
    let name = spec.matching("name", 64, NAME_PATTERN, in_name)?;
    spec.boolean("strict")?;
    if spec.string("description")? == Some("") {
        let why = "have length greater than or equal to 1";
        return Err(Refused::constraint(&spec.path("description"), "", why));
    }
    let input = spec.required_structure("inputSchema")?;
    input.union(&["json"])?;
    let schema = input.required("json")?;
    if schema["type"] != "object" {
        return Err(Refused::invalid(format!(
            "The value at {}.type must be one of the following: object.",
            input.path("json")
        )));
    }
    ledger.add(name);
    ledger.add(spec.string("description")?.unwrap_or_default());
    ledger.add(&schema.to_string());
    Ok(Tool { name, schema })
}

/// Returns the schema of the answer, which is JSON within a string.
fn schema(fields: &Fields) -> Result<Option<Value>, Refused> {
    let Some(output) = fields.structure("outputConfig")? else {
        return Ok(None);
    };
    output.only(&["textFormat", "effort"])?;
    output.string("effort")?;
    let Some(format) = output.structure("textFormat")? else {
        return Ok(None);
    };
    format.only(&["type", "structure"])?;
    format.required("type")?;
    format.word("type", &["json_schema"])?;
    let structure = format.required_structure("structure")?;
    structure.union(&["jsonSchema"])?;
    let named = structure.required_structure("jsonSchema")?;
    named.only(&["schema", "name", "description"])?;
    let text = named.required_string("schema")?;
    match serde_json::from_str::<Value>(text) {
        Ok(schema) if schema.is_object() => Ok(Some(schema)),
        _ => Err(Refused::invalid(format!(
            "The value at {} is not a valid JSON schema.",
            named.path("schema")
        ))),
    }
}
