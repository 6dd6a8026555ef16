//! Typed names of values in a session.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// The longest name of a value, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 64;

/// The name of a value: fixed text costs nothing, one made at run time is owned.
pub type DataName = Cow<'static, str>;

/// The name and the type of a value in a session.
///
/// A constant is checked by the compiler: its name, and that nobody reads a `Cart` as something else.
///
/// ```
/// use sessile::Key;
/// const CART: Key<Vec<u32>> = Key::new("cart");
/// ```
///
/// ```compile_fail
/// # use sessile::Key;
/// const NAMELESS: Key<u32> = Key::new("");      // an empty name does not compile
/// ```
///
/// Names that are only known at run time go through [`Key::named`].
pub struct Key<T> {
    name: DataName,
    // A key owns no T: it is Send and Sync whatever T is.
    value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// A key with a fixed name of 1 to 64 bytes.
    ///
    /// # Panics
    /// On an empty or longer name: in a constant, that is an error of the compiler.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert!(
            !name.is_empty() && name.len() <= MAX_NAME_BYTES,
            "the name of a session value has 1 to 64 bytes"
        );
        Self {
            name: Cow::Borrowed(name),
            value: PhantomData,
        }
    }

    /// A key whose name is only known at run time.
    ///
    /// # Errors
    /// [`InvalidName`] when the name is empty or longer than 64 bytes.
    pub fn named(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(InvalidName(()));
        }
        Ok(Self {
            name: Cow::Owned(name),
            value: PhantomData,
        })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn into_name(self) -> DataName {
        self.name
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            value: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.name).finish()
    }
}

/// The name of a session value was empty or longer than 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidName(());

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a session value has 1 to 64 bytes")
    }
}

impl std::error::Error for InvalidName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_64_bytes() {
        assert!(Key::<u8>::named("").is_err());
        assert!(Key::<u8>::named("x".repeat(64)).is_ok());
        assert!(Key::<u8>::named("x".repeat(65)).is_err());
        assert_eq!(Key::<u8>::named("é").unwrap().name(), "é");
    }
}
