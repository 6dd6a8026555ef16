//! The scripts, and how one is sent.

use std::sync::LazyLock;

use redis::Cmd;

/// A script: one change of one slot, all of it or nothing.
pub(super) struct Script {
    body: String,
    hash: String,
}

impl Script {
    fn new(parts: &[&str]) -> Self {
        let body = parts.concat();
        let hash = redis::Script::new(&body).get_hash().to_owned();
        Self { body, hash }
    }

    /// The command that runs it: by its hash, or with its text, which the server keeps.
    pub(super) fn command(&self, with_text: bool, keys: usize) -> Cmd {
        let mut command = if with_text {
            let mut eval = redis::cmd("EVAL");
            eval.arg(&self.body);
            eval
        } else {
            let mut evalsha = redis::cmd("EVALSHA");
            evalsha.arg(&self.hash);
            evalsha
        };
        command.arg(keys);
        command
    }
}
