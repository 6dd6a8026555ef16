//! Changes to the values of a session, as data: what was staged, before anybody stores it.

use crate::key::DataName;

/// Changes to the values of one session, applied together or not at all.
///
/// A change names one value, so that parallel requests which write different keys all survive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Every value not named in `keep` or `each` goes away first.
    pub clear: Option<Clear>,
    /// At most one change a name.
    pub each: Vec<Change>,
}

/// Remove all values, but for the names listed: those were written, and stored, since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clear {
    /// What stays.
    pub keep: Vec<DataName>,
}

/// One change of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which value.
    pub name: DataName,
    /// Under which condition.
    pub guard: Guard,
    /// What to do.
    pub op: Op,
}

/// The condition of a change. When one fails, nothing of the [`Changes`] is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// None.
    Any,
    /// The value is, byte for byte, what was read; `None`: there is none.
    Unchanged(Option<Box<[u8]>>),
}

/// What happens to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// It becomes this JSON text.
    Set(Vec<u8>),
    /// It goes away.
    Remove,
    /// This is added to the integer that stands there; none counts as 0.
    Add(i64),
}

/// Why changes were not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeError {
    /// A guard failed.
    Conflict,
    /// An [`Op::Add`] met something that is no integer, or the sum does not fit 64 bits.
    NotAnInteger,
}

impl Changes {
    /// One change without a condition.
    #[must_use]
    pub fn one(name: DataName, op: Op) -> Self {
        Self::guarded(name, Guard::Any, op)
    }

    /// One change with a condition.
    #[must_use]
    pub fn guarded(name: DataName, guard: Guard, op: Op) -> Self {
        Self {
            clear: None,
            each: vec![Change { name, guard, op }],
        }
    }

    /// These values, without a condition.
    pub(crate) fn setting(values: Vec<(DataName, Vec<u8>)>) -> Self {
        let each = values.into_iter().map(|(name, json)| Change {
            name,
            guard: Guard::Any,
            op: Op::Set(json),
        });
        Self {
            clear: None,
            each: each.collect(),
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clear.is_none() && self.each.is_empty()
    }

    /// Whether a value would exist afterwards that came from here: what a first write needs.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.each.iter().any(|change| match change.op {
            Op::Set(_) | Op::Add(_) => true,
            Op::Remove => false,
        })
    }

    /// The change of this value, if one is there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Change> {
        self.each.iter().find(|change| change.name == name)
    }

    /// Replaces whatever was to happen to this value.
    pub fn put(&mut self, name: DataName, op: Op) {
        self.forget(&name);
        self.each.push(Change {
            name,
            guard: Guard::Any,
            op,
        });
    }

    /// Takes back what was to happen to this value.
    pub fn forget(&mut self, name: &str) {
        self.each.retain(|change| change.name != name);
    }

    /// Takes back everything, and removes all values instead.
    pub fn clear(&mut self) {
        self.each.clear();
        self.clear = Some(Clear::default());
    }

    /// Whether `name` goes away by the [`clear`](Self::clear).
    #[must_use]
    pub fn clears(&self, name: &str) -> bool {
        self.clear
            .as_ref()
            .is_some_and(|clear| clear.keep.iter().all(|kept| kept != name))
    }

    /// The value after this change, `Err` where it cannot be made. Pure: the rule for every store.
    ///
    /// # Errors
    /// [`ChangeError`], as its variants say.
    pub fn after<'a>(
        change: &'a Change,
        current: Option<&'a [u8]>,
    ) -> Result<After<'a>, ChangeError> {
        if let Guard::Unchanged(expected) = &change.guard
            && expected.as_deref() != current
        {
            return Err(ChangeError::Conflict);
        }
        match &change.op {
            Op::Set(json) => Ok(After::Bytes(json)),
            Op::Remove => Ok(After::Absent),
            Op::Add(by) => {
                let sum = match current {
                    None => Some(*by),
                    Some(json) => serde_json::from_slice::<i64>(json)
                        .ok()
                        .and_then(|value| value.checked_add(*by)),
                };
                sum.map(After::Integer).ok_or(ChangeError::NotAnInteger)
            }
        }
    }
}

/// The value after one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After<'a> {
    /// This JSON text.
    Bytes(&'a [u8]),
    /// This integer.
    Integer(i64),
    /// None.
    Absent,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(by: i64) -> Change {
        Change {
            name: "n".into(),
            guard: Guard::Any,
            op: Op::Add(by),
        }
    }

    #[test]
    fn adding_starts_at_zero_and_refuses_what_is_no_integer() {
        assert_eq!(Changes::after(&add(2), None), Ok(After::Integer(2)));
        assert_eq!(Changes::after(&add(-3), Some(b"1")), Ok(After::Integer(-2)));
        assert_eq!(
            Changes::after(&add(1), Some(b"1.5")),
            Err(ChangeError::NotAnInteger)
        );
        assert_eq!(
            Changes::after(&add(1), Some(b"\"a\"")),
            Err(ChangeError::NotAnInteger)
        );
        let most = i64::MAX.to_string();
        assert_eq!(
            Changes::after(&add(1), Some(most.as_bytes())),
            Err(ChangeError::NotAnInteger)
        );
    }

    #[test]
    fn a_guard_compares_byte_for_byte_and_knows_absence() {
        let set = |expected: Option<&[u8]>| Change {
            name: "k".into(),
            guard: Guard::Unchanged(expected.map(Into::into)),
            op: Op::Set(b"2".to_vec()),
        };
        assert!(Changes::after(&set(Some(b"1")), Some(b"1")).is_ok());
        assert!(Changes::after(&set(None), None).is_ok());
        assert_eq!(
            Changes::after(&set(None), Some(b"1")),
            Err(ChangeError::Conflict)
        );
        assert_eq!(
            Changes::after(&set(Some(b"1")), None),
            Err(ChangeError::Conflict)
        );
    }

    #[test]
    fn putting_twice_leaves_one_change() {
        let mut changes = Changes::default();
        changes.put("a".into(), Op::Set(b"1".to_vec()));
        changes.put("a".into(), Op::Remove);
        assert_eq!(changes.each.len(), 1);
        assert!(!changes.writes());
        changes.clear();
        assert!(changes.clears("a") && !changes.is_empty() && changes.each.is_empty());
    }
}
