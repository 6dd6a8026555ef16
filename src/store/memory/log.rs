//! A user's history and activities in memory: lines of text, one behind the other, which take a fraction of what their
//! types do.

use std::time::SystemTime;

use super::commons::{Commons, Number};
use crate::clock::{instant, micros};
use crate::record::{Activity, Common, HistoryEntry, Seen, UserLog, cut};

/// Up to so many bytes there is room for what is there and no more: most users have a line or two.
const EXACT: usize = 1024;
/// What activities take besides their lines.
const OVERHEAD: usize = 48;

#[derive(Debug, Default)]
pub(super) struct Log {
    history: Lines,
    activities: Option<Box<Lines>>,
    /// In microseconds since 1970; 0: there is nothing.
    kept_until: u64,
}

/// The oldest first, each behind its length and the number of its user agent.
#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    count: u32,
}

/// Two bytes of length, four of a number.
const HEAD: usize = 6;

/// A user agent alone, as what sessions have in common.
fn agent(agent: &str) -> Common<'_> {
    Common {
        version: 0,
        flags: 0,
        idle: 0,
        touch: 0,
        agent: cut(agent, Seen::MAX_AGENT_BYTES),
    }
}

impl Log {
    pub(super) fn note(&mut self, mut entry: HistoryEntry, commons: &mut Commons) {
        self.keep(entry.at + HistoryEntry::KEPT);
        let number = commons.take(&agent(entry.user_agent.take().as_deref().unwrap_or("")));
        let (line, most) = (entry.to_text(), HistoryEntry::MOST);
        self.history.push(&line, number, most, commons);
    }

    pub(super) fn record(&mut self, mut activity: Activity, commons: &mut Commons) {
        self.keep(activity.at + Activity::KEPT);
        let number = commons.take(&agent(activity.user_agent.take().as_deref().unwrap_or("")));
        let (line, most) = (activity.to_text(), Activity::MOST);
        let activities = self.activities.get_or_insert_default();
        activities.push(&line, number, most, commons);
    }

    fn keep(&mut self, until: SystemTime) {
        self.kept_until = self.kept_until.max(micros(until));
    }

    pub(super) fn read(&self, commons: &Commons) -> UserLog {
        let agent = |number| Some(commons.get(number).agent).filter(|agent| !agent.is_empty());
        let history = self.history.last(HistoryEntry::MOST);
        let history = history.filter_map(|(number, line)| {
            let user_agent = agent(number).map(Into::into);
            Some(HistoryEntry {
                user_agent,
                ..HistoryEntry::from_text(line)?
            })
        });
        let activities = self.activities.iter();
        let activities = activities.flat_map(|lines| lines.last(Activity::MOST));
        let activities = activities.filter_map(|(number, line)| {
            let user_agent = agent(number).map(Into::into);
            Some(Activity {
                user_agent,
                ..Activity::from_text(line)?
            })
        });
        let mut log = UserLog {
            history: history.collect(),
            activities: activities.collect(),
        };
        log.history.reverse();
        log.activities.reverse();
        log
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.kept_until == 0
    }

    /// How many bytes its lines take, by estimate.
    pub(super) fn bytes(&self) -> usize {
        let activities = self.activities.as_ref();
        self.history.text.capacity()
            + activities.map_or(0, |lines| OVERHEAD + lines.text.capacity())
    }

    /// Until when the last line of it is kept.
    pub(super) fn kept_until(&self) -> SystemTime {
        instant(self.kept_until)
    }

    /// Nobody has it any more.
    pub(super) fn give_back(self, commons: &mut Commons) {
        for lines in [Some(&self.history), self.activities.as_deref()] {
            for (number, _) in lines.into_iter().flat_map(|lines| lines.last(usize::MAX)) {
                commons.give_back(number);
            }
        }
    }
}

impl Lines {
    fn push(&mut self, line: &str, agent: Number, most: usize, commons: &mut Commons) {
        // Its texts are all cut at some hundred bytes.
        let Ok(length) = u16::try_from(line.len()) else {
            commons.give_back(agent);
            return;
        };
        // Not one at a time: all that follow have to move.
        if self.count as usize >= most + most / 8 {
            let kept = self.start_of_last(most - 1);
            for (number, _) in lines(&self.text[..kept]) {
                commons.give_back(number);
                self.count -= 1;
            }
            self.text.drain(..kept);
        }
        let more = HEAD + line.len();
        if self.text.len() + more <= EXACT {
            self.text.reserve_exact(more);
        } else {
            self.text.reserve(more);
        }
        self.text.extend_from_slice(&length.to_le_bytes());
        self.text.extend_from_slice(&agent.to_le_bytes());
        self.text.extend_from_slice(line.as_bytes());
        self.count += 1;
    }

    /// Where the last so many begin.
    fn start_of_last(&self, most: usize) -> usize {
        let mut all = lines(&self.text);
        let older = all
            .by_ref()
            .take((self.count as usize).saturating_sub(most));
        older.map(|(_, line)| HEAD + line.len()).sum()
    }

    /// The last so many, the oldest first.
    fn last(&self, most: usize) -> impl Iterator<Item = (Number, &str)> {
        lines(&self.text[self.start_of_last(most)..])
    }
}

fn lines(mut text: &[u8]) -> impl Iterator<Item = (Number, &str)> {
    std::iter::from_fn(move || {
        let (length, rest) = text.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (line, after) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        text = after;
        Some((Number::from_le_bytes(*number), str::from_utf8(line).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv11_of_any_number_of_lines_the_last_ones_are_kept() {
        let (mut log, mut commons) = (Lines::default(), Commons::default());
        for n in 0..1000 {
            let line = n.to_string();
            let number = commons.take(&agent(&line));
            log.push(&line, number, 20, &mut commons);
            let kept: Vec<String> = log.last(20).map(|(_, line)| line.into()).collect();
            let expected: Vec<String> = (0..=n).rev().take(20).map(|n| n.to_string()).collect();
            assert!(kept.iter().eq(expected.iter().rev()), "{kept:?}");
            assert!(
                log.last(20)
                    .all(|(number, line)| commons.get(number).agent == line)
            );
            assert!(log.count <= 22, "a few more than that at most");
            assert!(log.text.capacity() <= EXACT);
            assert_eq!(
                commons.len(),
                log.count as usize,
                "no user agent of what is gone"
            );
        }
    }
}
