//! The written forms of a fault: the keys of every kind, and their defaults.
//!
//! As text (`--fault`): `kind:key=value,flag`, for instance `status:status=503,times=2,route=/api/chat`, or JSON.
//! As JSON (`POST /sim/fault`): `{"kind":"status","status":503,"times":2,"route":"/api/chat"}`.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::fault::{At, Failure, Fault, Harm};

impl FromStr for Fault {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        if text.trim_start().starts_with('{') {
            return Ok(serde_json::from_str(text)?);
        }
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut fields = serde_json::Map::new();
        match kind.trim().parse::<u16>() {
            Ok(status) => {
                fields.insert("kind".into(), "status".into());
                fields.insert("status".into(), status.into());
            }
            Err(_) => {
                fields.insert("kind".into(), kind.trim().into());
            }
        }
        for pair in rest.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (key, value) = match pair.split_once('=') {
                Some((key, value)) => (key, scalar(value)),
                None => (pair, Value::Bool(true)),
            };
            fields.insert(key.trim().into(), value);
        }
        Ok(serde_json::from_value(Value::Object(fields))?)
    }
}

/// A number or a flag where it looks like one, else text.
fn scalar(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => text.into(),
    }
}

/// A fault that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadFault {
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?
            .fault()
            .map_err(serde::de::Error::custom)
    }
}

/// A fault as people write it: every key of every kind, checked by `fault`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Kind,
    times: Option<u64>,
    chance: Option<f64>,
    route: Option<String>,
    model: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    ports: Vec<u16>,
    status: Option<u16>,
    body: Option<String>,
    retry_after: Option<Value>,
    message: Option<String>,
    code: Option<Value>,
    tokens: Option<u64>,
    events: Option<u64>,
    bytes: Option<u64>,
    at: Option<Place>,
    #[serde(default)]
    reset: bool,
    seconds: Option<Seconds>,
    factor: Option<f64>,
    after: Option<Seconds>,
    back_after: Option<Seconds>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Refuse,
    Silent,
    Status,
    Error,
    End,
    Cut,
    OneByte,
    Stall,
    SlowLoad,
    StuckLoad,
    FailLoad,
    SlowGpu,
    Hang,
    Freeze,
    Die,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    Head,
    Body,
    Last,
}

/// What a server says of a file that its runner cannot load.
const LOAD_FAILED: &str = "llama-server process has terminated: exit status 3";

impl Written {
    /// The fault, if its keys make one; the error says what is missing.
    fn fault(self) -> Result<Fault, &'static str> {
        if self
            .chance
            .is_some_and(|chance| !(0.0..=1.0).contains(&chance))
        {
            return Err("`chance` is a probability, from 0 to 1");
        }
        let mut ports = self.ports.clone();
        ports.extend(self.port);
        let fault = Fault {
            harm: self.harm()?,
            times: self.times,
            chance: self.chance,
            route: self.route,
            model: self.model,
            ports,
        };
        if fault.model.is_some() && !fault.is_about_models() {
            return Err("`model` goes with the faults of loads and of copies");
        }
        if fault.route.is_some() && fault.is_about_loads() {
            return Err("a fault of loads has no `route`: whoever needs the model causes the load");
        }
        Ok(fault)
    }

    fn harm(&self) -> Result<Harm, &'static str> {
        let seconds = self.seconds.as_ref().map(|seconds| seconds.0);
        let back_after = self.back_after.as_ref().map(|seconds| seconds.0);
        Ok(match self.kind {
            Kind::Refuse => Harm::Refuse { back_after },
            Kind::Silent => Harm::Silent,
            Kind::Status => Harm::Status {
                status: self.status()?,
                body: self.body.clone(),
                retry_after: self.retry_after.as_ref().map(|value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                }),
                failure: self.failure(),
            },
            Kind::Error => Harm::Error {
                at: self.place().unwrap_or(At::Tokens(0)),
                failure: self.failure(),
            },
            Kind::End => Harm::End {
                at: self.place().unwrap_or(At::Tokens(0)),
            },
            Kind::Cut => Harm::Cut {
                at: self.place().unwrap_or(At::Bytes(0)),
                reset: self.reset,
            },
            Kind::OneByte => Harm::OneByte {
                pause: seconds.unwrap_or_default(),
            },
            Kind::Stall => Harm::Stall {
                at: self.place().unwrap_or(At::Head),
                time: seconds.ok_or("`stall` needs `seconds`")?,
            },
            Kind::SlowLoad => Harm::SlowLoad {
                extra: seconds.ok_or("`slow_load` needs `seconds`")?,
            },
            Kind::StuckLoad => Harm::StuckLoad,
            Kind::FailLoad => Harm::FailLoad {
                message: self.message.clone().unwrap_or_else(|| LOAD_FAILED.into()),
            },
            Kind::SlowGpu => Harm::SlowGpu {
                factor: self.factor()?,
            },
            Kind::Hang => Harm::Hang,
            Kind::Freeze => Harm::Freeze,
            Kind::Die => Harm::Die {
                after: self.after.as_ref().map_or(Duration::ZERO, |after| after.0),
                back_after,
            },
        })
    }

    /// A `code` that is a number is meant as the status.
    fn status(&self) -> Result<u16, &'static str> {
        let code = self.code.as_ref().and_then(Value::as_u64);
        match self.status.map(u64::from).or(code).unwrap_or(500) {
            status @ 200..=599 => Ok(status as u16),
            _ => Err("`status` is a status from 200 to 599"),
        }
    }

    fn factor(&self) -> Result<f64, &'static str> {
        let good = |factor: &f64| factor.is_finite() && *factor > 0.0;
        self.factor
            .filter(good)
            .ok_or("`slow_gpu` needs a `factor` above 0")
    }

    fn failure(&self) -> Failure {
        Failure {
            message: self.message.clone(),
            code: match &self.code {
                Some(Value::String(code)) => Some(code.clone()),
                _ => None,
            },
        }
    }

    fn place(&self) -> Option<At> {
        self.tokens
            .map(At::Tokens)
            .or(self.events.map(At::Events))
            .or(self.bytes.map(At::Bytes))
            .or(self.at.as_ref().map(|place| match place {
                Place::Head => At::Head,
                Place::Body => At::Body,
                Place::Last => At::Last,
            }))
    }
}

/// Seconds as a number, or a time such as `300ms`.
struct Seconds(Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Text(String),
        }
        let time = match Form::deserialize(deserializer)? {
            Form::Number(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Form::Text(text) => humantime::parse_duration(&text).ok(),
        };
        time.map(Self)
            .ok_or_else(|| serde::de::Error::custom("not a time: expected seconds or `300ms`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_json_mean_the_same() {
        let json = r#"{"kind":"status","status":503,"times":2,"route":"/api/chat","port":24000}"#;
        let text = "503:times=2,route=/api/chat,port=24000";
        assert_eq!(fault(json), fault(text));
        assert_eq!(fault(text).ports, [24000]);
    }

    #[test]
    fn places_in_a_response() {
        let at = |text| match fault(text).harm {
            Harm::Cut { at, .. } | Harm::Stall { at, .. } => at,
            other => panic!("{other:?}"),
        };
        assert_eq!(at("cut:bytes=512,reset"), At::Bytes(512));
        assert_eq!(at("cut:tokens=3"), At::Tokens(3));
        assert_eq!(at("cut:events=2"), At::Events(2));
        assert_eq!(at("cut:at=last"), At::Last);
        assert_eq!(at("stall:seconds=2"), At::Head);
        assert_eq!(at("stall:seconds=300ms,at=body"), At::Body);
    }

    #[test]
    fn an_error_may_have_words_of_its_own() {
        let Harm::Status {
            status, failure, ..
        } = fault("429:code=insufficient_quota").harm
        else {
            panic!("not a status");
        };
        assert_eq!(status, 429);
        assert_eq!(failure.code.as_deref(), Some("insufficient_quota"));
        // A number is a status, whichever of the two keys has it.
        assert_eq!(fault("status:code=529"), fault("529"));
        assert_eq!(
            fault("error:events=1,message=no").harm,
            Harm::Error {
                at: At::Events(1),
                failure: Failure {
                    message: Some("no".into()),
                    code: None
                }
            }
        );
    }

    #[test]
    fn times_may_have_units() {
        let Harm::Die { after, back_after } = fault("die:after=1m 30s,back_after=2").harm else {
            panic!("not a die");
        };
        assert_eq!(after.as_secs(), 90);
        assert_eq!(back_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn faults_of_models_may_name_one() {
        let named = fault("fail_load:model=tiny,message=error loading model");
        assert_eq!(named.model.as_deref(), Some("tiny"));
        let Harm::FailLoad { message } = fault("fail_load").harm else {
            panic!("not a load that fails");
        };
        assert_eq!(message, LOAD_FAILED);
        assert_eq!(
            fault("slow_gpu:factor=2.5").harm,
            Harm::SlowGpu { factor: 2.5 }
        );
        let hang = fault(r#"{"kind":"hang","route":"/api/embed","times":1}"#);
        assert_eq!((hang.harm, hang.times), (Harm::Hang, Some(1)));
        assert_eq!(fault("freeze").harm, Harm::Freeze);
        assert_eq!(fault("stuck_load:times=1").harm, Harm::StuckLoad);
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in [
            "slow_gpu",
            "slow_gpu:factor=0",
            "silent:model=x",
            "fail_load:route=/api/chat",
            "explode",
            "cut:byte=5",
            "stall",
            "status:status=9000",
            "silent:chance=2",
        ] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
