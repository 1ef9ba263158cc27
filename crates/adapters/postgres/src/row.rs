//! Rows, read as what the domain knows; what can't be read is corrupt.

use std::collections::HashMap;

use profile_domain::{
    Entity, EntityKey, EntityType, EntityView, Living, Moment, Properties, Reference, Version, stored::FactColumns,
};
use profile_ports::StoreError;
use serde_json::{Map, Value, value::RawValue};
use tokio_postgres::{
    Row,
    types::{FromSql, Json},
};

/// Entities as loaded, with the numbers of those that live.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) entities: HashMap<EntityKey, Entity>,
    pub(crate) ids: HashMap<EntityKey, i64>,
}

impl Loaded {
    /// From the rows of `entities.sql` and `lock_entities.sql`.
    pub(crate) fn from_rows(rows: &[Row]) -> Result<Self, StoreError> {
        let mut loaded = Self::default();
        for row in rows {
            let key = key(row)?;
            let (entity, id) = entity(row)?;
            loaded.ids.extend(id.map(|id| (key.clone(), id)));
            loaded.entities.insert(key, entity);
        }
        Ok(loaded)
    }
}

/// An entity, and the number of its life.
pub(crate) fn entity(row: &Row) -> Result<(Entity, Option<i64>), StoreError> {
    let id: Option<i64> = get(row, "id")?;
    let floor: Option<jiff::Timestamp> = get(row, "deleted_at")?;
    let living = id.map(|_| living(row)).transpose()?;
    Ok((Entity { version: version(row)?, floor: floor.map(Moment::from), living }, id))
}

fn living(row: &Row) -> Result<Living, StoreError> {
    let Json(properties) = get(row, "properties")?;
    let Json(provenance) = get(row, "provenance")?;
    let superseded: Option<Json<Map<String, Value>>> = get(row, "superseded")?;
    let columns = FactColumns { properties, provenance, superseded: superseded.map(|Json(superseded)| superseded) };
    Ok(Living {
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
        rules_revision: get(row, "rules_revision")?,
        fields: columns.into_fields().map_err(corrupt)?,
    })
}

/// From a row of one of the list statements or of `view.sql`.
pub(crate) fn view(row: &Row) -> Result<EntityView, StoreError> {
    let Json(properties): Json<&RawValue> = get(row, "properties")?;
    Ok(EntityView {
        key: key(row)?,
        id: get(row, "id")?,
        version: version(row)?,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
        properties: Properties::from_stored(properties.get()),
    })
}

pub(crate) fn key(row: &Row) -> Result<EntityKey, StoreError> {
    Ok(EntityKey { entity_type: EntityType::parse(get(row, "type")?).map_err(corrupt)?, reference: reference(row)? })
}

pub(crate) fn reference(row: &Row) -> Result<Reference, StoreError> {
    Reference::parse(get(row, "reference")?).map_err(corrupt)
}

pub(crate) fn version(row: &Row) -> Result<Version, StoreError> {
    Version::new(get(row, "version")?).ok_or_else(|| corrupt("a version is below 1"))
}

pub(crate) fn moment(row: &Row, column: &str) -> Result<Moment, StoreError> {
    get::<jiff::Timestamp>(row, column).map(Moment::from)
}

pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(corrupt)
}

pub(crate) fn corrupt(error: impl Into<profile_ports::BoxError>) -> StoreError {
    StoreError::Corrupt(error.into())
}
