//! A user's history and activities in memory: lines of text, which take a fraction of what their types do.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::record::{Activity, HistoryEntry, UserLog};

/// What a line takes besides its text.
const LINE_OVERHEAD: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Log {
    history: Lines,
    activities: Lines,
}

/// The oldest first.
#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<Box<str>>,
    bytes: usize,
    kept_until: Option<SystemTime>,
}

impl Log {
    pub(super) fn note(&mut self, entry: &HistoryEntry) {
        let kept_until = entry.at + HistoryEntry::KEPT;
        self.history
            .push(entry.to_text(), HistoryEntry::MOST, kept_until);
    }

    pub(super) fn record(&mut self, activity: &Activity) {
        let kept_until = activity.at + Activity::KEPT;
        self.activities
            .push(activity.to_text(), Activity::MOST, kept_until);
    }

    pub(super) fn read(&self) -> UserLog {
        let history = self.history.lines.iter().rev();
        let activities = self.activities.lines.iter().rev();
        UserLog {
            history: history
                .filter_map(|line| HistoryEntry::from_text(line))
                .collect(),
            activities: activities
                .filter_map(|line| Activity::from_text(line))
                .collect(),
        }
    }

    pub(super) const fn bytes(&self) -> usize {
        self.history.bytes + self.activities.bytes
    }

    /// Until when the last line of it is kept.
    pub(super) fn kept_until(&self) -> SystemTime {
        let last = self.history.kept_until.max(self.activities.kept_until);
        last.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl Lines {
    fn push(&mut self, line: String, most: usize, kept_until: SystemTime) {
        self.bytes += line.len() + LINE_OVERHEAD;
        self.lines.push_back(line.into());
        self.kept_until = self.kept_until.max(Some(kept_until));
        if self.lines.len() > most
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.len() + LINE_OVERHEAD;
        }
    }
}
