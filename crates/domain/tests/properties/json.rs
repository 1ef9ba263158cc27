//! JSON: strict in, canonical out.

use profile_domain::json::{
    Inexact, JsonError, MAX_PARSE_DEPTH, canonical, contains_nul, depth, is_normal, merge_patch, normalise, parse,
};
use proptest::prelude::*;
use serde_json::{Number, Value, json};

/// Any value, before it is brought into its one form.
fn raw_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1_000..1_000_i32).prop_map(|small| Value::from(f64::from(small) / 4.0)),
        any::<f64>().prop_filter_map("finite", |float| Number::from_f64(float).map(Value::Number)),
        prop::sample::select(vec![0.0, -0.0, 5e-324, 1.797_693_134_862_315_7e308, 1e19, 9.3e18, -9.3e18, 1e300, 0.1])
            .prop_map(Value::from),
    ];
    let text = "[^\0]{0,6}";
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number, text.prop_map(Value::from)];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text, inner, 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The same value as another writer would write it: members in another order, blanks, escapes, numbers in another notation.
fn respelled(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let inner: Vec<_> =
                members.iter().rev().map(|(name, value)| format!("{} :\t{}", escaped(name), respelled(value))).collect();
            format!("{{\r\n{} }}", inner.join(" ,"))
        }
        Value::Array(items) => format!("[ {}\n]", items.iter().map(respelled).collect::<Vec<_>>().join(" , ")),
        Value::String(text) => escaped(text),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            // Below 2^53 a double is exact, so any notation of it is the same integer.
            (Some(integer), _) if integer.abs() < 1 << 53 => format!("{integer}.00E+0"),
            (None, Some(float)) if !number.is_u64() => format!("{float:E}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn escaped(text: &str) -> String {
    let units: Vec<_> = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
    format!("\"{}\"", units.concat())
}

proptest! {
    #[test]
    fn parsing_what_was_printed_is_the_identity(raw in raw_value()) {
        let value = normalise(raw);
        let text = canonical(&value);
        let parsed = parse(text.as_bytes());
        prop_assert_eq!(parsed.as_ref(), Ok(&value));
        prop_assert_eq!(canonical(&value), text);
    }

    #[test]
    fn every_spelling_of_a_value_has_one_canonical_text(raw in raw_value()) {
        let value = normalise(raw);
        let spelling = respelled(&value);
        let parsed = parse(spelling.as_bytes()).map(|parsed| canonical(&parsed));
        prop_assert_eq!(parsed, Ok(canonical(&value)), "{}", spelling);
    }

    #[test]
    fn normalising_is_done_once_and_parsing_does_it(raw in raw_value()) {
        let normal = normalise(raw.clone());
        prop_assert!(is_normal(&normal));
        prop_assert_eq!(is_normal(&raw), raw == normal);
        prop_assert_eq!(normalise(normal.clone()), normal.clone());
        prop_assert!(!contains_nul(&normal));
        prop_assert!(parse(canonical(&normal).as_bytes()).is_ok_and(|parsed| is_normal(&parsed)));
    }

    #[test]
    fn no_bytes_make_the_parser_panic_and_what_it_takes_any_other_takes(bytes in prop::collection::vec(prop::sample::select(
        br#"{}[]":,\u0129-+.eE tfn"#.to_vec()), 0..24)) {
        if let Ok(value) = parse(&bytes) {
            let other: Value = serde_json::from_slice(&bytes).expect("JSON");
            prop_assert_eq!(normalise(other), value);
        }
    }

    #[test]
    fn a_merge_patch_of_itself_changes_nothing_and_twice_is_once(target in raw_value(), patch in raw_value()) {
        let once = merge_patch(Some(&target), &patch);
        prop_assert_eq!(merge_patch(Some(&once), &patch), once);
        prop_assert_eq!(merge_patch(Some(&target), &json!({})).is_object(), true);
    }
}

fn inexact(path: &str, why: Inexact) -> JsonError {
    JsonError::Inexact { path: path.into(), why }
}

#[test]
fn what_cannot_be_kept_is_refused_with_its_path() {
    for (text, path, why) in [
        (r#"{"attributes":{"a":[18446744073709551616]}}"#, "attributes.a.0", Inexact::Integer),
        (r#"{"a":1e19,"b":[1,{"c":-9223372036854775809}]}"#, "b.1.c", Inexact::Integer),
        (r#"{"attributes":{"big":100000000000000000000000000000000000}}"#, "attributes.big", Inexact::Integer),
        (r#"{"\u0061":12345678901234567890123}"#, "a", Inexact::Integer),
        ("18446744073709551616", "", Inexact::Integer),
        (r#"{"a":{"b":1e400}}"#, "a.b", Inexact::Number),
        ("[0,-1e999]", "1", Inexact::Number),
        (r#"{"attributes":{"a":["x","\u0000"]}}"#, "attributes.a.1", Inexact::Nul),
        (r#"{"a":{"b\u0000":1}}"#, "a.b\0", Inexact::Nul),
    ] {
        assert_eq!(parse(text.as_bytes()), Err(inexact(path, why)), "{text}");
    }
}

#[test]
fn a_member_given_twice_is_refused_with_its_path() {
    for (text, path) in [
        (r#"{"name":"a","name":"b"}"#, "name"),
        (r#"{"attributes":{"plan":1,"x":2,"plan":1}}"#, "attributes.plan"),
        (r#"{"a":[0,{"b":1,"\u0062":2}]}"#, "a.1.b"),
        (r#"{"":1,"":2}"#, ""),
    ] {
        assert_eq!(parse(text.as_bytes()), Err(JsonError::Duplicate { path: path.into() }), "{text}");
    }
}

#[test]
fn what_is_no_json_is_refused_where_it_stops_being_json() {
    let texts: [&[u8]; 24] = [
        b"",
        b" ",
        b"{",
        b"{}x",
        b"{} {}",
        b"[1,]",
        b"{\"a\":1,}",
        b"{a:1}",
        b"'a'",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"NaN",
        b"Infinity",
        b"nul",
        b"\"\\ud800\"",
        b"\"\\x\"",
        b"\"a\nb\"",
        b"\"\xff\"",
        b"{\"\xc3\x28\":1}",
        b"\xef\xbb\xbf{}",
        b"// c\n1",
        b"1 2",
    ];
    for text in texts {
        let answer = parse(text);
        assert!(matches!(answer, Err(JsonError::Syntax { .. })), "{:?}: {answer:?}", String::from_utf8_lossy(text));
    }
    let JsonError::Syntax { line, column, reason } = parse(b"{\n  \"a\": trux\n}").expect_err("no JSON") else {
        panic!("syntax")
    };
    assert_eq!((line, column > 0), (2, true), "{reason}");
    assert!(!reason.contains("line"), "the place is told once: {reason}");
}

#[test]
fn nesting_is_bounded_before_it_hurts() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let deepest = parse(nested(MAX_PARSE_DEPTH).as_bytes()).expect("as deep as it may be");
    assert_eq!(depth(&deepest), MAX_PARSE_DEPTH);
    for too_deep in [MAX_PARSE_DEPTH + 1, 100_000] {
        assert_eq!(parse(nested(too_deep).as_bytes()), Err(JsonError::TooDeep));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(too_deep), "}".repeat(too_deep));
        assert_eq!(parse(objects.as_bytes()), Err(JsonError::TooDeep));
    }
    assert_eq!([json!(1), json!([]), json!({"a": [{}]})].map(|value| depth(&value)), [0, 1, 3]);
}

#[test]
fn integers_stay_integers_and_equal_numbers_are_equal() {
    for (text, canonical_text) in [
        ("-0", "0"),
        ("-0.0", "0"),
        ("1e2", "100"),
        ("100.0", "100"),
        ("1.50", "1.5"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615", "18446744073709551615"),
        ("9007199254740993", "9007199254740993"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("1e300", "1e+300"),
        ("0.1", "0.1"),
        ("1e19", "10000000000000000000"),
        ("1e-400", "0"),
    ] {
        assert_eq!(parse(text.as_bytes()).map(|value| canonical(&value)), Ok(canonical_text.to_owned()), "{text}");
    }
}

#[test]
fn members_are_printed_in_the_order_of_their_bytes() {
    let value = parse(r#"{"b":1,"a":{"é":1,"z":2,"Z":3},"":0}"#.as_bytes()).expect("JSON");
    assert_eq!(canonical(&value), r#"{"":0,"a":{"Z":3,"z":2,"é":1},"b":1}"#);
}

/// RFC 7396, appendix A: original, patch, result.
#[test]
fn merge_patches_do_what_the_rfc_shows() {
    for (original, patch, result) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        assert_eq!(merge_patch(Some(&original), &patch), result, "{original} patched with {patch}");
    }
    assert_eq!(merge_patch(None, &json!({"a": {"b": null}})), json!({"a": {}}));
}
