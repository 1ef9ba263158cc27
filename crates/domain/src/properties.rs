//! The served values of an entity, as the text in which they are stored.

use std::{
    borrow::Cow,
    fmt::{self, Formatter},
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::stored::Malformed;

/// A JSON object from field to winning value, with normal values, in the order of the fields. A `null` is served as absent.
///
/// Most reads only pass the values on, so they stay text until somebody asks for one.
#[derive(Clone)]
pub struct Properties(Box<str>);

/// A field and the JSON text of its value.
pub type Member<'a> = (Cow<'a, str>, &'a str);

impl Properties {
    /// The stored text. Whether it is well-formed shows when it is looked into.
    #[must_use]
    pub fn from_stored(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The stored text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The served fields in their order, each with the JSON text of its value.
    ///
    /// # Errors
    /// [`Malformed`] if this is no JSON object.
    pub fn members(&self) -> Result<Vec<Member<'_>>, Malformed> {
        serde_json::from_str(&self.0).map(|Members(members)| members).map_err(|_| MALFORMED)
    }

    /// The served values.
    ///
    /// # Errors
    /// [`Malformed`] if this is no JSON object.
    pub fn to_map(&self) -> Result<Map<String, Value>, Malformed> {
        let mut map: Map<String, Value> = serde_json::from_str(&self.0).map_err(|_| MALFORMED)?;
        map.retain(|_, value| !value.is_null());
        Ok(map)
    }

    /// One served value.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<Value> {
        let members = self.members().ok()?;
        let (_, value) = members.iter().find(|(name, _)| name == field)?;
        serde_json::from_str(value).ok()
    }
}

const MALFORMED: Malformed = Malformed("properties");

impl From<&Map<String, Value>> for Properties {
    fn from(values: &Map<String, Value>) -> Self {
        // Maps with text keys and finite numbers only: there is nothing that could fail.
        Self(serde_json::to_string(values).unwrap_or_default().into())
    }
}

/// Equal if they serve the same.
impl PartialEq for Properties {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || matches!((self.members(), other.members()), (Ok(ours), Ok(theirs)) if ours == theirs)
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

struct Members<'a>(Vec<Member<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some(Name(field)) = map.next_key()? {
            let value = map.next_value::<&RawValue>()?.get();
            if value != "null" {
                members.push((field, value));
            }
        }
        Ok(Members(members))
    }
}

/// Borrowed from the text unless it has escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_the_texts_of_what_is_served() {
        let properties = Properties::from_stored(r#"{"a\"b":[1, {"x":null}],"gone":null,"name":"Ada \u00e9"}"#);
        let members = properties.members().unwrap();
        assert_eq!(members, [("a\"b".into(), r#"[1, {"x":null}]"#), ("name".into(), r#""Ada \u00e9""#)]);
        assert_eq!(properties.get("name"), Some(json!("Ada é")));
        assert_eq!(properties.get("gone"), None);
        assert_eq!(Value::Object(properties.to_map().unwrap()), json!({"a\"b": [1, {"x": null}], "name": "Ada é"}));
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        for text in ["", "null", "[]", "{", r#"{"a":}"#, "{} {}"] {
            assert_eq!(Properties::from_stored(text).members(), Err(MALFORMED), "{text}");
            assert_eq!(Properties::from_stored(text).to_map(), Err(MALFORMED), "{text}");
        }
    }

    #[test]
    fn nulls_make_no_difference() {
        let of = Properties::from_stored;
        assert_eq!(of(r#"{"a":1,"b":null}"#), of(r#"{"a":1}"#));
        assert_ne!(of(r#"{"a":1,"b":2}"#), of(r#"{"a":1}"#));
        assert_eq!(of(r#"{"a":1}"#), Properties::from(json!({"a": 1, "b": null}).as_object().unwrap()));
    }
}
