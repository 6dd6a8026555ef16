//! How long a request waits for its store, all its calls together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::span_micros;
use crate::store::{Failure, StoreError};

/// For calls that no request waits for, and those that have a bound of their own.
pub(crate) static UNBOUNDED: Budget = Budget::of(None);

/// The time that a request may wait, and what it has waited so far. What a handler does between its calls does not count;
/// of calls at the same time, each does.
#[derive(Debug)]
pub(crate) struct Budget {
    most: Option<Duration>,
    /// In microseconds.
    spent: AtomicU64,
}

impl Budget {
    /// `None`: no bound.
    pub(crate) const fn of(most: Option<Duration>) -> Self {
        Self {
            most,
            spent: AtomicU64::new(0),
        }
    }

    pub(crate) const fn is_unbounded(&self) -> bool {
        self.most.is_none()
    }

    /// What is left; `None`: no bound.
    pub(crate) fn left(&self) -> Option<Duration> {
        let spent = Duration::from_micros(self.spent.load(Ordering::Relaxed));
        self.most.map(|most| most.saturating_sub(spent))
    }

    /// What is left of it now, as a budget of its own.
    pub(crate) fn rest(&self) -> Self {
        Self {
            most: self.most,
            spent: AtomicU64::new(self.spent.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn spend(&self, waited: Duration) {
        self.spent.fetch_add(span_micros(waited), Ordering::Relaxed);
    }

    /// A store's answer, if it comes while something is left. A call that is cut short is lost as one that met its
    /// deadline; one for which nothing is left is not made.
    pub(super) async fn wait<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.give(|left| within(left, call)).await
    }

    /// The same for a call that is told how long it may take, and keeps to that; `None`: its own deadline is no later.
    pub(super) async fn give<T, F>(
        &self,
        call: impl FnOnce(Option<Duration>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (Some(most), Some(left)) = (self.most, self.left()) else {
            return call(None).await;
        };
        if left.is_zero() {
            // That says nothing of the store which it has not said already.
            return Err(StoreError::new(CUT_SHORT));
        }
        let began = Instant::now();
        // Where all is left, the store's own deadline is this one: a second timer would tell nothing.
        let answer = call((left != most).then_some(left)).await;
        self.spend(began.elapsed());
        answer
    }
}

/// What a call answers in this time; `None`: whenever it does.
pub(crate) async fn within<T>(
    left: Option<Duration>,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let Some(left) = left else {
        return call.await;
    };
    let answer = tokio::time::timeout(left, call).await;
    answer.unwrap_or_else(|_| Err(StoreError::new(CUT_SHORT).with_failure(Failure::Silent)))
}

const CUT_SHORT: &str = "the store took all the time that a request waits for it";

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(250);

    async fn takes(millis: u64) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_waited_is_not_there_for_the_next_call() {
        let budget = Budget::of(Some(MOST));
        let began = Instant::now();
        budget.wait(takes(100)).await.unwrap();
        assert_eq!(budget.left(), Some(Duration::from_millis(150)));
        // What the handler does meanwhile is its own affair.
        tokio::time::sleep(Duration::from_secs(5)).await;
        budget.wait(takes(100)).await.unwrap();
        let error = budget.wait(takes(100)).await.unwrap_err();
        assert_eq!(error.failure(), Failure::Silent);
        let waited = began.elapsed() - Duration::from_secs(5);
        assert!(
            (MOST..MOST + Duration::from_millis(5)).contains(&waited),
            "{waited:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_left_nothing_is_asked() {
        let budget = Budget::of(Some(MOST));
        budget.wait(takes(300)).await.unwrap();
        let mut asked = false;
        let call = async {
            asked = true;
            Ok(())
        };
        let error = budget.wait(call).await.unwrap_err();
        // Which is no second silence.
        assert_eq!(error.failure(), Failure::Other);
        assert!(!asked);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_bound_a_call_takes_what_it_takes() {
        for _ in 0..3 {
            UNBOUNDED.wait(takes(10_000)).await.unwrap();
        }
        assert_eq!(UNBOUNDED.left(), None);
    }
}
