//! Random reads among more sessions than any cache holds, next to touching as much memory in the same way.

use std::hint::black_box;
use std::time::Instant;

use axum::http::HeaderValue;
use sessile::MemoryStore;
use sessile_benches::app::Kind;
use sessile_benches::subject::own;
use tokio::runtime::Runtime;

use crate::case::{Figures, Served, resident};

/// So many of the sessions are read once, in random order.
const READ: usize = 200_000;

pub fn run(runtime: &Runtime, sessions: usize, figures: &mut Figures) {
    let store = MemoryStore::builder()
        .max_entries(2 * sessions)
        .max_bytes(1 << 40)
        .build();
    let mut served = Served {
        router: own::with_store(store.clone()),
        kind: Kind::Axum,
    };
    let mut cookies = Vec::with_capacity(READ);
    let before = resident();
    let mut slowest = 0.0f64;
    runtime.block_on(async {
        for n in 0..sessions {
            let began = Instant::now();
            let reply = served.ask("/create", None, n as u64).await;
            slowest = slowest.max(began.elapsed().as_secs_f64() * 1e6);
            if n % sessions.div_ceil(READ) == 0 {
                cookies.push(reply.cookie());
            }
        }
    });
    assert_eq!(store.entries(), sessions);
    let bytes = resident().saturating_sub(before);
    figures.note("bytes", bytes as f64 / sessions as f64);
    figures.note("slowest", slowest);
    let mut random = Random(1);
    for at in (1..cookies.len()).rev() {
        cookies.swap(at, random.below(at + 1));
    }
    // In the order in which they are sent, so that it is not the cookies that have to be looked for in memory.
    let cookies: Vec<_> = cookies
        .iter()
        .map(|cookie| {
            let cookie = cookie.as_ref()?;
            HeaderValue::from_bytes(cookie.as_bytes()).ok()
        })
        .collect();
    // The same few over and over, and then each once.
    let near: Vec<_> = cookies.iter().take(100).collect();
    let mut read = |cookies: &mut dyn Iterator<Item = &Option<HeaderValue>>| {
        let began = Instant::now();
        let mut count = 0;
        runtime.block_on(async {
            for cookie in cookies {
                black_box(served.ask("/read", cookie.as_ref(), 1).await);
                count += 1;
            }
        });
        began.elapsed().as_nanos() as f64 / f64::from(count)
    };
    read(&mut near.iter().copied());
    figures.note("near", read(&mut near.iter().copied().cycle().take(READ)));
    figures.note("read", read(&mut cookies.iter()));
    figures.note("touch", touch(bytes, bytes / sessions, &mut random));
}

/// What it takes to go to a random place in so much memory and to read a record's length there.
fn touch(bytes: usize, record: usize, random: &mut Random) -> f64 {
    let memory: Vec<u64> = (0..bytes / 8).map(|at| at as u64).collect();
    let words = record / 8;
    let mut sum = 0u64;
    let began = Instant::now();
    for _ in 0..READ {
        // Where depends on what was read last, as a record's place does on the table's entry.
        let at =
            (random.below(memory.len() - words) + (sum & 1) as usize).min(memory.len() - words);
        sum = memory[at..at + words]
            .iter()
            .fold(sum, |sum, word| sum.wrapping_add(*word));
    }
    black_box(sum);
    began.elapsed().as_nanos() as f64 / READ as f64
}

/// The same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
