//! From what a source answers to facts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use thiserror::Error;

use crate::{
    entity::MAX_AHEAD_MICROS,
    fact::Fact,
    json,
    key::{FieldName, SourceName},
    moment::Moment,
    profile,
};

use super::Pointer;

/// The field that says about whom a document is. It is never a source's to say: a view serves the id that was asked for.
const ID: &str = "id";

/// Which part of a document is which field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Fields, and where their values lie. What lies nowhere is no fact. A member of the document that no pointer goes through
    /// is a field of its own name.
    pub fields: BTreeMap<FieldName, Pointer>,
    /// When it was true, as an RFC 3339 time. Without: at the beginning of time.
    pub reference_date: Option<Pointer>,
}

/// Why an answer can't be used. Then none of it is.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MappingError {
    /// It is JSON, but nothing that could have fields.
    #[error("the answer is no object")]
    NotAnObject,
    /// It says of itself that it is about somebody else.
    #[error("the answer is about another id")]
    AnotherId,
    /// A value that the field can't have.
    #[error("the value of {0} is none that it can have")]
    Value(FieldName),
    /// More fields than are taken.
    #[error("there are more than {} fields", profile::MAX_STORED_FIELDS)]
    TooMany,
    /// What should say when it was true is no time, or one that hasn't come.
    #[error("the reference date is no RFC 3339 time, or more than 5 minutes ahead")]
    Date,
}

impl Mapping {
    /// What a document says, as the source that answered with it. `id` is whom it was asked about, and `now` bounds its dates, as
    /// for facts that are stored.
    ///
    /// # Errors
    /// See [`MappingError`].
    pub fn facts(
        &self,
        source: &SourceName,
        id: &str,
        document: Value,
        now: Moment,
    ) -> Result<Vec<(FieldName, Fact)>, MappingError> {
        let reference_date = self.date(&document, now)?;
        let mut values: Vec<(FieldName, Value)> = Vec::new();
        for (field, pointer) in &self.fields {
            let Some(value) = pointer.find(&document) else { continue };
            if field.as_str() != ID {
                values.push((field.clone(), value.clone()));
            } else if !is_id(value, id) {
                return Err(MappingError::AnotherId);
            }
        }
        match document {
            Value::Object(members) => {
                let named: BTreeSet<String> =
                    self.fields.values().chain(&self.reference_date).filter_map(Pointer::first).collect();
                let rest = members.into_iter().filter(|(name, _)| name != ID && !named.contains(name));
                let rest = rest.filter_map(|(name, value)| Some((FieldName::parse(&name).ok()?, value)));
                values.extend(rest.filter(|(field, _)| !self.fields.contains_key(field)));
            }
            _ if values.is_empty() => return Err(MappingError::NotAnObject),
            _ => {}
        }
        if values.len() > profile::MAX_STORED_FIELDS {
            return Err(MappingError::TooMany);
        }
        if let Some((field, _)) = values.iter().find(|(_, value)| json::depth(value) > profile::MAX_DEPTH) {
            return Err(MappingError::Value(field.clone()));
        }
        let fact = |value| Fact { source: source.clone(), reference_date, value };
        Ok(values.into_iter().map(|(field, value)| (field, fact(value))).collect())
    }

    fn date(&self, document: &Value, now: Moment) -> Result<Moment, MappingError> {
        let Some(found) = self.reference_date.as_ref().and_then(|pointer| pointer.find(document)) else { return Ok(Moment::MIN) };
        if found.is_null() {
            return Ok(Moment::MIN);
        }
        let date: Moment = found.as_str().and_then(|text| text.parse().ok()).ok_or(MappingError::Date)?;
        if date > now.plus_micros(MAX_AHEAD_MICROS) { Err(MappingError::Date) } else { Ok(date) }
    }
}

/// Whether a document's id is the one that was asked for: as text whatever its case, or as a number.
fn is_id(value: &Value, id: &str) -> bool {
    match value {
        Value::String(text) => text.eq_ignore_ascii_case(id),
        Value::Number(number) => number.to_string() == id,
        _ => false,
    }
}
