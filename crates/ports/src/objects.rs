//! Objects: what is too large for a row, such as an export or an image. Bytes under a key, in a folder or in a store like S3.
//!
//! Who may fetch one, and until when, is not known here; nor what the bytes mean.

use std::{fmt, ops::Range, str::FromStr};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use profile_domain::{Moment, TenantId};
use thiserror::Error;

use crate::BoxError;

/// Names an object among those of its tenant: an area, such as `exports`, and a path within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Box<str>);

/// The text is no key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "an object's key must be 2–8 parts separated by /, each 1–100 of a–z, 0–9, ., _ and -, beginning with a letter or digit and not ending with a dot"
)]
pub struct ObjectKeyError;

impl ObjectKey {
    /// Checks a key: it can't name anything outside its place, whatever becomes of it there [`object_keys_stay_in_their_place`].
    ///
    /// # Errors
    /// [`ObjectKeyError`] says what is allowed.
    pub fn parse(text: &str) -> Result<Self, ObjectKeyError> {
        let parts = text.split('/');
        if (2..=8).contains(&parts.clone().count()) && parts.into_iter().all(is_part) {
            Ok(Self(text.into()))
        } else {
            Err(ObjectKeyError)
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is among: the first part.
    #[must_use]
    pub fn area(&self) -> &str {
        self.0.split_once('/').map_or("", |(area, _)| area)
    }

    /// Where it is there: the other parts.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, path)| path)
    }
}

fn is_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=100).contains(&part.len())
        && plain(part.as_bytes()[0])
        && !part.ends_with('.')
        && part.bytes().all(|byte| plain(byte) || b"._-".contains(&byte))
}

impl FromStr for ObjectKey {
    type Err = ObjectKeyError;

    fn from_str(text: &str) -> Result<Self, ObjectKeyError> {
        Self::parse(text)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What can go wrong. Absence is no error.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// The store can't be reached or is too slow, has no space left, or refuses. Nothing changed.
    #[error("the objects are unavailable")]
    Unavailable(#[source] BoxError),
    /// What should have been put couldn't be read to its end. Nothing changed.
    #[error("the content ended with an error")]
    Content(#[source] BoxError),
    /// More bytes than an object may have. Nothing changed.
    #[error("an object may have {limit} bytes at most")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// The object has fewer bytes than the range begins with.
    #[error("the object has {size} bytes")]
    OutOfRange {
        /// What it has.
        size: u64,
    },
}

/// Bytes as they come.
pub type Content<E> = BoxStream<'static, Result<Bytes, E>>;

/// An object that is being read.
pub struct Object {
    /// Its bytes, all of them.
    pub size: u64,
    /// Which of them come.
    pub range: Range<u64>,
    /// When it was put, by the store's clock.
    pub put_at: Moment,
    /// They.
    pub content: Content<ObjectError>,
}

/// What a list says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub key: ObjectKey,
    /// Its bytes.
    pub size: u64,
    /// When it was put, by the store's clock.
    pub put_at: Moment,
}

/// A store of objects. What belongs to another tenant is as if it weren't there [`object_tenants_are_apart`].
#[async_trait]
pub trait Objects: Send + Sync {
    /// Puts an object, in the place of one that may be there. Gives its size.
    ///
    /// - **Whole or not at all**: others see what was before until everything is there; and where it fails, or whoever puts it
    ///   walks away, what was before stays, and nothing of the rest is left [`object_puts_are_whole`].
    /// - **Durable** before it is acknowledged: it is there after a restart [`objects_survive_reopening`].
    /// - **Bounded**: one byte more than allowed is refused [`object_sizes_are_bounded`]; memory holds a few MiB of it at most.
    ///
    /// # Errors
    /// See [`ObjectError`].
    async fn put(&self, tenant: &TenantId, key: &ObjectKey, content: Content<BoxError>) -> Result<u64, ObjectError>;

    /// What was put last [`objects_give_what_was_put`], or a range of it: cut where the object ends, refused where it begins
    /// after that [`object_ranges_are_parts`]. `None` if there is none.
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`], also within the content, which ends with it; [`ObjectError::OutOfRange`].
    async fn get(&self, tenant: &TenantId, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Option<Object>, ObjectError>;

    /// Removes an object; one that isn't there is removed already [`objects_are_removed`].
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`].
    async fn delete(&self, tenant: &TenantId, key: &ObjectKey) -> Result<(), ObjectError>;

    /// Objects of an area that were put before a moment, whoever's, in no order, at most so many: for those who clean up
    /// [`object_lists_are_by_area_and_age`].
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`].
    async fn list(&self, area: &str, before: Moment, limit: usize) -> Result<Vec<ObjectEntry>, ObjectError>;
}
