//! The slots of a Redis Cluster: which one a bucket is in, and which server has which.

use redis::Value;

use crate::id::Bucket;

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;
/// A cluster of more servers than this is not one. Redis recommends at most so many.
pub(super) const MOST: usize = 1_000;

/// The slot of everything with the tag `{bb}`: CRC-16 of the four digits between the braces.
pub(super) fn slot(bucket: Bucket) -> u16 {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let tag = bucket.get();
    let digits = [12, 8, 4, 0].map(|shift| DIGITS[usize::from(tag >> shift & 0xF)]);
    crc16::State::<crc16::XMODEM>::calculate(&digits) % SLOTS
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

impl Place {
    /// Reads what a redirection names. Without a host it is the one that was asked; `?` is none.
    pub(super) fn named(server: &str, asked: &str) -> Option<Self> {
        // From the right: an IPv6 address has no brackets here.
        let (host, port) = server.rsplit_once(':')?;
        Self::told(host, port.parse().ok()?, asked)
    }

    fn told(host: &str, port: u16, asked: &str) -> Option<Self> {
        let host = match host {
            "" | "0.0.0.0" | "::" => asked,
            "?" => return None,
            host => host,
        };
        Some(Self {
            host: host.into(),
            port,
        })
    }
}

/// Slots, from the first to the last, and the primary that has them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) primary: Place,
}

/// Reads the reply to `CLUSTER SLOTS`. What cannot be read is left out: its slots have no server.
pub(super) fn ranges(reply: &Value, asked: &str) -> Vec<Range> {
    let Value::Array(ranges) = reply else {
        return Vec::new();
    };
    ranges
        .iter()
        .filter_map(|range| match range {
            Value::Array(range) => self::range(range, asked),
            _ => None,
        })
        .collect()
}

/// First and last slot, the primary, its replicas.
fn range(range: &[Value], asked: &str) -> Option<Range> {
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(primary),
        ..,
    ] = range
    else {
        return None;
    };
    let [host, Value::Int(port), ..] = primary.as_slice() else {
        return None;
    };
    let host = match host {
        Value::BulkString(host) => str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        Value::Nil => "",
        _ => return None,
    };
    let slot = |slot: i64| u16::try_from(slot).ok().filter(|&slot| slot < SLOTS);
    Some(Range {
        first: slot(*first)?,
        last: slot(*last)?,
        primary: Place::told(host, u16::try_from(*port).ok()?, asked)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_in_the_slot_that_redis_says() {
        // CLUSTER KEYSLOT {0000} and so on, of Redis 7.0.
        for (bucket, expected) in [
            (0x0000, 6794),
            (0x0001, 2731),
            (0xbeef, 15518),
            (0xffff, 14956),
            (0x1a2b, 6421),
            (0xc0de, 15430),
        ] {
            assert_eq!(slot(Bucket::from(bucket)), expected, "{bucket:04x}");
        }
    }

    #[test]
    fn a_redirection_names_a_place() {
        let place = |host: &str, port| {
            Some(Place {
                host: host.into(),
                port,
            })
        };
        assert_eq!(Place::named("10.0.0.2:7000", "a"), place("10.0.0.2", 7000));
        assert_eq!(Place::named("fe80::1:7000", "a"), place("fe80::1", 7000));
        assert_eq!(Place::named(":7000", "a"), place("a", 7000));
        for nowhere in ["?:7000", "host", "host:", "host:70000", ""] {
            assert_eq!(Place::named(nowhere, "a"), None, "{nowhere}");
        }
    }

    #[test]
    fn the_slots_are_read_as_far_as_they_can_be() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let server = |host, port| Value::Array(vec![host, Value::Int(port), bulk("id")]);
        let range =
            |first, last, server| Value::Array(vec![Value::Int(first), Value::Int(last), server]);
        let reply = Value::Array(vec![
            range(0, 99, server(bulk("b"), 7000)),
            range(100, 199, server(Value::Nil, 7001)),
            range(200, 299, server(bulk(""), 7002)),
            range(300, 399, server(bulk("?"), 7003)),
            range(400, 99_999, server(bulk("b"), 7004)),
            Value::Nil,
        ]);
        let read: Vec<_> = ranges(&reply, "a")
            .into_iter()
            .map(|range| {
                let Place { host, port } = range.primary;
                (range.first, range.last, host, port)
            })
            .collect();
        assert_eq!(
            read,
            [
                (0, 99, "b".into(), 7000),
                (100, 199, "a".into(), 7001),
                (200, 299, "a".into(), 7002),
            ]
        );
        assert_eq!(ranges(&Value::Okay, "a"), []);
    }
}
