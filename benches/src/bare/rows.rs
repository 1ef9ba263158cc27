//! A profile as rows: what the service keeps of one that was created over REST.

use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};
use std::{borrow::Cow, collections::BTreeMap};
use uuid::Uuid;

use crate::sample;

/// The tenant of requests that name none.
pub(super) const TENANT: &str = "default";
pub(super) const TYPE: &str = "profile";
/// Of the search keys.
const NAMESPACE: Uuid = Uuid::from_u128(0x7d0e_6a0c_51d7_5c4e_9a53_3f0f_66c2_9b10);

/// The body of a POST.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Document {
    pub(super) name: String,
    pub(super) email: String,
    bio: String,
    attributes: Map<String, Value>,
}

/// Rows of `entities`, `entity_values`, `profile_emails` and `feed`.
pub(super) struct Rows {
    pub(super) reference: Uuid,
    pub(super) at: Timestamp,
    pub(super) properties: Map<String, Value>,
    pub(super) provenance: Value,
    pub(super) name_key: String,
    pub(super) email_key: String,
    pub(super) keys: Vec<i64>,
    pub(super) changes: Map<String, Value>,
}

/// The body of a submission.
#[derive(Debug, Deserialize)]
pub(super) struct Submission<'b> {
    #[serde(rename = "type")]
    pub(super) task_type: &'b str,
    pub(super) payload: Map<String, Value>,
}

impl Submission<'_> {
    /// What the service answers.
    pub(super) fn answer(&self, id: Uuid, run_at: Timestamp, created_at: Timestamp) -> String {
        let (kind, status) = (self.task_type, "scheduled");
        json!({"id": id, "type": kind, "status": status, "run_at": run_at, "created_at": created_at}).to_string()
    }
}

impl Document {
    /// The rows of a profile that is created now, under this id.
    pub(super) fn rows(&self, reference: Uuid, at: Timestamp) -> Rows {
        let mut properties = self.attributes.clone();
        let own = [("name", &self.name), ("email", &self.email), ("bio", &self.bio)];
        properties.extend(own.map(|(field, text)| (field.to_owned(), Value::from(text.as_str()))));
        let email_key = self.email.to_ascii_lowercase();
        let mut keys: Vec<i64> = self.attributes.iter().map(|(field, value)| search_key(field, value)).collect();
        keys.push(hash("email", &email_key));
        keys.sort_unstable();
        let fields: Vec<&String> = properties.keys().collect();
        let provenance = json!([["api", at.as_microsecond(), fields]]);
        let changes = properties.iter().map(|(field, value)| (field.clone(), json!({"new": value}))).collect();
        Rows { reference, at, provenance, name_key: self.name.to_ascii_lowercase(), email_key, keys, changes, properties }
    }

    /// The profile of this number in a store that is filled, and its rows.
    pub(super) fn numbered(number: u64) -> Result<(Self, Rows)> {
        let document: Self = serde_json::from_str(&sample::document(number))?;
        let at = Timestamp::from_microsecond(sample::created_at(number))?;
        let rows = document.rows(sample::reference(number), at);
        Ok((document, rows))
    }

    /// What is answered.
    pub(super) fn answer(&self, id: Uuid, at: Timestamp) -> Vec<u8> {
        let profile = Profile {
            id: &id.to_string(),
            name: &self.name,
            email: &self.email,
            bio: &self.bio,
            attributes: &self.attributes,
            images: [],
            version: 1,
            created_at: at,
            updated_at: at,
        };
        // Text, numbers and maps with text keys: nothing that could fail.
        serde_json::to_vec(&profile).unwrap_or_default()
    }

    /// What the service answers to a GET, from its `source`.
    pub(super) fn ready(&self, rows: &Rows, source: &str) -> String {
        let without = String::from_utf8_lossy(&self.answer(rows.reference, rows.at)).into_owned();
        format!("{{\"source\":\"{source}\",{}", &without[1..])
    }
}

fn search_key(field: &str, value: &Value) -> i64 {
    match value {
        Value::String(text) => hash(field, text),
        scalar => hash(field, &scalar.to_string()),
    }
}

fn hash(field: &str, text: &str) -> i64 {
    let name = [TYPE, field, text].join("\0");
    Uuid::new_v5(&NAMESPACE, name.as_bytes()).as_u64_pair().0.cast_signed()
}

/// A new id. Version 7, as the service's.
#[expect(clippy::disallowed_methods, reason = "a program of its own, which injects nothing")]
pub(super) fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// To whole microseconds.
#[expect(clippy::disallowed_methods, reason = "a program of its own, which injects nothing")]
pub(super) fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default()
}

#[derive(Serialize)]
struct Profile<'a> {
    id: &'a str,
    name: &'a str,
    email: &'a str,
    bio: &'a str,
    attributes: &'a Map<String, Value>,
    images: [(); 0],
    version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A row of a list, as it was read.
pub(super) struct Listed<'a> {
    pub(super) reference: &'a str,
    pub(super) version: i64,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    /// As JSON text.
    pub(super) properties: &'a str,
}

/// The answer to a list, byte for byte the service's but for the cursor.
pub(super) struct Listing(Vec<u8>);

impl Listing {
    pub(super) fn new() -> Self {
        Self(br#"{"items":["#.to_vec())
    }

    pub(super) fn push(&mut self, row: &Listed<'_>) -> serde_json::Result<()> {
        if self.0.last() != Some(&b'[') {
            self.0.push(b',');
        }
        // Values go from text to text as they are.
        let mut fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(row.properties)?;
        let own = ["name", "email", "bio"].map(|field| fields.remove(field));
        let profile = RawProfile {
            id: row.reference,
            name: own[0],
            email: own[1],
            bio: own[2],
            attributes: &fields,
            images: [],
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        serde_json::to_writer(&mut self.0, &profile)
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(br#"],"next_cursor":null}"#);
        self.0
    }
}

#[derive(Serialize)]
struct RawProfile<'a> {
    id: &'a str,
    name: Option<&'a RawValue>,
    email: Option<&'a RawValue>,
    bio: Option<&'a RawValue>,
    attributes: &'a BTreeMap<Cow<'a, str>, &'a RawValue>,
    images: [(); 0],
    version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}
