//! One case: fills a store, and measures on the way and afterwards.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use sessile::{ManualClock, MemoryStore};
use sessile_benches::report::Rounds;
use sessile_benches::request::{cookie, request};
use sessile_benches::row::call;
use sessile_benches::subject::{SUBJECTS, own};
use tokio::runtime::Runtime;

/// So many of the sessions are read, spread over all.
const READ: usize = 1000;
const ROUNDS: usize = 31;
const THREAD_ROUNDS: usize = 9;
const THREAD_ROUND: Duration = Duration::from_millis(150);

pub struct Case {
    pub subject: &'static str,
    pub route: &'static str,
    pub sessions: usize,
}

/// Named numbers, and how a process tells them to another.
#[derive(Debug, Default)]
pub struct Figures(Vec<(String, f64)>);

impl Figures {
    fn note(&mut self, name: &str, value: f64) {
        self.0.push((name.into(), value));
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.0
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| *value)
    }

    pub fn to_lines(&self) -> String {
        self.0
            .iter()
            .map(|(name, value)| format!("{name} {value}\n"))
            .collect()
    }

    pub fn from_lines(text: &str) -> Self {
        let figure = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.into(), value.parse().ok()?))
        };
        Self(text.lines().filter_map(figure).collect())
    }
}

impl Case {
    pub const fn new(subject: &'static str, route: &'static str, sessions: usize) -> Self {
        Self {
            subject,
            route,
            sessions,
        }
    }

    pub fn run(&self) -> Figures {
        let runtime = runtime();
        let mut figures = Figures::default();
        if self.route == "/create and purge" {
            self.purge(&runtime, &mut figures);
            return figures;
        }
        let subject = SUBJECTS
            .iter()
            .find(|subject| subject.name == self.subject)
            .expect("the case names one");
        let mut router = (subject.router)();
        let cookies = self.fill(&runtime, &mut router, &mut figures);
        let read = if subject.has_sessions {
            "/read"
        } else {
            "/plain"
        };
        figures.note("read", runtime.block_on(reads(&mut router, read, &cookies)));
        figures.note("threads", threads(&router, read, &cookies));
        figures
    }

    /// Makes the sessions; the cookies of some, spread over all.
    fn fill(
        &self,
        runtime: &Runtime,
        router: &mut Router,
        figures: &mut Figures,
    ) -> Vec<Option<HeaderValue>> {
        let (path, _) = self.route.split_once(' ').unwrap_or((self.route, ""));
        let agent = !self.route.contains("without user agent");
        let mut cookies = Vec::with_capacity(READ);
        // Written to before the measurement, so that it does not count.
        let mut took = vec![1.0f64; self.sessions];
        let before = resident();
        runtime.block_on(async {
            for (n, took) in took.iter_mut().enumerate() {
                let mut request = request(path, None, n as u64);
                if !agent {
                    request.headers_mut().remove(header::USER_AGENT);
                }
                let began = Instant::now();
                let response = call(router, request).await;
                *took = began.elapsed().as_nanos() as f64 / 1000.0;
                assert_eq!(response.status(), StatusCode::OK);
                if n % (self.sessions / READ) == 0 {
                    cookies.push(cookie(response.headers()));
                }
            }
        });
        if path != "/plain" {
            assert!(cookies.iter().all(Option::is_some));
            if self.sessions > 10 * READ {
                figures.note(
                    "bytes",
                    resident().saturating_sub(before) as f64 / self.sessions as f64,
                );
            }
            took.sort_by(f64::total_cmp);
            figures.note("slow", took[self.sessions - 1 - self.sessions / 1000]);
            figures.note("slowest", took[self.sessions - 1]);
        }
        cookies
    }

    fn purge(&self, runtime: &Runtime, figures: &mut Figures) {
        let clock = ManualClock::new();
        let store = MemoryStore::builder().clock(clock.clone()).build();
        let mut router = own::with_store(store.clone());
        let before = resident();
        self.fill(runtime, &mut router, &mut Figures::default());
        assert_eq!(store.entries(), self.sessions);
        clock.advance(Duration::from_secs(24 * 3600));
        let began = Instant::now();
        store.purge();
        figures.note("purge", began.elapsed().as_secs_f64() * 1000.0);
        assert_eq!((store.entries(), store.bytes()), (0, 0));
        // What was freed went back to the allocator, which is not to say to the system.
        self.fill(runtime, &mut router, &mut Figures::default());
        let now = resident().saturating_sub(before);
        figures.note("again", now as f64 / self.sessions as f64);
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}

/// One read, in nanoseconds, with the building of its request.
async fn reads(router: &mut Router, path: &'static str, cookies: &[Option<HeaderValue>]) -> f64 {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        pass(router, path, cookies).await;
        rounds.push(began.elapsed().as_nanos() as f64 / cookies.len() as f64);
    }
    Rounds::new(rounds).median()
}

async fn pass(router: &mut Router, path: &'static str, cookies: &[Option<HeaderValue>]) {
    for cookie in cookies {
        let response = call(router, request(path, cookie.as_ref(), 1)).await;
        assert_eq!(response.status(), StatusCode::OK);
        black_box(response);
    }
}

/// How many times as many reads two threads do as one.
fn threads(router: &Router, path: &'static str, cookies: &[Option<HeaderValue>]) -> f64 {
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..THREAD_ROUNDS {
        for (count, rounds) in [1, 2].into_iter().zip(&mut rounds) {
            rounds.push(together(count, router, path, cookies));
        }
    }
    let [one, two] = rounds.map(|rounds| Rounds::new(rounds).median());
    two / one
}

fn together(
    count: usize,
    router: &Router,
    path: &'static str,
    cookies: &[Option<HeaderValue>],
) -> f64 {
    let (start, stop, done) = (
        Barrier::new(count + 1),
        AtomicBool::new(false),
        AtomicU64::new(0),
    );
    std::thread::scope(|scope| {
        // Each has sessions of its own, as users have.
        for cookies in cookies.chunks(READ / 2).take(count) {
            let (mut router, start, stop, done) = (router.clone(), &start, &stop, &done);
            scope.spawn(move || {
                let runtime = runtime();
                start.wait();
                while !stop.load(Ordering::Relaxed) {
                    runtime.block_on(pass(&mut router, path, cookies));
                    done.fetch_add(cookies.len() as u64, Ordering::Relaxed);
                }
            });
        }
        start.wait();
        std::thread::sleep(THREAD_ROUND);
        stop.store(true, Ordering::Relaxed);
    });
    done.into_inner() as f64
}

/// The bytes of memory that this process has in use.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux process has one");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("it tells the resident size");
    let kilobytes: usize = line
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .expect("in kilobytes");
    kilobytes * 1024
}
