//! The cases that the ports' docs name are the cases that there are.

use std::{collections::BTreeSet, fs, path::Path};

macro_rules! names {
    ([] promised { $($promised:ident)* } beyond { $($beyond:ident)* }) => {
        const PROMISED: &[&str] = &[$(stringify!($promised)),*];
        const BEYOND: &[&str] = &[$(stringify!($beyond)),*];
    };
}
profile_port_contracts::store_cases! { names [] }

macro_rules! cache_names {
    ([] $($kind:ident { $($case:ident)* })*) => {
        const CACHE: &[&str] = &[$($(stringify!($case)),*),*];
    };
}
profile_port_contracts::cache_cases! { cache_names [] }

/// Of the port that has no cases for a fixture.
const TIMELINES: &[&str] = &["timelines_only_rise"];
macro_rules! queue_names {
    ([] $($case:ident)*) => {
        const QUEUE: &[&str] = &[$(stringify!($case)),*];
    };
}
profile_port_contracts::queue_cases! { queue_names [] }

macro_rules! object_names {
    ([] $($case:ident)*) => {
        const OBJECTS: &[&str] = &[$(stringify!($case)),*];
    };
}
profile_port_contracts::object_cases! { object_names [] }

/// Everything in the docs that is written as [`case_name`].
fn named_in_docs() -> BTreeSet<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ports/src");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(sources).expect("the ports' sources") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a source file");
        for candidate in text.split("[`").skip(1).filter_map(|rest| rest.split_once("`]")).map(|(name, _)| name) {
            let snake = candidate.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            if snake && candidate.contains('_') {
                names.insert(candidate.to_owned());
            }
        }
    }
    names
}

#[test]
fn every_case_that_the_docs_name_exists_and_the_other_way_round() {
    let promised: BTreeSet<String> =
        PROMISED.iter().chain(CACHE).chain(TIMELINES).chain(QUEUE).chain(OBJECTS).map(|name| (*name).to_owned()).collect();
    assert_eq!(named_in_docs(), promised);
}

#[test]
fn no_case_is_listed_twice() {
    let all: BTreeSet<&str> = PROMISED.iter().chain(BEYOND).chain(CACHE).chain(QUEUE).chain(OBJECTS).copied().collect();
    assert_eq!(all.len(), PROMISED.len() + BEYOND.len() + CACHE.len() + QUEUE.len() + OBJECTS.len());
}
