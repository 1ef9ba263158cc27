//! Values come back as they were normalised, and their other spellings are the same value.

use profile_domain::{
    ItemOutcome, Rejection,
    json::{merge_patch, parse},
    profile::MAX_DEPTH,
};
use serde_json::{Value, json};

use crate::{
    Fixture,
    build::{create, everything, fact, merge, organization, patch, profile, put, start, version},
};

/// A value, and other spellings of it as JSON text.
fn spellings() -> Vec<(Value, Vec<String>)> {
    let text = |spellings: &[&str]| -> Vec<String> { spellings.iter().map(|spelling| (*spelling).to_owned()).collect() };
    vec![
        (json!(0), text(&["0", "-0", "0.0", "-0.0", "0e5"])),
        (json!(100), text(&["100", "1e2", "100.0", "1E+2", "1000e-1"])),
        (json!(i64::MIN), text(&["-9223372036854775808", "-9223372036854775808.0"])),
        (json!(i64::MAX), text(&["9223372036854775807"])),
        (json!(i64::MAX.cast_unsigned() + 1), text(&["9223372036854775808", "9.223372036854775808e18"])),
        (json!(u64::MAX), text(&["18446744073709551615"])),
        (json!(9_007_199_254_740_993_i64), text(&["9007199254740993"])),
        (json!(5e-324), text(&["5e-324", "4.9406564584124654e-324"])),
        (json!(1.797_693_134_862_315_7e308), text(&["1.7976931348623157e308", "17.976931348623157e307"])),
        (json!(-1.797_693_134_862_315_7e308), text(&["-1.7976931348623157E+308"])),
        (json!(2.225_073_858_507_201_4e-308), text(&["2.2250738585072014e-308"])),
        (json!(0.1), text(&["0.1", "1e-1", "0.1000000000000000055511151231257827"])),
        (json!(0.1 + 0.2), text(&["0.30000000000000004"])),
        (json!(1e300), text(&["1e300", "1E+300", "10e299"])),
        (json!(10_000_000_000_000_000_000_u64), text(&["1e19", "10000000000000000000"])),
        (json!(2e19), text(&["2e19", "2.0E19"])),
        (json!(-1.5), text(&["-1.5", "-15e-1"])),
        (json!(true), text(&["true"])),
        (json!(""), text(&[r#""""#])),
        (json!({}), text(&["{ }"])),
        (json!([]), text(&["[ ]"])),
        (json!([[], {}, "", null, false]), text(&[r#"[ [],{} , "",null,false]"#])),
        (json!({"": {"": ""}}), text(&[r#"{"":{"":""}}"#])),
        (json!({"a": 1, "b": {"c": null, "d": 2.5}}), text(&[r#"{"b":{"d":25e-1,"c":null},"a":1.0}"#])),
        (json!("a\u{301}"), text(&["\"a\\u0301\""])),
        (json!("\u{e1}"), text(&["\"\\u00e1\""])),
        (json!("مرحبا \u{202e}עברית"), text(&["\"مرحبا \\u202Eעברית\""])),
        (json!("👩‍👩‍👧‍👦🏳️‍🌈"), text(&["\"\\ud83d\\udc69‍👩‍👧‍👦🏳️‍🌈\""])),
        (json!("\u{1}\u{8}\t\n\r\u{1f}\u{7f}\u{85}\u{2028}\u{feff}\u{fffd}\u{ffff}\u{10ffff}"), vec![]),
        (json!("\"\\/'%_$1;--"), text(&[r#""\"\\\/'%_$1;--""#])),
        (json!(" trailing \u{a0}"), vec![]),
        (nested(MAX_DEPTH, true), vec![]),
        (nested(MAX_DEPTH, false), vec![]),
        (json!("x".repeat(20_000)), vec![]),
    ]
}

fn nested(depth: usize, arrays: bool) -> Value {
    (1..depth)
        .fold(if arrays { json!([]) } else { json!({}) }, |inner, _| if arrays { json!([inner]) } else { json!({"n": inner}) })
}

/// Every value is given by view, entity and list exactly as written, by PUT and by merge; written again in another spelling
/// it is unchanged. So are names of fields and references.
pub async fn values_round_trip<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    for (index, (value, spellings)) in spellings().into_iter().enumerate() {
        let key = profile(u32::try_from(index).expect("few"));
        let document = |value: Value| json!({"name": "Ada", "email": format!("p{index}@example.com"), "v": value});
        client.commit(0, [create(&key, document(value.clone()))]).await;
        // The same from a stream, so that it is kept as a fact that lost, too.
        client.commit(1, [merge(&key, [fact("v", "crm", -1, value.clone()), fact("w", "crm", 1, value.clone())])]).await;

        let view = client.view(&key).await.expect("it lives");
        let members = view.properties.members().expect("members");
        assert!(members.contains(&("v".into(), value.to_string().as_str())), "{members:?}");
        let listed = client.list(&everything(&key)).await.pop().expect("it is listed");
        assert_eq!(listed, view);
        let fields = client.entity(&key).await.and_then(|entity| entity.living).expect("it lives").fields;
        assert_eq!(fields["v"].winner.value, value);
        assert_eq!(fields["v"].superseded, [fact("v", "crm", -1, value.clone()).1]);

        let before = fixture.dump().await;
        let unchanged = [ItemOutcome::Unchanged(Some(version(2)))];
        for spelling in spellings.into_iter().chain([value.to_string()]) {
            let respelled = parse(spelling.as_bytes()).unwrap_or_else(|error| panic!("{spelling}: {error}"));
            // A null within a merge patch isn't a value, but removes one.
            if merge_patch(Some(&respelled), &respelled) == respelled {
                assert_eq!(client.commit(7, [patch(&key, json!({"v": respelled}))]).await, unchanged, "PATCH {spelling}");
            }
            let mut whole = document(respelled.clone());
            whole["w"] = respelled.clone();
            assert_eq!(client.commit(8, [put(&key, whole)]).await, unchanged, "PUT {spelling}");
            let facts = [fact("w", "crm", 1, respelled.clone()), fact("v", "crm", -1, respelled)];
            assert_eq!(client.commit(9, [merge(&key, facts)]).await, unchanged, "merge {spelling}");
        }
        assert_eq!(fixture.dump().await, before, "another spelling wrote something");
    }

    let names = ["ключ", "a b", "a.b", "a'\"\\b", "\u{301}", "🦀", "__proto__", "A", "a", &"n".repeat(128)];
    let references = ["Ä/ö?#%", "a'\"\\b", "a", "A", " ", "\u{202e}x", &"r".repeat(256)];
    for reference in references {
        let key = organization(reference);
        let facts: Vec<_> = names.iter().map(|name| fact(name, "crm", 0, *name)).collect();
        client.commit(0, [merge(&key, facts)]).await;
        let properties = client.view(&key).await.expect("it lives").properties.to_map().expect("a map");
        assert!(names.iter().all(|name| properties[*name] == *name), "{properties:?}");
        assert_eq!(properties.len(), names.len());
    }
    let listed = client.keys(&everything(&organization("a"))).await;
    assert_eq!(listed, references.map(organization));
}

/// A caller that hasn't normalised its values gets them normalised; one whose texts hold U+0000, which not every store has a
/// place for, is refused item by item, with the field.
pub async fn unkeepable_values_are_refused<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let key = organization("acc");
    let raw = json!({"a": [100.0, -0.0, 1.5], "b": 1e19});
    let normal = json!({"a": [100, 0, 1.5], "b": 10_000_000_000_000_000_000_u64});
    assert_eq!(client.commit(0, [merge(&key, [fact("v", "crm", 0, raw)])]).await, [ItemOutcome::Created(version(1))]);
    assert_eq!(client.served(&key).await, json!({"v": normal}));
    let again = client.commit(1, [merge(&key, [fact("v", "crm", 0, normal)])]).await;
    assert_eq!(again, [ItemOutcome::Unchanged(Some(version(1)))]);

    let before = fixture.dump().await;
    for value in [json!("a\0"), json!([{"m": "\0"}]), json!({"\0": 1})] {
        let outcomes = client.commit(2, [merge(&key, [fact("nul", "crm", 2, value)]), merge(&key, [])]).await;
        let ItemOutcome::Rejected(Rejection::Invalid(problems)) = &outcomes[0] else { panic!("{outcomes:?}") };
        assert_eq!((problems[0].field.as_str(), problems[0].code), ("attributes.nul", "CONTAINS_NUL"));
    }
    assert_eq!(fixture.dump().await, before);
}
