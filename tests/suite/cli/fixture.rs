//! The program `sessile`, and what it said.

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sessile::record::{NewRecord, Record};
use sessile::store::{Create, Created};
use sessile::{Handle, Kind, RecordKey, RedisStore, SessionStore};

use crate::support::{Server, dump};

/// Runs it without a terminal.
pub(super) fn sessile(arguments: &[&str]) -> Said {
    let output = command(arguments).output().expect("sessile starts");
    Said::of(&output)
}

pub(super) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessile"));
    command
        .args(arguments)
        .env_remove("SESSILE_REDIS")
        .stdin(Stdio::null());
    command
}

/// Runs it on this server.
pub(super) fn on(server: &Server, arguments: &[&str]) -> Said {
    let url = server.url();
    let said = sessile(&[arguments, &["--redis", &url]].concat());
    // R07: whatever it says, no digest is in it.
    for digest in digests(server) {
        assert!(
            !said.stdout.contains(&digest),
            "{arguments:?}: {}",
            said.stdout
        );
        assert!(
            !said.stderr.contains(&digest),
            "{arguments:?}: {}",
            said.stderr
        );
    }
    said
}

/// All that looks like a digest in a server.
fn digests(server: &Server) -> Vec<String> {
    let is_digest = |word: &&str| {
        word.len() == 43
            && word
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    let mut digests = Vec::new();
    for dump::Entry { key, values, .. } in server.dump() {
        for bytes in std::iter::once(key).chain(values) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            digests.extend(text.split([':', ' ']).filter(is_digest).map(str::to_owned));
        }
    }
    digests
}

#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Said {
    pub(super) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it says text");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    #[track_caller]
    pub(super) fn done(self) -> String {
        assert_eq!((self.code, &*self.stderr), (0, ""), "{}", self.stdout);
        self.stdout
    }

    #[track_caller]
    pub(super) fn json(self) -> Value {
        let text = self.done();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What it complains of, with this code.
    #[track_caller]
    pub(super) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        assert!(!self.stderr.is_empty());
        self.stderr
    }
}

/// Makes a session of a user, and gives its key and handle.
pub(super) async fn made(store: &RedisStore, user: &str, n: u8) -> (RecordKey, Handle) {
    let now = store.now();
    let minute = std::time::Duration::from_secs(60);
    let handle = Handle::random().unwrap();
    let record = Record::new(&NewRecord {
        handle,
        user: Some(user.into()),
        created_at: now - minute,
        signed_in_at: Some(now - minute),
        absolute_end: now + 600 * minute,
        idle_timeout: 30 * minute,
        touch_threshold: minute,
        persistent: false,
        seen: sessile::record::Seen {
            at: now,
            address: Some("192.0.2.1".into()),
            agent: Some("browser/1 \u{1b}[31mred".into()),
        },
        values: vec![("cart".into(), b"[1,2]".to_vec())],
    });
    let mut digest = [n; 32];
    getrandom::fill(&mut digest).unwrap();
    let key = RecordKey {
        kind: Kind::User,
        bucket: store.bucket(&user.into()),
        digest: sessile::Digest::from_bytes(digest),
    };
    let create = Create {
        key,
        record,
        began_at: now,
        limit: None,
        held: false,
    };
    assert_eq!(
        store.create(create).await.unwrap(),
        Created::Created(Vec::new())
    );
    (key, handle)
}
