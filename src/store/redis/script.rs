//! The scripts, and how one is sent.
//!
//! Each is a file with a contract in its first lines, behind the parts that it needs.

use std::sync::LazyLock;

use redis::Cmd;

const LIB: &str = include_str!("scripts/lib.lua");
const UNCHANGED: &str = include_str!("scripts/unchanged.lua");
const ADD: &str = include_str!("scripts/add.lua");
const SEEN: &str = include_str!("scripts/seen.lua");
const BURY: &str = include_str!("scripts/bury.lua");
const HISTORY: &str = include_str!("scripts/history.lua");
const ROOM: &str = include_str!("scripts/room.lua");

pub(super) static CREATE: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, BURY, HISTORY, ROOM, include_str!("scripts/create.lua")]));
pub(super) static APPLY: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[UNCHANGED, LIB, ADD, SEEN, include_str!("scripts/apply.lua")]));
pub(super) static REPLACE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&[
        LIB,
        SEEN,
        BURY,
        HISTORY,
        ROOM,
        include_str!("scripts/replace.lua"),
    ])
});
pub(super) static END_ONE: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, BURY, HISTORY, include_str!("scripts/end_one.lua")]));
pub(super) static END_USER: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, BURY, HISTORY, include_str!("scripts/end_user.lua")]));
pub(super) static RECORD: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, include_str!("scripts/record.lua")]));
pub(super) static BEAT: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, include_str!("scripts/beat.lua")]));
pub(super) static LIST: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, include_str!("scripts/list.lua")]));

/// How many arguments most scripts have at most.
const ARGUMENTS: usize = 20;
/// What keys and numbers take in most of them.
const OVERHEAD: usize = 320;

/// A script: one change of one slot, all of it or nothing.
#[derive(Debug)]
pub(super) struct Script {
    text: String,
    hash: String,
}

impl Script {
    fn new(parts: &[&str]) -> Self {
        let text = parts.concat();
        let hash = redis::Script::new(&text).get_hash().to_owned();
        Self { text, hash }
    }

    /// The beginning of the command that runs it: by its hash, or with its text, which the server then keeps.
    /// The keys come next, and then the arguments: about so many bytes of them.
    pub(super) fn command(&self, with_text: bool, keys: usize, bytes: usize) -> Cmd {
        let (name, script) = match with_text {
            true => ("EVAL", &self.text),
            false => ("EVALSHA", &self.hash),
        };
        // Made large enough at once: it would grow, and move, with every few arguments.
        let mut command = Cmd::with_capacity(ARGUMENTS, OVERHEAD + script.len() + bytes);
        command.arg(name).arg(script).arg(keys);
        command
    }
}
