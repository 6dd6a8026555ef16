//! Processes that are killed while they append.

use std::io::Read as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::fault::Fault;
use super::tests::{LIMITS, add, folder, open, pending, single};
use super::*;

const WORKER: &str = "SESSILE_TEST_JOURNAL";

/// This test program once more, as a process of its own that appends to a journal.
pub(super) struct Worker {
    child: Child,
    out: ChildStdout,
}

impl Worker {
    pub(super) fn start(path: &Path, how: &str, stop_at: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::outage::file::killed::worker",
                "--nocapture",
                "--quiet",
            ])
            .env(WORKER, path)
            .env("SESSILE_TEST_HOW", how)
            .env("SESSILE_TEST_STOP_AT", stop_at.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        Self { child, out }
    }

    /// What it says before anything else.
    pub(super) fn first_line(&mut self) -> String {
        let mut line = String::new();
        let mut byte = [0];
        while self.out.read(&mut byte).unwrap() == 1 {
            match byte[0] {
                b'\n' if line.trim().is_empty() || line.starts_with("running") => line.clear(),
                b'\n' => break,
                other => line.push(other.into()),
            }
        }
        line
    }

    /// The last number that it said to be durable, after it was killed or has stopped.
    fn last_number(mut self) -> Option<u64> {
        let mut said = String::new();
        self.out.read_to_string(&mut said).unwrap();
        // The last line may be half of one.
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .filter_map(|line| line.parse().ok())
            .next_back()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Adds ends and acknowledges every second one, and says of each when it is durable; until it is killed.
/// Among the other tests it has nothing to do: it is the process that they start and kill.
#[test]
fn worker() {
    let Some(path) = std::env::var_os(WORKER) else {
        return;
    };
    let mut out = io::stdout();
    let stop_at = std::env::var("SESSILE_TEST_STOP_AT")
        .unwrap()
        .parse()
        .unwrap();
    if std::env::var("SESSILE_TEST_HOW").unwrap() == "stop" {
        fault::plan(Some((stop_at, Fault::Stops)));
    }
    let Ok((mut log, mut journal)) = Log::open_compacting_from(path.as_ref(), LIMITS, 3_000) else {
        return writeln!(out, "refused").unwrap();
    };
    // It goes on where the last one was killed: numbers are the ends' handles.
    for n in journal.next_number().. {
        let step = add(&mut journal, single(n));
        let Step::Add { number, .. } = step else {
            unreachable!()
        };
        let mut steps = vec![step];
        if let Some(ticket) = n.checked_sub(1).and_then(|last| {
            let ends = pending(&journal);
            let found = ends.iter().find(|(_, end)| end.scope == single(last).scope);
            found.map(|(ticket, _)| *ticket).filter(|_| n % 2 == 1)
        }) {
            steps.extend(journal.acknowledged(ticket));
        }
        log.append(&steps).unwrap();
        assert_eq!(number, n);
        writeln!(out, "{n}").unwrap();
        out.flush().unwrap();
        // Not past what the test can read again in no time.
        if n > 3_000 {
            std::thread::park();
        }
    }
}

/// Every odd one up to the last that was said to be durable is there, and no even one before it.
fn assert_all_there(path: &Path, last: u64) {
    let (log, journal) = open(path);
    assert_eq!(log.found().damaged, 0);
    let there: Vec<_> = pending(&journal)
        .into_iter()
        .map(|(_, end)| end.scope)
        .collect();
    for n in 0..last {
        let expected = n % 2 == 1;
        assert_eq!(there.contains(&single(n).scope), expected, "{n} of {last}");
    }
    // One more at the most was under way. It does away with this one if it is even, in a line behind its own, which may
    // not have been written.
    let more = journal.next_number() - (last + 1);
    assert!(more <= 1, "{more} after {last}");
    if last % 2 == 1 || more == 0 {
        assert!(there.contains(&single(last).scope), "{last}");
    }
}

#[test]
fn killed_anywhere_everything_that_was_said_to_be_durable_is_there() {
    let (_folder, path) = folder();
    let (mut last, mut moments) = (0, 0);
    for round in 0..40u64 {
        let mut child = Worker::start(&path, "append", 0);
        let first = child.first_line();
        assert_ne!(first, "refused", "the dead hold no lock");
        // Not at the same point of an append.
        std::thread::sleep(Duration::from_micros(round * 397 % 9_000));
        child.child.kill().unwrap();
        child.child.wait().unwrap();
        let said = child.last_number().or_else(|| first.parse().ok()).unwrap();
        moments += usize::from(said > last);
        last = said;
        assert_all_there(&path, last);
    }
    assert!(moments >= 30, "{moments} got anywhere");
}

#[test]
fn stopped_at_any_point_everything_that_was_said_to_be_durable_is_there() {
    for point in 0..140 {
        let (_folder, path) = folder();
        let child = Worker::start(&path, "stop", point);
        let Some(last) = child.last_number() else {
            // As it was beginning: there is a journal now, or none yet.
            assert!(pending(&open(&path).1).len() <= 1, "{point}");
            continue;
        };
        assert_all_there(&path, last);
    }
}
