//! Where a test makes the disk fail, or the process stop.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;

/// What happens at the point of that number, from here on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Fails,
    /// Nothing is cleaned up, as by a signal that cannot be caught.
    Stops,
}

thread_local! {
    static PLAN: Cell<Option<(usize, Fault)>> = const { Cell::new(None) };
    static SYNCED: RefCell<Vec<Synced>> = const { RefCell::new(Vec::new()) };
}

/// What the disk was made to take.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// A file, of that length.
    File(u64),
    Folder,
}

/// After so many points passed, the next one has the fault; `None`: none has. Says whether the last plan is still to
/// come.
pub(super) fn plan(plan: Option<(usize, Fault)>) -> bool {
    PLAN.replace(plan).is_some()
}

pub(super) fn point() -> io::Result<()> {
    match PLAN.get() {
        None => Ok(()),
        Some((0, Fault::Fails)) => {
            PLAN.set(None);
            Err(io::Error::other("the disk failed"))
        }
        Some((0, Fault::Stops)) => std::process::abort(),
        Some((left, fault)) => {
            PLAN.set(Some((left - 1, fault)));
            Ok(())
        }
    }
}

/// With a point in between.
pub(super) fn parts(bytes: &[u8]) -> [&[u8]; 2] {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    [first, second]
}

pub(super) fn synced(file: &File, result: io::Result<()>) -> io::Result<()> {
    let metadata = file.metadata()?;
    let what = if metadata.is_dir() {
        Synced::Folder
    } else {
        Synced::File(metadata.len())
    };
    SYNCED.with_borrow_mut(|synced| synced.push(what));
    result
}

/// All that was synced since this was last asked, in order.
pub(super) fn all_synced() -> Vec<Synced> {
    SYNCED.take()
}
