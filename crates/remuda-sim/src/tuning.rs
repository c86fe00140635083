//! The options that a loaded model was started with, and which requests need it started anew for theirs.

use super::catalogue::Model;
use super::options::Machine;

/// Tokens of a batch where nobody states them.
const BATCH: i64 = 512;

/// The least context of any model, and of one that sees.
const LEAST: u32 = 4;
const LEAST_VISION: u32 = 2_048;

/// Contexts that a server takes by itself, by the VRAM that it needs at least: a little below 48 and 24 GiB.
const AUTOMATIC: [(u64, u32); 3] = [(47 << 30, 262_144), (23 << 30, 32_768), (0, 4_096)];

/// What a request states of how its model is to be started; `None` is not stated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tuning {
    pub(super) num_ctx: Option<u32>,
    pub(super) num_batch: Option<i64>,
    pub(super) num_thread: Option<i64>,
    pub(super) main_gpu: Option<i64>,
    pub(super) draft_num_predict: Option<i64>,
    /// Negative is as not stated; 0 keeps the model off the GPU.
    pub(super) num_gpu: Option<i64>,
    pub(super) use_mmap: Option<bool>,
    /// Stated beside the options, not among them.
    pub(super) shift: Option<bool>,
}

/// A number of tokens, and who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) length: u32,
    /// Chosen by the server, by its VRAM.
    pub(super) automatic: bool,
}

impl Tuning {
    /// The context that this asks of `model` on `machine`.
    pub(super) fn context(&self, model: &Model, machine: &Machine) -> Context {
        let least = if model.can("vision") {
            LEAST_VISION
        } else {
            LEAST
        };
        let stated = self.num_ctx.filter(|length| *length > 0);
        let stated = stated.or(machine.context_length);
        let length = stated.unwrap_or_else(|| automatic(machine.vram));
        Context {
            length: length.min(model.context_length).max(least),
            automatic: stated.is_none(),
        }
    }

    /// Whether a long answer may push the beginning of its prompt out of the context.
    pub(super) fn shifts(&self, model: &Model) -> bool {
        self.shift.unwrap_or(model.family != "deepseek2")
    }

    pub(super) fn keeps_off_the_gpu(&self) -> bool {
        self.num_gpu == Some(0)
    }

    /// Whether a request for `model` that states this cannot run in a copy that was started with `copy`.
    ///
    /// Contexts are compared by themselves: `Context::differs`.
    pub(super) fn differs(&self, copy: &Self, model: &Model) -> bool {
        let number = |own: Option<i64>, other: Option<i64>, default: i64| {
            own.unwrap_or(default) != other.unwrap_or(default)
        };
        number(self.num_batch, copy.num_batch, BATCH)
            || number(self.num_thread, copy.num_thread, 0)
            || number(self.main_gpu, copy.main_gpu, 0)
            || number(self.draft_num_predict, copy.draft_num_predict, 0)
            || (self.num_gpu.is_some_and(|layers| layers >= 0)
                && number(self.num_gpu, copy.num_gpu, -1))
            || self
                .use_mmap
                .is_some_and(|mapped| mapped != copy.use_mmap.unwrap_or(true))
            || self.shifts(model) != copy.shifts(model)
    }
}

impl Context {
    /// Whether a request that wants this context cannot run in a copy that has `copy`.
    ///
    /// A stated number fits a copy of that number, whoever chose it. A request that leaves the choice to the server
    /// fits only a copy for which the server chose.
    pub(super) fn differs(self, copy: Self) -> bool {
        match (self.automatic, copy.automatic) {
            (true, automatic) => !automatic,
            (false, _) => self.length != copy.length,
        }
    }

    /// The next smaller context of those that a server takes by itself, once a load has run out of memory.
    pub(super) fn stepped_down(self) -> Option<Self> {
        let lower = AUTOMATIC.iter().map(|(_, length)| *length);
        let length = lower.filter(|length| *length < self.length).max()?;
        self.automatic.then_some(Self { length, ..self })
    }
}

fn automatic(vram: u64) -> u32 {
    let row = AUTOMATIC.iter().find(|(least, _)| vram >= *least);
    row.map_or(AUTOMATIC[2].1, |(_, length)| *length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> Model {
        Model::parse(name).unwrap()
    }

    fn context(num_ctx: Option<u32>, name: &str, change: impl FnOnce(&mut Machine)) -> Context {
        let mut machine = Machine::default();
        change(&mut machine);
        let tuning = Tuning {
            num_ctx,
            ..Tuning::default()
        };
        tuning.context(&model(name), &machine)
    }

    #[test]
    fn the_context_goes_by_vram_unless_it_is_stated() {
        for (gib, length) in [(0, 4_096), (22, 4_096), (23, 32_768), (47, 262_144)] {
            let found = context(None, "qwen3:4b", |machine| machine.vram = gib << 30);
            assert_eq!((found.length, found.automatic), (length, true), "{gib} GiB");
        }
        let set = context(None, "llama3.2", |machine| {
            machine.context_length = Some(8_192);
        });
        assert_eq!((set.length, set.automatic), (8_192, false));
        let zero = context(Some(0), "llama3.2", |_| {});
        assert!(zero.automatic);
    }

    #[test]
    fn a_context_is_capped_at_what_was_trained_and_raised_to_the_least() {
        let length = |num_ctx, name| context(Some(num_ctx), name, |_| {}).length;
        assert_eq!(length(1_000_000, "mistral"), 32_768);
        assert_eq!(length(1, "llama3.2"), 4);
        assert_eq!(length(1, "llava"), 2_048);
        assert_eq!(context(None, "llama3", |_| {}).length, 8_192);
    }

    #[test]
    fn the_same_number_fits_an_automatic_copy_but_not_the_other_way_round() {
        let chosen = context(None, "llama3.2", |_| {});
        let stated = context(Some(chosen.length), "llama3.2", |_| {});
        assert!(!stated.differs(chosen));
        assert!(chosen.differs(stated), "who states none cannot join it");
        assert!(!chosen.differs(chosen) && !stated.differs(stated));
        assert!(context(Some(2_048), "llama3.2", |_| {}).differs(stated));
        let smaller = chosen.stepped_down().unwrap();
        assert_eq!(smaller.length, 4_096);
        assert!(!chosen.differs(smaller), "both were chosen by the server");
        assert_eq!(smaller.stepped_down(), None);
        assert_eq!(stated.stepped_down(), None);
    }

    #[test]
    fn each_option_of_the_runner_differs_by_its_own_rule() {
        let llama = model("llama3.2");
        let differs = |request: &Tuning, copy: &Tuning| request.differs(copy, &llama);
        let unstated = Tuning::default();
        assert!(!differs(&unstated, &unstated));
        type Row = (fn(&mut Tuning), bool, bool);
        let rows: [Row; 11] = [
            (|t| t.num_batch = Some(256), true, true),
            (|t| t.num_batch = Some(512), false, false),
            (|t| t.num_thread = Some(3), true, true),
            (|t| t.main_gpu = Some(1), true, true),
            (|t| t.draft_num_predict = Some(4), true, true),
            (|t| t.num_gpu = Some(20), true, false),
            (|t| t.num_gpu = Some(-1), false, false),
            (|t| t.use_mmap = Some(false), true, false),
            (|t| t.use_mmap = Some(true), false, false),
            (|t| t.shift = Some(false), true, true),
            (|t| t.shift = Some(true), false, false),
        ];
        for (change, as_request, as_copy) in rows {
            let mut stated = Tuning::default();
            change(&mut stated);
            assert_eq!(differs(&stated, &unstated), as_request, "{stated:?}");
            assert_eq!(differs(&unstated, &stated), as_copy, "{stated:?}");
            assert!(!differs(&stated, &stated), "{stated:?}");
        }
    }

    #[test]
    fn the_default_of_shift_is_the_familys() {
        let mut deepseek = model("thing");
        deepseek.family = "deepseek2";
        let stated = Tuning {
            shift: Some(false),
            ..Tuning::default()
        };
        assert!(!stated.differs(&Tuning::default(), &deepseek));
        assert!(stated.differs(&Tuning::default(), &model("thing")));
    }
}
