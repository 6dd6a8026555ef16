//! Every command that Redis gets, as `MONITOR` shows them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;

use redis::aio::MultiplexedConnection;

/// Ends the watching.
const LAST: &str = "the-last-one";

pub struct Monitor(JoinHandle<Seen>);

#[derive(Debug, Default)]
pub struct Seen {
    /// By name, in small letters.
    pub sent: BTreeMap<String, u64>,
    pub within_scripts: u64,
}

impl Monitor {
    pub fn start(url: &str) -> Self {
        let address = url
            .trim_start_matches("redis://")
            .trim_end_matches('/')
            .to_owned();
        let mut stream = TcpStream::connect(address).expect("Redis listens");
        stream.write_all(b"MONITOR\r\n").expect("it is connected");
        let mut lines = BufReader::new(stream);
        let mut said = String::new();
        lines.read_line(&mut said).expect("Redis answers");
        assert_eq!(said.trim(), "+OK");
        Self(std::thread::spawn(move || watch(lines)))
    }

    pub async fn stop(self, watcher: &mut MultiplexedConnection) -> Seen {
        let _: String = redis::cmd("ECHO")
            .arg(LAST)
            .query_async(watcher)
            .await
            .expect("Redis answers");
        self.0.join().expect("it only reads")
    }
}

/// A line is `+1700000000.000000 [0 127.0.0.1:40000] "get" "key"`, and `[0 lua]` within a script.
fn watch(lines: BufReader<TcpStream>) -> Seen {
    let mut seen = Seen::default();
    for line in lines.lines() {
        let line = line.expect("Redis escapes what is no text");
        if line.contains(LAST) {
            break;
        }
        let Some((from, command)) = line.split_once("] \"") else {
            continue;
        };
        if from.ends_with(" lua") {
            seen.within_scripts += 1;
        } else if let Some((name, _)) = command.split_once('"') {
            *seen.sent.entry(name.to_lowercase()).or_default() += 1;
        }
    }
    seen
}
