//! Query strings, strictly: a parameter that is unknown, repeated or malformed is refused, never ignored.

use actix_web::{HttpRequest, web::Query};

use crate::problem::{Code, Problem};

/// The parameters of a request, decoded and not yet taken.
pub(crate) struct Parameters(Vec<(String, String)>);

/// A parameter, and what is wrong with it.
pub(crate) fn invalid(parameter: &str, message: impl std::fmt::Display) -> Problem {
    Problem::new(Code::InvalidParameter, format!("the query parameter {parameter} {message}"))
}

/// Refuses any query parameter, where a route has none.
pub(crate) fn none(request: &HttpRequest) -> Result<(), Problem> {
    Parameters::of(request)?.end()
}

impl Parameters {
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|_| Problem::new(Code::InvalidParameter, "the query string must be name=value pairs, joined by &"))?;
        match pairs.iter().find(|(name, value)| name.contains('\0') || value.contains('\0')) {
            Some((name, _)) => Err(invalid(&shown(name), "must not contain the character U+0000")),
            None => Ok(Self(pairs)),
        }
    }

    /// Takes a parameter that may be given once.
    pub(crate) fn take(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let Some(index) = self.0.iter().position(|(known, _)| known == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(index);
        if self.0.iter().any(|(other, _)| other == name) {
            return Err(invalid(name, "is given twice"));
        }
        Ok(Some(value))
    }

    /// Takes all parameters of a family, such as `attr.`, without that prefix.
    pub(crate) fn take_prefixed(&mut self, prefix: &str) -> Result<Vec<(String, String)>, Problem> {
        let mut taken: Vec<(String, String)> = Vec::new();
        for (name, value) in std::mem::take(&mut self.0) {
            match name.strip_prefix(prefix) {
                Some(rest) if taken.iter().any(|(other, _)| other == rest) => {
                    return Err(invalid(&shown(&name), "is given twice"));
                }
                Some(rest) => taken.push((rest.to_owned(), value)),
                None => self.0.push((name, value)),
            }
        }
        Ok(taken)
    }

    /// Refuses what was not taken.
    pub(crate) fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            Some((name, _)) => Err(invalid(&shown(name), "is unknown here")),
            None => Ok(()),
        }
    }
}

/// Enough of a name to recognise it by.
fn shown(name: &str) -> String {
    name.chars().take(64).filter(|character| !character.is_control()).collect()
}
