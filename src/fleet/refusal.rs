//! That a provider refuses the gateway's key, or to say what it has: since when, and what it was asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::trouble::Trouble;
use remuda_formats::ir::{Fault, FaultKind};

/// Its list of models, and requests: a list that anybody may see says nothing of the key.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<[Option<(Why, Trouble)>; 2]>);

/// What the key was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    List,
    Request,
}

/// What the provider objects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It does not know the key, or the key may not do that.
    Key,
    /// The account of the key may not: it is not paid for, its quota is spent, or it is in the wrong region.
    Account,
    /// It answers with an error that says neither, or with a redirect.
    Error,
}

impl Why {
    /// Returns why the key or its account was refused, if the fault says so.
    pub(super) fn of(fault: &Fault) -> Option<Why> {
        match fault.kind {
            FaultKind::Credentials => Some(Why::Key),
            FaultKind::Billing => Some(Why::Account),
            _ => None,
        }
    }

    /// Returns the reason in words for people.
    pub(super) fn text(self) -> &'static str {
        match self {
            Why::Key => "it refuses the gateway's key",
            Why::Account => {
                "it refuses the gateway's key for its account (payment, quota or region)"
            }
            Why::Error => "it does not tell its models",
        }
    }
}

impl Refusals {
    /// Notes that the key was refused with that status. Returns whether this is news.
    pub(super) fn note(&self, asked: Asked, why: Why, status: u16) -> bool {
        let what = match asked {
            Asked::List => "its list of models",
            Asked::Request => "a request",
        };
        let how = match status {
            200..=299 => format!("an error and status {status}"),
            status => format!("status {status}"),
        };
        let text = format!("{}: {what} was answered with {how}", why.text());
        let mut all = self.lock();
        let last = all[asked as usize].take();
        let news = last.as_ref().is_none_or(|(last, _)| *last != why);
        let trouble = match last {
            Some((last, trouble)) if last == why => trouble,
            _ => Trouble {
                text,
                since: SystemTime::now(),
            },
        };
        all[asked as usize] = Some((why, trouble));
        news
    }

    /// Notes that the key was taken. Returns whether this is news.
    pub(super) fn settle(&self, asked: Asked) -> bool {
        self.lock()[asked as usize].take().is_some()
    }

    /// Returns the refusal that still holds, the first of two.
    pub(super) fn present(&self) -> Option<(Why, Trouble)> {
        let all = self.lock();
        let both = all.iter().flatten();
        both.min_by_key(|(_, trouble)| trouble.since).cloned()
    }

    /// Returns whether it may get what nobody lists: not if it refuses its list or the key. An account that could not
    /// pay for one request may for the next, which is the only way to find out where there is no list.
    pub(super) fn repel(&self) -> bool {
        let all = self.lock();
        let of_request = all[Asked::Request as usize].as_ref();
        all[Asked::List as usize].is_some() || of_request.is_some_and(|(why, _)| *why == Why::Key)
    }

    fn lock(&self) -> MutexGuard<'_, [Option<(Why, Trouble)>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_settled_by_its_like() {
        let refusals = Refusals::default();
        let text = || refusals.present().map(|(_, trouble)| trouble.text);
        assert_eq!(text(), None);
        assert!(refusals.note(Asked::Request, Why::Key, 401));
        assert!(!refusals.note(Asked::Request, Why::Key, 403));
        assert!(!refusals.settle(Asked::List));
        assert_eq!(
            text().as_deref(),
            Some("it refuses the gateway's key: a request was answered with status 401")
        );
        assert!(refusals.note(Asked::List, Why::Key, 403));
        assert!(refusals.settle(Asked::Request));
        assert!(text().unwrap().contains("list of models"));
        assert!(refusals.settle(Asked::List));
        assert_eq!(text(), None);
    }

    #[test]
    fn an_account_that_cannot_pay_for_one_request_may_for_the_next() {
        let refusals = Refusals::default();
        refusals.note(Asked::Request, Why::Account, 402);
        assert!(refusals.present().is_some() && !refusals.repel());
        // Another reason is news.
        assert!(refusals.note(Asked::Request, Why::Key, 400));
        assert!(refusals.repel());
        refusals.settle(Asked::Request);
        for why in [Why::Key, Why::Account, Why::Error] {
            refusals.note(Asked::List, why, 200);
            assert!(refusals.repel(), "{why:?}");
            let (_, trouble) = refusals.present().unwrap();
            assert!(trouble.text.ends_with("with an error and status 200"));
            refusals.settle(Asked::List);
        }
    }
}
