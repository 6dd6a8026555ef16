//! What is said in a demo.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::instant;
use crate::error::Error;
use crate::problem::ErrorKind;

/// The longest role, in bytes: a word, not a text.
const MAX_ROLE_BYTES: usize = 64;
/// The names of a message's own fields, which metadata may not have.
const OWN_FIELDS: [&str; 3] = ["role", "content", "timestamp"];

/// A message of a demo's conversation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// Who said it.
    pub role: String,
    /// What was said.
    pub content: String,
    /// Whatever else is known of it.
    pub metadata: Map<String, Value>,
    /// When, by the store's clock: whatever the client says.
    pub timestamp: SystemTime,
}

/// What of it is written by whoever says it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Said {
    pub(super) role: String,
    pub(super) content: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) metadata: Map<String, Value>,
}

/// What is kept of it.
#[derive(Deserialize)]
struct Kept {
    #[serde(default)]
    at: u64,
    #[serde(default)]
    role: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    metadata: Map<String, Value>,
}

impl Said {
    /// As it is kept, if it may be said.
    pub(super) fn to_json(&self, most: usize) -> Result<Vec<u8>, Error> {
        let invalid = |detail: &str| Err(Error::new(ErrorKind::InvalidMessage).with_detail(detail));
        if self.role.trim().is_empty() || self.content.trim().is_empty() {
            return invalid("a message has a role and a content");
        }
        if self.role.len() > MAX_ROLE_BYTES {
            return Err(Error::new(ErrorKind::TooLarge).with_detail("a role has at most 64 bytes"));
        }
        if OWN_FIELDS
            .iter()
            .any(|name| self.metadata.contains_key(*name))
        {
            return invalid(
                "metadata has no role, content or timestamp: these are the message's own",
            );
        }
        // Not written down first and measured after, if it is as large as that.
        if self.content.len() > most {
            return Err(too_large());
        }
        let json = crate::session::encode(self)?;
        if json.len() > most {
            return Err(too_large());
        }
        Ok(json)
    }

    pub(super) fn at(self, timestamp: SystemTime) -> Message {
        Message {
            role: self.role,
            content: self.content,
            metadata: self.metadata,
            timestamp,
        }
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::TooLarge).with_detail("a message is larger than the layer allows")
}

impl Message {
    /// Reads what is kept. `None`: it is no message.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let kept: Kept = serde_json::from_slice(json).ok()?;
        Some(Self {
            role: kept.role,
            content: kept.content,
            metadata: kept.metadata,
            timestamp: instant(kept.at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(role: &str, content: &str) -> Said {
        Said {
            role: role.into(),
            content: content.into(),
            metadata: Map::new(),
        }
    }

    #[test]
    fn a_message_has_a_role_and_a_content() {
        for (role, content) in [("", "x"), ("user", ""), (" ", "x"), ("user", "\n")] {
            let error = said(role, content).to_json(1000).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::InvalidMessage,
                "{role:?} {content:?}"
            );
        }
    }

    #[test]
    fn a_role_is_a_word_of_64_bytes_at_most() {
        let error = said(&"r".repeat(65), "x").to_json(1000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("64 bytes"), "{error}");
        assert!(said(&"r".repeat(64), "x").to_json(1000).is_ok());
    }

    #[test]
    fn metadata_may_not_name_the_messages_own_fields() {
        for name in OWN_FIELDS {
            let mut said = said("user", "x");
            said.metadata.insert(name.into(), Value::Null);
            let error = said.to_json(1000).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidMessage, "{name}");
        }
    }

    #[test]
    fn a_message_is_bounded_as_it_is_kept() {
        let said = said("user", "x");
        let size = said.to_json(1000).unwrap().len();
        assert!(said.to_json(size).is_ok());
        let error = said.to_json(size - 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn what_is_kept_is_read_as_it_was_said() {
        let mut said = said("user", "say \"hi\"\u{1F600}");
        said.metadata
            .insert("lists".into(), serde_json::json!([1, {"a": null}]));
        let json = said.to_json(1000).unwrap();
        let text = [br#"{"id":"x","at":5,"total":7,"#, &json[1..]].concat();
        assert_eq!(Message::read(&text), Some(said.at(instant(5))));
        assert_eq!(Message::read(b"5"), None);
    }
}
