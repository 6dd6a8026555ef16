//! Whether a history of reads and writes is one that a coherent cache may have had.
//!
//! Pure: it knows no store. A write has a value that no other has. Each operation took its effect, or was what it read, at
//! some instant between its start and its end.

use std::collections::HashMap;
use std::time::Duration;

/// One operation on one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Op {
    /// Which instance carried it out.
    pub(super) instance: usize,
    pub(super) what: What,
    /// Since the beginning of the history.
    pub(super) start: Duration,
    pub(super) end: Duration,
    pub(super) value: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Read,
    /// It was acknowledged.
    Write,
}

/// What a history may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A read of what nobody had begun to write.
    Unwritten(Op),
    /// A read of what was overwritten for longer than the bound.
    Stale { read: Op, by: Op },
    /// A read of what was overwritten by the same instance.
    Forgot { read: Op, own: Op },
    /// A read of what is older than what the same instance read before.
    WentBack { read: Op, before: Op },
}

/// The first fault of a history of one value, that was 0 before it: what was written elsewhere may be seen so much later.
pub(super) fn check(history: &[Op], bound: Duration) -> Result<(), Fault> {
    let writes: HashMap<u64, Op> = history
        .iter()
        .filter(|op| op.what == What::Write)
        .map(|op| (op.value, *op))
        .collect();
    // When what a read saw was there at the latest, if it was not the beginning.
    let written = |value: u64| match writes.get(&value) {
        Some(write) => write.end,
        None => Duration::ZERO,
    };
    let reads = || history.iter().filter(|op| op.what == What::Read);
    for read in reads() {
        match writes.get(&read.value) {
            Some(write) if write.start <= read.end => {}
            None if read.value == 0 => {}
            Some(_) | None => return Err(Fault::Unwritten(*read)),
        }
        // Those that came for certain behind what was read.
        let newer = writes
            .values()
            .filter(|write| write.start > written(read.value) && write.value != read.value);
        for write in newer {
            if write.instance == read.instance && write.end < read.start {
                return Err(Fault::Forgot {
                    read: *read,
                    own: *write,
                });
            }
            if write.end + bound < read.start {
                return Err(Fault::Stale {
                    read: *read,
                    by: *write,
                });
            }
        }
        let earlier = reads().filter(|before| {
            before.instance == read.instance
                && before.end < read.start
                && before.value != read.value
        });
        for before in earlier {
            if let Some(write) = writes.get(&before.value)
                && write.start > written(read.value)
            {
                return Err(Fault::WentBack {
                    read: *read,
                    before: *before,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BOUND: Duration = Duration::from_millis(100);

    fn op(instance: usize, what: What, start: u32, end: u32, value: u64) -> Op {
        Op {
            instance,
            what,
            start: start * MS,
            end: end * MS,
            value,
        }
    }

    fn write(instance: usize, start: u32, end: u32, value: u64) -> Op {
        op(instance, What::Write, start, end, value)
    }

    fn read(instance: usize, start: u32, end: u32, value: u64) -> Op {
        op(instance, What::Read, start, end, value)
    }

    #[test]
    fn what_overlaps_may_be_seen_or_not() {
        let history = [
            read(0, 0, 1, 0),
            write(0, 2, 10, 1),
            read(1, 3, 4, 0),
            read(1, 5, 6, 1),
            read(0, 7, 8, 0),
            write(1, 11, 20, 2),
            write(0, 12, 19, 3),
            read(0, 21, 22, 2),
            read(0, 23, 24, 2),
        ];
        assert_eq!(check(&history, BOUND), Ok(()));
    }

    #[test]
    fn elsewhere_it_may_be_late_and_no_later_than_the_bound() {
        let seen = |at| [write(0, 1, 2, 1), read(1, at, at + 1, 0)];
        assert_eq!(check(&seen(102), BOUND), Ok(()));
        let late = seen(103);
        let (read, by) = (late[1], late[0]);
        assert_eq!(check(&late, BOUND), Err(Fault::Stale { read, by }));
    }

    #[test]
    fn who_wrote_it_reads_it() {
        let history = [write(0, 1, 2, 1), read(0, 3, 4, 0)];
        let (read, own) = (history[1], history[0]);
        assert_eq!(check(&history, BOUND), Err(Fault::Forgot { read, own }));
    }

    #[test]
    fn nobody_reads_backwards() {
        let history = [write(0, 1, 2, 1), read(1, 3, 4, 1), read(1, 5, 6, 0)];
        let (read, before) = (history[2], history[1]);
        assert_eq!(
            check(&history, BOUND),
            Err(Fault::WentBack { read, before })
        );
    }

    #[test]
    fn nobody_reads_what_was_not_begun() {
        let history = [read(1, 0, 1, 1), write(0, 2, 3, 1)];
        assert_eq!(check(&history, BOUND), Err(Fault::Unwritten(history[0])));
        assert_eq!(
            check(&history[..1], BOUND),
            Err(Fault::Unwritten(history[0]))
        );
    }
}
