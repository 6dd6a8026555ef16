//! A real Redis server as a process of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Connection, RedisResult};
use tempfile::TempDir;

use super::dump::{self, Entry};
use super::monitor::Monitor;
use super::process::{Process, free_port};
use super::wait::wait_for;

/// Who the tests are when they look into a server. It is let in by the server's own Unix socket, so that it reaches
/// its own server and no other, whatever the users, the passwords and TLS are, and `MONITOR` tells it from a client.
///
/// It is also who replicas, sentinels and migrations are to the servers that they work with.
pub(super) const SUPERVISOR: &str = "supervisor";
/// Any is good for it.
pub(super) const PASSWORD: &str = "any";

/// A Redis server in a temporary folder, on a free port of 127.0.0.1; it, and its folder, ends with this.
///
/// It keeps nothing on disk unless it is told to.
#[derive(Debug)]
pub(crate) struct Server {
    // A field before the folder, and so ended before that is removed.
    process: Option<Process>,
    is_stopped: AtomicBool,
    port: u16,
    scheme: &'static str,
    sentinel: bool,
    folder: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With these lines in its configuration: `maxmemory 10mb`, `user app on >secret ~sessile:* +get`,
    /// `requirepass secret`, `appendonly yes`.
    pub(crate) fn with(lines: &[&str]) -> Self {
        Self::launch("redis", false, |_, port| {
            format!("port {port}\n{}", lines.join("\n"))
        })
    }

    /// With what its configuration is for a folder and a port.
    pub(super) fn launch(
        scheme: &'static str,
        sentinel: bool,
        configuration: impl Fn(&Path, u16) -> String,
    ) -> Self {
        for _ in 0..50 {
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            let port = free_port();
            let path = folder.path();
            let common = format!(
                "bind 127.0.0.1\ndir {0}\nunixsocket {0}/socket\nunixsocketperm 700\nsave \"\"\nappendonly no\n\
                 user {SUPERVISOR} on nopass ~* &* +@all\nmasteruser {SUPERVISOR}\nmasterauth {PASSWORD}\n\
                 repl-diskless-sync-delay 0\n",
                path.display(),
            );
            let own = configuration(path, port);
            fs::write(path.join("redis.conf"), common + &own + "\n")
                .expect("the temporary folder can be written to");
            let mut server = Self {
                process: None,
                is_stopped: AtomicBool::new(false),
                port,
                scheme,
                sentinel,
                folder,
            };
            match server.run() {
                Ok(()) => return server,
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("redis-server does not start:\n{log}"),
            }
        }
        panic!("another process takes every port before redis-server does");
    }

    /// Starts the process, and waits until it answers.
    ///
    /// # Errors
    ///
    /// It has ended instead: its log.
    fn run(&mut self) -> Result<(), String> {
        let folder = self.folder.path();
        let log = File::create(folder.join("log")).expect("the temporary folder can be written to");
        let mut command = Command::new("redis-server");
        command.arg(folder.join("redis.conf"));
        if self.sentinel {
            command.arg("--sentinel");
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        let process = self.process.insert(Process::start(&mut command));
        let client = supervisor(&folder.join("socket"));
        wait_for("redis-server answers", || {
            if process.has_ended() {
                return Some(false);
            }
            // While it loads its data, this is an error.
            let mut connection = client.get_connection().ok()?;
            let answer: Result<String, _> = redis::cmd("PING").query(&mut connection);
            answer.is_ok().then_some(true)
        })
        .then_some(())
        .ok_or_else(|| self.log())
    }

    /// Where it is for clients: `redis://127.0.0.1:port`, and `rediss` with TLS.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// A connection that may do anything, and that no [`Monitor`] counts. It waits for an answer as long as a test
    /// may take, and blocks the thread.
    pub(crate) fn connection(&self) -> Connection {
        let client = supervisor(&self.socket());
        // A Sentinel that gives a server another role cuts the connections that it has, also one that signs in.
        let connection = client.get_connection().or_else(|_| client.get_connection());
        let connection = connection.expect("redis-server runs");
        let limit = Some(Duration::from_secs(30));
        connection
            .set_read_timeout(limit)
            .expect("the limit is not zero");
        connection
    }

    /// `redis 7.0.15`
    pub(crate) fn version(&self) -> String {
        let version = self.info("server", "redis_version");
        format!("redis {version}")
    }

    /// Version and processes, for the table of set-ups.
    pub(crate) fn describe(&self) -> (String, &'static str) {
        let processes = match self.scheme {
            "rediss" => "1 redis-server with TLS",
            _ => "1 redis-server",
        };
        (self.version(), processes)
    }

    /// Everything that it holds.
    pub(crate) fn dump(&self) -> Vec<Entry> {
        dump::all(self.connection())
    }

    /// Records the commands that it is sent from now on.
    pub(crate) fn monitor(&self) -> Monitor {
        Monitor::start(&self.socket(), self.connection())
    }

    /// Stops its process where it is: connections stay, the kernel takes new ones, and nothing is answered.
    pub(crate) fn stop(&self) {
        self.running().signal("STOP");
        self.is_stopped.store(true, Ordering::SeqCst);
    }

    /// Lets a stopped process go on.
    pub(crate) fn resume(&self) {
        self.running().signal("CONT");
        self.is_stopped.store(false, Ordering::SeqCst);
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        assert!(self.process.take().is_some(), "the server runs");
        self.is_stopped.store(false, Ordering::SeqCst);
    }

    /// Starts it again after a kill: same port, same folder, and so with its data if it is of `appendonly yes`.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "the server was killed");
        if let Err(log) = self.run() {
            panic!("redis-server does not start again:\n{log}");
        }
    }

    /// Neither killed nor stopped.
    pub(super) fn answers(&self) -> bool {
        self.process.is_some() && !self.is_stopped.load(Ordering::SeqCst)
    }

    /// `field:value` of `INFO section`.
    pub(super) fn info(&self, section: &str, field: &str) -> String {
        let ask = || {
            redis::cmd("INFO")
                .arg(section)
                .query::<String>(&mut self.connection())
        };
        // As above: it was cut after it had signed in.
        let info = ask().or_else(|_| ask()).expect("redis-server knows itself");
        info.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("there is {field} in {info}"))
            .to_owned()
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the server runs")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("redis-server logs text")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.url(), self.log());
        }
    }
}

fn supervisor(socket: &Path) -> Client {
    let url = format!(
        "redis+unix://{}?user={SUPERVISOR}&pass={PASSWORD}",
        socket.display()
    );
    Client::open(url).expect("a path makes a URL")
}

/// A client's connection, that waits for its replies as long as it takes.
pub(crate) async fn connect(url: &str) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    Client::open(url)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}
