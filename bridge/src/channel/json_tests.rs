//! The reader against JSON's corners, its bounds (T65) and an independent reader.

use std::collections::HashSet;
use std::fmt;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::*;

/// Canonical text of the value of `x` in `{"x":value}`.
fn canonical(value: &str) -> Result<String, MessageError> {
    let text = format!("{{\"x\":{value}}}");
    Members::read(&text).map(|members| members.get("x").unwrap_or_default().to_owned())
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn values_become_canonical() {
    let cases = [
        (" null ", "null"),
        ("true", "true"),
        ("[ 1 , 2 ]", "[1,2]"),
        ("[]", "[]"),
        ("{ }", "{}"),
        ("{ \"a\" : { \"b\" : [ ] } }", "{\"a\":{\"b\":[]}}"),
        ("-0", "-0"),
        ("1.50e+07", "1.50e+07"),
        ("19.999799999999812", "19.999799999999812"),
        (
            r#""\u0041\u00e9\/\n\u0000\u001f\"\\""#,
            r#""Aé/\n\u0000\u001f\"\\""#,
        ),
        (r#""\ud83d\ude00""#, "\"😀\""),
        (r#""\b\f\r\t""#, r#""\b\f\r\t""#),
        ("\"\u{7f}\u{2028}\"", "\"\u{7f}\u{2028}\""),
    ];
    for (given, expected) in cases {
        assert_eq!(canonical(given).as_deref(), Ok(expected), "{given}");
    }
}

#[test]
fn a_string_cut_inside_a_surrogate_pair_keeps_its_rest() {
    for (given, expected) in [
        (r#""a\ud83d""#, "\"a\u{fffd}\""),
        (r#""a\ud83db""#, "\"a\u{fffd}b\""),
        (r#""\ude00""#, "\"\u{fffd}\""),
        (r#""\ud83d\ud83d\ude00""#, "\"\u{fffd}😀\""),
        (r#""\ud83d\u0041""#, "\"\u{fffd}A\""),
        (r#""\ud83d\n""#, "\"\u{fffd}\\n\""),
    ] {
        assert_eq!(canonical(given).as_deref(), Ok(expected), "{given}");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    let values = [
        "",
        " ",
        "nul",
        "nullx",
        "True",
        "'a'",
        "undefined",
        "NaN",
        "Infinity",
        "-",
        "+1",
        "01",
        "-01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x10",
        "1 2",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1",
        "1]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "{\"a\" 1}",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\",
        "\"\n\"",
        "\"\u{0}\"",
        "/* */ 1",
        "// 1\n1",
        "\u{feff}1",
    ];
    for value in values {
        assert!(
            matches!(canonical(value), Err(MessageError::Malformed(_))),
            "{value}: {:?}",
            canonical(value)
        );
    }
    for text in ["", "  ", "garbage", "null", "[]", "1", "\"a\"", "true"] {
        assert_eq!(
            Members::read(text).err(),
            Some(MessageError::NotAnObject),
            "{text}"
        );
    }
    for text in ["{", "{\"a\":1", "{\"a\":1,", "{\"a\":\"", "{\"a"] {
        assert!(
            matches!(Members::read(text), Err(MessageError::Malformed(_))),
            "{text}"
        );
    }
}

#[test]
fn text_behind_the_object_is_ignored() {
    for text in ["{}trailing", "{} {}", "{}}", " \r\n\t{}\u{0}"] {
        assert!(Members::read(text).is_ok(), "{text}");
    }
}

#[test]
fn t64_duplicate_keys_are_refused_at_any_depth_and_in_any_spelling() {
    let duplicate = |key: &str| Some(MessageError::DuplicateKey(KeyName::new(key)));
    assert_eq!(
        Members::read(r#"{"a":1,"b":2,"a":1}"#).err(),
        duplicate("a")
    );
    assert_eq!(Members::read(r#"{"a":1,"\u0061":2}"#).err(), duplicate("a"));
    assert_eq!(
        Members::read(r#"{"x":[{"y":{"a":1,"a":1}}]}"#).err(),
        duplicate("a")
    );
    assert_eq!(Members::read(r#"{"":1,"":1}"#).err(), duplicate(""));
    assert!(
        Members::read(r#"{"a":{"a":1},"b":{"a":1}}"#).is_ok(),
        "other objects"
    );
    let many = |last: &str| {
        let members: String = (0..200).map(|n| format!("\"k{n}\":{n},")).collect();
        format!("{{{members}\"{last}\":0}}")
    };
    assert_eq!(Members::read(&many("k7")).err(), duplicate("k7"));
    assert_eq!(Members::read(&many("k199")).err(), duplicate("k199"));
    assert!(Members::read(&many("k200")).is_ok());
}

#[test]
fn t65_depth_is_bounded_with_the_outer_object_counted() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        assert!(canonical(&nested(open, close, MAX_JSON_DEPTH - 1)).is_ok());
        assert_eq!(
            canonical(&nested(open, close, MAX_JSON_DEPTH)),
            Err(MessageError::TooDeep)
        );
    }
    assert_eq!(
        Members::read(&format!("{{\"x\":{}", "[".repeat(60_000))).err(),
        Some(MessageError::TooDeep)
    );
    assert_eq!(
        Members::read(&"{\"a\":".repeat(13_000)).err(),
        Some(MessageError::TooDeep)
    );
}

#[test]
fn t65_size_is_bounded() {
    let padded = |len: usize| format!("{{}}{}", " ".repeat(len - 2));
    assert!(Members::read(&padded(MAX_MESSAGE_BYTES)).is_ok());
    assert_eq!(
        Members::read(&padded(MAX_MESSAGE_BYTES + 1)).err(),
        Some(MessageError::TooLong)
    );
    assert_eq!(
        Members::read(&"[".repeat(1_000_000)).err(),
        Some(MessageError::TooLong)
    );
}

#[test]
fn t65_members_are_bounded_at_any_depth() {
    let object = |count: usize| {
        let members: Vec<String> = (0..count).map(|n| format!("\"{n}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(Members::read(&object(MAX_JSON_MEMBERS)).is_ok());
    assert_eq!(
        Members::read(&object(MAX_JSON_MEMBERS + 1)).err(),
        Some(MessageError::TooManyMembers)
    );
    assert!(canonical(&object(MAX_JSON_MEMBERS)).is_ok());
    assert_eq!(
        canonical(&object(MAX_JSON_MEMBERS + 1)),
        Err(MessageError::TooManyMembers)
    );
}

#[test]
fn t65_strings_are_bounded_except_in_the_payload() {
    let long = |len: usize| format!("\"{}\"", "a".repeat(len));
    assert!(canonical(&long(MAX_JSON_STRING_BYTES)).is_ok());
    assert_eq!(
        canonical(&long(MAX_JSON_STRING_BYTES + 1)),
        Err(MessageError::StringTooLong)
    );
    let escaped = format!("\"{}\"", "\\u0061".repeat(MAX_JSON_STRING_BYTES + 1));
    assert_eq!(canonical(&escaped), Err(MessageError::StringTooLong));
    let inside = format!("{{\"msgPayload\":{{\"a\":[{}]}}}}", long(60_000));
    assert!(Members::read(&inside).is_ok());
    let elsewhere = format!("{{\"x\":{{\"msgPayload\":{}}}}}", long(60_000));
    assert_eq!(
        Members::read(&elsewhere).err(),
        Some(MessageError::StringTooLong)
    );
    let key = format!("{{{}:1}}", long(MAX_JSON_STRING_BYTES + 1));
    assert_eq!(Members::read(&key).err(), Some(MessageError::StringTooLong));
}

#[test]
fn t65_numbers_are_kept_as_written_but_bounded() {
    for number in ["1e999", "-0", "9223372036854775808", "0.1e-400"] {
        assert_eq!(canonical(number).as_deref(), Ok(number));
    }
    assert!(canonical(&"1".repeat(MAX_JSON_NUMBER_CHARS)).is_ok());
    assert_eq!(
        canonical(&"1".repeat(MAX_JSON_NUMBER_CHARS + 1)),
        Err(MessageError::NumberTooLong)
    );
}

#[test]
fn names_in_errors_are_short_and_harmless() {
    let name = KeyName::new(&"é\n".repeat(1000));
    assert_eq!(name.as_str().chars().count(), 48);
    assert!(!MessageError::UnknownKey(name).to_string().contains('\n'));
}

// ---- properties -----------------------------------------------------------------------------------

/// Any JSON by another reader's rules, which fails on duplicate keys.
struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Distinct, D::Error> {
        deserializer.deserialize_any(Distinct)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = Distinct;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON without duplicate keys")
    }
    fn visit_unit<E>(self) -> Result<Distinct, E> {
        Ok(self)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Distinct, E> {
        Ok(self)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Distinct, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Distinct, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Distinct, E> {
        Ok(self)
    }
    fn visit_str<E>(self, _: &str) -> Result<Distinct, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Distinct, A::Error> {
        while seq.next_element::<Distinct>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Distinct, A::Error> {
        let mut keys = HashSet::new();
        while let Some((key, _)) = map.next_entry::<String, Distinct>()? {
            if !keys.insert(key) {
                return Err(serde::de::Error::custom("duplicate key"));
            }
        }
        Ok(self)
    }
}

/// Text that is nearly JSON: pieces of it in any order.
pub(in crate::channel) fn nearly_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just(",".to_owned()),
        Just(":".to_owned()),
        Just("\"a\"".to_owned()),
        Just("\"b\":".to_owned()),
        Just("\"colibriClass\":\"EndpointMessage\"".to_owned()),
        Just("\"to\":\"\"".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        Just("null".to_owned()),
        Just("-1.5e3".to_owned()),
        ".{0,3}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Any JSON value, small.
pub(in crate::channel) fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        // Eighths, since the other reader does not read every decimal number exactly.
        any::<i32>().prop_map(|eighths| (f64::from(eighths) / 8.0).into()),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(".{0,4}", inner, 0..6)
                .prop_map(|map| map.into_iter().collect::<serde_json::Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_accepted_is_json_without_duplicates(
        text in prop_oneof![nearly_json(), nearly_json().prop_map(|text| format!("{{{text}}}")), ".{0,60}"],
    ) {
        if let Ok(members) = Members::read(&text) {
            let mut copy = String::from("{");
            for (key, value) in members.iter() {
                if copy.len() > 1 {
                    copy.push(',');
                }
                write_string(&mut copy, key);
                copy.push(':');
                copy.push_str(value);
            }
            copy.push('}');
            prop_assert!(serde_json::from_str::<Distinct>(&copy).is_ok(), "{}", copy);
            prop_assert!(copy.len() <= text.len());
            let again = Members::read(&copy).expect("canonical text");
            prop_assert!(again.iter().eq(members.iter()), "canonical text reads back to itself");
        }
    }

    #[test]
    fn another_readers_json_means_the_same(value in any_json(), pretty: bool) {
        let text = if pretty {
            serde_json::to_string_pretty(&value)
        } else {
            serde_json::to_string(&value)
        };
        let canonical = canonical(&text.expect("JSON")).expect("accepted");
        let back: serde_json::Value = serde_json::from_str(&canonical).expect("JSON");
        prop_assert_eq!(back, value);
    }
}
