//! Waiting for what another process or task does: the condition is asked again and again, for a bounded time.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);
/// Far more than anything here takes, also on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks until there is an answer, and blocks the thread: for set-ups, which are started before a test's tasks are.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < LIMIT, "waited {LIMIT:?} for this: {what}");
        thread::sleep(PAUSE);
    }
}

/// Asks until the condition holds; other tasks go on.
pub(crate) async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < LIMIT, "waited {LIMIT:?} for this: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
