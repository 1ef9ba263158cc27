//! URLs with places for what is asked.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use profile_ports::Ask;
use reqwest::Url;
use thiserror::Error;

use crate::guard::{Reach, Refused};

/// What stays as it is (RFC 3986 § 2.3): anything else could end a path, a query, or a step of either.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What may stand in braces.
const PLACES: [&str; 3] = ["id", "timestamp", "tenant"];

/// A URL with `{id}`, `{timestamp}` and `{tenant}` in its path or query.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    text: String,
}

/// Why a text is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// It is no URL, whatever stands in its places.
    #[error("an absolute URL such as https://crm.example.com/people/{{id}}")]
    NoUrl,
    /// The host would depend on what is asked.
    #[error("placeholders only in the path and the query")]
    Place,
    /// Something else stands in braces.
    #[error("no placeholders but {{id}}, {{timestamp}} and {{tenant}}")]
    Unknown,
    /// Nobody is asked about.
    #[error("a URL with {{id}} in its path or query")]
    NoId,
    /// It can't be called.
    #[error("a URL that may be called: {0}; private addresses may with private_addresses = true")]
    Refused(#[from] Refused),
}

impl UrlTemplate {
    /// A URL that may be called within a reach. `needs_id` where nothing else says whom it is about.
    ///
    /// # Errors
    /// [`TemplateError`]; its text says what is allowed.
    pub fn parse(text: &str, reach: Reach, needs_id: bool) -> Result<Self, TemplateError> {
        for rest in text.split('{').skip(1) {
            let name = rest.split_once('}').map(|(name, _)| name);
            if !name.is_some_and(|name| PLACES.contains(&name)) {
                return Err(TemplateError::Unknown);
            }
        }
        let host_ends = text.find("://").and_then(|at| Some(at + 3 + text[at + 3..].find(['/', '?'])?));
        if text.find('{').is_some_and(|place| host_ends.is_none_or(|end| place < end)) {
            return Err(TemplateError::Place);
        }
        if needs_id && !text.contains("{id}") {
            return Err(TemplateError::NoId);
        }
        let url = Url::parse(&text.replace(['{', '}'], "")).map_err(|_| TemplateError::NoUrl)?;
        reach.check(&url)?;
        Ok(Self { text: text.to_owned() })
    }

    /// The URL to call. `None` where what is asked would change the path: no source knows such an id.
    pub(crate) fn fill(&self, ask: &Ask<'_>) -> Option<Url> {
        if matches!(ask.id, "." | "..") {
            return None;
        }
        let mut url = String::with_capacity(self.text.len() + ask.id.len() + 32);
        let mut parts = self.text.split('{');
        url.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (name, rest) = part.split_once('}')?;
            let value = match name {
                "id" => ask.id,
                "timestamp" => ask.period.unwrap_or_default(),
                _ => ask.tenant.as_str(),
            };
            url.extend(utf8_percent_encode(value, RESERVED));
            url.push_str(rest);
        }
        Url::parse(&url).ok()
    }
}

impl fmt::Debug for UrlTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, formatter)
    }
}

#[cfg(test)]
mod tests {
    use profile_domain::TenantId;

    use super::*;

    fn filled(template: &str, id: &str) -> Option<String> {
        let template = UrlTemplate::parse(template, Reach::Public, true).expect(template);
        let tenant = TenantId::default_tenant();
        let ask = Ask { tenant: &tenant, id, period: Some("2026-01-01T00:00:00Z"), traceparent: None };
        template.fill(&ask).map(String::from)
    }

    #[test]
    fn what_is_asked_stays_in_its_place() {
        let crm = "https://crm.example.com/people/{id}?at={timestamp}&for={tenant}";
        let end = "?at=2026-01-01T00%3A00%3A00Z&for=default";
        assert_eq!(filled(crm, "a-1"), Some(format!("https://crm.example.com/people/a-1{end}")));
        assert_eq!(
            filled(crm, "../x?y#z%2f\n@é"),
            Some(format!("https://crm.example.com/people/..%2Fx%3Fy%23z%252f%0A%40%C3%A9{end}"))
        );
        assert_eq!(filled(crm, "{tenant}"), Some(format!("https://crm.example.com/people/%7Btenant%7D{end}")));
        assert_eq!(filled(crm, ".."), None);
        assert_eq!(filled(crm, "."), None);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let refused = |text: &str| UrlTemplate::parse(text, Reach::Public, true).expect_err(text);
        assert_eq!(refused("https://{id}.example.com/"), TemplateError::Place);
        assert_eq!(refused("https://example.com{id}"), TemplateError::Place);
        assert_eq!(refused("{id}"), TemplateError::Place);
        assert_eq!(refused("/people/{id}"), TemplateError::Place);
        assert_eq!(refused("https://example.com/{name}/{id}"), TemplateError::Unknown);
        assert_eq!(refused("https://example.com/{id"), TemplateError::Unknown);
        assert_eq!(refused("https://example.com/"), TemplateError::NoId);
        assert_eq!(refused("ftp://example.com/{id}"), TemplateError::Refused(Refused::Scheme));
        assert!(matches!(refused("http://127.1/{id}"), TemplateError::Refused(Refused::Address(_))));
        assert!(UrlTemplate::parse("http://127.1/{id}", Reach::Private, true).is_ok());
        assert!(UrlTemplate::parse("https://example.com/search", Reach::Public, false).is_ok());
    }
}
