//! Tasks: work for later, run at least once, its effect recorded once.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::key::NameError;

/// The id of a task: a UUID of version 7, so that ids are in the order of their making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub Uuid);

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(formatter)
    }
}

impl FromStr for TaskId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Uuid::try_parse(text).map(Self).map_err(|_| NameError { what: "task id", allowed: "a UUID" })
    }
}

/// What sort of work, such as `profile.patch`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskType(Box<str>);

impl TaskType {
    /// Checks the name.
    ///
    /// # Errors
    /// [`NameError`] says what is allowed.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let valid = (1..=63).contains(&text.len()) && text.as_bytes()[0].is_ascii_lowercase() && text.bytes().all(plain);
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(NameError { what: "task type", allowed: "1–63 of a–z, 0–9, ., _ and -, beginning with a letter" })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
