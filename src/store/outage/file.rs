//! The journal's file: what carries ends that wait for the store over a crash.
//!
//! 1. A text file that is only appended to: a line that says what it is, then a line for each [`Step`], with a checksum
//!    in front. Operators can read it.
//! 2. [`Log::append`] returns after the disk has what it was given. Not before, and nothing else says "durable".
//! 3. Whatever fails, nothing that was durable is touched: a file is only ever replaced whole, by one that the disk
//!    already has, under its own name in the same folder.
//! 4. After a write or a sync that failed nothing is believed any more. The operating system may have dropped what it
//!    could not write and marked it as written: the next sync succeeds and means nothing, and reading back shows what
//!    is in memory, not on the disk. So the log refuses until [`Log::rewrite`] has written all of it anew, from memory,
//!    to another file.
//! 5. One process at a time, by a lock on `<name>.lock`, which is never replaced; the file itself is. `<name>.new` is
//!    the replacement while it is written. Both names belong to the journal. All three are made for their owner alone
//!    (mode 0600, where there are modes): users' ids, handles, notes and digests of ids are in them, never a secret.
//! 6. What is no journal is never written to.
//!
//! All of it blocks: asynchronous callers hand it to a thread that may.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::journal::{Journal, JournalLimits, Step};
use line::{Line, MAX_LINE};

#[cfg(test)]
mod fault;
#[cfg(test)]
mod killed;
mod line;
#[cfg(test)]
mod tests;

/// The first line.
const HEADER: &[u8] = b"sessile-journal 1\n";
/// How every version's begins.
const MAGIC: &[u8] = b"sessile-journal ";
/// Below this size it is never written anew: it is as much as a disk writes in the time of one sync.
const COMPACT_FROM: u64 = 1 << 20;

/// A journal's file, open and locked.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    /// Nobody else has the journal as long as this is there.
    _lock: Lock,
    limits: JournalLimits,
    /// How long the file is.
    len: u64,
    /// From which length on it is written anew.
    compact_at: u64,
    compact_from: u64,
    /// Additions with a lower number are in the file already, by [`rewrite`](Self::rewrite).
    contained: u64,
    /// The lowest number that the next addition may have.
    next: u64,
    /// A write failed, and it is not known what of it is there.
    broken: bool,
    found: Found,
}

/// What was wrong with a file that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// Lines before the last good one that cannot be read. Something changed the file: ends may be missing. The lines
    /// stay until the file is next written anew.
    pub(crate) damaged: usize,
    /// Bytes behind the last good line: what was being written when the process, or the machine, stopped.
    pub(crate) cut: u64,
}

/// What a file holds.
struct Contents {
    journal: Journal,
    found: Found,
    /// Where the last good line ends.
    end: u64,
}

/// Why a file was not replaced.
struct NotReplaced {
    error: io::Error,
    /// The new one is under the name, but may not be any more after a power failure.
    uncertain: bool,
}

impl From<io::Error> for NotReplaced {
    fn from(error: io::Error) -> Self {
        Self {
            error,
            uncertain: false,
        }
    }
}

impl Log {
    /// Opens the journal in this file, or begins one where there is none or an empty file.
    ///
    /// What was being written when the last process stopped is cut off; [`found`](Self::found) says what else was
    /// wrong.
    ///
    /// # Errors
    /// Another process has it; the file is none of this crate's, or of a newer version; or the disk failed. The file
    /// is then as it was.
    pub(crate) fn open(
        path: impl AsRef<Path>,
        limits: JournalLimits,
    ) -> io::Result<(Self, Journal)> {
        Self::open_compacting_from(path.as_ref(), limits, COMPACT_FROM)
    }

    fn open_compacting_from(
        path: &Path,
        limits: JournalLimits,
        compact_from: u64,
    ) -> io::Result<(Self, Journal)> {
        let path = &resolved(path).map_err(|error| about(path, error))?;
        let lock = lock(path).map_err(|error| about(path, error))?;
        let (file, contents) = read_or_begin(path, limits).map_err(|error| about(path, error))?;
        let live = length(contents.journal.steps());
        let mut log = Self {
            path: path.clone(),
            file,
            _lock: lock,
            limits,
            len: contents.end,
            compact_at: compact_from.max(live.saturating_mul(2)),
            compact_from,
            contained: 0,
            next: contents.journal.next_number(),
            broken: false,
            found: contents.found,
        };
        log.compact_if_due();
        Ok((log, contents.journal))
    }

    /// What was wrong with the file when it was opened.
    pub(crate) const fn found(&self) -> Found {
        self.found
    }

    /// Writes these steps, and returns when the disk has them.
    ///
    /// Each step of the journal must come once and in the order in which the journal made them; several at a time cost
    /// one sync.
    ///
    /// # Errors
    /// When the disk failed, now or before: none of the steps is durable, some may be in the file. All further ones
    /// fail until [`rewrite`](Self::rewrite) succeeds.
    pub(crate) fn append(&mut self, steps: &[Step]) -> io::Result<()> {
        if self.broken {
            let what = "an earlier write failed, and what of it is there is not known: \
                        it must be written anew";
            return Err(about(&self.path, io::Error::other(what)));
        }
        let mut next = self.next;
        let mut bytes = Vec::new();
        for step in steps {
            if let Step::Add { number, .. } = step {
                if *number < self.contained {
                    continue;
                }
                if *number < next {
                    let what = "steps must be written once and in their order";
                    return Err(io::Error::new(ErrorKind::InvalidInput, what));
                }
                next = *number + 1;
            }
            line::write(step, &mut bytes);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        // Until it is known to be otherwise: also where this thread panics.
        self.broken = true;
        self.write(&bytes)
            .map_err(|error| about(&self.path, error))?;
        self.broken = false;
        self.next = next;
        self.len += bytes.len() as u64;
        self.compact_if_due();
        Ok(())
    }

    /// Replaces the file by one that holds this journal, and returns when the disk has it. This is what makes a log
    /// usable again after a write that failed.
    ///
    /// Steps that the journal made before this are contained, and may still be appended.
    ///
    /// # Errors
    /// When the disk failed. If the log was usable before, it mostly still is, as it was.
    pub(crate) fn rewrite(&mut self, journal: &Journal) -> io::Result<()> {
        self.replace(journal)
            .map_err(|failed| about(&self.path, failed.error))?;
        self.contained = journal.next_number();
        self.next = self.next.max(self.contained);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        fault::point()?;
        // In two halves where a test stops in between.
        for part in fault::parts(bytes) {
            self.file.write_all(part)?;
            fault::point()?;
        }
        self.file.sync_data()?;
        fault::point()
    }

    /// Drops what is done, where that is most of the file. What fails is only that it stays as long as it is.
    fn compact_if_due(&mut self) {
        if self.len <= self.compact_at {
            return;
        }
        let replaced = self.reread().and_then(|contents| {
            // Not the caller's journal, which may be ahead of the file.
            self.replace(&contents.journal)
        });
        if replaced.is_err() {
            self.compact_at = self.len.saturating_mul(2);
        }
    }

    fn reread(&mut self) -> Result<Contents, NotReplaced> {
        self.file.seek(SeekFrom::Start(0))?;
        let contents = read(&mut self.file, self.limits);
        self.file.seek(SeekFrom::Start(self.len))?;
        Ok(contents?)
    }

    fn replace(&mut self, journal: &Journal) -> Result<(), NotReplaced> {
        match write_whole(&self.path, journal.steps()) {
            Ok((file, len)) => {
                self.file = file;
                self.len = len;
                self.compact_at = self.compact_from.max(len.saturating_mul(2));
                self.broken = false;
                Ok(())
            }
            Err(failed) => {
                // What was durable still is, in either file; what comes after it might not be.
                self.broken |= failed.uncertain;
                Err(failed)
            }
        }
    }
}

/// The path of the file itself, so that a link to it does not make two of one journal.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(
            ErrorKind::InvalidInput,
            "this names no file: a journal is a file",
        )
    })?;
    match path.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = match path.parent() {
                Some(folder) if folder != Path::new("") => folder,
                Some(_) | None => Path::new("."),
            };
            Ok(folder.canonicalize()?.join(name))
        }
        found => found,
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Options for a file that only its owner reads.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The lock of a journal.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Not by closing the file alone: where this process is just starting another, that one has it open too, for a
        // moment. Nothing is lost if it fails.
        self.0.unlock().ok();
    }
}

fn lock(path: &Path) -> io::Result<Lock> {
    let lock = private()
        .create(true)
        .truncate(false)
        .open(beside(path, ".lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Lock(lock)),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            ErrorKind::WouldBlock,
            "another process has it open: give each instance a file of its own",
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn read_or_begin(path: &Path, limits: JournalLimits) -> io::Result<(File, Contents)> {
    let begin = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let what = "this is no file: a journal is a file";
            return Err(io::Error::new(ErrorKind::InvalidInput, what));
        }
        Ok(metadata) => metadata.len() == 0,
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(error),
    };
    if begin {
        let journal = Journal::new(limits);
        let (file, end) =
            write_whole(path, journal.steps()).map_err(|not_replaced| not_replaced.error)?;
        let found = Found::default();
        let contents = Contents {
            journal,
            found,
            end,
        };
        return Ok((file, contents));
    }
    let mut file = private().open(path)?;
    let contents = read(&mut file, limits)?;
    remove_left_over(&beside(path, ".new"))?;
    if contents.found.cut > 0 {
        file.set_len(contents.end)?;
        fault::point()?;
    }
    // What was read may be in memory only, if the process that wrote it was killed before its sync.
    file.sync_all()?;
    file.seek(SeekFrom::Start(contents.end))?;
    Ok((file, contents))
}

/// Reads a file from its beginning.
fn read(file: &mut File, limits: JournalLimits) -> io::Result<Contents> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    next_line(&mut reader, &mut line)?;
    if line != HEADER {
        return Err(io::Error::new(ErrorKind::InvalidData, not_ours(&line)));
    }
    let mut contents = Contents {
        journal: Journal::new(limits),
        found: Found::default(),
        end: HEADER.len() as u64,
    };
    let mut at = contents.end;
    let mut damaged = 0;
    while next_line(&mut reader, &mut line)? {
        at += line.len() as u64;
        match line::read(&line) {
            Line::Step(step) => {
                contents.journal.carry_out(&step);
                contents.end = at;
                contents.found.damaged += std::mem::take(&mut damaged);
            }
            Line::Damaged => damaged += 1,
            Line::Unknown(why) => {
                let what = format!(
                    "a line is whole and yet cannot be read ({why}): \
                     open it with the version of this crate that wrote it"
                );
                return Err(io::Error::new(ErrorKind::InvalidData, what));
            }
        }
    }
    contents.found.cut = at - contents.end;
    Ok(contents)
}

/// The next line, or as much of it as a line can have: whoever filled the file with something else does not fill the
/// memory. `false`: there is no more.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    reader.take(MAX_LINE).read_until(b'\n', line)?;
    Ok(!line.is_empty())
}

fn not_ours(line: &[u8]) -> &'static str {
    if line.starts_with(MAGIC) && line.ends_with(b"\n") {
        "it is a journal of another version: open it with the version of this crate that wrote it, \
         or move it away if all it says has reached the store"
    } else {
        "it does not begin as a journal does, and was left as it is: name another file, \
         or move this one away if it was a journal and is damaged"
    }
}

/// Writes a new file, has the disk take it, and gives it the name.
fn write_whole(path: &Path, steps: impl Iterator<Item = Step>) -> Result<(File, u64), NotReplaced> {
    let new = beside(path, ".new");
    let (file, len) = write_new(&new, steps).and_then(|written| {
        fs::rename(&new, path)?;
        Ok(written)
    })?;
    fault::point()
        .and_then(|()| sync_folder(path))
        .and_then(|()| fault::point())
        .map_err(|error| NotReplaced {
            error,
            uncertain: true,
        })?;
    Ok((file, len))
}

fn write_new(new: &Path, steps: impl Iterator<Item = Step>) -> io::Result<(File, u64)> {
    remove_left_over(new)?;
    // Not through a link that somebody left under the name.
    let mut writer = BufWriter::new(private().create_new(true).open(new)?);
    fault::point()?;
    writer.write_all(HEADER)?;
    let mut len = HEADER.len() as u64;
    let mut line = Vec::new();
    for step in steps {
        line.clear();
        line::write(&step, &mut line);
        writer.write_all(&line)?;
        len += line.len() as u64;
    }
    let file = writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    fault::point()?;
    file.sync_all()?;
    fault::point()?;
    Ok((file, len))
}

/// Removes what a process that stopped had not given the journal's name yet, and nothing else that has its name.
fn remove_left_over(new: &Path) -> io::Result<()> {
    let file = match File::open(new) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut first = Vec::new();
    file.take(HEADER.len() as u64).read_to_end(&mut first)?;
    if !HEADER.starts_with(&first) {
        let what = format!("{} is in its way, and is no journal", new.display());
        return Err(io::Error::new(ErrorKind::AlreadyExists, what));
    }
    fs::remove_file(new)
}

/// A name is in the folder, and durable when the folder is.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Elsewhere a folder cannot be opened as a file.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// How long a file of these steps is.
fn length(steps: impl Iterator<Item = Step>) -> u64 {
    let mut line = Vec::new();
    steps.fold(HEADER.len() as u64, |len, step| {
        line.clear();
        line::write(&step, &mut line);
        len + line.len() as u64
    })
}

fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("the journal of ends, {}: {error}", path.display()),
    )
}

/// Where a test makes the disk fail, or the process stop.
#[cfg(not(test))]
mod fault {
    #[expect(clippy::unnecessary_wraps, reason = "it fails in tests")]
    pub(super) const fn point() -> std::io::Result<()> {
        Ok(())
    }

    pub(super) const fn parts(bytes: &[u8]) -> [&[u8]; 1] {
        [bytes]
    }
}
