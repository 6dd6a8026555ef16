//! The showcase as a process of its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use serde_json::json;

use super::Client;

/// A running showcase; it ends with this.
pub(crate) struct Showcase {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: File,
    url: String,
}

impl Showcase {
    /// Starts one on a free port, in memory.
    pub(crate) fn start(options: &[&str]) -> Self {
        let log = tempfile::tempfile().expect("a temporary file can be made");
        let mut child = Command::new(program())
            .args(["--listen", "127.0.0.1:0"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().expect("a file can be shared"))
            .spawn()
            .expect("the showcase starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("its stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the first line is text");
        let url = line
            .trim_end()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("the first line says where it listens, not {line:?}"))
            .to_owned();
        Self {
            child,
            stdout,
            log,
            url,
        }
    }

    /// Starts one on this Redis.
    pub(crate) fn on(redis: &str, options: &[&str]) -> Self {
        Self::start(&[&["--redis", redis], options].concat())
    }

    /// Lets it say what is wrong with these options, and end.
    pub(crate) fn refuse(options: &[&str]) -> Output {
        Command::new(program())
            .args(options)
            .stdin(Stdio::null())
            .output()
            .expect("the showcase starts")
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The address and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A client without a cookie.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// A client that is signed in.
    pub(crate) fn signed_in(&self, user: &str) -> Client {
        let mut client = self.client();
        assert_eq!(client.login(user).status, 200);
        client
    }

    /// Ends all of a user's sessions: how many.
    #[track_caller]
    pub(crate) fn revoke(&self, user: &str) -> u64 {
        let revocation = json!({ "user": user, "reason": "" });
        let answer = self.client().post_json("/api/admin/revoke", &revocation);
        assert_eq!(answer.status, 200);
        answer.json()["ended"].as_u64().expect("it is a number")
    }

    /// Sends a signal by its name: `TERM`, `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .expect("`kill` runs");
        assert!(sent.success(), "the showcase takes the signal {name}");
    }

    /// Waits for its end: the exit status, and what else was on stdout.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.stdout
            .read_to_string(&mut rest)
            .expect("stdout is text");
        (self.child.wait().expect("it was started here"), rest)
    }

    /// What it has logged.
    pub(crate) fn log(&mut self) -> String {
        let mut text = String::new();
        self.log.rewind().expect("a file can be read again");
        self.log.read_to_string(&mut text).expect("the log is text");
        text
    }
}

impl Drop for Showcase {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the showcase's log:\n{}", self.log());
        }
    }
}

/// Beside the test program, which is `target/<profile>/deps/suite-…`: so it is of the same profile and target folder.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("a test is two folders below the profile's");
    let program = profile
        .join("examples")
        .join(format!("showcase{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.exists(),
        "the showcase is not built: run `cargo build --all-features --examples` before this test"
    );
    program
}
