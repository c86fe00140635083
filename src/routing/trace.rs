//! What the planner notes of its decisions, when it is asked to explain them.

use crate::ids::ProviderId;

/// What the planner notes; nothing unless somebody asked.
#[derive(Debug, Default)]
pub(super) struct Trace(Option<Record>);

#[derive(Debug, Default)]
struct Record {
    decided: Vec<String>,
    out: Vec<(ProviderId, String)>,
}

impl Trace {
    pub(super) fn on() -> Trace {
        Trace(Some(Record::default()))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Notes what has decided.
    pub(super) fn decided(&mut self, what: impl FnOnce() -> String) {
        if let Some(record) = &mut self.0 {
            record.decided.push(what());
        }
    }

    /// Notes why a provider does not serve the request, or not before others.
    pub(super) fn out(&mut self, provider: ProviderId, why: impl FnOnce() -> String) {
        if let Some(record) = &mut self.0 {
            let why = why();
            if !record.out.contains(&(provider, why.clone())) {
                record.out.push((provider, why));
            }
        }
    }

    /// Returns all that has decided, in order, and what was said of each provider.
    pub(super) fn taken(self) -> (Vec<String>, Vec<(ProviderId, String)>) {
        let record = self.0.unwrap_or_default();
        (record.decided, record.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_noted_unless_asked() {
        let mut off = Trace::default();
        off.decided(|| unreachable!("nobody asked"));
        off.out(ProviderId::at(0), || unreachable!("nobody asked"));
        assert_eq!(off.taken(), Default::default());

        let mut on = Trace::on();
        on.decided(|| "alias".to_owned());
        for _ in 0..2 {
            on.out(ProviderId::at(1), || "filter".to_owned());
        }
        let expected = (
            vec!["alias".to_owned()],
            vec![(ProviderId::at(1), "filter".to_owned())],
        );
        assert_eq!(on.taken(), expected);
    }
}
