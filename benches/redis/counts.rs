//! What a request asks of Redis, by Redis's own statistics, and what a session takes in it.
//!
//! One request at a time, so that what Redis reads at once is what one round trip sent: the reads it counts are the
//! sequential round trips.

use std::collections::{HashMap, HashSet};

use redis::aio::MultiplexedConnection;
use sessile_benches::report::table;
use sessile_benches::row::{Row, Run};
use sessile_benches::subject::{REDIS_SUBJECTS, Subject};

use crate::monitor::Monitor;

/// Scripts are loaded and connections made in the first.
const WARM_UP: usize = 50;
const REQUESTS: usize = 500;
const SESSIONS: usize = 5000;

pub fn print(url: &str) {
    // An own runtime for each, so that nothing of one works on while the next is counted.
    for row in Row::ALL {
        let rows: Vec<Vec<String>> = REDIS_SUBJECTS
            .into_iter()
            .filter(|subject| subject.has_sessions && subject.has(row))
            .map(|subject| runtime().block_on(asked(subject, row, url)))
            .collect();
        let head = [
            "subject",
            "round trips",
            "commands",
            "more within scripts",
            "bytes to Redis",
            "bytes from Redis",
            "commands, which",
        ];
        table(&format!("Asked of Redis: {}", row.name()), &head, &rows);
    }
    let rows: Vec<Vec<String>> = REDIS_SUBJECTS
        .into_iter()
        .filter(|subject| subject.has_sessions)
        .flat_map(|subject| {
            let strangers = subject
                .has(Row::Create)
                .then(|| runtime().block_on(kept(subject, "/create", url)));
            let users = runtime().block_on(kept(subject, "/enter", url));
            strangers.into_iter().chain([users])
        })
        .collect();
    let head = [
        "subject",
        "made by",
        "keys a session",
        "MEMORY USAGE, bytes",
        "used_memory, bytes",
    ];
    table("A session in Redis, with 200 bytes of data", &head, &rows);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn connect(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("an address");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("Redis answers");
    let _: () = redis::cmd("FLUSHALL")
        .query_async(&mut connection)
        .await
        .expect("it is ours to empty");
    connection
}

/// One row of one subject.
async fn asked(subject: &'static Subject, row: Row, url: &str) -> Vec<String> {
    let mut watcher = connect(url).await;
    let mut run = Run::new(subject, row, url).await;
    run.prepare(WARM_UP).await;
    run.send(WARM_UP).await;
    run.prepare(REQUESTS).await;
    let before = statistics(&mut watcher).await;
    run.send(REQUESTS).await;
    let after = statistics(&mut watcher).await;
    // Watching each command is output of its own: a second time, apart from what the statistics count.
    run.prepare(REQUESTS).await;
    let monitor = Monitor::start(url);
    run.send(REQUESTS).await;
    let seen = monitor.stop(&mut watcher).await;
    run.check().await;
    let each = |count: u64| format!("{:.2}", count as f64 / REQUESTS as f64);
    let whole = |name: &str| (after[name] - before[name]) / REQUESTS as u64;
    let which: Vec<String> = seen
        .sent
        .iter()
        .filter(|(_, count)| **count * 20 >= REQUESTS as u64)
        .map(|(name, count)| format!("{name} {}", each(*count)))
        .collect();
    // The second `INFO` is read too.
    let reads = after["total_reads_processed"] - before["total_reads_processed"] - 1;
    vec![
        subject.name.into(),
        each(reads),
        each(seen.sent.values().sum()),
        each(seen.within_scripts),
        whole("total_net_input_bytes").to_string(),
        whole("total_net_output_bytes").to_string(),
        which.join(", "),
    ]
}

/// The counters of `INFO stats`.
async fn statistics(watcher: &mut MultiplexedConnection) -> HashMap<String, u64> {
    numbers(watcher, "stats").await
}

async fn numbers(watcher: &mut MultiplexedConnection, section: &str) -> HashMap<String, u64> {
    let text: String = redis::cmd("INFO")
        .arg(section)
        .query_async(watcher)
        .await
        .expect("Redis answers");
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

/// What a session of this subject takes, made by `route`.
async fn kept(subject: &'static Subject, route: &'static str, url: &str) -> Vec<String> {
    let mut watcher = connect(url).await;
    let mut app = (subject.open)(url).await;
    // Scripts, and the first tables.
    for n in 0..WARM_UP as u64 {
        app.call(subject.kind.build(route, None, n)).await;
    }
    let keys_before = keys(&mut watcher).await;
    let before = numbers(&mut watcher, "memory").await["used_memory"];
    for n in 0..SESSIONS as u64 {
        let ask = subject.kind.build(route, None, WARM_UP as u64 + n);
        assert!(app.call(ask).await.is_ok(), "{}", subject.name);
    }
    let after = numbers(&mut watcher, "memory").await["used_memory"];
    let keys_after = keys(&mut watcher).await;
    let mut usage = 0;
    for key in keys_after.difference(&keys_before) {
        let bytes: u64 = redis::cmd("MEMORY")
            .arg("USAGE")
            .arg(key)
            .arg("SAMPLES")
            .arg(0)
            .query_async(&mut watcher)
            .await
            .expect("the key is there");
        usage += bytes;
    }
    let new = keys_after.len() - keys_before.len();
    let each = |sum: u64| format!("{:.0}", sum as f64 / SESSIONS as f64);
    vec![
        subject.name.into(),
        route.into(),
        format!("{:.2}", new as f64 / SESSIONS as f64),
        each(usage),
        each(after - before),
    ]
}

async fn keys(watcher: &mut MultiplexedConnection) -> HashSet<Vec<u8>> {
    redis::cmd("KEYS")
        .arg("*")
        .query_async(watcher)
        .await
        .expect("Redis answers")
}
