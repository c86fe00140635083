//! `additionalModelRequestFields`: what goes to the model past Bedrock, and what each model refuses there.

use super::fields::Fields;
use super::models::{Claude, Kind, Model};
use super::refused::Refused;

/// Whether the model reasons, and what it shows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reasoning {
    Off,
    Shown,
    /// Only the signature is given.
    Omitted,
}

/// Checks the fields for the model, and the sampling of `config` against them.
pub(super) fn check(
    fields: &Fields,
    config: Option<&Fields>,
    model: &Model,
    max_tokens: Option<u64>,
    forced: bool,
) -> Result<Reasoning, Refused> {
    let extra = fields.structure("additionalModelRequestFields")?;
    match model.kind {
        Kind::Claude(claude) => claude_takes(extra.as_ref(), config, claude, max_tokens, forced),
        Kind::Nova => nova_takes(extra.as_ref()).map(|()| Reasoning::Off),
        _ => match extra {
            Some(extra) => only(&extra, &[]).map(|()| Reasoning::Off),
            None => Ok(Reasoning::Off),
        },
    }
}

/// Names that the model does not know, in the words of its schema.
fn only(extra: &Fields, known: &[&str]) -> Result<(), Refused> {
    extra.only(known).map_err(|refused| {
        let key = refused.message.split('"').nth(1).unwrap_or_default().to_owned();
        Refused::invalid(format!(
            "Malformed input request: #: extraneous key [{key}] is not permitted, please reformat your input and try again."
        ))
    })
}

fn nova_takes(extra: Option<&Fields>) -> Result<(), Refused> {
    let Some(extra) = extra else {
        return Ok(());
    };
    only(extra, &["inferenceConfig", "reasoningConfig"])?;
    if let Some(config) = extra.structure("inferenceConfig")? {
        only(&config, &["topK"])?;
        if config
            .integer("topK")?
            .is_some_and(|number| !(1..=128).contains(&number))
        {
            return Err(Refused::invalid(
                "Malformed input request: #/inferenceConfig/topK: expected a value from 1 to 128, please reformat your input and try again.",
            ));
        }
    }
    Ok(())
}

fn claude_takes(
    extra: Option<&Fields>,
    config: Option<&Fields>,
    claude: Claude,
    max_tokens: Option<u64>,
    forced: bool,
) -> Result<Reasoning, Refused> {
    let mut reasoning = if claude.always_thinks {
        Reasoning::Omitted
    } else {
        Reasoning::Off
    };
    let mut top_k = None;
    if let Some(extra) = extra {
        only(
            extra,
            &[
                "top_k",
                "thinking",
                "anthropic_beta",
                "output_config",
                "metadata",
            ],
        )?;
        top_k = extra.integer("top_k")?;
        if let Some(thinking) = extra.structure("thinking")? {
            reasoning = thinks(&thinking, claude, max_tokens)?;
        }
    }
    if forced && !claude.forced_tools {
        return Err(Refused::model(
            "tool_choice.type: forcing a tool is not supported for this model.",
        ));
    }
    if forced && claude.budget && reasoning != Reasoning::Off {
        return Err(Refused::model(
            "Thinking may not be enabled when tool_choice forces tool use.",
        ));
    }
    sampling(config, top_k, claude, reasoning)?;
    Ok(reasoning)
}

fn thinks(
    thinking: &Fields,
    claude: Claude,
    max_tokens: Option<u64>,
) -> Result<Reasoning, Refused> {
    let unsupported = |kind: &str| {
        Err(Refused::model(&format!(
            "\"thinking.type.{kind}\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior."
        )))
    };
    let omitted = match thinking.string("display")? {
        Some("summarized") => false,
        Some("omitted") => true,
        None => !claude.budget,
        Some(_) => {
            return Err(Refused::model(
                "thinking.display: Input should be 'summarized' or 'omitted'",
            ));
        }
    };
    match thinking.string("type")?.unwrap_or_default() {
        "disabled" if claude.always_thinks => return unsupported("disabled"),
        "disabled" => return Ok(Reasoning::Off),
        "adaptive" if !claude.adaptive => {
            return Err(Refused::model(
                "adaptive thinking is not supported on this model",
            ));
        }
        "adaptive" => {}
        "enabled" if !claude.budget => return unsupported("enabled"),
        "enabled" => match thinking.integer("budget_tokens")? {
            None => {
                return Err(Refused::model(
                    "thinking.enabled.budget_tokens: Field required",
                ));
            }
            Some(budget) if budget < 1_024 => {
                return Err(Refused::model(
                    "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
                ));
            }
            Some(budget) if max_tokens.is_some_and(|most| most <= budget as u64) => {
                return Err(Refused::model(
                    "`max_tokens` must be greater than `thinking.budget_tokens`.",
                ));
            }
            Some(_) => {}
        },
        other => {
            return Err(Refused::model(&format!(
                "thinking: Input tag '{other}' found using 'type' does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'"
            )));
        }
    }
    Ok(if omitted {
        Reasoning::Omitted
    } else {
        Reasoning::Shown
    })
}

fn sampling(
    config: Option<&Fields>,
    top_k: Option<i64>,
    claude: Claude,
    reasoning: Reasoning,
) -> Result<(), Refused> {
    let number = |key: &str| config.map_or(Ok(None), |config| config.unit(key));
    let (temperature, top_p) = (number("temperature")?, number("topP")?);
    if !claude.sampling {
        let refused = |name: &str| {
            Err(Refused::model(&format!(
                "`{name}` is deprecated for this model."
            )))
        };
        return match (temperature, top_p, top_k) {
            (Some(temperature), ..) if temperature != 1.0 => refused("temperature"),
            (_, Some(_), _) => refused("top_p"),
            (_, _, Some(_)) => refused("top_k"),
            _ => Ok(()),
        };
    }
    if reasoning == Reasoning::Off {
        return Ok(());
    }
    match (temperature, top_p, top_k) {
        (Some(temperature), ..) if temperature != 1.0 => Err(Refused::model(
            "`temperature` may only be set to 1 when thinking is enabled.",
        )),
        (_, Some(top_p), _) if top_p < 0.95 => Err(Refused::model(
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.",
        )),
        (_, _, Some(_)) => Err(Refused::model(
            "`top_k` must be unset when thinking is enabled.",
        )),
        _ => Ok(()),
    }
}
