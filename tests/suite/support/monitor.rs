//! What a server is sent, as `MONITOR` tells it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use redis::Connection;

use super::redis::{PASSWORD, SUPERVISOR};

/// What a heartbeat asks besides its script, which names a key of its own.
const HEARTBEAT: [&str; 2] = ["TIME", "INFO"];
/// What that key begins with, where a word of a command does.
const BEAT: &str = "\"beat:{";

/// Records a server's commands. What the tests themselves ask it, by its Unix socket, is left out.
pub(crate) struct Monitor {
    lines: BufReader<UnixStream>,
    supervisor: Connection,
    marks: u64,
}

/// How often each command was called; names in capitals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// By clients.
    pub(crate) clients: BTreeMap<String, u64>,
    /// By scripts.
    pub(crate) scripts: BTreeMap<String, u64>,
    /// Of all these, those that name the key of a heartbeat.
    beats: [BTreeMap<String, u64>; 2],
}

impl Monitor {
    pub(super) fn start(socket: &Path, supervisor: Connection) -> Self {
        let mut stream = UnixStream::connect(socket).expect("redis-server runs");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("the limit is not zero");
        write!(stream, "AUTH {SUPERVISOR} {PASSWORD}\r\nMONITOR\r\n").expect("redis-server runs");
        let mut lines = BufReader::new(stream);
        for command in ["AUTH", "MONITOR"] {
            let mut line = String::new();
            lines.read_line(&mut line).expect("redis-server answers");
            assert_eq!(line, "+OK\r\n", "the answer to {command}");
        }
        Self {
            lines,
            supervisor,
            marks: 0,
        }
    }

    /// The calls since it was started, or since this was asked last: all that were answered by now.
    pub(crate) fn take(&mut self) -> Calls {
        // The server tells calls in their order, so what comes before this one is all.
        self.marks += 1;
        let mark = format!("monitor-{}", self.marks);
        let _: String = redis::cmd("ECHO")
            .arg(&mark)
            .query(&mut self.supervisor)
            .expect("redis-server answers");
        let mut calls = Calls::default();
        loop {
            let mut line = String::new();
            let count = self.lines.read_line(&mut line).expect("a monitor is text");
            assert_ne!(count, 0, "the server ends while it is monitored");
            let (source, name, arguments) = parts(&line).unwrap_or_else(|| {
                panic!("a monitor's line is a time, a source and a command, not {line:?}")
            });
            if source.starts_with("unix:") {
                if name == "ECHO" && arguments.contains(&mark) {
                    return calls;
                }
                continue;
            }
            let (by, beats) = match source {
                "lua" => (&mut calls.scripts, 1),
                _ => (&mut calls.clients, 0),
            };
            if arguments.contains(BEAT) {
                *calls.beats[beats].entry(name.clone()).or_default() += 1;
            }
            *by.entry(name).or_default() += 1;
        }
    }
}

impl Calls {
    /// Without what a heartbeat asks.
    pub(crate) fn without_heartbeat(mut self) -> Self {
        let [clients, scripts] = std::mem::take(&mut self.beats);
        for (calls, beats) in [(&mut self.clients, clients), (&mut self.scripts, scripts)] {
            for (name, count) in beats {
                if let Some(all) = calls.get_mut(&name) {
                    *all -= count;
                }
            }
            calls.retain(|_, count| *count > 0);
        }
        self.without(&HEARTBEAT)
    }

    /// Without these commands of clients, which are a heartbeat's or a new connection's.
    pub(crate) fn without(mut self, names: &[&str]) -> Self {
        self.clients
            .retain(|name, _| !names.contains(&name.as_str()));
        self
    }
}

/// `+1339518083.107412 [0 127.0.0.1:60866] "set" "key" "value"`: the source, the command's name, the rest.
fn parts(line: &str) -> Option<(&str, String, &str)> {
    let (_, rest) = line.split_once(" [")?;
    let (source, command) = rest.split_once("] \"")?;
    let (_database, source) = source.split_once(' ')?;
    let (name, arguments) = command.split_once('"')?;
    Some((source, name.to_ascii_uppercase(), arguments))
}
