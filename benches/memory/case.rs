//! One case: fills a store, and measures on the way and afterwards.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderValue, header};
use sessile_benches::app::{App, Ask, Kind, Reply, call};
use sessile_benches::report::Rounds;
use sessile_benches::subject::SUBJECTS;
use tokio::runtime::Runtime;

use crate::expiry;
use crate::far;

/// So many of the sessions are read, spread over all.
const READ: usize = 1000;
const ROUNDS: usize = 31;
const THREAD_ROUNDS: usize = 9;
const THREAD_ROUND: Duration = Duration::from_millis(150);

pub struct Case {
    pub subject: String,
    pub does: String,
    pub sessions: usize,
}

/// Named numbers, and how a process tells them to another.
#[derive(Debug, Default)]
pub struct Figures(Vec<(String, f64)>);

impl Figures {
    pub fn note(&mut self, name: &str, value: f64) {
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
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.into(), value.parse().ok()?))
        };
        Self(text.lines().filter_map(figure).collect())
    }
}

impl Case {
    pub fn new(subject: &str, does: &str, sessions: usize) -> Self {
        Self {
            subject: subject.into(),
            does: does.into(),
            sessions,
        }
    }

    pub fn run(&self) -> Figures {
        let runtime = runtime();
        let mut figures = Figures::default();
        match self.does.as_str() {
            "expires" => expiry::run(&runtime, &self.subject, self.sessions, &mut figures),
            "expires not" => expiry::beside_counting(&runtime, self.sessions, &mut figures),
            "far reads" => far::run(&runtime, self.sessions, &mut figures),
            _ => self.grow(&runtime, &mut figures),
        }
        figures
    }

    fn grow(&self, runtime: &Runtime, figures: &mut Figures) {
        let subject = SUBJECTS
            .into_iter()
            .find(|subject| subject.name == self.subject)
            .expect("the case names one");
        let App::Axum(router) = runtime.block_on((subject.open)("")) else {
            panic!("actix-session has no store in memory")
        };
        let mut served = Served {
            router,
            kind: subject.kind,
        };
        let (path, rest) = self.does.split_once(' ').unwrap_or((&self.does, ""));
        let path = ["/plain", "/create", "/enter"]
            .into_iter()
            .find(|known| *known == path)
            .expect("a route");
        let agent = rest != "without user agent";
        let cookies = fill(runtime, &mut served, path, agent, self.sessions, figures);
        // One without data is looked at with every request.
        let read = if subject.has_sessions && subject.has(sessile_benches::row::Row::Read) {
            "/read"
        } else {
            "/plain"
        };
        figures.note("read", runtime.block_on(reads(&mut served, read, &cookies)));
        figures.note("threads", threads(&served, read, &cookies));
    }
}

/// An application on axum, and what its requests are like.
#[derive(Clone)]
pub struct Served {
    pub router: Router,
    pub kind: Kind,
}

impl Served {
    pub async fn ask(
        &mut self,
        path: &'static str,
        cookie: Option<&HeaderValue>,
        number: u64,
    ) -> Reply {
        self.send(self.kind.build(path, cookie, number)).await
    }

    async fn send(&mut self, ask: Ask) -> Reply {
        let Ask::Axum(request) = ask else {
            panic!("it is on axum")
        };
        let reply = Reply::Axum(call(&mut self.router, request).await);
        assert!(reply.is_ok(), "{}", reply.status());
        reply
    }
}

/// Makes the sessions; the cookies of some, spread over all.
pub fn fill(
    runtime: &Runtime,
    served: &mut Served,
    path: &'static str,
    agent: bool,
    sessions: usize,
    figures: &mut Figures,
) -> Vec<Option<HeaderValue>> {
    let mut cookies = Vec::with_capacity(READ);
    // Written to before the measurement, so that it does not count.
    let mut took = vec![1.0f64; sessions];
    let before = resident();
    runtime.block_on(async {
        for (n, took) in took.iter_mut().enumerate() {
            let mut ask = served.kind.build(path, None, n as u64);
            if !agent && let Ask::Axum(request) = &mut ask {
                request.headers_mut().remove(header::USER_AGENT);
            }
            let began = Instant::now();
            let reply = served.send(ask).await;
            *took = began.elapsed().as_nanos() as f64 / 1000.0;
            if n % (sessions / READ) == 0 {
                cookies.push(reply.cookie());
            }
        }
    });
    if path != "/plain" {
        assert!(cookies.iter().all(Option::is_some));
        if sessions > 10 * READ {
            let bytes = resident().saturating_sub(before);
            figures.note("bytes", bytes as f64 / sessions as f64);
        }
        // In place: see below.
        took.sort_unstable_by(f64::total_cmp);
        figures.note("slow", took[sessions - 1 - sessions / 1000]);
        figures.note("slowest", took[sessions - 1]);
    }
    // Of a mapped block that is freed glibc learns to give back twice as much at once from then on, which is what takes
    // long: that must not be what the harness taught it.
    std::mem::forget(took);
    cookies
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}

/// One read, in nanoseconds, with the building of its request.
async fn reads(served: &mut Served, path: &'static str, cookies: &[Option<HeaderValue>]) -> f64 {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        pass(served, path, cookies).await;
        rounds.push(began.elapsed().as_nanos() as f64 / cookies.len() as f64);
    }
    Rounds::new(rounds).median()
}

async fn pass(served: &mut Served, path: &'static str, cookies: &[Option<HeaderValue>]) {
    for cookie in cookies {
        black_box(served.ask(path, cookie.as_ref(), 1).await);
    }
}

/// How many times as many reads two threads do as one.
fn threads(served: &Served, path: &'static str, cookies: &[Option<HeaderValue>]) -> f64 {
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..THREAD_ROUNDS {
        for (count, rounds) in [1, 2].into_iter().zip(&mut rounds) {
            rounds.push(together(count, served, path, cookies));
        }
    }
    let [one, two] = rounds.map(|rounds| Rounds::new(rounds).median());
    two / one
}

fn together(
    count: usize,
    served: &Served,
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
            let (mut served, start, stop, done) = (served.clone(), &start, &stop, &done);
            scope.spawn(move || {
                let runtime = runtime();
                start.wait();
                while !stop.load(Ordering::Relaxed) {
                    runtime.block_on(pass(&mut served, path, cookies));
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
pub fn resident() -> usize {
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
