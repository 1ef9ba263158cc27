//! Values of the file that know where they stand, for messages that name the line.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::ConfigError;

/// The file.
pub(super) struct Text<'f> {
    pub(super) name: &'f str,
    pub(super) text: &'f str,
}

/// A value, and the way to it.
pub(super) struct Node<'f> {
    pub(super) path: String,
    file: &'f Text<'f>,
    span: Range<usize>,
    value: &'f DeValue<'f>,
}

impl<'f> Text<'f> {
    /// A section, which is a table.
    pub(super) fn section(&'f self, table: &'f DeTable<'f>, name: &str) -> Result<Vec<(&'f str, Node<'f>)>, ConfigError> {
        let Some((_, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { return Ok(Vec::new()) };
        Node::new(self, name.to_owned(), value).members()
    }
}

impl<'f> Node<'f> {
    fn new(file: &'f Text<'f>, path: String, value: &'f Spanned<DeValue<'f>>) -> Self {
        Self { path, file, span: value.span(), value: value.get_ref() }
    }

    /// Where it stands: `sources.crm.url in FILE line 3`.
    fn place(&self) -> String {
        let line = self.file.text[..self.span.start.min(self.file.text.len())].matches('\n').count() + 1;
        format!("{} in {} line {line}", self.path, self.file.name)
    }

    /// What is wrong with it.
    pub(super) fn wrong(&self, allowed: impl std::fmt::Display) -> ConfigError {
        let text = self.file.text.get(self.span.clone()).unwrap_or_default();
        let shown = match self.value {
            DeValue::Table(_) => "a table".to_owned(),
            _ => text.chars().take(100).collect::<String>().replace(['\n', '\r'], " "),
        };
        ConfigError::new(format!("{} is {shown}; allowed is {allowed}", self.place()))
    }

    /// What is wrong, where the value itself must not be shown.
    pub(super) fn says(&self, what: impl std::fmt::Display) -> ConfigError {
        ConfigError::new(format!("{} {what}", self.place()))
    }

    /// The members of a table.
    pub(super) fn members(&self) -> Result<Vec<(&'f str, Node<'f>)>, ConfigError> {
        let DeValue::Table(table) = self.value else { return Err(self.wrong("a table")) };
        let member = |(key, value): (&'f Spanned<std::borrow::Cow<'f, str>>, &'f Spanned<DeValue<'f>>)| {
            let name: &'f str = key.get_ref();
            (name, Node::new(self.file, format!("{}.{name}", self.path), value))
        };
        Ok(table.iter().map(member).collect())
    }

    /// A table's member.
    pub(super) fn missing(&self, member: &str, allowed: &str) -> ConfigError {
        ConfigError::new(format!("{} lacks {member}; allowed is {allowed}", self.place()))
    }

    /// A member that there is no use for.
    pub(super) fn unknown(&self, known: &[&str]) -> ConfigError {
        let (table, _) = self.path.rsplit_once('.').unwrap_or_default();
        ConfigError::new(format!("{} is no setting; [{table}] may hold {}", self.place(), known.join(", ")))
    }

    /// Text that can be parsed.
    pub(super) fn parse<T>(&self, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, ConfigError> {
        self.value.as_str().and_then(parse).ok_or_else(|| self.wrong(allowed))
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, allowed: &str, bounds: std::ops::RangeInclusive<u32>) -> Result<u32, ConfigError> {
        let number = self.value.as_integer().and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok());
        number.filter(|number| bounds.contains(number)).ok_or_else(|| self.wrong(allowed))
    }

    pub(super) fn truth(&self) -> Result<bool, ConfigError> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// The items of a list.
    pub(super) fn items(&self, allowed: &str) -> Result<Vec<Node<'f>>, ConfigError> {
        let items = self.value.as_array().ok_or_else(|| self.wrong(allowed))?;
        Ok(items.iter().map(|item| Node::new(self.file, self.path.clone(), item)).collect())
    }
}
