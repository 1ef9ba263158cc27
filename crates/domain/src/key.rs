//! Names of things: tenants, entities, fields, sources, versions. Each is checked once, when it is made.

use std::{borrow::Borrow, fmt, str::FromStr};

use thiserror::Error;
use uuid::Uuid;

/// A name that breaks its rule: which kind of name, and what is allowed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what} must be {allowed}")]
pub struct NameError {
    /// The kind of name, such as `tenant`.
    pub what: &'static str,
    /// What is allowed, for the person who must mend it.
    pub allowed: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the name against its rule.
            ///
            /// # Errors
            /// [`NameError`] says what is allowed.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(NameError { what: $what, allowed: $allowed }) }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }
    };
}

fn lower_digit_or(byte: u8, others: &[u8]) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || others.contains(&byte)
}

name!(
    /// A client or product whose data is isolated from all others.
    TenantId,
    "tenant",
    "1–63 of a–z, 0–9 and -",
    |text| (1..=63).contains(&text.len()) && text.bytes().all(|byte| lower_digit_or(byte, b"-"))
);

name!(
    /// What sort of thing an entity is, such as `profile` or `organization`.
    EntityType,
    "entity type",
    "1–63 of a–z, 0–9, _ and -, beginning with a letter",
    |text| (1..=63).contains(&text.len())
        && text.as_bytes()[0].is_ascii_lowercase()
        && text.bytes().all(|byte| lower_digit_or(byte, b"_-"))
);

name!(
    /// What names an entity among those of its tenant and type. For a profile, a UUID in its hyphenated lower-case form.
    Reference,
    "reference",
    "1–256 bytes without control characters",
    |text| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
);

name!(
    /// Who reported a fact. [`SourceName::api`] is the source of REST writes.
    SourceName,
    "source",
    "1–63 of a–z, 0–9, ., _ and -, beginning with a letter or digit",
    |text| (1..=63).contains(&text.len())
        && lower_digit_or(text.as_bytes()[0], b"")
        && text.bytes().all(|byte| lower_digit_or(byte, b"._-"))
);

name!(
    /// A field of an entity. A profile's fields are flat: `name`, `email`, `bio`, and each attribute under its own key.
    FieldName,
    "field name",
    "1–128 bytes without U+0000",
    |text| (1..=128).contains(&text.len()) && !text.contains('\0')
);

impl TenantId {
    /// `default`: the tenant where none is named.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

impl EntityType {
    /// `profile`.
    #[must_use]
    pub fn profile() -> Self {
        Self("profile".into())
    }

    /// Whether this is the type with a REST resource of its own.
    #[must_use]
    pub fn is_profile(&self) -> bool {
        &*self.0 == "profile"
    }
}

impl SourceName {
    /// `api`: the source as which REST writes report.
    #[must_use]
    pub fn api() -> Self {
        Self("api".into())
    }
}

/// An entity within its tenant. Ordered by (type, reference) in bytes, which is the order in which stores lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey {
    /// The sort of thing.
    pub entity_type: EntityType,
    /// Which of them.
    pub reference: Reference,
}

impl EntityKey {
    /// The key of a profile.
    #[must_use]
    pub fn profile(id: ProfileId) -> Self {
        Self { entity_type: EntityType::profile(), reference: id.reference() }
    }
}

/// The id of a profile: a UUID; those made here are of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileId(pub Uuid);

impl ProfileId {
    /// The same id as an entity's reference.
    #[must_use]
    pub fn reference(self) -> Reference {
        Reference((&*self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer())).into())
    }
}

impl fmt::Display for ProfileId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(formatter)
    }
}

impl FromStr for ProfileId {
    type Err = NameError;

    /// Any form of UUID that RFC 9562 readers take.
    fn from_str(text: &str) -> Result<Self, NameError> {
        Uuid::try_parse(text).map(Self).map_err(|_| NameError { what: "profile id", allowed: "a UUID" })
    }
}

/// Per entity, +1 on every real change, also over a delete. Begins at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(i64);

impl Version {
    /// The version of an entity that was just created.
    pub const FIRST: Self = Self(1);

    /// A version as it was stored or named by a client; `None` below 1.
    #[must_use]
    pub const fn new(number: i64) -> Option<Self> {
        if number >= 1 { Some(Self(number)) } else { None }
    }

    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
