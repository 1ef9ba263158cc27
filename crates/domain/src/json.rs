//! JSON as this service takes and keeps it: parsed strictly, normalised, and printed canonically.
//!
//! RFC 8259 leaves duplicate members and number ranges open; here a document either can be kept exactly or is refused with
//! the path of the member that can't (I-JSON, RFC 7493, is the model). Numbers become i64 or u64 where they are integral and
//! in range, else the nearest double in its shortest form; so `1e2`, `100.0` and `100` are one value.

use std::{borrow::Cow, cell::RefCell, collections::BTreeMap, fmt};

use serde_json::{Map, Number, Value, value::RawValue};
use thiserror::Error;

/// How deep arrays and objects may nest in any document that is parsed at all.
pub const MAX_PARSE_DEPTH: usize = 64;

/// Why a text was not taken as JSON.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JsonError {
    /// The text is not JSON.
    #[error("{reason} at line {line} column {column}")]
    Syntax {
        /// What the parser found.
        reason: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Nested beyond [`MAX_PARSE_DEPTH`].
    #[error("nested more than {MAX_PARSE_DEPTH} levels deep")]
    TooDeep,
    /// One object names a member twice, so which one counts is anyone's guess.
    #[error("the member {path} is given twice")]
    Duplicate {
        /// The member, as `attributes.plan`.
        path: String,
    },
    /// Well-formed, but no store could give it back as it was.
    #[error("{path}: {why}")]
    Inexact {
        /// The member, as `attributes.plan`; empty for the document itself.
        path: String,
        /// What about it can't be kept.
        why: Inexact,
    },
}

/// What about a value can't be kept exactly.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Inexact {
    /// An integer beyond i64 and u64.
    #[error("integers must lie between -9223372036854775808 and 18446744073709551615; send larger ones as strings")]
    Integer,
    /// A number beyond a double's range.
    #[error("numbers must lie within the range of a double; send larger ones as strings")]
    Number,
    /// The character U+0000, which PostgreSQL has no place for.
    #[error("text must not contain the character U+0000")]
    Nul,
}

/// Parses and normalises one JSON document.
///
/// # Errors
/// See [`JsonError`]: [`JsonError::Inexact`] for what is JSON but can't be kept, the others for what isn't acceptable JSON.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let trouble = RefCell::new(Trouble::default());
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let parsed = serde::de::DeserializeSeed::deserialize(Node { depth: 0, trouble: &trouble }, &mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    let Trouble { kind, path, oversized } = trouble.into_inner();
    match (parsed, kind) {
        (Ok(value), _) => {
            if oversized {
                refuse_inexact_numbers(text)?;
            }
            Ok(value)
        }
        (Err(_), Some(Kind::TooDeep)) => Err(JsonError::TooDeep),
        (Err(_), Some(Kind::Duplicate)) => Err(JsonError::Duplicate { path: dotted(path) }),
        (Err(_), Some(Kind::Nul)) => Err(JsonError::Inexact { path: dotted(path), why: Inexact::Nul }),
        (Err(error), None) => {
            refuse_inexact_numbers(text)?;
            Err(syntax(&error))
        }
    }
}

/// Compact text of a normalised value; equal values have equal texts.
#[must_use]
pub fn canonical(value: &Value) -> String {
    // It has text keys and finite numbers only, so nothing fails. Its `Display` does the same by way of a formatter.
    serde_json::to_string(value).unwrap_or_default()
}

/// Brings every number of a value into its one form, for values that did not come through [`parse`].
#[must_use]
pub fn normalise(value: Value) -> Value {
    match value {
        Value::Number(number) => normal_number(&number),
        Value::Array(items) => Value::Array(items.into_iter().map(normalise).collect()),
        Value::Object(members) => Value::Object(members.into_iter().map(|(key, value)| (key, normalise(value))).collect()),
        other => other,
    }
}

/// Whether every number is in its one form already, so that [`normalise`] would change nothing.
#[must_use]
pub fn is_normal(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64() || normal_number(number) == *value,
        Value::Array(items) => items.iter().all(is_normal),
        Value::Object(members) => members.values().all(is_normal),
        _ => true,
    }
}

/// Whether any text or member name holds U+0000, which PostgreSQL has no place for.
#[must_use]
pub fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(contains_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || contains_nul(value)),
        _ => false,
    }
}

/// How deep arrays and objects nest: 0 for a scalar, 1 for `[]`.
#[must_use]
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Applies a merge patch (RFC 7396).
#[must_use]
pub fn merge_patch(target: Option<&Value>, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut members = match target {
        Some(Value::Object(members)) => members.clone(),
        _ => Map::new(),
    };
    for (key, change) in changes {
        if change.is_null() {
            members.remove(key);
        } else {
            let merged = merge_patch(members.get(key), change);
            members.insert(key.clone(), merged);
        }
    }
    Value::Object(members)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the bounds are checked first, and are powers of two"
)]
fn normal_number(number: &Number) -> Value {
    const TWO_63: f64 = (1_u64 << 63) as f64;
    if !number.is_f64() {
        return Value::Number(number.clone());
    }
    let float = number.as_f64().unwrap_or_default();
    if float.fract() != 0.0 {
        return Value::Number(number.clone());
    }
    if (-TWO_63..TWO_63).contains(&float) {
        Value::from(float as i64)
    } else if (0.0..TWO_63 * 2.0).contains(&float) {
        Value::from(float as u64)
    } else {
        Value::Number(number.clone())
    }
}

/// What the visitor met that serde's error can't carry. The path is filled from the inside out, and only on failure.
#[derive(Default)]
struct Trouble {
    kind: Option<Kind>,
    path: Vec<String>,
    oversized: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    TooDeep,
    Duplicate,
    Nul,
}

#[derive(Clone, Copy)]
struct Node<'a> {
    depth: usize,
    trouble: &'a RefCell<Trouble>,
}

impl Node<'_> {
    fn fail<E: serde::de::Error>(self, kind: Kind) -> E {
        self.trouble.borrow_mut().kind = Some(kind);
        E::custom("refused")
    }

    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_PARSE_DEPTH {
            return Err(self.fail(Kind::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn at(self, step: impl FnOnce() -> String) {
        let mut trouble = self.trouble.borrow_mut();
        if trouble.kind.is_some() {
            trouble.path.push(step());
        }
    }

    fn text<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') { Err(self.fail(Kind::Nul)) } else { Ok(()) }
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Node<'_> {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).unwrap_or_else(|| Number::from(0));
        let normal = normal_number(&number);
        if value.abs() >= 9.2e18 {
            // It may have been written as an integer that no longer is what it was: looked at again, by its letters.
            self.trouble.borrow_mut().oversized = true;
        }
        Ok(normal)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.text(value)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.text(&value)?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        loop {
            match access.next_element_seed(inner) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return Ok(Value::Array(items)),
                Err(error) => {
                    self.at(|| items.len().to_string());
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut members = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = match self.text(&key).and_then(|()| access.next_value_seed(inner)) {
                Ok(value) => value,
                Err(error) => {
                    self.at(|| key);
                    return Err(error);
                }
            };
            if members.contains_key(&key) {
                let error = self.fail(Kind::Duplicate);
                self.at(|| key);
                return Err(error);
            }
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

/// The slow road, taken only for documents with huge numbers: finds the first that its letters show to be inexact.
fn refuse_inexact_numbers(text: &[u8]) -> Result<(), JsonError> {
    let Ok(raw) = serde_json::from_slice::<&RawValue>(text) else { return Ok(()) };
    let mut path = Vec::new();
    match inexact_number(raw, &mut path) {
        Some(why) => {
            path.reverse();
            Err(JsonError::Inexact { path: dotted(path), why })
        }
        None => Ok(()),
    }
}

/// The path is from the inside out, as in [`Trouble`].
fn inexact_number(raw: &RawValue, path: &mut Vec<String>) -> Option<Inexact> {
    let text = raw.get().trim();
    if path.len() > MAX_PARSE_DEPTH {
        return None;
    }
    match text.as_bytes().first()? {
        b'{' => serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(text).ok()?.into_iter().find_map(|(key, inner)| {
            path.push(key.into_owned());
            inexact_number(inner, path).or_else(|| {
                path.pop();
                None
            })
        }),
        b'[' => serde_json::from_str::<Vec<&RawValue>>(text).ok()?.into_iter().enumerate().find_map(|(index, inner)| {
            path.push(index.to_string());
            inexact_number(inner, path).or_else(|| {
                path.pop();
                None
            })
        }),
        b'-' | b'0'..=b'9' => {
            let integer = !text.contains(['.', 'e', 'E']);
            if integer && text.parse::<i64>().is_err() && text.parse::<u64>().is_err() {
                Some(Inexact::Integer)
            } else if text.parse::<f64>().is_ok_and(f64::is_infinite) {
                Some(Inexact::Number)
            } else {
                None
            }
        }
        _ => None,
    }
}

fn dotted(mut inside_out: Vec<String>) -> String {
    inside_out.reverse();
    inside_out.join(".")
}

fn syntax(error: &serde_json::Error) -> JsonError {
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or("not JSON").to_owned();
    JsonError::Syntax { reason, line: error.line(), column: error.column() }
}
