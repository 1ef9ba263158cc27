//! The forms of answers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{
    fact::{Fact, FieldFacts},
    key::FieldName,
    moment::Moment,
    profile::check_value,
};

use super::{Period, Section};

/// What sources say doesn't have the form that the view has.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0} is not of the form that the view has")]
pub struct ShapeError(pub String);

/// The members of a list in a section; all of them scalar.
const PRODUCT: &[&str] = &["product_id", "name", "price"];
const CATEGORY: &[&str] = &["category_id", "category_name"];
const TRANSACTION: &[&str] = &["transaction_id", "amount", "date", "status"];

/// The merged fields of a profile, flat, with the id that was asked for.
#[must_use]
pub fn profile(id: &str, fields: &BTreeMap<FieldName, FieldFacts>) -> Value {
    let mut served = served(fields);
    served.insert("id".into(), id.into());
    Value::Object(served)
}

/// The merged fields of a section, in its form. Of its lists, what doesn't belong to the period is left out.
///
/// # Errors
/// [`ShapeError`] where a value can't be put into that form.
pub fn section(
    section: Section,
    id: &str,
    fields: &BTreeMap<FieldName, FieldFacts>,
    period: Option<Period>,
) -> Result<Value, ShapeError> {
    let fields = served(fields);
    Ok(match section {
        Section::Fields => Value::Object(fields),
        Section::Customer => {
            let preferences = match fields.get("preferences") {
                None => &Map::new(),
                Some(Value::Object(preferences)) => preferences,
                Some(_) => return Err(ShapeError("preferences".into())),
            };
            json!({
                "customer_id": id,
                "name": scalar(&fields, "name")?,
                "email": scalar(&fields, "email")?,
                "preferences": {"language": scalar(preferences, "language")?, "currency": scalar(preferences, "currency")?},
            })
        }
        Section::Master => {
            json!({"products": list(&fields, "products", PRODUCT)?, "categories": list(&fields, "categories", CATEGORY)?})
        }
        Section::Transaction => {
            let mut transactions = list(&fields, "transactions", TRANSACTION)?;
            if let Some(period) = period {
                for transaction in std::mem::take(&mut transactions) {
                    if period.contains(date(&transaction)?) {
                        transactions.push(transaction);
                    }
                }
            }
            json!({"transactions": transactions})
        }
    })
}

/// Whether what one source says can be in this section at all: one that can't is that source's fault alone.
///
/// # Errors
/// [`ShapeError`] where it can't.
pub fn check(of: Section, facts: &[(FieldName, Fact)]) -> Result<(), ShapeError> {
    if of == Section::Fields {
        let wrong =
            facts.iter().find(|(field, fact)| !fact.value.is_null() && check_value(field.as_str(), &fact.value).is_some());
        return wrong.map_or(Ok(()), |(field, _)| Err(ShapeError(field.to_string())));
    }
    let alone = facts.iter().map(|(field, fact)| (field.clone(), FieldFacts::new(fact.clone()))).collect();
    // With a period, so that dates are looked at, too.
    let ever = Period::until(Moment::MAX);
    section(of, "", &alone, Some(ever)).map(drop)
}

fn served(fields: &BTreeMap<FieldName, FieldFacts>) -> Map<String, Value> {
    let values = fields.iter().map(|(field, facts)| (field.as_str().to_owned(), facts.winner.value.clone()));
    values.filter(|(_, value)| !value.is_null()).collect()
}

fn scalar(members: &Map<String, Value>, name: &str) -> Result<Value, ShapeError> {
    match members.get(name) {
        None => Ok(Value::Null),
        Some(Value::Array(_) | Value::Object(_)) => Err(ShapeError(name.into())),
        Some(value) => Ok(value.clone()),
    }
}

fn list(fields: &Map<String, Value>, name: &str, members: &[&str]) -> Result<Vec<Value>, ShapeError> {
    let items = match fields.get(name) {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(ShapeError(name.into())),
    };
    let item = |item: &Value| {
        let Value::Object(given) = item else { return Err(ShapeError(name.into())) };
        members.iter().map(|member| Ok(((*member).to_owned(), scalar(given, member)?))).collect::<Result<Map<_, _>, _>>()
    };
    items.iter().map(|each| item(each).map(Value::Object)).collect()
}

fn date(transaction: &Value) -> Result<Moment, ShapeError> {
    transaction["date"].as_str().and_then(Period::moment_of).ok_or_else(|| ShapeError("date".into()))
}
