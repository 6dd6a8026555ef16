//! All of them are over at once: how slow the slowest request is while they are dropped, and what that takes.
//!
//! One thread drops them, and another makes new sessions meanwhile. Where both processors are busy, the system stops one
//! of them now and then for some milliseconds, whatever they do: so the same is measured next to a thread that only
//! counts, and of each request what it waited for a processor is told apart, as the kernel counts it.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
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

/// About as long as dropping a million takes.
const COUNTING: Duration = Duration::from_millis(400);

pub fn run(runtime: &Runtime, subject: &str, sessions: usize, figures: &mut Figures) {
    match subject {
        "sessile" => own(runtime, sessions, figures),
        "session-guard" => guard(runtime, sessions, figures),
        _ => panic!("{subject} has no clock that can be moved"),
    }
}

/// The same, and nothing is dropped.
pub fn beside_counting(runtime: &Runtime, sessions: usize, figures: &mut Figures) {
    let (store, clock, served, _) = full(runtime, sessions);
    clock.advance(LATER);
    meanwhile(served.router, Kind::Axum, "/create", figures, || {
        let began = Instant::now();
        while began.elapsed() < COUNTING {
            black_box((0..10_000u64).fold(0, |sum, number| black_box(sum ^ number)));
        }
    });
    drop(store);
}

/// A store of ours with so many sessions, and what the process took before.
fn full(runtime: &Runtime, sessions: usize) -> (MemoryStore, ManualClock, Served, usize) {
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
    (store, clock, served, before)
}

fn own(runtime: &Runtime, sessions: usize, figures: &mut Figures) {
    let (store, clock, mut served, before) = full(runtime, sessions);
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
    let (asked, slowest, stalled, took) = std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let mut served = Served { router, kind };
            let (mut asked, mut slowest, mut stalled) = (0, Duration::ZERO, Duration::ZERO);
            let waits = Waits::of_this_thread();
            runtime().block_on(async {
                while !is_done.load(Ordering::Relaxed) {
                    let before = waits.so_far();
                    let began = Instant::now();
                    served.ask(path, None, asked).await;
                    let took = began.elapsed();
                    let waited = waits.so_far() - before;
                    slowest = slowest.max(took);
                    stalled = stalled.max(took.saturating_sub(waited));
                    asked += 1;
                }
            });
            (asked, slowest, stalled)
        });
        let began = Instant::now();
        purge();
        let took = began.elapsed();
        is_done.store(true, Ordering::Relaxed);
        let (asked, slowest, stalled) = serving.join().expect("all were answered");
        (asked, slowest, stalled, took)
    });
    figures.note("purge", took.as_secs_f64() * 1000.0);
    figures.note("slowest meanwhile", slowest.as_secs_f64() * 1e6);
    figures.note("slowest by itself", stalled.as_secs_f64() * 1e6);
    asked as usize
}

/// How long this thread could have run and did not, because others had the processors.
struct Waits(File);

impl Waits {
    fn of_this_thread() -> Self {
        Self(File::open("/proc/thread-self/schedstat").expect("the kernel counts"))
    }

    fn so_far(&self) -> Duration {
        let mut text = [0; 64];
        let len = self.0.read_at(&mut text, 0).expect("it can be read");
        let text = str::from_utf8(&text[..len]).expect("these are numbers");
        let waited = text.split_whitespace().nth(1).expect("it is the second");
        Duration::from_nanos(waited.parse().expect("a number"))
    }
}
