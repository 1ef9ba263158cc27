//! Where values come from, and what to say of a wrong one.

use std::{collections::BTreeMap, fmt, path::Path};

use toml::{Table, Value};

use super::table::{NOT_BUILT, SETTINGS, Setting};

/// One line for the person who must mend it: what is wrong, with what value, what is allowed.
#[derive(Debug)]
pub(crate) struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Sections that are read by themselves.
const LIVE: [&str; 2] = ["sources", "views"];

/// What was set, by the variable's name.
pub(crate) struct Source {
    values: BTreeMap<&'static str, Found>,
    /// The file's name and text, for sections that name its lines.
    pub(crate) file: Option<(String, String)>,
    /// The `[survivorship]` table, and the file's name for messages.
    pub(crate) survivorship: Option<(Table, String)>,
    /// The `[tenants]` table, likewise.
    pub(crate) tenants: Option<(Table, String)>,
}

/// A value that was set.
pub(crate) struct Found {
    /// As it was written.
    pub(crate) text: String,
    /// As people know it: `SERVER_PORT`, or `server.port in profile.toml`.
    pub(crate) origin: String,
    secret: bool,
}

impl Found {
    /// What is wrong with it. The value is quoted and cut, so that it stays one line; a secret isn't shown.
    pub(crate) fn wrong(&self, allowed: impl fmt::Display) -> ConfigError {
        let shown: String = self.text.chars().take(100).collect();
        let shown = if self.secret { "(hidden)".to_owned() } else { format!("{shown:?}") };
        ConfigError(format!("{} is {shown}; allowed is {allowed}", self.origin))
    }
}

impl Source {
    /// The environment over the file.
    pub(crate) fn load(variable: impl Fn(&str) -> Option<String>, file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut source = Self { values: BTreeMap::new(), file: None, survivorship: None, tenants: None };
        if let Some(path) = file {
            source.read_file(path)?;
        }
        for setting in SETTINGS {
            if let Some(text) = variable(setting.variable) {
                source.values.insert(setting.variable, Found { text, origin: setting.variable.into(), secret: setting.secret });
            }
        }
        for name in NOT_BUILT {
            if let Some(text) = variable(name) {
                source.values.insert(name, Found { text, origin: (*name).into(), secret: false });
            }
        }
        Ok(source)
    }

    /// What was set, if anything.
    pub(crate) fn get(&self, variable: &str) -> Option<&Found> {
        debug_assert!(
            SETTINGS.iter().any(|setting| setting.variable == variable) || NOT_BUILT.contains(&variable),
            "{variable} is missing in the table"
        );
        self.values.get(variable)
    }

    /// What was set, parsed, or the default.
    pub(crate) fn parse<T>(
        &self,
        variable: &str,
        default: T,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        match self.get(variable) {
            None => Ok(default),
            Some(found) => parse(found.text.trim()).ok_or_else(|| found.wrong(allowed)),
        }
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let name = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError(format!("the file {name} can't be read: {error}")))?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
            ConfigError(format!("{name} line {line} is no TOML: {}", error.message().replace('\n', " ")))
        })?;
        for (section, value) in table {
            match value {
                Value::Table(_) if LIVE.contains(&section.as_str()) => {}
                Value::Table(table) if section == "survivorship" => self.survivorship = Some((table, name.clone())),
                Value::Table(table) if section == "tenants" => self.tenants = Some((table, name.clone())),
                Value::Table(table) => {
                    for (key, value) in table {
                        self.read_value(&name, &section, &key, &value)?;
                    }
                }
                _ => return Err(unknown(&name, &section, "")),
            }
        }
        self.file = Some((name, text));
        Ok(())
    }

    fn read_value(&mut self, file: &str, section: &str, key: &str, value: &Value) -> Result<(), ConfigError> {
        let path = format!("{section}.{key}");
        let setting = SETTINGS.iter().find(|setting| setting.key() == path).ok_or_else(|| unknown(file, &path, section))?;
        let origin = format!("{path} in {file}");
        let scalar = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Boolean(truth) => Some(truth.to_string()),
            _ => None,
        };
        let text = match value {
            Value::Array(items) => items.iter().map(scalar).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
            value => scalar(value),
        };
        let kind = value.type_str();
        let text =
            text.ok_or_else(|| ConfigError(format!("{origin} is a {kind}; allowed is a string, a number, true or false")))?;
        self.values.insert(setting.variable, Found { text, origin, secret: setting.secret });
        Ok(())
    }
}

fn unknown(file: &str, path: &str, section: &str) -> ConfigError {
    let keys: Vec<String> = SETTINGS.iter().map(Setting::key).collect();
    let inside: Vec<&str> = keys.iter().filter_map(|key| key.strip_prefix(section)?.strip_prefix('.')).collect();
    if inside.is_empty() {
        let mut sections: Vec<&str> = keys.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
        sections.extend(["survivorship", "tenants"]);
        sections.extend(LIVE);
        sections.dedup();
        return ConfigError(format!("{path} in {file} is no setting; sections are {}", sections.join(", ")));
    }
    ConfigError(format!("{path} in {file} is no setting; [{section}] may hold {}", inside.join(", ")))
}
