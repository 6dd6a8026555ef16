//! Which system's records are read, and what their keys are called.

use super::json;
use super::legacy;
use super::old::{Around, Old, Unread};
use super::peers;
use crate::id::Kind;

/// The system that sessions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The Python platform whose managers shared one Redis: `session:{id}` and `demo:session:{id}`.
    Legacy,
    /// tower-sessions with its Redis store (0.15 and 0.16): `{id}`.
    TowerSessions,
    /// axum_session with its Redis pool (0.22 and 0.13).
    AxumSession,
    /// actix-session with its Redis store (0.11): `{id}`.
    ActixSession,
}

impl Source {
    /// Every source, for options.
    pub const ALL: [Self; 4] = [
        Self::Legacy,
        Self::TowerSessions,
        Self::AxumSession,
        Self::ActixSession,
    ];

    /// Its name in options.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::TowerSessions => "tower-sessions",
            Self::AxumSession => "axum-session",
            Self::ActixSession => "actix-session",
        }
    }

    /// What a scan looks for. `prefix`: what the keys begin with, where the application has chosen something.
    pub(super) fn pattern(self, prefix: &str) -> String {
        let prefix: String = prefix
            .chars()
            .flat_map(|c| match c {
                '*' | '?' | '[' | ']' | '\\' | '^' => vec!['\\', c],
                c => vec![c],
            })
            .collect();
        match self {
            // One pass for both kinds, by what is told at the first letters: the server compares every key that there is.
            Self::Legacy => "[sd]e[sm]*".to_owned(),
            Self::TowerSessions | Self::AxumSession | Self::ActixSession => format!("{prefix}*"),
        }
    }

    /// The kind of session and the id that a key names.
    pub(super) fn id<'a>(self, prefix: &str, key: &'a [u8]) -> Named<'a> {
        match self {
            Self::Legacy => {
                let (kind, id) = match (
                    key.strip_prefix(b"session:"),
                    key.strip_prefix(b"demo:session:"),
                ) {
                    (Some(id), _) => (Kind::User, id),
                    (None, Some(id)) => (Kind::Demo, id),
                    (None, None) => return Named::Other,
                };
                if is_ours(id) {
                    Named::Ours
                } else {
                    Named::Session(kind, id)
                }
            }
            Self::TowerSessions | Self::AxumSession | Self::ActixSession => {
                match key.strip_prefix(prefix.as_bytes()) {
                    Some(id) if peers::is_id(self, id) => Named::Session(Kind::User, id),
                    _ => Named::Other,
                }
            }
        }
    }

    /// Reads a record, mended so that it is JSON where it is to be.
    pub(super) fn read<'a>(
        self,
        kind: Kind,
        bytes: &'a [u8],
        mended: json::Mended,
        around: &Around<'_>,
    ) -> Result<Old<'a>, Unread> {
        match self {
            Self::Legacy => legacy::read(kind, bytes, mended, around),
            Self::TowerSessions => peers::tower_sessions(bytes, around),
            Self::AxumSession => peers::axum_session(bytes, mended, around),
            Self::ActixSession => peers::actix_session(bytes, mended, around),
        }
    }

    /// Whether its records are JSON.
    pub(super) const fn is_json(self) -> bool {
        match self {
            Self::Legacy | Self::AxumSession | Self::ActixSession => true,
            Self::TowerSessions => false,
        }
    }
}

/// What a key is the name of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    Session(Kind, &'a [u8]),
    /// A session of this crate's, or what belongs to one.
    Ours,
    /// Something else.
    Other,
}

/// `{0a3f}:` and a digest, with `:messages` or without.
fn is_ours(rest: &[u8]) -> bool {
    const DIGEST: usize = 43;
    let rest = rest.strip_suffix(b":messages").unwrap_or(rest);
    let Some(([b'{', tag @ .., b'}', b':'], digest)) = rest.split_first_chunk::<7>() else {
        return false;
    };
    tag.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        && digest.len() == DIGEST
        && digest
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_a_session_of_one_kind_or_ours_or_something_else() {
        let of = |key: &'static str| Source::Legacy.id("", key.as_bytes());
        assert_eq!(
            of("session:user_42_1"),
            Named::Session(Kind::User, b"user_42_1")
        );
        assert_eq!(of("demo:session:x"), Named::Session(Kind::Demo, b"x"));
        assert_eq!(of("session:"), Named::Session(Kind::User, b""));
        assert_eq!(of("shop:session:{0a3f}:x"), Named::Other);
        let digest = "A".repeat(43);
        let ours = format!("session:{{0a3f}}:{digest}");
        assert_eq!(Source::Legacy.id("", ours.as_bytes()), Named::Ours);
        let list = format!("demo:{ours}:messages");
        assert_eq!(Source::Legacy.id("", list.as_bytes()), Named::Ours);
        let not = format!("session:{{0a3g}}:{digest}");
        assert!(matches!(
            Source::Legacy.id("", not.as_bytes()),
            Named::Session(..)
        ));
    }
}
