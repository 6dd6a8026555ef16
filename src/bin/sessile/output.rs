//! Tables for people, JSON for programs.

use std::io::{IsTerminal, Write};
use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;

use crate::Failure;

/// Narrower than this, a table is read line by line.
const GAP: &str = "  ";
/// What an open column shows at least.
const LEAST: usize = 12;

/// A line on stdout. Whoever closes it, as `head` does, wants no more.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    wanted_line(text).map(|_| ())
}

/// The same for what never ends by itself. `false`: nobody reads it any more.
pub(crate) fn wanted_line(text: &str) -> Result<bool, Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(value)?)
}

/// An instant for programs: RFC 3339, UTC, with three decimals.
pub(crate) fn instant(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

/// The same for people: to the second.
pub(crate) fn when(at: SystemTime) -> String {
    let text = instant(at);
    format!("{} {}Z", &text[..10], &text[11..19])
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows
            .push(cells.iter().map(|cell| plain(cell)).collect());
    }

    pub(crate) fn print(&self) -> Result<(), Failure> {
        line(self.text(width()).trim_end())
    }

    /// As wide as it likes; `width`: no wider. The last column is cut first; where that does not do, each cell gets a
    /// line.
    fn text(&self, width: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let last = widths.len() - 1;
        let before: usize = widths[..last].iter().map(|width| width + GAP.len()).sum();
        if let Some(width) = width {
            if before + LEAST.min(widths[last]) > width {
                return self.stacked();
            }
            widths[last] = widths[last].min(width - before);
        }
        let mut text = String::new();
        let headings = self
            .headings
            .iter()
            .map(|heading| (*heading).to_owned())
            .collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{:<width$}", cut(cell, *width)))
                .collect();
            text.push_str(cells.join(GAP).trim_end());
            text.push('\n');
        }
        text
    }

    fn stacked(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            for (heading, cell) in self.headings.iter().zip(row) {
                text.push_str(&format!("{}: {cell}\n", heading.to_lowercase()));
            }
            text.push('\n');
        }
        text
    }
}

/// A user agent is a stranger's text: nothing in it moves a cursor.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// How wide the terminal is; `None`: there is none, and whatever reads this wants all of it.
fn width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let (width, _) = terminal_size::terminal_size()?;
    Some(usize::from(width.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn table() -> Table {
        let mut table = Table::new(&["HANDLE", "AGENT"]);
        table.row(vec!["a".into(), "Mozilla/5.0 (X11)\u{1b}[2J".into()]);
        table.row(vec!["handle-2".into(), "-".into()]);
        table
    }

    #[test]
    fn a_table_has_columns_and_no_control_characters() {
        assert_eq!(
            table().text(None),
            "HANDLE    AGENT\na         Mozilla/5.0 (X11)\u{fffd}[2J\nhandle-2  -\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_the_last_column_and_a_very_narrow_one_gets_lines() {
        assert_eq!(
            table().text(Some(24)),
            "HANDLE    AGENT\na         Mozilla/5.0 (…\nhandle-2  -\n"
        );
        assert_eq!(
            table().text(Some(5)),
            "handle: a\nagent: Mozilla/5.0 (X11)\u{fffd}[2J\n\nhandle: handle-2\nagent: -\n\n"
        );
    }

    #[test]
    fn instants_are_utc() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_741_081_542_886);
        assert_eq!(instant(at), "2025-03-04T09:45:42.886Z");
        assert_eq!(when(at), "2025-03-04 09:45:42Z");
    }
}
