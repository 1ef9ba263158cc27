//! The only place that reads the clock, randomness and the environment's variables. All else gets them handed in.

use profile_application::Environment;
use profile_domain::Moment;
use uuid::Uuid;

/// The real thing.
pub(crate) fn environment() -> Environment {
    Environment { now, new_id, new_secret }
}

/// The value of an environment variable; an empty one counts as not set, because compose files and shells pass those along.
/// Bytes that aren't UTF-8 become U+FFFD, which no setting allows.
#[expect(clippy::disallowed_methods, reason = "this is where configuration is read, once")]
pub(crate) fn variable(name: &str) -> Option<String> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => None,
        Ok(value) => Some(value),
        Err(std::env::VarError::NotPresent) => None,
        Err(std::env::VarError::NotUnicode(bytes)) => Some(bytes.to_string_lossy().into_owned()),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that is injected")]
pub(crate) fn now() -> Moment {
    jiff::Timestamp::now().into()
}

#[expect(clippy::disallowed_methods, reason = "this is the source of ids that is injected")]
fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// From the operating system's generator.
pub(crate) fn new_secret() -> [u8; 32] {
    let mut bytes = [0; 32];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // A guessable key would be worse than none, and a system without randomness runs nothing else either.
        panic!("the operating system gives no random bytes: {error}");
    }
    bytes
}
