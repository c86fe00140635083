//! How a model can be asked to reason, and the nearest it can do to what a client wants.

use serde::Deserialize;

use crate::ir::{self, Thinking};

/// How hard a model is asked to think, as providers name it; `None`, unlike with [`ir::Effort`], is a level too: not
/// at all. In order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl Effort {
    pub const ALL: [Effort; 7] = [
        Effort::None,
        Effort::Minimal,
        Effort::Low,
        Effort::Medium,
        Effort::High,
        Effort::Xhigh,
        Effort::Max,
    ];

    /// As OpenAI, Anthropic, Gemini and OpenRouter write it.
    pub fn name(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::Xhigh => "xhigh",
            Effort::Max => "max",
        }
    }

    pub fn named(name: &str) -> Option<Effort> {
        Self::ALL.into_iter().find(|effort| effort.name() == name)
    }

    /// What a budget of thinking tokens amounts to. Thresholds as LiteLLM has them: 1,024, 2,048 and 4,096 are its
    /// budgets for low, medium and high.
    pub fn of_budget(tokens: u32) -> Effort {
        match tokens {
            0 => Effort::None,
            1..2048 => Effort::Low,
            2048..4096 => Effort::Medium,
            _ => Effort::High,
        }
    }
}

impl From<ir::Effort> for Effort {
    fn from(effort: ir::Effort) -> Effort {
        match effort {
            ir::Effort::Minimal => Effort::Minimal,
            ir::Effort::Low => Effort::Low,
            ir::Effort::Medium => Effort::Medium,
            ir::Effort::High => Effort::High,
            ir::Effort::XHigh => Effort::Xhigh,
            ir::Effort::Max => Effort::Max,
        }
    }
}

/// What a request says of reasoning, in terms that its model takes; a dialect writes it in its own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The field is left out.
    Nothing,
    Off,
    /// Claude's adaptive thinking, or a model that is on or off; with a level where one is wanted.
    On(Option<Effort>),
    /// A level, `none` included.
    Effort(Effort),
    /// Tokens; legal for the model.
    Budget(u32),
    /// As many tokens as the model thinks fit (Gemini's −1).
    Automatic,
}

/// The field by which a model is told how to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
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
    pub form: Form,
    /// The legal levels in order; empty where the form has none.
    pub efforts: Vec<Effort>,
    /// What the model does when nothing is said.
    pub default: Effort,
    /// Whether it can be told not to reason.
    pub off: bool,
    /// The legal budgets; also of a Claude that takes both ways.
    pub budget: Option<Budget>,
}

/// How many tokens a model may think for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
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
            form: Form::Unknown,
            efforts: Vec::new(),
            default: Effort::None,
            off: true,
            budget: None,
        }
    }
}

impl Reasoning {
    /// The level to send for the one that is wanted: itself if it is legal, else the highest below it that reasons,
    /// else the lowest; `None` where the model is not told by levels.
    ///
    /// Not to reason becomes the lowest level where it cannot be switched off. A model of form
    /// [`Adaptive`](Form::Adaptive) has no level `none`: what switches it off is another field, see
    /// [`off`](Reasoning::off).
    pub fn effort_for(&self, wanted: Effort) -> Option<Effort> {
        match self.form {
            Form::Unknown => return Some(wanted),
            Form::Effort | Form::Adaptive => {}
            Form::Never | Form::Budget | Form::Switch => return None,
        }
        if self.efforts.contains(&wanted) {
            return Some(wanted);
        }
        let reasoning = || self.efforts.iter().filter(|effort| **effort > Effort::None);
        reasoning()
            .rfind(|effort| **effort < wanted)
            .or_else(|| reasoning().next())
            .copied()
    }

    /// The tokens to send for the effort that is wanted; 0 is off, and the least where it cannot be switched off.
    /// `None` where the model takes no budget.
    pub fn budget_for(&self, wanted: Effort) -> Option<u32> {
        let budget = self.budget?;
        let tokens = match wanted {
            Effort::None if self.off => return Some(0),
            Effort::None | Effort::Minimal => budget.min,
            Effort::Low => budget.low,
            Effort::Medium => budget.medium,
            Effort::High => budget.high,
            Effort::Xhigh => budget.high.saturating_mul(2),
            Effort::Max => budget.max,
        };
        Some(budget.clamp(tokens))
    }

    /// What to send for what the client wants: the nearest that is legal. [`Ask::Nothing`] where the client wants
    /// nothing, where the model does so anyway, and where it cannot be told.
    pub fn ask(&self, wanted: Option<Thinking>) -> Ask {
        let Some(wanted) = wanted else {
            return Ask::Nothing;
        };
        match self.form {
            Form::Never => Ask::Nothing,
            Form::Unknown => match wanted {
                Thinking::Off => Ask::Off,
                Thinking::On => Ask::On(None),
                Thinking::Effort(effort) => Ask::Effort(effort.into()),
                Thinking::Budget(tokens) => Ask::Budget(saturated(tokens)),
            },
            Form::Effort => match wanted {
                Thinking::On if self.default != Effort::None => Ask::Nothing,
                _ => self
                    .effort_for(effort_of(wanted))
                    .map_or(Ask::Nothing, Ask::Effort),
            },
            Form::Switch => match wanted {
                Thinking::Off | Thinking::Budget(0) => Ask::Off,
                Thinking::On => Ask::On(None),
                _ => Ask::On(Some(effort_of(wanted))),
            },
            Form::Adaptive => match (wanted, self.budget) {
                (Thinking::Off | Thinking::Budget(0), _) if self.off => Ask::Off,
                (Thinking::Off | Thinking::Budget(0), _) => Ask::Nothing,
                (Thinking::On, _) => Ask::On(None),
                (Thinking::Budget(tokens), Some(budget)) => {
                    Ask::Budget(budget.clamp(saturated(tokens)))
                }
                _ => Ask::On(self.effort_for(effort_of(wanted))),
            },
            Form::Budget => self.budget.map_or(Ask::Nothing, |budget| match wanted {
                Thinking::Off | Thinking::Budget(0) if self.off => Ask::Off,
                Thinking::On if budget.automatic => Ask::Automatic,
                Thinking::Budget(tokens) => Ask::Budget(budget.clamp(saturated(tokens))),
                _ => Ask::Budget(self.budget_for(effort_of(wanted)).unwrap_or(budget.min)),
            }),
        }
    }

    /// Whether the model reasons in a request that says this.
    pub fn is_on(&self, ask: Ask) -> bool {
        let effort = match ask {
            Ask::Nothing => self.default,
            Ask::Off | Ask::Budget(0) => Effort::None,
            Ask::Effort(effort) => effort,
            Ask::On(_) | Ask::Budget(_) | Ask::Automatic => Effort::Medium,
        };
        match self.form {
            Form::Never => false,
            _ => effort != Effort::None || !self.off,
        }
    }
}

/// The level that a wish amounts to; medium where it names none.
fn effort_of(wanted: Thinking) -> Effort {
    match wanted {
        Thinking::Off => Effort::None,
        Thinking::On => Effort::Medium,
        Thinking::Effort(effort) => effort.into(),
        Thinking::Budget(tokens) => Effort::of_budget(saturated(tokens)),
    }
}

fn saturated(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

impl Budget {
    /// The legal number nearest to `tokens`.
    pub fn clamp(&self, tokens: u32) -> u32 {
        tokens.clamp(self.min, self.max)
    }
}
