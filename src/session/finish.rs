//! A future that is carried through even when it is dropped.
//!
//! A client that hangs up must not leave a login half done. Running every operation in a task of its own would do, at
//! the price of a task for each; so the rest of it moves into a task only when its future is dropped in the middle.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime;

/// Runs where it is awaited; if it is dropped after its first poll and before its end, the rest runs in the background.
pub(crate) struct Finish<T: Send + 'static> {
    future: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    /// From the first poll on: where to run the rest. A future that was never polled has begun nothing.
    begun: Option<Option<runtime::Handle>>,
    /// True for as long as a poll runs: a future that panicked in its poll cannot be polled again.
    polling: bool,
}

impl<T: Send + 'static> Finish<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            future: Some(Box::pin(future)),
            begun: None,
            polling: false,
        }
    }
}

impl<T: Send + 'static> Future for Finish<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        if this.begun.is_none() {
            this.begun = Some(runtime::Handle::try_current().ok());
        }
        let future = this
            .future
            .as_mut()
            .expect("a future is not polled after its end");
        this.polling = true;
        let poll = future.as_mut().poll(cx);
        this.polling = false;
        if poll.is_ready() {
            this.future = None;
        }
        poll
    }
}

impl<T: Send + 'static> Drop for Finish<T> {
    fn drop(&mut self) {
        if let (Some(rest), Some(begun), false) =
            (self.future.take(), self.begun.take(), self.polling)
            && let Some(runtime) = runtime::Handle::try_current().ok().or(begun)
        {
            runtime.spawn(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn three_steps(done: Arc<AtomicUsize>) {
        for _ in 0..3 {
            done.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_was_begun_is_finished_and_what_was_not_is_not() {
        for polls in 0..4 {
            let done = Arc::new(AtomicUsize::new(0));
            let mut future = Box::pin(Finish::new(three_steps(Arc::clone(&done))));
            for _ in 0..polls {
                std::future::poll_fn(|cx| {
                    let _ = future.as_mut().poll(cx);
                    Poll::Ready(())
                })
                .await;
            }
            drop(future);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(
                done.load(Ordering::SeqCst),
                if polls == 0 { 0 } else { 3 },
                "after {polls} polls"
            );
        }
    }
}
