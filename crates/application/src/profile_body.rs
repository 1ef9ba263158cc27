//! The one serialised form of a profile: full, unmasked, without `source`.

use bytes::Bytes;
use profile_domain::{EntityView, Living, Moment, Reference, Version, profile};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// Version of the form itself. Part of the `ETag`, so that a change of the form is a change of every representation.
pub const SCHEMA: u32 = 1;

/// A profile as JSON, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileBody {
    /// The version it shows.
    pub version: Version,
    /// `{"id":…}`; `http` puts `source` in front where it belongs.
    pub json: Bytes,
}

impl ProfileBody {
    pub(crate) fn of_view(view: &EntityView) -> Self {
        let profile = Profile {
            id: &view.key.reference,
            version: view.version,
            created_at: view.created_at,
            updated_at: view.updated_at,
            value: |field: &str| view.properties.get(field),
            attributes: || view.properties.iter().map(|(field, value)| (field.as_str(), value)),
            explain: None,
        };
        Self { version: view.version, json: json(&profile) }
    }

    pub(crate) fn of_living(reference: &Reference, version: Version, living: &Living) -> Self {
        Self::explained(reference, version, living, None)
    }

    pub(crate) fn explained(reference: &Reference, version: Version, living: &Living, explain: Option<&Value>) -> Self {
        let profile = Profile {
            id: reference,
            version,
            created_at: living.created_at,
            updated_at: living.updated_at,
            value: |field: &str| living.value(field),
            attributes: || living.served().map(|(field, value)| (field.as_str(), value)),
            explain,
        };
        Self { version, json: json(&profile) }
    }
}

fn json(profile: &impl Serialize) -> Bytes {
    // Maps with text keys and finite numbers only: there is nothing that could fail.
    serde_json::to_vec(profile).unwrap_or_default().into()
}

struct Profile<'a, V, A> {
    id: &'a Reference,
    version: Version,
    created_at: Moment,
    updated_at: Moment,
    value: V,
    attributes: A,
    explain: Option<&'a Value>,
}

impl<'a, V, A, I> Serialize for Profile<'a, V, A>
where
    V: Fn(&str) -> Option<&'a Value>,
    A: Fn() -> I,
    I: Iterator<Item = (&'a str, &'a Value)>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", self.id.as_str())?;
        for field in ["name", "email", "bio"] {
            if let Some(value) = (self.value)(field).filter(|value| !value.is_null()) {
                map.serialize_entry(field, value)?;
            }
        }
        map.serialize_entry("attributes", &Attributes(&self.attributes))?;
        map.serialize_entry("images", &[(); 0])?;
        map.serialize_entry("version", &self.version.get())?;
        map.serialize_entry("created_at", &Text(self.created_at))?;
        map.serialize_entry("updated_at", &Text(self.updated_at))?;
        if let Some(explain) = self.explain {
            map.serialize_entry("explain", explain)?;
        }
        map.end()
    }
}

struct Attributes<'f, A>(&'f A);

impl<'a, A, I> Serialize for Attributes<'_, A>
where
    A: Fn() -> I,
    I: Iterator<Item = (&'a str, &'a Value)>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)().filter(|(field, value)| !value.is_null() && !profile::is_own_field(field)))
    }
}

struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
