//! All of them are over at once: how slow the slowest request is while they are dropped, and what that takes.
//!
//! One thread drops them, and another makes new sessions meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use sessile::{ManualClock, MemoryStore};
use sessile_benches::app::Kind;
use sessile_benches::subject::{own, session_guard};
use tokio::runtime::Runtime;

use crate::case::{Figures, Served, fill, resident, runtime};

/// Longer than any of them lives.
const LATER: Duration = Duration::from_secs(400 * 24 * 3600);

pub fn run(runtime: &Runtime, subject: &str, sessions: usize, figures: &mut Figures) {
    match subject {
        "sessile" => own(runtime, sessions, figures),
        "session-guard" => guard(runtime, sessions, figures),
        _ => panic!("{subject} has no clock that can be moved"),
    }
}

fn own(runtime: &Runtime, sessions: usize, figures: &mut Figures) {
    let clock = ManualClock::new();
    let store = MemoryStore::builder().clock(clock.clone()).build();
    let mut served = Served {
        router: own::with_store(store.clone()),
        kind: Kind::Axum,
    };
    let before = resident();
    fill(
        runtime,
        &mut served,
        "/create",
        true,
        sessions,
        &mut Figures::default(),
    );
    assert_eq!(store.entries(), sessions);
    clock.advance(LATER);
    let asked = meanwhile(
        served.router.clone(),
        Kind::Axum,
        "/create",
        figures,
        || {
            store.purge();
        },
    );
    assert_eq!(store.entries(), asked, "the new ones, and no other");
    clock.advance(LATER);
    store.purge();
    assert_eq!((store.entries(), store.bytes()), (0, 0));
    // What was freed went back to the allocator, which is not to say to the system.
    fill(
        runtime,
        &mut served,
        "/create",
        true,
        sessions,
        &mut Figures::default(),
    );
    let now = resident().saturating_sub(before);
    figures.note("again", now as f64 / sessions as f64);
}

fn guard(runtime: &Runtime, sessions: usize, figures: &mut Figures) {
    let clock = ::session_guard::ManualClock::default();
    let guard = ::session_guard::Guard::builder(
        ::session_guard::MemoryStore::new(),
        ::session_guard::GuardConfig::default(),
    )
    .subject::<String>()
    .clock(clock.clone())
    .build();
    let mut served = Served {
        router: session_guard::with_guard(guard.clone()),
        kind: Kind::AxumWithAddress,
    };
    fill(
        runtime,
        &mut served,
        "/enter",
        true,
        sessions,
        &mut Figures::default(),
    );
    clock.advance(LATER);
    let purge = || {
        let report = self::runtime()
            .block_on(guard.purge_expired())
            .expect("it is in memory");
        assert_eq!(report.sessions, sessions as u64);
    };
    meanwhile(
        served.router,
        Kind::AxumWithAddress,
        "/enter",
        figures,
        purge,
    );
}

/// How many requests were answered while `purge` ran.
fn meanwhile(
    router: Router,
    kind: Kind,
    path: &'static str,
    figures: &mut Figures,
    purge: impl FnOnce() + Send,
) -> usize {
    let is_done = AtomicBool::new(false);
    let (asked, slowest, took) = std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let mut served = Served { router, kind };
            let (mut asked, mut slowest) = (0, Duration::ZERO);
            runtime().block_on(async {
                while !is_done.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    served.ask(path, None, asked).await;
                    slowest = slowest.max(began.elapsed());
                    asked += 1;
                }
            });
            (asked, slowest)
        });
        let began = Instant::now();
        purge();
        let took = began.elapsed();
        is_done.store(true, Ordering::Relaxed);
        let (asked, slowest) = serving.join().expect("all were answered");
        (asked, slowest, took)
    });
    figures.note("purge", took.as_secs_f64() * 1000.0);
    figures.note("slowest meanwhile", slowest.as_secs_f64() * 1e6);
    asked as usize
}
