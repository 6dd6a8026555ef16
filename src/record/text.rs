//! Writing words, numbers and names behind each other, without `fmt`: some are written with every change of a session,
//! and there it took a third of what writing a record takes.

use itoa::{Buffer, Integer};
use uuid::fmt::Hyphenated;

use crate::id::Handle;

/// What words are written to.
pub(super) trait Text {
    fn word(&mut self, word: &str);

    /// A word, and a space behind it.
    fn field(&mut self, word: &str) {
        self.word(word);
        self.word(" ");
    }

    fn number_field(&mut self, number: impl Integer) {
        self.field(Buffer::new().format(number));
    }

    fn handle_field(&mut self, handle: Handle) {
        let mut text = [0; Hyphenated::LENGTH];
        self.field(handle.as_uuid().as_hyphenated().encode_lower(&mut text));
    }
}

impl Text for String {
    fn word(&mut self, word: &str) {
        self.push_str(word);
    }
}

impl Text for Vec<u8> {
    fn word(&mut self, word: &str) {
        self.extend_from_slice(word.as_bytes());
    }
}
