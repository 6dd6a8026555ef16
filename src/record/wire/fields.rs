//! Reading what stands in the parts of a record: words, numbers and texts.

use uuid::Uuid;

use super::{LATEST, MALFORMED, MalformedRecord};
use crate::id::Handle;

/// So many digits are a number of 64 bits, whatever they are.
const SURE: usize = 19;

/// Fields separated by one space, read from the front.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let (word, rest) = match memchr::memchr(b' ', self.0) {
            Some(end) => (&self.0[..end], &self.0[end + 1..]),
            None => (self.0, &b""[..]),
        };
        self.0 = rest;
        word
    }

    pub(super) fn word(&mut self) -> Result<&'a str, MalformedRecord> {
        str::from_utf8(self.bytes()).map_err(|_| MALFORMED)
    }

    /// Without looking for the end first: a record has eleven of them.
    pub(super) fn number<N: TryFrom<u64>>(&mut self) -> Result<N, MalformedRecord> {
        let (mut number, mut len) = (0_u64, 0);
        while let Some(digit) = self.0.get(len).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            number = number.wrapping_mul(10).wrapping_add(digit.into());
            len += 1;
        }
        if len > SURE {
            number = digits(&self.0[..len])?;
        }
        self.0 = match &self.0[len..] {
            [b' ', rest @ ..] => rest,
            [] => b"",
            _ => return Err(MALFORMED),
        };
        if len == 0 {
            return Err(MALFORMED);
        }
        N::try_from(number).map_err(|_| MALFORMED)
    }

    pub(super) fn micros(&mut self) -> Result<u64, MalformedRecord> {
        self.number().and_then(|micros| {
            if micros < LATEST {
                Ok(micros)
            } else {
                Err(MALFORMED)
            }
        })
    }

    pub(super) fn handle(&mut self) -> Result<Handle, MalformedRecord> {
        let handle = Uuid::try_parse_ascii(self.bytes()).map_err(|_| MALFORMED)?;
        Ok(Handle::from(handle))
    }

    /// A text that its length goes before, for it may hold spaces.
    pub(super) fn sized(&mut self, most: usize) -> Result<&'a str, MalformedRecord> {
        let len: usize = self.number()?;
        let (text, rest) = self
            .0
            .split_at_checked(len)
            .filter(|_| len <= most)
            .ok_or(MALFORMED)?;
        self.0 = rest;
        str::from_utf8(text).map_err(|_| MALFORMED)
    }

    /// What a newer version wrote behind.
    pub(super) fn rest(&self) -> Result<&'a [u8], MalformedRecord> {
        if self.0.len() <= usize::from(u16::MAX) {
            Ok(self.0)
        } else {
            Err(MALFORMED)
        }
    }
}

/// The instant so long after `created`.
pub(super) fn at(created: u64, after: &[u8]) -> Result<u64, MalformedRecord> {
    let instant = match after {
        [b'-', before @ ..] => created.checked_sub(digits(before)?),
        after => created.checked_add(digits(after)?),
    };
    instant.filter(|micros| *micros < LATEST).ok_or(MALFORMED)
}

/// A number in decimal digits and nothing else: not the signs that Rust's own parser takes, for no script does.
fn digits(word: &[u8]) -> Result<u64, MalformedRecord> {
    if word.is_empty() {
        return Err(MALFORMED);
    }
    word.iter()
        .try_fold(0_u64, |number, byte| {
            let digit = byte.wrapping_sub(b'0');
            let more = number.checked_mul(10)?.checked_add(digit.into())?;
            (digit < 10).then_some(more)
        })
        .ok_or(MALFORMED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn inv14_a_number_is_digits_alone() {
        assert_eq!(digits(b"18446744073709551615"), Ok(u64::MAX));
        for word in ["", "+5", "-5", " 5", "5 ", "0x5", "18446744073709551616"] {
            assert_eq!(digits(word.as_bytes()), Err(MALFORMED), "{word:?}");
        }
        assert_eq!(at(7, b"-7"), Ok(0));
        for after in [&b"-8"[..], b"--7", b"+1", b"9007199254740992"] {
            assert_eq!(at(7, after), Err(MALFORMED));
        }
    }

    proptest! {
        #[test]
        fn inv14_a_number_in_a_line_is_what_its_word_is(line in "[0-9]{0,25}[ 0-9x+-]{0,3}") {
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let mut fields = Fields(line.as_bytes());
            let number = fields.number::<u64>();
            prop_assert_eq!(number, digits(word.as_bytes()));
            if number.is_ok() {
                prop_assert_eq!(fields.0, rest.as_bytes());
            }
        }
    }
}
