//! What a service's answer to the question for its models means.

use http::StatusCode;

use super::ask::Answer;
use super::listed_model::Model;
use super::refusal::Why;
use crate::settings::ProviderKind;
use remuda_formats::dialect::faults;
use remuda_formats::ir::Class;

/// What a service told.
pub(super) enum Told {
    Models(Vec<Model>),
    /// It lists none.
    Nothing,
    /// It refuses the key, or to say it, with that status.
    Refused(Why, u16),
    /// It does not say, and why.
    Unclear(String),
}

/// Returns what an answer in place of a list of models means; `None` if it may be one.
pub(super) fn without_models(kind: ProviderKind, answer: &Answer) -> Option<Told> {
    let status = answer.status;
    let code = status.as_u16();
    let fault = match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            return Some(Told::Nothing);
        }
        status if status.is_success() => faults::within(kind, &answer.body)?,
        _ => faults::answered(kind, code, answer.headers(), &answer.body),
    };
    let by_fault = match code {
        401 | 403 => Some(Why::Key),
        _ => Why::of(&fault),
    };
    // Another address than the API's, or an error that no waiting mends.
    let lasting = matches!(fault.class, Class::Route | Class::Permanent) || status.is_success();
    let otherwise = (code < 400 && lasting).then_some(Why::Error);
    Some(match by_fault.or(otherwise) {
        Some(why) => Told::Refused(why, code),
        None => Told::Unclear(format!("it answered its list of models with status {code}")),
    })
}

pub(super) fn not_a_list() -> Told {
    Told::Unclear("what it answered is not a list of models".to_owned())
}
