//! JSON pointers (RFC 6901).

use std::fmt;

use serde_json::Value;

/// Names one value within a document.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(Box<str>);

impl Pointer {
    /// A pointer as it is written: empty for the whole document, else a `/` before each step, with `~0` for `~` and `~1` for `/`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let begins = text.is_empty() || text.starts_with('/');
        let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        (begins && escaped).then(|| Self(text.into()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it names.
    #[must_use]
    pub fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        document.pointer(&self.0)
    }

    /// The member of the document that it goes through or names.
    pub(super) fn first(&self) -> Option<String> {
        self.0.split('/').nth(1).map(|step| step.replace("~1", "/").replace("~0", "~"))
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_name_values() {
        let document = json!({"a/b": {"m~n": [1, 2]}, "": 3});
        let found = |text: &str| Pointer::parse(text).expect(text).find(&document).cloned();
        assert_eq!(found("/a~1b/m~0n/1"), Some(json!(2)));
        assert_eq!(found("/"), Some(json!(3)));
        assert_eq!(found(""), Some(document.clone()));
        assert_eq!(found("/a~1b/m~0n/2"), None);
        assert_eq!(Pointer::parse("/a~1b/x").expect("a pointer").first().as_deref(), Some("a/b"));
        for refused in ["a", "a/b", "/a~", "/a~2", "#/a"] {
            assert_eq!(Pointer::parse(refused), None, "{refused}");
        }
    }
}
