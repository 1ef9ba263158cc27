//! Text that is compared: e-mail addresses and names, with the folded forms that stores index.

use std::fmt;

/// An e-mail address in the syntax of the WHATWG HTML standard (§ "valid e-mail address"): ASCII, at most 254 bytes, at
/// most 64 of them before the `@`. Internationalised domains are written in their `xn--` form.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailAddress(Box<str>);

impl EmailAddress {
    /// The address, if the text is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.split_once('@')?;
        let local_ok = (1..=64).contains(&local.len())
            && local.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte));
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        (text.len() <= 254 && local_ok && domain.split('.').all(label_ok)).then(|| Self(text.into()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form under which it is reserved and found.
    #[must_use]
    pub fn key(&self) -> EmailKey {
        EmailKey(self.0.to_ascii_lowercase().into())
    }
}

/// Never prints the address: it would end up in logs.
impl fmt::Debug for EmailAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EmailAddress(…)")
    }
}

/// An e-mail address folded to lower case: equal keys are one mailbox as far as uniqueness and search go.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailKey(Box<str>);

impl EmailKey {
    /// The folded text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key as a store kept it.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for EmailKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EmailKey(…)")
    }
}

/// Folds case character by character (lower case, then upper, then lower), so that `ß`, `ẞ` and `ss`, or the three forms of
/// sigma, are equal, and so that the fold of a prefix is a prefix of the fold. Accents and composition are left as they are.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}
