//! All that is pending for the sessions of one user together.

use std::time::SystemTime;

use super::PendingEnd;
use crate::id::Handle;

/// What ends of one user's sessions come to together, neither more nor less.
///
/// Invariant: where both are there, `others` reaches further than `all`.
#[derive(Debug, Clone, Default)]
pub(super) struct Pair {
    pub(super) all: Option<PendingEnd>,
    pub(super) others: Option<PendingEnd>,
}

impl Pair {
    /// Both together with one more end of the same user.
    ///
    /// Two that keep different sessions, up to `s` and up to `t`, s ≤ t, end everything before `s`: each ends what the
    /// other keeps. From `s` to `t` the second alone counts. So two are always enough, and exact.
    pub(super) fn with(mut self, end: &PendingEnd) -> Self {
        let Some((before, keep)) = end.extent() else {
            return self;
        };
        match (keep, self.others.take()) {
            (None, others) => {
                self.all = later(self.all, end.clone());
                self.others = others;
            }
            (Some(_), None) => self.others = Some(end.clone()),
            (Some(_), Some(others)) => {
                let there = others.extent();
                if there.is_some_and(|(_, kept)| kept == keep) {
                    self.others = later(Some(others), end.clone());
                } else {
                    let (first, second) = if there.is_some_and(|(there, _)| there <= before) {
                        (others, end.clone())
                    } else {
                        (end.clone(), others)
                    };
                    self.all = later(self.all, first.keeping_none());
                    self.others = Some(second);
                }
            }
        }
        if before_of(self.others.as_ref()) <= before_of(self.all.as_ref()) {
            self.others = None;
        }
        self
    }

    pub(super) fn ends(&self, handle: Handle, signed_in_at: SystemTime) -> bool {
        [&self.all, &self.others]
            .into_iter()
            .flatten()
            .any(|end| end.ends(handle, signed_in_at))
    }

    pub(super) fn count(&self) -> usize {
        usize::from(self.all.is_some()) + usize::from(self.others.is_some())
    }

    /// Up to when anything ends.
    pub(super) fn latest(&self) -> SystemTime {
        before_of(self.all.as_ref()).max(before_of(self.others.as_ref()))
    }
}

/// The one that reaches further; the first, where both reach as far.
fn later(first: Option<PendingEnd>, second: PendingEnd) -> Option<PendingEnd> {
    if first.is_some() && before_of(first.as_ref()) >= before_of(Some(&second)) {
        first
    } else {
        Some(second)
    }
}

fn before_of(end: Option<&PendingEnd>) -> SystemTime {
    end.and_then(PendingEnd::extent)
        .map_or(SystemTime::UNIX_EPOCH, |(before, _)| before)
}
