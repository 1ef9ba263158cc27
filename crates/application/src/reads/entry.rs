//! What is kept of a profile: when it was last changed, and its JSON.

use bytes::{BufMut, Bytes, BytesMut};
use profile_domain::{Moment, Version};
use profile_ports::{
    StoreError,
    cache::{Standing, State},
};

use crate::ProfileBody;

use super::{SKEW, SPANS};

/// The moment in front of the JSON: microseconds, big-endian.
const HEAD: usize = size_of::<i64>();

pub(super) struct Entry;

impl Entry {
    pub(super) fn state(body: &ProfileBody, updated_at: Moment) -> State {
        let mut bytes = BytesMut::with_capacity(HEAD + body.json.len());
        bytes.put_i64(updated_at.as_micros());
        bytes.extend_from_slice(&body.json);
        State::Living { version: body.version, bytes: bytes.freeze() }
    }

    pub(super) fn body(version: Version, bytes: &Bytes) -> Result<ProfileBody, StoreError> {
        if bytes.len() < HEAD {
            return Err(StoreError::Corrupt("a cached profile has no moment".into()));
        }
        Ok(ProfileBody { version, json: bytes.slice(HEAD..) })
    }

    /// Whether others may still load what was before. By the clocks of the instance that changed it and of this one.
    pub(super) fn standing(state: &State, now: Moment) -> Standing {
        let State::Living { bytes, .. } = state else { return Standing::Fresh };
        let Some(head) = bytes.first_chunk::<HEAD>() else { return Standing::Fresh };
        let age = now.as_micros().saturating_sub(i64::from_be_bytes(*head));
        let settled = i64::try_from((SPANS.floor() + SKEW).as_micros()).unwrap_or(i64::MAX);
        if age > settled { Standing::Settled } else { Standing::Fresh }
    }
}
