//! Entity tags and the headers that compare them (RFC 9110 § 8.8.3 and § 13.1).
//!
//! A tag is `"<schema>-<version>"`. Its weak form is taken for the strong one everywhere, because nginx weakens tags when it
//! compresses; every tag made here names exact content, so nothing is lost.

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderName, HeaderValue},
};
use profile_application::SCHEMA;
use profile_domain::{Expect, Version};

use crate::problem::{Code, Problem};

/// Tags that one header may list.
const MAX_TAGS: usize = 100;

/// What `If-Match` or `If-None-Match` named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: whatever there is.
    Any,
    /// The versions of those tags that are ours; others name nothing that is served here.
    Versions(Vec<Version>),
}

impl Tags {
    pub(crate) fn contain(&self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

/// The tag of a version.
pub(crate) fn etag(version: Version) -> HeaderValue {
    // Digits, a hyphen and quotes: always a header value.
    HeaderValue::try_from(format!("\"{SCHEMA}-{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// `If-Match`, if the request has one.
pub(crate) fn if_match(request: &HttpRequest) -> Result<Option<Tags>, Problem> {
    tags(request, &header::IF_MATCH, "If-Match")
}

/// `If-None-Match`, if the request has one.
pub(crate) fn if_none_match(request: &HttpRequest) -> Result<Option<Tags>, Problem> {
    tags(request, &header::IF_NONE_MATCH, "If-None-Match")
}

/// What a write of an existing profile expects of it.
pub(crate) enum Condition {
    /// This, checked by the store under its lock.
    Expect(Expect),
    /// `If-None-Match: *`: that there is none. Such a write can't succeed, it only learns why.
    NoneExists,
}

/// The preconditions of PUT, PATCH and DELETE.
pub(crate) fn condition(request: &HttpRequest) -> Result<Condition, Problem> {
    match if_none_match(request)? {
        Some(Tags::Any) => return Ok(Condition::NoneExists),
        Some(Tags::Versions(_)) => {
            let detail = "If-None-Match on a write can only be *; name the version to change in If-Match";
            return Err(Problem::new(Code::InvalidHeader, detail));
        }
        None => {}
    }
    Ok(Condition::Expect(match if_match(request)? {
        None | Some(Tags::Any) => Expect::Present,
        Some(Tags::Versions(versions)) => Expect::Version(versions),
    }))
}

fn tags(request: &HttpRequest, header: &HeaderName, name: &str) -> Result<Option<Tags>, Problem> {
    let mut lines = request.headers().get_all(header).peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let malformed = || {
        let detail = format!("{name} must be * or a list of entity tags, such as \"{SCHEMA}-3\"");
        Problem::new(Code::InvalidHeader, detail)
    };
    let lines: Vec<&str> = lines.map(HeaderValue::to_str).collect::<Result<_, _>>().map_err(|_| malformed())?;
    let list = lines.join(",");
    if list.trim() == "*" {
        return Ok(Some(Tags::Any));
    }
    parse_list(&list).map(|versions| Some(Tags::Versions(versions))).ok_or_else(malformed)
}

/// The versions that a list of tags names; `None` where it isn't one.
fn parse_list(list: &str) -> Option<Vec<Version>> {
    let mut versions = Vec::new();
    let mut rest = list;
    let mut count = 0;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return (count > 0).then_some(versions);
        }
        let (tag, after) = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
        if !tag.bytes().all(|byte| byte > b' ' && byte != 0x7f) {
            return None;
        }
        rest = after.trim_start_matches([' ', '\t']);
        count += 1;
        if count > MAX_TAGS || !(rest.is_empty() || rest.starts_with(',')) {
            return None;
        }
        versions.extend(own_version(tag));
    }
}

fn own_version(tag: &str) -> Option<Version> {
    let (schema, version) = tag.split_once('-')?;
    let number: i64 = version.parse().ok()?;
    // Only as it was written here: `01-3` or `1-+3` is another tag.
    let exact = schema == SCHEMA.to_string() && version == number.to_string();
    Version::new(number).filter(|_| exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(list: &str) -> Option<Vec<i64>> {
        parse_list(list).map(|versions| versions.into_iter().map(Version::get).collect())
    }

    #[test]
    fn lists_of_tags() {
        assert_eq!(parsed(r#""1-3""#), Some(vec![3]));
        assert_eq!(parsed(r#"W/"1-3" , "1-4",,"x,y","0-5" ,"1-0","1-+7","1-08""#), Some(vec![3, 4]));
        for malformed in ["", ",", "1-3", r#""1-3"#, r#"w/"1-3""#, r#""1-3" "1-4""#, r#""a b""#, r#"*, "1-3""#] {
            assert_eq!(parsed(malformed), None, "{malformed}");
        }
    }
}
