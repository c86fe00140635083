//! How fast a copy is beside the others of its model, and beside itself: a sequential test over what its answers tell.
//!
//! Each answer adds how far it is behind, in natural logarithms, less [`SLACK`]; a sum that reaches [`ALARM`] is no noise any
//! more (Page's CUSUM test). At half the speed of the others that takes about four answers. At equal speed with 20 % of noise
//! each answer takes about 0.35 from the sum, and it practically never gets there.

use std::time::Duration;

use super::condition::SlowCause;
use super::learned::{Mean, Rates};
use super::resident::{Failure, Grade};
use super::types::RunOutcome;

/// Half of what the test is to find, half the speed: `ln(2) / 2`.
const SLACK: f64 = 0.35;
/// The sum at which a copy is slow.
const ALARM: f64 = 1.3;
/// The sum at which it is left alone. No sum is higher, so that a copy that has recovered is soon seen to.
const WORST: f64 = 2.0 * ALARM;
/// One answer is never taken to be further behind than this, so that at least three are needed.
const FURTHEST: f64 = 0.9;
/// An answer that is no further behind than this shows that a copy has recovered.
const RECOVERED: f64 = 0.3;
/// So many answers tell how fast a copy is.
const ENOUGH: u32 = 2;
/// The memory of what others are compared with: short, so that work that becomes slower for all is soon seen as such.
const LATE: u32 = 4;
/// It is taken anew after so many answers.
const OFTEN: u8 = 8;
/// So many answers tell how fast a copy usually is, of up to [`MEMORY`] that are remembered.
const USUAL: u32 = 20;
const MEMORY: u32 = 200;
/// Answers are compared with those of their own class only.
const CLASSES: usize = 4;
/// So many copies are looked at; where there are more, these stand for all.
const COPIES: usize = 32;
/// The shortest prompts that are compared: others tell more of the work around them.
const SHORTEST: u32 = 256;
/// Fewer tokens of an answer say nothing of the speed.
const FEWEST: u32 = 16;
/// The same for an answer to the gateway's own request.
const FEWEST_OWN: u32 = 4;

/// One observed speed: its class, and the logarithm of tokens per second.
#[derive(Clone, Copy, Debug)]
struct Sample {
    class: usize,
    log: f64,
}

impl Sample {
    fn new(class: usize, tokens: u32, took: Duration) -> Option<Self> {
        let rate = f64::from(tokens) / took.as_secs_f64();
        (!took.is_zero() && tokens > 0).then(|| Self {
            class,
            log: rate.ln(),
        })
    }

    /// Requests that run beside others write more slowly, so the classes are by how many those are: none, one, up to three.
    fn written(outcome: &RunOutcome, beside: u32, fewest: u32) -> Option<Self> {
        let (tokens, took) = outcome.output.filter(|(tokens, _)| *tokens >= fewest)?;
        let class = (u32::BITS - beside.leading_zeros()) as usize;
        Self::new(class.min(CLASSES - 1), tokens, took)
    }

    /// Short prompts are read more slowly, so the classes are by length, from [`SHORTEST`] on in steps of four times as much.
    /// Beside others a prompt's time is also theirs, and one that was remembered takes none.
    fn read(outcome: &RunOutcome, beside: u32) -> Option<Self> {
        let (tokens, took) = outcome
            .prompt
            .filter(|_| beside == 0 && outcome.told_cached)?;
        let times = tokens / SHORTEST;
        let class = (u32::BITS - times.leading_zeros()).checked_sub(1)? as usize / 2;
        Self::new(class.min(CLASSES - 1), tokens, took)
    }
}

/// What one answer tells of the speed of its copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    outcome: RunOutcome,
    written: Option<Sample>,
    read: Option<Sample>,
}

impl Answer {
    /// `beside`: how many others ran on the copy meanwhile.
    pub(super) fn new(outcome: RunOutcome, beside: u32) -> Self {
        Self {
            outcome,
            written: Sample::written(&outcome, beside, FEWEST),
            read: Sample::read(&outcome, beside),
        }
    }
}

/// How fast the copies of one model are: the median of those that have been seen, by class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reference {
    written: [Median; CLASSES],
    read: [Median; CLASSES],
}

impl Reference {
    /// Counts an answer, and takes what is compared with it from the copies again if it is time.
    pub(super) fn follow<'a>(
        &mut self,
        answer: &Answer,
        paces: impl Iterator<Item = &'a Pace> + Clone,
    ) {
        if let Some(Sample { class, .. }) = answer.written {
            let means = paces.clone().map(|pace| &pace.written.recent[class]);
            self.written[class].follow(means);
        }
        if let Some(Sample { class, .. }) = answer.read {
            self.read[class].follow(paces.map(|pace| &pace.read.recent[class]));
        }
    }
}

/// The median of one class; the faster one of two, and `None` unless there are two.
#[derive(Clone, Copy, Debug, Default)]
struct Median {
    log: Option<f64>,
    /// How many answers have been told since it was taken, and in all, as far as that matters.
    stale: u8,
    seen: u8,
}

impl Median {
    fn follow<'a>(&mut self, means: impl Iterator<Item = &'a Mean>) {
        self.stale += 1;
        self.seen = self.seen.saturating_add(1);
        if self.stale < OFTEN && self.seen > 4 * OFTEN {
            return;
        }
        self.stale = 0;
        let mut known = [0.0; COPIES];
        let mut count = 0;
        let seen = means.filter(|mean| mean.count() >= ENOUGH);
        for (place, log) in known.iter_mut().zip(seen.filter_map(Mean::get)) {
            *place = log;
            count += 1;
        }
        let known = &mut known[..count];
        known.sort_unstable_by(f64::total_cmp);
        self.log = known.get(count / 2).copied().filter(|_| count > 1);
    }
}

/// The test of one of the two speeds.
#[derive(Clone, Copy, Debug, Default)]
struct Test {
    /// What has been seen of late, by class.
    recent: [Mean; CLASSES],
    /// What is usual here, by class.
    usual: [Mean; CLASSES],
    /// How much faster than the others the copy usually is.
    lead: Mean,
    /// The sum against the others.
    behind: f64,
    /// The sum against what is usual here, beside the others if there are any.
    drifted: f64,
    /// How far behind it has been of late.
    lag: f64,
}

impl Test {
    fn add(&mut self, sample: Sample, others: Option<f64>, well: bool) {
        let Sample { class, log } = sample;
        let lead = others.map(|others| log - others);
        let drift = self.drift(sample, others);
        self.behind = next(self.behind, lead.map(|lead| -lead));
        self.drifted = next(self.drifted, drift);
        let lag = lead.map(|lead| -lead).or(drift).unwrap_or(0.0);
        self.lag += 0.3 * (lag - self.lag);
        self.recent[class].add_within(log, LATE);
        // What is slow must not become what is usual.
        if well {
            self.usual[class].add_within(log, MEMORY);
            if let Some(lead) = lead {
                self.lead.add_within(lead, MEMORY);
            }
        }
    }

    /// How far this is behind what is usual here: beside the others, so that work that has changed for all is no drift.
    fn drift(&self, sample: Sample, others: Option<f64>) -> Option<f64> {
        let known = |mean: &Mean| mean.get().filter(|_| mean.count() >= USUAL);
        match others {
            Some(others) => Some(known(&self.lead)? - (sample.log - others)),
            None => Some(known(&self.usual[sample.class])? - sample.log),
        }
    }

    /// The greater of the two sums, and what it is called; what is behind the others is called by that.
    fn sum(&self, behind: SlowCause) -> (f64, SlowCause) {
        let cause = if self.behind < self.drifted / 2.0 {
            SlowCause::Drift
        } else {
            behind
        };
        (self.behind.max(self.drifted), cause)
    }

    fn clear(&mut self, sum: f64) {
        self.behind = self.behind.min(sum);
        self.drifted = self.drifted.min(sum);
        self.lag = 0.0;
    }
}

fn next(sum: f64, behind: Option<f64>) -> f64 {
    behind.map_or(sum, |behind| {
        (sum + behind.min(FURTHEST) - SLACK).clamp(0.0, WORST)
    })
}

/// The speed of one copy, and what it is worth beside others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    pub(super) rates: Rates,
    written: Test,
    read: Test,
    pub(super) grade: Grade,
    /// Since when it has this grade.
    pub(super) since: Duration,
    /// The gateway's own requests that have found it slow, and when the next one follows.
    pub(super) probes: Failure,
}

impl Pace {
    pub(super) fn learn(&mut self, answer: &Answer, others: &Reference) {
        self.rates.add(answer.outcome.prompt, answer.outcome.output);
        let well = self.grade == Grade::Well;
        if let Some(sample) = answer.written {
            self.written
                .add(sample, others.written[sample.class].log, well);
        }
        if let Some(sample) = answer.read {
            self.read.add(sample, others.read[sample.class].log, well);
        }
    }

    /// What the copy is worth by what has been learned.
    pub(super) fn verdict(&self) -> Grade {
        let sums = [
            self.written.sum(SlowCause::Decode),
            self.read.sum(SlowCause::Prefill),
        ];
        let worst = |least: f64| sums.iter().find(|(sum, _)| *sum >= least);
        if let Some((_, cause)) = worst(WORST) {
            return Grade::Draining(*cause);
        }
        if let Some((_, cause)) = worst(ALARM) {
            // It has to recover wholly before it is left alone no longer.
            return match self.grade {
                Grade::Draining(_) => Grade::Draining(*cause),
                Grade::Well | Grade::Slow(_) => Grade::Slow(*cause),
            };
        }
        match worst(f64::MIN_POSITIVE) {
            Some(_) => self.grade,
            None => Grade::Well,
        }
    }

    /// Takes over what the gateway's own request has shown, which ran alone. A copy that has recovered, or of which nothing
    /// could be seen, is tried with others' requests again.
    pub(super) fn try_out(&mut self, outcome: &RunOutcome, others: &Reference) -> bool {
        let seen = Sample::written(outcome, 0, FEWEST_OWN);
        let lag = seen.and_then(|sample| {
            let others = others.written[sample.class].log;
            let lag = others.map(|others| others - sample.log);
            let drift = self.written.drift(sample, others);
            lag.into_iter().chain(drift).reduce(f64::max)
        });
        let (recovered, sum) = match (lag, self.grade) {
            (Some(lag), _) if lag > RECOVERED => (false, WORST),
            // Its prompt was too short to tell how fast prompts are read.
            (None, _)
            | (_, Grade::Slow(SlowCause::Prefill) | Grade::Draining(SlowCause::Prefill)) => {
                (true, ALARM / 2.0)
            }
            (Some(_), _) => (true, 0.0),
        };
        if recovered {
            self.written.clear(sum);
            self.read.clear(sum);
        }
        recovered
    }

    /// How many times as long as at the others a request takes.
    pub(super) fn slowness(&self) -> f64 {
        self.written.lag.max(self.read.lag).exp().clamp(1.0, 100.0)
    }
}
