//! The keys that sign what clients carry.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::{ConfigError, Source, shown, source::Found};

/// Fewer characters could be guessed.
const MIN_CHARS: usize = 32;

/// Configured keys, the newest first; empty: the store keeps its own.
pub(crate) struct Secrets {
    pub(crate) keys: Vec<SecretString>,
    file: Option<PathBuf>,
}

impl Secrets {
    pub(crate) fn read(source: &Source) -> Result<Self, ConfigError> {
        let (keys, file) = match (source.get("SECRET_KEY"), source.get("SECRET_KEY_FILE")) {
            (None, None) => (Vec::new(), None),
            (Some(found), None) => (keys(found, &found.text)?, None),
            (None, Some(found)) => {
                let path = PathBuf::from(&found.text);
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| found.wrong(format!("a text file that can be read: {error}")))?;
                (keys(found, &text)?, Some(path))
            }
            (Some(key), Some(file)) => {
                return Err(ConfigError::new(format!("both {} and {} are set; allowed is one of them", key.origin, file.origin)));
            }
        };
        Ok(Self { keys, file })
    }

    pub(super) fn in_force(&self) -> Vec<(&'static str, String)> {
        let key = if self.keys.is_empty() { "(kept in the store)" } else { "(hidden)" };
        vec![("SECRET_KEY", key.into()), ("SECRET_KEY_FILE", shown(self.file.as_ref().map(|path| path.display())))]
    }

    /// As text, the newest first.
    pub(crate) fn exposed(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(ExposeSecret::expose_secret)
    }
}

fn keys(found: &Found, text: &str) -> Result<Vec<SecretString>, ConfigError> {
    let keys: Vec<&str> = text.split([',', '\n']).map(str::trim).filter(|key| !key.is_empty()).collect();
    if keys.is_empty() || keys.len() > 2 {
        let message = format!("{} holds {} keys; allowed are one, or two during a rotation", found.origin, keys.len());
        return Err(ConfigError::new(message));
    }
    if let Some(short) = keys.iter().find(|key| key.chars().count() < MIN_CHARS) {
        let has = short.chars().count();
        let message = format!("{} holds a key of {has} characters; allowed are {MIN_CHARS} or more", found.origin);
        return Err(ConfigError::new(message));
    }
    Ok(keys.into_iter().map(SecretString::from).collect())
}
