//! Where a command or a reply ends in a stream of them, so that a proxy can tell one from the next.

use std::str;

use tokio::io::AsyncReadExt;
use tokio::net::tcp::ReadHalf;

/// What was read of a direction, and not passed on yet.
#[derive(Default)]
pub(super) struct Stream {
    bytes: Vec<u8>,
    is_foreign: bool,
    has_ended: bool,
}

impl Stream {
    /// Reads a chunk; `false` after the end.
    pub(super) async fn read(&mut self, from: &mut ReadHalf<'_>) -> bool {
        if self.has_ended {
            return false;
        }
        self.bytes.reserve(64 * 1024);
        self.has_ended = matches!(from.read_buf(&mut self.bytes).await, Ok(0) | Err(_));
        true
    }

    /// The next whole command or reply, and whether it counts as one.
    pub(super) fn next(&mut self) -> Option<(Vec<u8>, bool)> {
        let (length, counts) = match first(&self.bytes) {
            _ if self.is_foreign || self.has_ended => (self.bytes.len(), false),
            Frame::Whole(length) => (length, true),
            Frame::Push(length) => (length, false),
            Frame::Part => return None,
            Frame::Foreign => {
                self.is_foreign = true;
                (self.bytes.len(), false)
            }
        };
        let frame: Vec<u8> = self.bytes.drain(..length).collect();
        (!frame.is_empty()).then_some((frame, counts))
    }
}

/// What a stream begins with.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// A command or a reply of this many bytes.
    Whole(usize),
    /// Of RESP3: what the server says without being asked.
    Push(usize),
    /// The beginning of one of these.
    Part,
    /// Not this protocol, but TLS, or a command as a person types it.
    Foreign,
}

/// Looks at the beginning.
fn first(bytes: &[u8]) -> Frame {
    match (length(bytes), bytes.first()) {
        (Ok(Some(length)), Some(b'>')) => Frame::Push(length),
        (Ok(Some(length)), _) => Frame::Whole(length),
        (Ok(None), _) => Frame::Part,
        (Err(Foreign), _) => Frame::Foreign,
    }
}

struct Foreign;

/// The length of the first value, `None` if it does not end yet.
fn length(bytes: &[u8]) -> Result<Option<usize>, Foreign> {
    let Some(kind) = bytes.first() else {
        return Ok(None);
    };
    if !b"+-:$*_,#(!=%~>|".contains(kind) {
        return Err(Foreign);
    }
    let Some(line) = bytes.windows(2).position(|window| window == b"\r\n") else {
        return Ok(None);
    };
    let end = line + 2;
    let count = || -> Result<usize, Foreign> {
        let text = str::from_utf8(&bytes[1..line]).map_err(|_| Foreign)?;
        let count: i64 = text.parse().map_err(|_| Foreign)?;
        // -1 is RESP2's nil, which ends with its line.
        Ok(usize::try_from(count).unwrap_or(0))
    };
    match kind {
        b'$' | b'!' | b'=' => {
            let rest = match &bytes[1..line] {
                b"-1" => 0,
                _ => count()? + 2,
            };
            Ok((bytes.len() >= end + rest).then_some(end + rest))
        }
        b'*' | b'~' | b'>' => values(bytes, end, count()?),
        b'%' => values(bytes, end, 2 * count()?),
        // Attributes, and then the value that they are of.
        b'|' => values(bytes, end, 2 * count()? + 1),
        _ => Ok(Some(end)),
    }
}

fn values(bytes: &[u8], mut end: usize, count: usize) -> Result<Option<usize>, Foreign> {
    for _ in 0..count {
        let Some(length) = length(&bytes[end..])? else {
            return Ok(None);
        };
        end += length;
    }
    Ok(Some(end))
}

#[test]
fn a_frame_ends_where_its_last_value_does() {
    let frames: [&[u8]; 8] = [
        b"+OK\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"$4\r\na\r\nb\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"*2\r\n*1\r\n:1\r\n*0\r\n",
        b"%1\r\n+a\r\n~2\r\n_\r\n#t\r\n",
        b"|1\r\n+a\r\n,1.5\r\n:1\r\n",
    ];
    for frame in frames {
        let mut stream = frame.to_vec();
        stream.extend(b"+next\r\n");
        assert_eq!(first(&stream), Frame::Whole(frame.len()));
        for part in 0..frame.len() {
            assert_eq!(first(&frame[..part]), Frame::Part);
        }
    }
    assert_eq!(first(b">1\r\n+message\r\n"), Frame::Push(14));
    assert_eq!(first(b"\x16\x03\x01"), Frame::Foreign);
    assert_eq!(first(b"PING\r\n"), Frame::Foreign);
}
