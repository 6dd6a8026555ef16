//! What a demo is about.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::problem::ErrorKind;

/// What a demo is about: one of the industries that are known, or any other name, kept as given.
///
/// ```
/// use sessile::Industry;
/// assert_eq!(Industry::new("Financial Services")?, Industry::FINANCIAL);
/// assert_eq!(Industry::new("  Space tourism ")?.as_str(), "Space tourism");
/// assert_eq!(Industry::new("")?, Industry::GENERAL);
/// # Ok::<(), sessile::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Industry(std::borrow::Cow<'static, str>);

/// Under which names people know the industries, without regard to case, beside their own.
const DISPLAY_NAMES: [(&str, Industry); 4] = [
    ("financial services", Industry::FINANCIAL),
    ("finance", Industry::FINANCIAL),
    ("e-commerce", Industry::ECOMMERCE),
    ("health care", Industry::HEALTHCARE),
];

impl Industry {
    /// Banks, insurers, and the like.
    pub const FINANCIAL: Self = Self::known("financial");
    /// Hospitals, practices, and the like.
    pub const HEALTHCARE: Self = Self::known("healthcare");
    /// Shops.
    pub const ECOMMERCE: Self = Self::known("ecommerce");
    /// Factories.
    pub const MANUFACTURING: Self = Self::known("manufacturing");
    /// Software and hardware.
    pub const TECHNOLOGY: Self = Self::known("technology");
    /// Papers, films, and the like.
    pub const MEDIA: Self = Self::known("media");
    /// Where none is given.
    pub const GENERAL: Self = Self::known("general");
    /// All that are known.
    pub const KNOWN: [Self; 7] = [
        Self::FINANCIAL,
        Self::HEALTHCARE,
        Self::ECOMMERCE,
        Self::MANUFACTURING,
        Self::TECHNOLOGY,
        Self::MEDIA,
        Self::GENERAL,
    ];
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    const fn known(name: &'static str) -> Self {
        Self(std::borrow::Cow::Borrowed(name))
    }

    /// The industry of that name. Space around it does not count; none is [`GENERAL`](Self::GENERAL). A known one is
    /// found by its own name and by those that people know it under, without regard to case.
    ///
    /// # Errors
    /// `InvalidDemo` for a name of more than 64 bytes.
    pub fn new(name: &str) -> Result<Self, Error> {
        let name = name.trim();
        if name.is_empty() {
            return Ok(Self::GENERAL);
        }
        if name.len() > Self::MAX_BYTES {
            return Err(Error::new(ErrorKind::InvalidDemo)
                .with_detail("an industry's name has at most 64 bytes"));
        }
        let own = Self::KNOWN
            .into_iter()
            .find(|known| name.eq_ignore_ascii_case(&known.0));
        let shown = DISPLAY_NAMES
            .into_iter()
            .find(|(shown, _)| name.eq_ignore_ascii_case(shown));
        Ok(own
            .or(shown.map(|(_, known)| known))
            .unwrap_or_else(|| Self(name.to_owned().into())))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Industry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Default for Industry {
    fn default() -> Self {
        Self::GENERAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_industries_are_found_by_any_of_their_names() {
        for (given, known) in [
            ("financial", "financial"),
            ("Financial Services", "financial"),
            ("FINANCIAL SERVICES", "financial"),
            ("Healthcare", "healthcare"),
            ("E-Commerce", "ecommerce"),
            (" manufacturing\n", "manufacturing"),
            ("Technology", "technology"),
            ("media", "media"),
            ("", "general"),
            (" \t", "general"),
        ] {
            assert_eq!(Industry::new(given).unwrap().as_str(), known, "{given:?}");
        }
    }

    #[test]
    fn any_other_name_is_kept_as_given_up_to_its_bound() {
        assert_eq!(
            Industry::new(" Fishing & Co. ").unwrap().as_str(),
            "Fishing & Co."
        );
        let longest = "ü".repeat(32);
        assert_eq!(Industry::new(&longest).unwrap().as_str(), longest);
        let error = Industry::new(&format!("{longest}x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidDemo);
    }
}
