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
const CONVERSE: &str = include_str!("scripts/converse.lua");

pub(super) static CREATE: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, BURY, HISTORY, ROOM, include_str!("scripts/create.lua")]));
pub(super) static CREATE_DEMO: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, BURY, CONVERSE, include_str!("scripts/create_demo.lua")]));
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
pub(super) static APPEND: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, CONVERSE, include_str!("scripts/append.lua")]));
pub(super) static DEMO: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("scripts/demo.lua")]));
pub(super) static SPEND: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, include_str!("scripts/spend.lua")]));
pub(super) static BEAT: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, include_str!("scripts/beat.lua")]));
pub(super) static LIST: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, include_str!("scripts/list.lua")]));
#[cfg(feature = "admin")]
pub(super) static BRING: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("scripts/bring.lua")]));
#[cfg(feature = "admin")]
pub(super) static HOLD: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, include_str!("scripts/hold.lua")]));
#[cfg(feature = "admin")]
pub(super) static STAGE: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, include_str!("scripts/stage.lua")]));
#[cfg(feature = "admin")]
pub(super) static RELIST: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, BURY, HISTORY, include_str!("scripts/relist.lua")]));
#[cfg(feature = "admin")]
pub(super) static UNSAY: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, CONVERSE, include_str!("scripts/unsay.lua")]));
#[cfg(feature = "admin")]
pub(super) static UNLIST: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[LIB, BURY, include_str!("scripts/unlist.lua")]));

/// Those that requests run, without anything to run them on: they fail at their first line, and the server keeps them. A
/// request that meets a server which has them waits a round trip less. It takes no right but that to run them.
pub(super) fn kept() -> redis::Pipeline {
    let scripts = [
        &CREATE, &APPLY, &REPLACE, &END_ONE, &END_USER, &LIST, &RECORD,
    ];
    let mut pipeline = redis::Pipeline::with_capacity(scripts.len());
    for script in scripts {
        pipeline.add_command(script.command(true, 0, 0));
    }
    pipeline
}

/// How many arguments most scripts have at most.
const ARGUMENTS: usize = 20;
/// What keys and numbers take in most of them.
const OVERHEAD: usize = 320;

/// The command, the script, and how many keys there are.
const FIRST: usize = 3;
/// Of these, all but the script: `EVALSHA` and a digit.
const FIRST_BYTES: usize = 8;

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
        self.sized(with_text, keys, ARGUMENTS, OVERHEAD + bytes)
    }

    /// The same, for keys and arguments of this number that take so many bytes.
    pub(super) fn sized(
        &self,
        with_text: bool,
        keys: usize,
        arguments: usize,
        bytes: usize,
    ) -> Cmd {
        let (name, script) = match with_text {
            true => ("EVAL", &self.text),
            false => ("EVALSHA", &self.hash),
        };
        // Made large enough at once: it would grow, and move, with every few arguments.
        let mut command = Cmd::with_capacity(FIRST + arguments, FIRST_BYTES + script.len() + bytes);
        command.arg(name).arg(script).arg(keys);
        command
    }
}
