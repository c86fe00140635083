//! How a model can be asked to reason, and the nearest it can do to what a client wants.

use serde::Deserialize;

use crate::ir::{self, Thinking};

/// How hard a model is asked to think, as providers name it; `None`, unlike with [`ir::Effort`], is a level too: not
/// at all. In order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EffortLevel {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl EffortLevel {
    pub const ALL: [EffortLevel; 7] = [
        EffortLevel::None,
        EffortLevel::Minimal,
        EffortLevel::Low,
        EffortLevel::Medium,
        EffortLevel::High,
        EffortLevel::Xhigh,
        EffortLevel::Max,
    ];

    /// Returns the level as OpenAI, Anthropic, Gemini and OpenRouter write it.
    pub fn name(self) -> &'static str {
        match self {
            EffortLevel::None => "none",
            EffortLevel::Minimal => "minimal",
            EffortLevel::Low => "low",
            EffortLevel::Medium => "medium",
            EffortLevel::High => "high",
            EffortLevel::Xhigh => "xhigh",
            EffortLevel::Max => "max",
        }
    }

    pub fn named(name: &str) -> Option<EffortLevel> {
        Self::ALL.into_iter().find(|effort| effort.name() == name)
    }

    /// Returns what a budget of thinking tokens amounts to. Thresholds as LiteLLM has them: 1,024, 2,048 and 4,096 are
    /// its budgets for low, medium and high.
    pub fn of_budget(tokens: u32) -> EffortLevel {
        match tokens {
            0 => EffortLevel::None,
            1..2048 => EffortLevel::Low,
            2048..4096 => EffortLevel::Medium,
            _ => EffortLevel::High,
        }
    }
}

impl From<ir::Effort> for EffortLevel {
    fn from(effort: ir::Effort) -> EffortLevel {
        match effort {
            ir::Effort::Minimal => EffortLevel::Minimal,
            ir::Effort::Low => EffortLevel::Low,
            ir::Effort::Medium => EffortLevel::Medium,
            ir::Effort::High => EffortLevel::High,
            ir::Effort::XHigh => EffortLevel::Xhigh,
            ir::Effort::Max => EffortLevel::Max,
        }
    }
}

/// What a request says of reasoning, in terms that its model takes; a dialect writes it in its own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningSetting {
    /// The field is left out.
    Nothing,
    Off,
    /// Claude's adaptive thinking, or a model that is on or off; with a level where one is wanted.
    On(Option<EffortLevel>),
    /// A level, `none` included.
    Effort(EffortLevel),
    /// Tokens; legal for the model.
    Budget(u32),
    /// As many tokens as the model thinks fit (Gemini's −1).
    Automatic,
}

/// The field by which a model is told how to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasoningControl {
    /// Not known: what the client asks for is sent as it is.
    Unknown,
    /// The model does not reason, and its provider refuses the field.
    Never,
    /// One of named levels: OpenAI's `reasoning_effort`, Gemini's `thinkingLevel`.
    Effort,
    /// A number of tokens: Claude up to 4.5, Gemini 2.5.
    Budget,
    /// Claude from 4.6 on: `thinking.type: adaptive` and `output_config.effort`.
    Adaptive,
    /// On or off: DeepSeek.
    Switch,
}

/// How a model reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasoning {
    pub form: ReasoningControl,
    /// The legal levels in order; empty where the form has none.
    pub efforts: Vec<EffortLevel>,
    /// What the model does when nothing is said.
    pub default: EffortLevel,
    /// Whether it can be told not to reason.
    pub off: bool,
    /// The legal budgets; also of a Claude that takes both ways.
    pub budget: Option<ThinkingBudget>,
}

/// How many tokens a model may think for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThinkingBudget {
    pub min: u32,
    pub max: u32,
    pub low: u32,
    pub medium: u32,
    pub high: u32,
    /// Whether −1 leaves it to the model.
    #[serde(default)]
    pub automatic: bool,
}

impl Default for Reasoning {
    fn default() -> Reasoning {
        Reasoning {
            form: ReasoningControl::Unknown,
            efforts: Vec::new(),
            default: EffortLevel::None,
            off: true,
            budget: None,
        }
    }
}

impl Reasoning {
    /// Returns the level to send for the one that is wanted: itself if it is legal, else the highest below it that
    /// reasons, else the lowest; `None` where the model is not told by levels.
    ///
    /// Not to reason becomes the lowest level where it cannot be switched off. A model of form
    /// [`Adaptive`](ReasoningControl::Adaptive) has no level `none`: what switches it off is another field, see
    /// [`off`](Reasoning::off).
    pub fn effort_for(&self, wanted: EffortLevel) -> Option<EffortLevel> {
        match self.form {
            ReasoningControl::Unknown => return Some(wanted),
            ReasoningControl::Effort | ReasoningControl::Adaptive => {}
            ReasoningControl::Never | ReasoningControl::Budget | ReasoningControl::Switch => {
                return None;
            }
        }
        if self.efforts.contains(&wanted) {
            return Some(wanted);
        }
        let reasoning = || {
            self.efforts
                .iter()
                .filter(|effort| **effort > EffortLevel::None)
        };
        reasoning()
            .rfind(|effort| **effort < wanted)
            .or_else(|| reasoning().next())
            .copied()
    }

    /// Returns the tokens to send for the effort that is wanted; 0 is off, and the least where it cannot be switched
    /// off. `None` where the model takes no budget.
    pub fn budget_for(&self, wanted: EffortLevel) -> Option<u32> {
        let budget = self.budget?;
        let tokens = match wanted {
            EffortLevel::None if self.off => return Some(0),
            EffortLevel::None | EffortLevel::Minimal => budget.min,
            EffortLevel::Low => budget.low,
            EffortLevel::Medium => budget.medium,
            EffortLevel::High => budget.high,
            EffortLevel::Xhigh => budget.high.saturating_mul(2),
            EffortLevel::Max => budget.max,
        };
        Some(budget.clamp(tokens))
    }

    /// Returns what to send for what the client wants: the nearest that is legal. [`ReasoningSetting::Nothing`] where
    /// the client wants nothing, where the model does so anyway, and where it cannot be told.
    pub fn ask(&self, wanted: Option<Thinking>) -> ReasoningSetting {
        let Some(wanted) = wanted else {
            return ReasoningSetting::Nothing;
        };
        match self.form {
            ReasoningControl::Never => ReasoningSetting::Nothing,
            ReasoningControl::Unknown => match wanted {
                Thinking::Off => ReasoningSetting::Off,
                Thinking::On => ReasoningSetting::On(None),
                Thinking::Effort(effort) => ReasoningSetting::Effort(effort.into()),
                Thinking::Budget(tokens) => ReasoningSetting::Budget(saturated(tokens)),
            },
            ReasoningControl::Effort => match wanted {
                Thinking::On if self.default != EffortLevel::None => ReasoningSetting::Nothing,
                _ => self
                    .effort_for(effort_of(wanted))
                    .map_or(ReasoningSetting::Nothing, ReasoningSetting::Effort),
            },
            ReasoningControl::Switch => match wanted {
                Thinking::Off | Thinking::Budget(0) => ReasoningSetting::Off,
                Thinking::On => ReasoningSetting::On(None),
                _ => ReasoningSetting::On(Some(effort_of(wanted))),
            },
            ReasoningControl::Adaptive => match (wanted, self.budget) {
                (Thinking::Off | Thinking::Budget(0), _) if self.off => ReasoningSetting::Off,
                (Thinking::Off | Thinking::Budget(0), _) => ReasoningSetting::Nothing,
                (Thinking::On, _) => ReasoningSetting::On(None),
                (Thinking::Budget(tokens), Some(budget)) => {
                    ReasoningSetting::Budget(budget.clamp(saturated(tokens)))
                }
                _ => ReasoningSetting::On(self.effort_for(effort_of(wanted))),
            },
            ReasoningControl::Budget => {
                self.budget
                    .map_or(ReasoningSetting::Nothing, |budget| match wanted {
                        Thinking::Off | Thinking::Budget(0) if self.off => ReasoningSetting::Off,
                        Thinking::On if budget.automatic => ReasoningSetting::Automatic,
                        Thinking::Budget(tokens) => {
                            ReasoningSetting::Budget(budget.clamp(saturated(tokens)))
                        }
                        _ => ReasoningSetting::Budget(
                            self.budget_for(effort_of(wanted)).unwrap_or(budget.min),
                        ),
                    })
            }
        }
    }

    /// Returns whether the model reasons in a request that says this.
    pub fn is_on(&self, ask: ReasoningSetting) -> bool {
        let effort = match ask {
            ReasoningSetting::Nothing => self.default,
            ReasoningSetting::Off | ReasoningSetting::Budget(0) => EffortLevel::None,
            ReasoningSetting::Effort(effort) => effort,
            ReasoningSetting::On(_) | ReasoningSetting::Budget(_) | ReasoningSetting::Automatic => {
                EffortLevel::Medium
            }
        };
        match self.form {
            ReasoningControl::Never => false,
            _ => effort != EffortLevel::None || !self.off,
        }
    }
}

/// Returns the level that a wish amounts to; medium where it names none.
fn effort_of(wanted: Thinking) -> EffortLevel {
    match wanted {
        Thinking::Off => EffortLevel::None,
        Thinking::On => EffortLevel::Medium,
        Thinking::Effort(effort) => effort.into(),
        Thinking::Budget(tokens) => EffortLevel::of_budget(saturated(tokens)),
    }
}

fn saturated(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

impl ThinkingBudget {
    /// Returns the legal number nearest to `tokens`.
    pub fn clamp(&self, tokens: u32) -> u32 {
        tokens.clamp(self.min, self.max)
    }
}
