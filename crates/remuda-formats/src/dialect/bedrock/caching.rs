//! `cachePoint`: where the service keeps the prompt up to a point, for the models that it does so for.

use super::json::{put, separate};
use crate::facts::{ModelFacts, Parameter, ReasoningSetting};
use crate::ir::{CacheTtl, ChatRequest, Dropped, Part};

/// What a breakpoint is called in `X-Remuda-Dropped`.
const FIELD: &str = "cache_control";

/// Leaves of the breakpoints those that the model takes, as it takes them.
pub(super) fn fit(request: &mut ChatRequest<'_>, facts: &ModelFacts, dropped: &mut Dropped) {
    let refuses = |parameter| facts.refuses(parameter, ReasoningSetting::Nothing);
    // Other makers' models are refused with a point; of one that is not known it is not known either.
    let keeps = matches!(&*facts.family, "claude" | "nova");
    if !keeps || refuses(Parameter::CachePoints) {
        dropped.add_if(request.take_breakpoints(), FIELD);
        return;
    }
    let mut of_tools = request.tools.iter_mut().map(|tool| &mut tool.cache);
    if refuses(Parameter::ToolCachePoints) {
        let taken = of_tools.filter_map(Option::take).count();
        dropped.add_if(taken > 0, FIELD);
    } else if refuses(Parameter::CacheHour) {
        of_tools
            .by_ref()
            .flatten()
            .for_each(|ttl| shorten(ttl, dropped));
    }
    if refuses(Parameter::CacheHour) {
        let parts = request
            .messages
            .iter_mut()
            .flat_map(|message| &mut message.parts);
        for part in parts {
            if let Part::Breakpoint(ttl) = part {
                shorten(ttl, dropped);
            }
        }
        request
            .cache
            .iter_mut()
            .for_each(|ttl| shorten(ttl, dropped));
    }
    dropped.add_if(request.limit_breakpoints(), FIELD);
}

fn shorten(ttl: &mut CacheTtl, dropped: &mut Dropped) {
    dropped.add_if(*ttl == CacheTtl::Hour, "cache_control.ttl");
    *ttl = CacheTtl::Short;
}

/// A breakpoint of the whole request is one at the end of its last turn, which has been found.
pub(super) fn end(request: &mut ChatRequest<'_>) {
    if let Some(ttl) = request.cache
        && let Some(last) = request.messages.last_mut()
        && !last.parts.last().is_some_and(Part::is_breakpoint)
    {
        last.parts.push(Part::Breakpoint(ttl));
    }
}

/// Appends the block.
pub(super) fn write(ttl: CacheTtl, out: &mut Vec<u8>) {
    separate(out);
    put(r#"{"cachePoint":{"type":"default""#, out);
    if ttl == CacheTtl::Hour {
        put(r#","ttl":"1h""#, out);
    }
    put("}}", out);
}
