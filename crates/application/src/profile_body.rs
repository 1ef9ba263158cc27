//! The one serialised form of a profile: full, unmasked, without `source`.

use std::io::Write;

use bytes::Bytes;
use profile_domain::{EntityView, Living, Moment, Reference, Version, json::canonical, profile, stored::Malformed};
use profile_ports::StoreError;
use serde_json::Value;

/// Version of the form itself. Part of the `ETag`, so that a change of the form is a change of every representation.
pub const SCHEMA: u32 = 1;

/// What a profile has beside the texts of its values.
const FRAME_BYTES: usize = 256;

/// A profile as JSON, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileBody {
    /// The version it shows.
    pub version: Version,
    /// `{"id":…}`; `http` puts `source` in front where it belongs.
    pub json: Bytes,
}

impl ProfileBody {
    pub(crate) fn of_view(view: &EntityView) -> Result<Self, StoreError> {
        let mut json = Vec::with_capacity(view.properties.as_str().len() + FRAME_BYTES);
        write_view(&mut json, view)?;
        Ok(Self { version: view.version, json: json.into() })
    }

    pub(crate) fn of_living(reference: &Reference, version: Version, living: &Living) -> Self {
        Self::explained(reference, version, living, None)
    }

    pub(crate) fn explained(reference: &Reference, version: Version, living: &Living, explain: Option<&Value>) -> Self {
        let values: Vec<(&str, String)> = living.served().map(|(field, value)| (field.as_str(), canonical(value))).collect();
        let members: Vec<(&str, &str)> = values.iter().map(|(field, value)| (*field, value.as_str())).collect();
        let (created_at, updated_at) = (living.created_at, living.updated_at);
        let mut json = Vec::with_capacity(1024);
        write(&mut json, &Profile { id: reference, version, created_at, updated_at, members: &members, explain });
        Self { version, json: json.into() }
    }
}

/// Profiles, one after the other, as elements of an array.
pub(crate) fn listed(views: &[EntityView]) -> Result<Vec<u8>, StoreError> {
    let size: usize = views.iter().map(|view| view.properties.as_str().len() + FRAME_BYTES).sum();
    let mut json = Vec::with_capacity(size);
    for (index, view) in views.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write_view(&mut json, view)?;
    }
    Ok(json)
}

/// Values go from text to text as they are.
fn write_view(json: &mut Vec<u8>, view: &EntityView) -> Result<(), StoreError> {
    let members = view.properties.members().map_err(|malformed: Malformed| StoreError::Corrupt(malformed.into()))?;
    let EntityView { key, version, created_at, updated_at, .. } = view;
    let (version, created_at, updated_at) = (*version, *created_at, *updated_at);
    write(json, &Profile { id: &key.reference, version, created_at, updated_at, members: &members, explain: None });
    Ok(())
}

/// The parts. A member is a field and the JSON text of its value.
struct Profile<'a, F> {
    id: &'a Reference,
    version: Version,
    created_at: Moment,
    updated_at: Moment,
    members: &'a [(F, &'a str)],
    explain: Option<&'a Value>,
}

fn write<F: AsRef<str>>(json: &mut Vec<u8>, profile: &Profile<'_, F>) {
    json.extend_from_slice(b"{\"id\":");
    quoted(json, profile.id.as_str());
    for own in ["name", "email", "bio"] {
        if let Some((_, value)) = profile.members.iter().find(|(field, _)| field.as_ref() == own) {
            for part in [",\"", own, "\":", value] {
                json.extend_from_slice(part.as_bytes());
            }
        }
    }
    json.extend_from_slice(b",\"attributes\":");
    let mut before = b'{';
    for (field, value) in profile.members.iter().filter(|(field, _)| !profile::is_own_field(field.as_ref())) {
        json.push(before);
        quoted(json, field.as_ref());
        json.push(b':');
        json.extend_from_slice(value.as_bytes());
        before = b',';
    }
    json.extend_from_slice(if before == b'{' { b"{}" } else { b"}" });
    let Profile { version, created_at, updated_at, .. } = profile;
    // Writing to a Vec can't fail.
    let _ = write!(json, r#","images":[],"version":{},"created_at":"{created_at}","updated_at":"{updated_at}""#, version.get());
    if let Some(explain) = profile.explain {
        let _ = write!(json, r#","explain":{explain}"#);
    }
    json.push(b'}');
}

/// A JSON text.
fn quoted(json: &mut Vec<u8>, text: &str) {
    // Text and a Vec: there is nothing that could fail.
    let _ = serde_json::to_writer(json, text);
}
