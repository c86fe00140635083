//! Admission of a generate or chat request: what it asks for, whether the model can, and how it begins.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::ask::Ask;
use super::catalogue::Model;
use super::duration::KeepAlive;
use super::generation::Generation;
use super::prompt::Limits;
use super::reply::Refusal;
use super::runner::{Lease, Want};
use super::seat::Visitor;
use super::stats::End;

/// What a request has been admitted to.
pub(super) enum Admitted {
    /// Nothing to say: the model has been loaded or unloaded.
    Loaded(&'static str),
    /// The prompt as the model would have read it.
    Rendered(String),
    Speaking(Box<Generation>),
}

/// Admits a generate or chat request; returns when the first token can be made.
pub(super) async fn admit(visitor: Visitor, ask: &Ask) -> Result<Admitted, Refusal> {
    let model = visitor
        .find(&ask.model, |name| format!("model '{name}' not found"))?
        .model;
    check_capabilities(ask, &model)?;
    let want = Want {
        model: model.clone(),
        keep_alive: ask.keep_alive,
        tuning: ask.options.tuning.clone(),
    };
    if ask.prompt.empty {
        if ask.keep_alive == Some(KeepAlive::For(Duration::ZERO)) {
            visitor.server.runners.unload(&model);
            return Ok(Admitted::Loaded("unload"));
        }
        visitor.load(want).await?;
        return Ok(Admitted::Loaded("load"));
    }
    if ask.render_only && !visitor.server.machine.older {
        let lease = visitor.load(want).await?;
        let read = ask.prompt.read(limits(ask, &lease))?;
        return Ok(Admitted::Rendered(read.text));
    }
    begin(visitor, ask, want, &model).await
}

async fn begin(
    mut visitor: Visitor,
    ask: &Ask,
    want: Want,
    model: &Arc<Model>,
) -> Result<Admitted, Refusal> {
    let mut seat = visitor.sit(want).await?;
    let refused = if ask.prompt.images() > 0 && !model.can("vision") {
        Err(blind())
    } else {
        ask.prompt.read(limits(ask, &seat.lease))
    };
    let read = match refused {
        Ok(read) => read,
        Err(refusal) => {
            seat.visit.end(End::Failed);
            return Err(refusal.before_stream(ask.stream));
        }
    };
    let server = visitor.server.clone();
    let prefill = seat.read(&server, &read.text, read.tokens).await;
    let strike = std::mem::take(&mut visitor.strike);
    let generation = Generation::new(&visitor, ask, seat, read, prefill, strike);
    Ok(Admitted::Speaking(Box::new(generation)))
}

fn limits(ask: &Ask, lease: &Lease) -> Limits {
    Limits {
        context: lease.context_length,
        truncate: ask.truncate,
        shift: lease.shifts,
        num_keep: ask.options.num_keep,
    }
}

/// What the runner says of an image for a model that cannot see.
fn blind() -> Refusal {
    Refusal::of_runner(&json!({"error": {
        "code": 400,
        "message": "Multimodal data provided, but model does not support multimodal requests.",
        "type": "invalid_request_error",
    }}))
}

fn check_capabilities(ask: &Ask, model: &Model) -> Result<(), Refusal> {
    let quoted = |verb: &str| Refusal::bad(format!("{:?} does not support {verb}", ask.model));
    let qualified = |capability: &str| {
        Refusal::bad(format!(
            "{} does not support {capability}",
            model.name.qualified()
        ))
    };
    if !model.can("completion") {
        return Err(quoted(ask.manner.verb()));
    }
    if !ask.prompt.tools.is_empty() && !model.can("tools") {
        return Err(qualified("tools"));
    }
    if ask.prompt.suffix && !model.can("insert") {
        return Err(qualified("insert"));
    }
    if ask.think == Some(true) && !model.can("thinking") {
        return Err(quoted("thinking"));
    }
    Ok(())
}
