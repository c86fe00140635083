//! Heals copies that answer nobody: unloads them, loads them again, and tries them with a few words, before the scheduler sends
//! requests there again. Slow ones are tried as they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;

use crate::admission::{HealOrder, LoadRecipe, RunOutcome};
use crate::fleet::Backend;
use crate::ids::ModelId;
use crate::proxy::loading::load_request::LoadRequest;
use crate::proxy::loading::loader::{Failed, Parts};

/// How long it is waited for that a copy is gone, which the server keeps for as long as anybody uses it. After that it is tried
/// as it is.
const UNLOADED_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at whether it is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a few words may take of a copy that is in memory, on a CPU as well.
const TRIED_WITHIN: Duration = Duration::from_secs(60);

/// What a server tells of the times that an answer took, in nanoseconds, and of its tokens.
#[derive(Default, Deserialize)]
struct Times {
    load_duration: Option<u64>,
    prompt_eval_count: Option<u32>,
    prompt_eval_duration: Option<u64>,
    eval_count: Option<u32>,
    eval_duration: Option<u64>,
}

impl Parts {
    /// Carries out an order to heal a copy, and tells how that ended.
    pub(super) async fn heal(&self, order: HealOrder) {
        let HealOrder {
            backend,
            model,
            context,
            unload,
            ticket,
        } = order;
        let Some(server) = self.fleet.backend(backend) else {
            return;
        };
        let name = self.name(&server, model);
        let copy = format!("the copy of {name} at {}", server.name);
        if unload {
            log::warn!(
                "{copy} answers nobody, as requests there or its load have taken too long: it is unloaded and tried before it is \
                 sent requests again"
            );
        } else {
            log::info!("{copy} is slow, and is tried before it is sent requests again");
        }
        let began = Instant::now();
        let healed = self.try_to_heal(&server, (model, context), unload).await;
        if unload {
            let result = if healed.is_ok() { "healed" } else { "failed" };
            let labels = [&*server.provider.name, result];
            self.metrics.copies.heals.with_label_values(&labels).inc();
        }
        match healed {
            Ok(sample) => {
                let took = began.elapsed().as_secs_f64();
                log::info!("{copy} has answered when it was tried, after {took:.1} s");
                // What it has in memory is known before anybody starts there.
                self.fleet.probe(&server).await;
                ticket.done(sample);
            }
            Err(failed) => {
                if let Failed::Server(outcome) = &failed {
                    self.fleet.report(server.id, *outcome);
                }
                let cause = failed.fault().text;
                log::warn!("{copy} does not answer yet, and will be tried again: {cause}");
                ticket.failed();
            }
        }
    }

    async fn try_to_heal(
        &self,
        server: &Arc<Backend>,
        copy: (ModelId, Option<u32>),
        unload: bool,
    ) -> Result<RunOutcome, Failed> {
        // While it answers nobody else, it is not taken to be down.
        let _serving = server.begin();
        let healing = async {
            if unload {
                self.unload(server, copy.0).await?;
            }
            self.load_again(server, copy).await?;
            within(self.budget.min(TRIED_WITHIN), self.work(server, copy)).await
        };
        tokio::select! {
            biased;
            healed = healing => healed,
            () = server.silenced() => Err(Failed::Silent),
        }
    }

    /// Has the server let the copy go, and waits until that is done.
    async fn unload(&self, server: &Arc<Backend>, model: ModelId) -> Result<(), Failed> {
        let limit = self.budget.min(UNLOADED_WITHIN);
        let name = self.name(server, model);
        let request = |embeds| LoadRequest::unload(server, &name, embeds);
        within(limit, self.send_either(server, request)).await?;
        let gone = async {
            loop {
                self.fleet.probe(server).await;
                if !server.healthy() || !server.inventory().has_loaded(model) {
                    break;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        // What others let hang there is seen by its trial.
        let _ = tokio::time::timeout(limit, gone).await;
        Ok(())
    }

    async fn load_again(
        &self,
        server: &Arc<Backend>,
        (model, context): (ModelId, Option<u32>),
    ) -> Result<(), Failed> {
        let plain = LoadRecipe::default();
        let loading = self.load_somehow(server, model, context, &plain);
        within(self.budget, loading).await
    }

    /// Has the copy write a few words, or compute a vector if that is all that its model does. Returns the times that it took.
    async fn work(
        &self,
        server: &Arc<Backend>,
        (model, context): (ModelId, Option<u32>),
    ) -> Result<RunOutcome, Failed> {
        let name = self.name(server, model);
        let number = rand::random();
        let trial = |embeds| LoadRequest::trial(server, &name, context, (embeds, number));
        let answer = self.send_either(server, trial).await?;
        Ok(sample(&answer))
    }

    /// Sends the `request` for a model that writes, or, where the server says that it does not, for one that only embeds.
    async fn send_either(
        &self,
        server: &Arc<Backend>,
        request: impl Fn(bool) -> pingora::Result<LoadRequest>,
    ) -> Result<Bytes, Failed> {
        match self.send(server, request(false)).await {
            Err(Failed::Request(_)) => self.send(server, request(true)).await,
            answer => answer,
        }
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    let ended = tokio::time::timeout(limit, work).await;
    ended.unwrap_or(Err(Failed::Late(limit)))
}

/// Returns what an answer tells of the speed of its copy; nothing, if it does not tell.
fn sample(answer: &[u8]) -> RunOutcome {
    let times: Times = serde_json::from_slice(answer).unwrap_or_default();
    let time = |nanoseconds: Option<u64>| nanoseconds.map(Duration::from_nanos);
    RunOutcome {
        ok: true,
        load: time(times.load_duration),
        prompt: times
            .prompt_eval_count
            .zip(time(times.prompt_eval_duration)),
        output: times.eval_count.zip(time(times.eval_duration)),
        ..RunOutcome::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_how_fast_its_copy_is() {
        let told = sample(
            br#"{"model":"m","response":"Monday,","done":true,"total_duration":9,"load_duration":1000000,"prompt_eval_count":52,"prompt_eval_duration":2000000,"eval_count":16,"eval_duration":3000000}"#,
        );
        let milliseconds = Duration::from_millis;
        assert_eq!(told.load, Some(milliseconds(1)));
        assert_eq!(told.prompt, Some((52, milliseconds(2))));
        assert_eq!(told.output, Some((16, milliseconds(3))));
        for silent in [&br#"{"model":"m","embeddings":[[0.1]]}"#[..], b"{}", b"?"] {
            let told = sample(silent);
            assert_eq!((told.ok, told.prompt, told.output), (true, None, None));
        }
    }
}
