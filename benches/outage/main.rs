//! A load that runs through an outage of Redis: what requests get, how fast, and whether any of it was wrong.
//!
//! `make bench-outage` runs it. For each fault five runs (with `--quick` one), each with a Redis of its own: a second of health, two of the
//! outage, two after it. 64 browsers ask in turn; every answer is checked, and what was acknowledged is looked for at the
//! end. It exits with 1 if any answer was wrong or anything acknowledged was lost.

mod browser;
mod report;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sessile::{Mode, Outage, RedisStore, SessionLayer};

use browser::{Browser, Shared};
use report::Run;
use server::{Fault, Server};

const BROWSERS: usize = 64;
const RUNS: usize = 5;
const BEFORE: Duration = Duration::from_secs(1);
const OUTAGE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(2);

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--run") {
        println!("`make bench-outage` runs this: see scripts/bench_outage.sh");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime is there to be had");
    let runs = if sessile_benches::is_quick() { 1 } else { RUNS };
    let mut is_right = true;
    for fault in [Fault::Killed, Fault::Stopped] {
        let runs: Vec<_> = (0..runs).map(|_| runtime.block_on(run(fault))).collect();
        is_right &= report::print(fault, &runs);
    }
    std::process::exit(i32::from(!is_right));
}

async fn run(fault: Fault) -> Run {
    let mut server = Server::start().await;
    let store = RedisStore::connect(&server.url())
        .await
        .expect("the address is one");
    let sessions = SessionLayer::builder(store)
        .outage(Outage::Local {
            lease: Duration::from_secs(60),
        })
        .build()
        .expect("the settings contradict nothing");
    let shared = Arc::new(Shared::new(browser::app(sessions.clone())));
    let mut browsers = Vec::new();
    for number in 0..BROWSERS {
        browsers.push(Browser::signed_in(&shared, number).await);
    }
    let browsers: Vec<_> = browsers
        .into_iter()
        .map(|browser| tokio::spawn(browser.browse()))
        .collect();

    tokio::time::sleep(BEFORE).await;
    let began = Instant::now();
    server.fail(fault);
    let opened = tokio::spawn(when(sessions.clone(), |mode| mode != Mode::Healthy));
    tokio::time::sleep(OUTAGE).await;
    let back = server.mend(fault).await;
    let live = when(sessions.clone(), |mode| mode == Mode::Healthy).await;
    tokio::time::sleep(AFTER).await;
    shared.stop();
    let opened = opened.await.expect("nobody ends it");
    let mut asked = Vec::new();
    for browser in browsers {
        let mut browser = browser.await.expect("a browser does not panic");
        browser.look_back().await;
        asked.append(&mut browser.asked);
    }
    Run::of(asked, began, opened, back, live)
}

/// When the mode becomes so.
async fn when(sessions: SessionLayer, is: impl Fn(Mode) -> bool + Send) -> Instant {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let now = Instant::now();
        if is(sessions.health().mode) || now > until {
            return now;
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}
