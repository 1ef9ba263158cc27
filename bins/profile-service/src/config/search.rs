//! Which attributes can be found.

use std::collections::BTreeSet;

use profile_domain::{FieldName, search::SearchFields};

use super::{ConfigError, Source};

pub(super) fn read(source: &Source) -> Result<SearchFields, ConfigError> {
    let Some(found) = source.get("SEARCH_FIELDS") else { return Ok(SearchFields::All) };
    if found.text.trim() == "*" {
        return Ok(SearchFields::All);
    }
    let names = found.text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let fields: Result<BTreeSet<FieldName>, _> = names.map(FieldName::parse).collect();
    match fields {
        Ok(fields) if !fields.is_empty() => Ok(SearchFields::Only(fields)),
        Ok(_) => Err(found.wrong("* or a comma-separated list of attributes")),
        Err(error) => Err(found.wrong(format!("* or a comma-separated list of attributes: {error}"))),
    }
}

pub(super) fn in_force(fields: &SearchFields) -> Vec<(&'static str, String)> {
    let text = match fields {
        SearchFields::All => "*".to_owned(),
        SearchFields::Only(fields) => fields.iter().map(FieldName::as_str).collect::<Vec<_>>().join(","),
    };
    vec![("SEARCH_FIELDS", text)]
}
