//! Whether a backend lists other models at each probe. Whoever adds and removes a few is no such backend; one that lists
//! new names again and again is not what it is taken for, and costs a place in every table.

/// Models that come, and as many that go, from one probe to the next: fewer are somebody at work.
const LEAST: usize = 16;
/// Of a long list, at least this part of it.
const PART: usize = 8;
/// Probes at which a list is another until that is told, and steady ones after that until it is over.
const OFTEN: u8 = 3;
const LONG: u8 = 10;

/// How steady the list of a backend has been of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Churn {
    /// Probes in a row at which it was another, or steady ones left until that is forgotten.
    count: u8,
    is_told: bool,
    came: usize,
    gone: usize,
}

/// What is to be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Changing { came: usize, gone: usize },
    Steady,
}

impl Churn {
    /// Takes note of a probe that found `all` models, of which `came` were not there before, while `gone` are there no more.
    pub(super) fn after(self, came: usize, gone: usize, all: usize) -> Self {
        let is_another = came.min(gone) >= LEAST.max(all / PART);
        self.then(is_another, came, gone)
    }

    fn then(self, is_another: bool, came: usize, gone: usize) -> Self {
        let count = match (is_another, self.is_told) {
            (true, true) => LONG,
            (true, false) => self.count + 1,
            (false, true) => self.count - 1,
            (false, false) => 0,
        };
        let is_told = if self.is_told {
            count > 0
        } else {
            count >= OFTEN
        };
        Self {
            count: if is_told && !self.is_told {
                LONG
            } else {
                count
            },
            is_told,
            came,
            gone,
        }
    }

    pub(super) fn told(self) -> Option<Told> {
        match (self.is_told, self.count) {
            (true, LONG) => Some(Told::Changing {
                came: self.came,
                gone: self.gone,
            }),
            (false, 0) => Some(Told::Steady),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_another_each_time_is_told_until_it_has_been_steady_for_long() {
        let changing = Some(Told::Changing { came: 90, gone: 80 });
        let mut churn = Churn::default();
        // A new list now and then is an operator at work.
        for is_another in [true, false, true, true, false, false] {
            churn = churn.then(is_another, 90, 80);
            assert_ne!(churn.told(), changing);
        }
        for _ in 0..OFTEN {
            assert_ne!(churn.told(), changing);
            churn = churn.then(true, 90, 80);
        }
        for _ in 0..1_000 {
            assert_eq!(churn.told(), changing);
            churn = churn.then(true, 90, 80);
        }
        for _ in 1..LONG {
            churn = churn.then(false, 0, 0);
            assert_eq!(churn.told(), None);
        }
        churn = churn.then(false, 0, 0);
        assert_eq!(churn.told(), Some(Told::Steady));
        churn = churn.then(true, 90, 80);
        assert_eq!(churn.told(), None);
    }
}
