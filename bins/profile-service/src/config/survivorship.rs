//! Rules by which the facts about a field become the value served. They are too much for a variable, so only a file has them:
//!
//! ```toml
//! [survivorship]
//! revision = 2          # raise it with every change of the rules
//! default = "newest"
//!
//! [survivorship.fields.email]
//! rule = "priority"
//! sources = ["api", "crm"]
//! ```

use std::collections::BTreeMap;

use profile_domain::{FieldName, Rule, Rules, SourceName};
use toml::{Table, Value};

use super::{ConfigError, Source};

pub(super) fn read(source: &Source) -> Result<Rules, ConfigError> {
    let Some((table, file)) = &source.survivorship else { return Ok(Rules::default()) };
    let place = Place { path: "survivorship".into(), file };
    place.only(table, &["revision", "default", "sources", "fields"])?;
    let revision = match table.get("revision") {
        Some(Value::Integer(revision)) => i32::try_from(*revision).ok().filter(|revision| *revision >= 1),
        _ => None,
    };
    let revision = revision.ok_or_else(|| {
        place.wrong("revision", table.get("revision"), "a number from 1 to 2147483647, raised with every change of the rules")
    })?;
    let default = if table.contains_key("default") { place.rule(table, "default")? } else { Rule::Newest };
    let mut fields = BTreeMap::new();
    match table.get("fields") {
        None => {}
        Some(Value::Table(named)) => {
            for (name, value) in named {
                let place = Place { path: format!("survivorship.fields.{name}"), file };
                let field =
                    FieldName::parse(name).map_err(|error| ConfigError::new(format!("{} in {file}: {error}", place.path)))?;
                let Value::Table(table) = value else {
                    return Err(ConfigError::new(format!("{} in {file} must be a table with rule = …", place.path)));
                };
                place.only(table, &["rule", "sources"])?;
                fields.insert(field, place.rule(table, "rule")?);
            }
        }
        Some(value) => return Err(place.wrong("fields", Some(value), "tables such as [survivorship.fields.email]")),
    }
    Ok(Rules { revision, default, fields })
}

pub(super) fn in_force(rules: &Rules) -> Vec<String> {
    let show = |rule: &Rule| match rule {
        Rule::Newest => rule.name().to_owned(),
        Rule::Priority(sources) => {
            format!("{}({})", rule.name(), sources.iter().map(SourceName::as_str).collect::<Vec<_>>().join(", "))
        }
    };
    let mut lines =
        vec![format!("survivorship.revision={}", rules.revision), format!("survivorship.default={}", show(&rules.default))];
    lines.extend(rules.fields.iter().map(|(field, rule)| format!("survivorship.fields.{}={}", field.as_str(), show(rule))));
    lines
}

/// Where in the file we are.
struct Place<'f> {
    path: String,
    file: &'f str,
}

impl Place<'_> {
    fn wrong(&self, key: &str, value: Option<&Value>, allowed: &str) -> ConfigError {
        let read = value.map_or_else(|| "missing".into(), |value| value.to_string().replace('\n', " "));
        ConfigError::new(format!("{}.{key} in {} is {read}; allowed is {allowed}", self.path, self.file))
    }

    fn only(&self, table: &Table, known: &[&str]) -> Result<(), ConfigError> {
        match table.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(ConfigError::new(format!(
                "{}.{key} in {} is no setting; [{}] may hold {}",
                self.path,
                self.file,
                self.path,
                known.join(", ")
            ))),
        }
    }

    fn rule(&self, table: &Table, key: &str) -> Result<Rule, ConfigError> {
        let sources = table.get("sources");
        match (table.get(key).and_then(Value::as_str), sources) {
            (Some("newest"), None) => Ok(Rule::Newest),
            (Some("newest"), sources) => Err(self.wrong("sources", sources, "nothing beside \"newest\"")),
            (Some("priority"), Some(Value::Array(names))) if !names.is_empty() => {
                let names: Option<Vec<SourceName>> = names.iter().map(|name| SourceName::parse(name.as_str()?).ok()).collect();
                names
                    .filter(|names| names.iter().collect::<std::collections::BTreeSet<_>>().len() == names.len())
                    .map(Rule::Priority)
                    .ok_or_else(|| self.wrong("sources", sources, "a list of different names of sources"))
            }
            (Some("priority"), sources) => {
                Err(self.wrong("sources", sources, "a list of sources, the most trusted first, such as [\"api\", \"crm\"]"))
            }
            _ => Err(self.wrong(key, table.get(key), "\"newest\" or \"priority\"")),
        }
    }
}
