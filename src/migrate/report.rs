//! What came of a migration: counts that add up, in words and as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// The shape of a record of another system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// `session:{id}` of the platform's Redis session manager: `data` and `last_accessed`.
    Platform,
    /// `session:{id}` of its auth service: flat, with `last_activity`.
    Auth,
    /// `session:{id}` of its session service: `timeout_seconds`, `session_data`.
    Service,
    /// `demo:session:{id}` with an industry and messages.
    Demo,
    /// `demo:session:{id}` with a configuration and a status.
    DemoStatus,
    /// A record of tower-sessions in its Redis store.
    TowerSessions,
    /// A record of axum_session in Redis.
    AxumSession,
    /// A record of actix-session in Redis.
    ActixSession,
}

impl Shape {
    /// Every shape, for tables and options.
    pub const ALL: [Self; 8] = [
        Self::Platform,
        Self::Auth,
        Self::Service,
        Self::Demo,
        Self::DemoStatus,
        Self::TowerSessions,
        Self::AxumSession,
        Self::ActixSession,
    ];

    /// Its name in reports and options.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Auth => "auth",
            Self::Service => "service",
            Self::Demo => "demo",
            Self::DemoStatus => "demo-status",
            Self::TowerSessions => "tower-sessions",
            Self::AxumSession => "axum-session",
            Self::ActixSession => "actix-session",
        }
    }

    /// The shape of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.as_str() == name)
    }

    const fn place(self) -> usize {
        match self {
            Self::Platform => 0,
            Self::Auth => 1,
            Self::Service => 2,
            Self::Demo => 3,
            Self::DemoStatus => 4,
            Self::TowerSessions => 5,
            Self::AxumSession => 6,
            Self::ActixSession => 7,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many of each shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByShape([u64; 8]);

impl ByShape {
    pub(super) fn add(&mut self, shape: Shape) {
        self.0[shape.place()] += 1;
    }

    /// Of this shape.
    #[must_use]
    pub const fn of(&self, shape: Shape) -> u64 {
        self.0[shape.place()]
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    fn present(&self) -> impl Iterator<Item = (Shape, u64)> {
        Shape::ALL
            .into_iter()
            .map(|shape| (shape, self.of(shape)))
            .filter(|(_, count)| *count > 0)
    }
}

impl Serialize for ByShape {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.present().map(|(shape, count)| (shape.as_str(), count)))
    }
}

/// What came of a migration. Every key that was looked at is in exactly one of the counts from `migrated` to `failed`:
/// together they are `scanned`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Nothing was written.
    pub dry_run: bool,
    /// It was stopped before its end, and goes on where it is started again.
    pub stopped: bool,
    /// Keys that were looked at and have the name of a session.
    pub scanned: u64,
    /// Sessions that were written here (in a dry run: that would have been).
    pub migrated: ByShape,
    /// Migrated before.
    pub already: u64,
    /// Sessions of this crate.
    pub ours: u64,
    /// Over by what they say themselves, or by their expiry.
    pub over: u64,
    /// Gone when they were to be read, or between that and the writing: ended, or just expired.
    pub gone: u64,
    /// Of a shape that was not asked for.
    pub left: u64,
    /// None of the shapes, damaged, of a wrong type, or too large; left alone. Which and why is in `problems`.
    pub invalid: u64,
    /// Their user's sessions were all ended here after they were made: they stay ended.
    pub refused: u64,
    /// Written to by their old system after they were migrated: it still runs. Left alone, so that nothing that was
    /// ended here comes back.
    pub written_since: u64,
    /// Redis refused them, or their user has a thousand sessions here already.
    pub failed: u64,
    /// Sessions that changed while they were being migrated, and were read again.
    pub read_again: u64,
    /// Messages of demos.
    pub messages: u64,
    /// Numbers in values that are no JSON (`NaN`, `Infinity`), and are `null` now.
    pub numbers_mended: u64,
    /// Halves of surrogate pairs in values, that are the replacement character now.
    pub surrogates_mended: u64,
    /// The old lists of users' sessions.
    pub old_indexes: OldIndexes,
    /// Which keys were not migrated, and why: the first 10,000.
    pub problems: Vec<KeyProblem>,
    /// How many there are beyond those.
    pub more_problems: u64,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
}

/// What became of the old lists of users' sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OldIndexes {
    /// Lists that were looked at.
    pub lists: u64,
    /// Members that name no session (any more), and were taken out; with `keep_old` and in a dry run: that were found.
    pub dead_members: u64,
}

/// A key that was not migrated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyProblem {
    /// The key. It ends with an id, which may still open a session in the old system: for the operator's eyes alone.
    pub key: String,
    /// Why, in words, without anything of what it holds.
    pub reason: String,
}

impl KeyProblem {
    /// The key without most of its id, for terminals and logs.
    #[must_use]
    pub fn masked_key(&self) -> String {
        let (prefix, id) = match self.key.rfind("session:") {
            Some(at) => self.key.split_at(at + "session:".len()),
            None => ("", &*self.key),
        };
        let shown: String = id.chars().take(3).collect();
        format!("{prefix}{shown}… ({} bytes)", id.len())
    }
}

/// No more are kept.
const MOST_PROBLEMS: usize = 10_000;

impl Report {
    /// Adds what came of some more keys.
    pub(super) fn add(&mut self, more: Self) {
        self.scanned += more.scanned;
        for (count, more) in self.migrated.0.iter_mut().zip(more.migrated.0) {
            *count += more;
        }
        self.already += more.already;
        self.ours += more.ours;
        self.over += more.over;
        self.gone += more.gone;
        self.left += more.left;
        self.invalid += more.invalid;
        self.refused += more.refused;
        self.written_since += more.written_since;
        self.failed += more.failed;
        self.read_again += more.read_again;
        self.messages += more.messages;
        self.numbers_mended += more.numbers_mended;
        self.surrogates_mended += more.surrogates_mended;
        let room = MOST_PROBLEMS - self.problems.len().min(MOST_PROBLEMS);
        self.more_problems += more.more_problems + more.problems.len().saturating_sub(room) as u64;
        self.problems.extend(more.problems.into_iter().take(room));
    }

    pub(super) fn problem(&mut self, key: &[u8], reason: impl Into<String>) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(KeyProblem {
                key: String::from_utf8_lossy(key).into_owned(),
                reason: reason.into(),
            });
        } else {
            self.more_problems += 1;
        }
    }

    /// Whether each key is in one of the counts.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.counted() == self.scanned
    }

    /// How many keys have an outcome.
    pub(super) fn counted(&self) -> u64 {
        let parts = [
            self.migrated.total(),
            self.already,
            self.ours,
            self.over,
            self.gone,
            self.left,
            self.invalid,
            self.refused,
            self.written_since,
            self.failed,
        ];
        parts.iter().sum()
    }

    /// Whether it came to its end and every session is here that is to be.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        !self.stopped && self.invalid == 0 && self.failed == 0 && self.written_since == 0
    }

    /// The same with masked keys, for what others may read.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        for problem in &mut masked.problems {
            problem.key = problem.masked_key();
        }
        masked
    }

    /// Sessions a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 {
            self.migrated.total() as f64 / seconds
        } else {
            0.0
        }
    }
}

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// In words, a line each; keys are masked, and the first 20 are named.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMED: usize = 20;
        let written = if self.dry_run {
            "would migrate"
        } else {
            "migrated"
        };
        if self.stopped {
            writeln!(f, "Stopped before the end: start it again, and it goes on.")?;
        }
        writeln!(f, "{:>12}  keys looked at, of which", self.scanned)?;
        writeln!(f, "{:>12}  {written}", self.migrated.total())?;
        for (shape, count) in self.migrated.present() {
            writeln!(f, "{count:>20}  {shape}")?;
        }
        for (count, words) in [
            (self.already, "migrated before"),
            (self.ours, "sessions of sessile already"),
            (self.over, "over: expired, or not valid by what they say"),
            (self.gone, "gone meanwhile"),
            (self.left, "of a shape that was not asked for"),
            (self.invalid, "INVALID, left alone"),
            (
                self.refused,
                "refused: all of their user's sessions were ended here since",
            ),
            (
                self.written_since,
                "WRITTEN by the old system since they were migrated: stop it first",
            ),
            (self.failed, "FAILED"),
        ] {
            if count > 0 {
                writeln!(f, "{count:>12}  {words}")?;
            }
        }
        for (count, words) in [
            (self.messages, "messages of demos"),
            (
                self.read_again,
                "changed while they were migrated, and were read again",
            ),
            (
                self.numbers_mended,
                "numbers were NaN or Infinity, and are null now",
            ),
            (self.surrogates_mended, "halves of characters were replaced"),
            (self.old_indexes.lists, "old lists of users' sessions"),
            (self.old_indexes.dead_members, "dead members in them"),
        ] {
            if count > 0 {
                writeln!(f, "{count:>12}  {words}")?;
            }
        }
        writeln!(
            f,
            "{:>12}  seconds, {:.0} sessions a second",
            format!("{:.1}", self.took.as_secs_f64()),
            self.rate()
        )?;
        for problem in self.problems.iter().take(NAMED) {
            writeln!(f, "  {}: {}", problem.masked_key(), problem.reason)?;
        }
        let unnamed = self.problems.len().saturating_sub(NAMED) as u64 + self.more_problems;
        if unnamed > 0 {
            writeln!(f, "  … and {unnamed} more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_without_its_id() {
        let problem = KeyProblem {
            key: "demo:session:demo-1795455942886".into(),
            reason: "it is no JSON".into(),
        };
        assert_eq!(problem.masked_key(), "demo:session:dem… (18 bytes)");
        let report = Report {
            scanned: 1,
            invalid: 1,
            problems: vec![problem],
            ..Report::default()
        };
        assert!(!report.to_string().contains("1795455942886"));
        assert!(report.adds_up() && !report.is_complete());
        assert!(
            !serde_json::to_string(&report.masked())
                .unwrap()
                .contains("1795455942886")
        );
    }
}
