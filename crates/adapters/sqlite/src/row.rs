//! Rows to domain values. What can't be one is corrupt.

use profile_domain::{
    Entity, EntityKey, EntityType, EntityView, Living, Moment, Properties, Reference, Version,
    stored::{FactColumns, Malformed},
};
use rusqlite::Row;
use serde::de::DeserializeOwned;

use crate::error::Failure;

/// An entity, and what the store alone knows of it.
pub(crate) struct StoredEntity {
    pub(crate) entity: Entity,
    /// Of its present life; a tombstone has none.
    pub(crate) id: Option<i64>,
    pub(crate) name_key: Option<String>,
}

impl TryFrom<&Row<'_>> for StoredEntity {
    type Error = Failure;

    /// Columns: id, properties, provenance, superseded, version, rules_revision, name_key, created_at, updated_at, deleted_at.
    fn try_from(row: &Row<'_>) -> Result<Self, Failure> {
        let id: Option<i64> = row.get(0)?;
        let floor: Option<i64> = row.get(9)?;
        let living = match id {
            None => None,
            Some(_) => Some(Living {
                created_at: Moment::from_micros(row.get(7)?),
                updated_at: Moment::from_micros(row.get(8)?),
                rules_revision: row.get(5)?,
                fields: FactColumns {
                    properties: json(row, 1)?.ok_or(Malformed("properties"))?,
                    provenance: json(row, 2)?.ok_or(Malformed("provenance"))?,
                    superseded: json(row, 3)?,
                }
                .into_fields()?,
            }),
        };
        let entity = Entity { version: version(row, 4)?, floor: floor.map(Moment::from_micros), living };
        Ok(Self { entity, id, name_key: row.get(6)? })
    }
}

/// Columns: reference, id, version, created_at, updated_at, properties.
pub(crate) fn view(row: &Row<'_>, entity_type: &EntityType) -> Result<EntityView, Failure> {
    let reference = Reference::parse(text(row, 0)?)?;
    Ok(EntityView {
        key: EntityKey { entity_type: entity_type.clone(), reference },
        id: row.get(1)?,
        version: version(row, 2)?,
        created_at: Moment::from_micros(row.get(3)?),
        updated_at: Moment::from_micros(row.get(4)?),
        properties: Properties::from_stored(text(row, 5)?),
    })
}

/// Borrowed from the row.
pub(crate) fn text<'row>(row: &'row Row<'_>, column: usize) -> Result<&'row str, Failure> {
    row.get_ref(column)?.as_str().map_err(|error| Failure::Corrupt(error.into()))
}

/// Parsed from the row's own bytes, without a copy.
pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>, Failure> {
    let text = row.get_ref(column)?.as_str_or_null().map_err(|error| Failure::Corrupt(error.into()))?;
    Ok(text.map(serde_json::from_str).transpose()?)
}

pub(crate) fn version(row: &Row<'_>, column: usize) -> Result<Version, Failure> {
    Ok(Version::new(row.get(column)?).ok_or(Malformed("version"))?)
}
