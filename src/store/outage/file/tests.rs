use std::time::SystemTime;

use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use super::fault::Fault;
use super::killed::Worker;
use super::*;
use crate::clock::instant;
use crate::id::{Digest, Handle, Kind, RecordKey};
use crate::record::EndReason;
use crate::store::outage::journal::{Added, PendingEnd, PendingScope, Ticket};

pub(super) const LIMITS: JournalLimits = JournalLimits {
    sessions: 100_000,
    users: 100_000,
};

fn t(micros: u64) -> SystemTime {
    instant(1_000 + micros)
}

fn handle(n: u64) -> Handle {
    Uuid::from_u128(n.into()).into()
}

/// One of each kind, in turn.
fn an_end(n: u64) -> PendingEnd {
    let (user, bucket) = (format!("u\"s\né\u{1}-{}", n % 7).into(), (n as u16).into());
    let digest = Digest::from_bytes([n as u8; 32]);
    let key = |kind| {
        PendingScope::Key(RecordKey {
            kind,
            bucket,
            digest,
        })
    };
    let scope = match n % 5 {
        0 => key(Kind::User),
        1 => key(Kind::Demo),
        2 => PendingScope::Handle {
            user,
            bucket,
            handle: handle(n),
        },
        3 => PendingScope::User {
            user,
            bucket,
            keep: None,
            before: t(n),
        },
        _ => PendingScope::User {
            user,
            bucket,
            keep: Some(handle(n)),
            before: t(n),
        },
    };
    PendingEnd {
        scope,
        reason: EndReason::ALL[n as usize % EndReason::ALL.len()],
        note: n.is_multiple_of(3).then(|| "gestohlen: \"ü\"\n".into()),
        at: t(n),
    }
}

pub(super) fn single(n: u64) -> PendingEnd {
    PendingEnd {
        scope: PendingScope::Handle {
            user: "alice".into(),
            bucket: 7.into(),
            handle: handle(n),
        },
        ..an_end(n)
    }
}

pub(super) fn add(journal: &mut Journal, end: PendingEnd) -> Step {
    match journal.add(end) {
        Added::Kept(step) | Added::Collapsed(step) => step,
        Added::Full => panic!("it is not full"),
    }
}

/// Additions and acknowledgements.
fn some_steps(count: u64) -> Vec<Step> {
    let mut journal = Journal::new(LIMITS);
    let mut steps = Vec::new();
    for n in 0..count {
        steps.push(add(&mut journal, an_end(n)));
        if n % 4 == 3 {
            let (ticket, _) = journal.next(None, |_| true, 9).pop().unwrap();
            steps.push(journal.acknowledged(ticket).unwrap());
        }
    }
    steps
}

fn after<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Vec<(Ticket, PendingEnd)> {
    let mut journal = Journal::new(LIMITS);
    for step in steps {
        journal.carry_out(step);
    }
    pending(&journal)
}

pub(super) fn pending(journal: &Journal) -> Vec<(Ticket, PendingEnd)> {
    journal.next(None, |_| true, usize::MAX)
}

pub(super) fn folder() -> (TempDir, PathBuf) {
    // In memory where that is possible: a disk's sync takes milliseconds, and no machine stops here.
    let folder = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let path = folder.path().join("journal");
    (folder, path)
}

pub(super) fn open(path: &Path) -> (Log, Journal) {
    Log::open(path, LIMITS).unwrap()
}

/// A file with these steps, as bytes, and where each of its lines ends.
fn file_of(steps: &[Step]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = HEADER.to_vec();
    let mut ends = vec![bytes.len()];
    for step in steps {
        line::write(step, &mut bytes);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let (_folder, path) = folder();
    let steps = some_steps(40);
    for batch in steps.chunks(3) {
        open(&path).0.append(batch).unwrap();
    }
    let (log, journal) = open(&path);
    assert_eq!(pending(&journal), after(&steps));
    assert_eq!(log.found(), Found::default());
    assert_eq!(fs::read(&path).unwrap(), file_of(&steps).0);
}

#[test]
fn a_line_reads_back_and_one_of_the_longest_is_in_the_bound() {
    let long = PendingEnd {
        scope: PendingScope::User {
            user: "\u{1}".repeat(256).into(),
            bucket: 1.into(),
            keep: Some(handle(u64::MAX)),
            before: t(1 << 52),
        },
        note: Some("\u{1}".repeat(256).into()),
        ..an_end(0)
    };
    let steps = some_steps(20).into_iter();
    for step in steps.chain([Step::Add {
        number: 1 << 53,
        end: long,
    }]) {
        let mut bytes = Vec::new();
        line::write(&step, &mut bytes);
        assert!(bytes.len() as u64 <= MAX_LINE);
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(line::read(&bytes), Line::Step(step));
    }
}

#[test]
fn cut_anywhere_it_gives_what_was_wholly_written() {
    let (_folder, path) = folder();
    let steps = some_steps(24);
    let (bytes, ends) = file_of(&steps);
    for len in 0..=bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        if (1..HEADER.len()).contains(&len) {
            Log::open(&path, LIMITS).unwrap_err();
            assert_eq!(fs::read(&path).unwrap(), bytes[..len], "left as it was");
            continue;
        }
        let whole = ends
            .iter()
            .filter(|end| **end <= len)
            .count()
            .saturating_sub(1);
        let (mut log, mut journal) = open(&path);
        assert_eq!(pending(&journal), after(&steps[..whole]), "{len}");
        let cut = if len == 0 { 0 } else { len - ends[whole] };
        assert_eq!(
            log.found(),
            Found {
                damaged: 0,
                cut: cut as u64
            }
        );
        // What is appended now stands behind a whole line.
        log.append(&[add(&mut journal, single(999))]).unwrap();
        drop(log);
        let (log, again) = open(&path);
        assert_eq!(pending(&again), pending(&journal), "{len}");
        assert_eq!(log.found(), Found::default());
    }
}

#[test]
fn with_any_byte_changed_it_gives_all_other_lines_and_makes_none_up() {
    let (_folder, path) = folder();
    let steps = some_steps(12);
    let (bytes, ends) = file_of(&steps);
    for at in 0..bytes.len() {
        for flip in [[0x01, 0x20, 0x80][at % 3], bytes[at] ^ b'\n'] {
            if flip == 0 {
                continue;
            }
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            fs::write(&path, &changed).unwrap();
            if at < HEADER.len() {
                Log::open(&path, LIMITS).unwrap_err();
                assert_eq!(fs::read(&path).unwrap(), changed, "left as it was");
                continue;
            }
            let line = ends.iter().filter(|end| **end <= at).count() - 1;
            // A line feed that is gone takes the line behind it along.
            let lost = if at + 1 == ends[line + 1] { 2 } else { 1 };
            let left = steps[..line].iter().chain(steps.iter().skip(line + lost));
            let (log, journal) = open(&path);
            assert_eq!(pending(&journal), after(left), "{at} {flip}");
            assert_ne!(log.found(), Found::default());
            let at_the_end = line + lost >= steps.len();
            assert_eq!(log.found().damaged == 0, at_the_end);
        }
    }
}

#[test]
fn what_is_no_journal_is_never_written_to() {
    let (folder, path) = folder();
    let foreign: [&[u8]; 5] = [
        b"\n",
        b"[settings]\nuser = 1\n",
        b"sessile-journal 2\n",
        b"sessile-journal 1",
        &[0; 100_000],
    ];
    for content in foreign {
        fs::write(&path, content).unwrap();
        let error = Log::open(&path, LIMITS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("move"), "what to do: {error}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    fs::remove_file(&path).unwrap();
    let beside = folder.path().join("journal.new");
    fs::write(&beside, b"mine").unwrap();
    let error = Log::open(&path, LIMITS).unwrap_err();
    assert!(error.to_string().contains("in its way"), "{error}");
    assert_eq!(fs::read(&beside).unwrap(), b"mine");
    assert!(Log::open(folder.path(), LIMITS).is_err(), "a folder");
}

#[test]
fn a_whole_line_that_it_does_not_know_is_not_skipped() {
    let (_folder, path) = folder();
    let sum = |json: &[u8]| ring::digest::digest(&ring::digest::SHA256, json);
    let key = r#""session":{"bucket":"0001","digest":"AA"}"#;
    for json in [
        r#"{"kept":1}"#.to_owned(),
        r#"{"done":"x1"}"#.to_owned(),
        r#"{"done":"é"}"#.to_owned(),
        r#"{"done":"s18446744073709551615"}"#.to_owned(),
        format!(r#"{{"add":{{"number":1,"end":{{{key}}},"reason":"revoked","at":1}}}}"#),
        "[".repeat(5_000),
    ] {
        let hex: String = sum(json.as_bytes()).as_ref()[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let content = [HEADER, format!("{hex} {json}\n").as_bytes()].concat();
        fs::write(&path, &content).unwrap();
        let error = Log::open(&path, LIMITS).unwrap_err();
        assert!(error.to_string().contains("version"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn two_at_once_are_refused_in_words() {
    let (folder, path) = folder();
    let (first, _) = open(&path);
    let other = folder.path().join("link");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&path, &other).unwrap();
    #[cfg(not(unix))]
    fs::copy(&path, &other).unwrap();
    for name in [&path, &other] {
        let error = Log::open(name, LIMITS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(error.to_string().contains("another process has it open"));
    }
    // Another process, in truth.
    let mut child = Worker::start(&path, "append", 0);
    assert_eq!(child.first_line(), "refused");
    drop(child);
    drop(first);
    open(&path);
}

#[cfg(unix)]
#[test]
fn it_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = folder();
    let (mut log, journal) = open(&path);
    log.rewrite(&journal).unwrap();
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{file:?}"
        );
    }
}

#[test]
fn what_is_done_is_dropped_when_it_is_most_of_the_file() {
    let (_folder, path) = folder();
    let (mut log, mut journal) = Log::open_compacting_from(&path, LIMITS, 4_096).unwrap();
    let kept = [add(&mut journal, single(1)), add(&mut journal, an_end(3))];
    log.append(&kept).unwrap();
    for n in 10..500 {
        let step = add(&mut journal, single(n));
        let (ticket, _) = journal.next(None, |_| true, 9).pop().unwrap();
        let done = journal.acknowledged(ticket).unwrap();
        log.append(&[step, done]).unwrap();
        assert_eq!(log.len, fs::metadata(&path).unwrap().len());
        assert!(log.len <= 4_096 + 512, "{}", log.len);
    }
    drop(log);
    assert_eq!(pending(&open(&path).1), after(&kept));
}

#[test]
fn a_file_that_is_all_alive_is_not_written_over_and_over() {
    let (_folder, path) = folder();
    let (mut log, mut journal) = Log::open_compacting_from(&path, LIMITS, 512).unwrap();
    let mut times = 0;
    for n in 0..1_000 {
        let before = log.compact_at;
        log.append(&[add(&mut journal, single(n))]).unwrap();
        times += usize::from(log.compact_at != before);
    }
    assert!(times < 12, "each time at twice the length: {times}");
    drop(log);
    assert_eq!(pending(&open(&path).1), pending(&journal));
}

#[test]
fn an_open_finds_a_long_file_and_shortens_it() {
    let (_folder, path) = folder();
    let mut journal = Journal::new(LIMITS);
    let mut steps = Vec::new();
    for n in 0..100 {
        steps.push(add(&mut journal, single(n)));
        let (ticket, _) = journal.next(None, |_| true, 1).pop().unwrap();
        steps.push(journal.acknowledged(ticket).unwrap());
    }
    steps.push(add(&mut journal, single(7)));
    fs::write(&path, file_of(&steps).0).unwrap();
    let (log, again) = Log::open_compacting_from(&path, LIMITS, 1_000).unwrap();
    assert_eq!(pending(&again), pending(&journal));
    drop(log);
    assert_eq!(fs::read(&path).unwrap(), file_of(&steps[200..]).0);
}

#[test]
fn after_a_failure_it_refuses_until_it_is_written_anew() {
    let (_folder, path) = folder();
    // In the middle of the write, before the sync, and as the sync fails.
    for point in 0..4 {
        fs::remove_file(&path).ok();
        let (mut log, mut journal) = open(&path);
        log.append(&[add(&mut journal, single(1))]).unwrap();
        let lost = add(&mut journal, single(2));
        fault::plan(Some((point, Fault::Fails)));
        log.append(std::slice::from_ref(&lost)).unwrap_err();
        let next = add(&mut journal, single(3));
        let error = log.append(std::slice::from_ref(&next)).unwrap_err();
        assert!(error.to_string().contains("written anew"), "{error}");
        log.rewrite(&journal).unwrap();
        // Those that waited are in it already, and change nothing.
        log.append(&[lost, next]).unwrap();
        log.append(&[add(&mut journal, single(4))]).unwrap();
        drop(log);
        let (log, again) = open(&path);
        assert_eq!(pending(&again), pending(&journal), "{point}");
        assert_eq!(log.found(), Found::default());
    }
}

#[test]
fn wherever_the_disk_fails_what_was_durable_stays() {
    let mut failed = 0;
    for point in 0.. {
        let (_folder, path) = folder();
        let (mut log, mut journal) = Log::open_compacting_from(&path, LIMITS, 600).unwrap();
        let mut durable = Vec::new();
        fault::plan(Some((point, Fault::Fails)));
        for n in 0..12 {
            // So that some of it is done, and it is written anew on the way.
            let step = add(&mut journal, single(n % 3));
            match log.append(std::slice::from_ref(&step)) {
                Ok(()) => durable.push(step),
                Err(_) => break,
            }
        }
        let to_come = fault::plan(None);
        drop(log);
        let (_log, again) = open(&path);
        let there = pending(&again);
        for (ticket, end) in after(&durable) {
            let kept = there
                .iter()
                .any(|(later, kept)| *later >= ticket && kept.scope == end.scope);
            assert!(kept, "{point}: {end:?} of {there:?}");
        }
        failed += 1;
        if to_come {
            break;
        }
    }
    assert!(failed > 40, "it is also written anew: {failed}");
}

#[test]
fn a_log_that_cannot_be_written_anew_goes_on_as_it_is() {
    let (_folder, path) = folder();
    let (mut log, mut journal) = open(&path);
    log.append(&[add(&mut journal, single(1))]).unwrap();
    fault::plan(Some((1, Fault::Fails)));
    log.rewrite(&journal).unwrap_err();
    log.append(&[add(&mut journal, single(2))]).unwrap();
    // Its name may go back to the old file: what would be appended to the new one might be lost with it.
    fault::plan(Some((3, Fault::Fails)));
    log.rewrite(&journal).unwrap_err();
    log.append(&[add(&mut journal, single(3))]).unwrap_err();
    log.rewrite(&journal).unwrap();
    drop(log);
    assert_eq!(pending(&open(&path).1), pending(&journal));
}

#[test]
fn steps_that_come_twice_are_refused_and_nothing_is_written() {
    let (_folder, path) = folder();
    let (mut log, mut journal) = open(&path);
    let steps = [add(&mut journal, single(1)), add(&mut journal, single(2))];
    log.append(&steps[1..]).unwrap();
    let error = log.append(&steps[..1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    log.append(&[add(&mut journal, single(3))]).unwrap();
    assert_eq!(log.len, fs::metadata(&path).unwrap().len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn rubbish_is_refused_or_skipped_and_never_a_panic(
        rubbish in prop::collection::vec(any::<u8>(), 0..300),
        at in 0usize..=8,
    ) {
        let (_folder, path) = folder();
        let steps = some_steps(7);
        let (mut bytes, ends) = file_of(&steps);
        bytes.splice(ends[at]..ends[at], rubbish);
        fs::write(&path, &bytes).unwrap();
        let (_log, journal) = open(&path);
        let (found, all) = (pending(&journal), after(&steps));
        // At the worst the line behind it is lost.
        let without = after(steps.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, step)| step));
        prop_assert!(found == all || found == without);
    }
}
