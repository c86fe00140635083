//! Why an answer ends, held until nothing more of it can come: servers say it twice, or go on after they have said it.

use super::{Event, Finish, Text};

/// The reason that was stated, if any.
#[derive(Clone, Debug, Default)]
pub struct HeldFinish {
    stated: Option<(Finish, Option<Text<'static>>)>,
    /// Content has come since.
    went_on: bool,
}

impl HeldFinish {
    /// The provider says why the answer ends. The last word counts, but for a bare stop right after another reason: it
    /// adds only that this was all.
    pub fn state(&mut self, reason: Finish, stop: Option<Text<'_>>) {
        let adds =
            self.stated.is_none() || self.went_on || reason != Finish::Stop || stop.is_some();
        if adds {
            self.stated = Some((reason, stop.map(Text::into_owned)));
        }
        self.went_on = false;
    }

    /// Notes that content has come.
    pub fn go_on(&mut self) {
        self.went_on = true;
    }

    /// Returns whether a reason was stated, and nothing has come since.
    pub fn is_last(&self) -> bool {
        self.is_stated() && !self.went_on
    }

    pub fn is_stated(&self) -> bool {
        self.stated.is_some()
    }

    /// Returns what is to be told; a server that gave no reason has stopped.
    pub fn reason(&self) -> Finish {
        self.stated
            .as_ref()
            .map_or(Finish::Stop, |(reason, _)| *reason)
    }

    /// Returns the event that tells it.
    pub fn take(&mut self) -> Event<'static> {
        let (reason, stop) = self.stated.take().unwrap_or((Finish::Stop, None));
        Event::Finish { reason, stop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stated: &[Option<Finish>]) -> Finish {
        let mut held = HeldFinish::default();
        for reason in stated {
            match reason {
                Some(reason) => held.state(*reason, None),
                None => held.go_on(),
            }
        }
        held.reason()
    }

    #[test]
    fn the_last_word_counts_unless_it_says_less() {
        use Finish::{Length, Stop, ToolCalls};
        assert_eq!(told(&[]), Stop);
        assert_eq!(told(&[Some(Stop), Some(Length)]), Length);
        assert_eq!(told(&[Some(ToolCalls), Some(Stop)]), ToolCalls);
        assert_eq!(told(&[Some(Length), Some(Stop), Some(Stop)]), Length);
        assert_eq!(told(&[Some(Length), None, Some(Stop)]), Stop);
        assert_eq!(told(&[Some(ToolCalls), None]), ToolCalls);
    }

    #[test]
    fn a_stop_string_is_kept() {
        let mut held = HeldFinish::default();
        held.state(Finish::Stop, Some(Text::escaped("END")));
        held.state(Finish::Stop, None);
        let stop = Some(Text::escaped("END"));
        let reason = Finish::Stop;
        assert_eq!(held.take(), Event::Finish { reason, stop });
    }
}
