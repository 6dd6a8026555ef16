//! Child processes that never outlive the test, and ports for them.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// A running program; it is killed when this is dropped, and also when the test process dies without dropping it, as
/// by a time limit or in a static.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Kills the child as soon as its own stdin ends, which this process holds open.
    guard: Child,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{command:?} does not start (`make install` gets what is missing): {error}")
        });
        let guard = Command::new("sh")
            .args(["-c", "read -r _; kill -s KILL \"$0\""])
            .arg(child.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`sh` starts");
        Self { child, guard }
    }

    /// Sends a signal by its name: `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .expect("`kill` runs");
        assert!(sent.success(), "the process takes the signal {name}");
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("it was started here")
            .is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guard goes first: after the child is waited for, its number may be another process's.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that the kernel does not give to outgoing connections, so that a server that was killed gets its port again;
/// with 10000 added they are also below those, which is where Redis Cluster has its bus.
const PORTS: std::ops::Range<u16> = 10_000..20_000;
const BUS: u16 = 10_000;

/// A port of 127.0.0.1 that nothing listens on, nor on the bus port that belongs to it. Another process may still be
/// faster: who uses it tries another one then.
pub(crate) fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Each test process starts somewhere else. Within one, no two tests get the same port, until all were given.
    let next = NEXT.get_or_init(|| {
        let mut bytes = [0; 2];
        getrandom::fill(&mut bytes).expect("the system has random bytes");
        AtomicU16::new(u16::from_le_bytes(bytes))
    });
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in PORTS {
        let port = PORTS.start + next.fetch_add(1, Ordering::Relaxed) % PORTS.len() as u16;
        if is_free(port) && is_free(port + BUS) {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}
