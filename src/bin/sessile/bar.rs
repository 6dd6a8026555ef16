//! How far it is: on stderr, and only where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// The bar has so many places.
const PLACES: u64 = 10_000;

pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(PLACES);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// `fraction`: how much is done, from 0 to 1.
    pub(crate) fn show(&self, fraction: f64, message: String) {
        self.0.set_position((fraction * PLACES as f64) as u64);
        self.0.set_message(message);
    }

    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
