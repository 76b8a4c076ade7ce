use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn no_env(_: &str) -> Option<String> {
    None
}

fn settings(text: &str) -> Settings {
    Config::parse(text, "jvb.conf", &no_includes)
        .unwrap()
        .resolve(&no_env)
        .unwrap()
}

fn failure(text: &str) -> String {
    match Config::parse(text, "jvb.conf", &no_includes) {
        Ok(config) => config.resolve(&no_env).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
}

fn text(settings: &Settings, path: &str) -> String {
    settings
        .get(path)
        .unwrap_or_else(|| panic!("{path} is not set"))
        .to_text(path)
        .unwrap()
        .to_owned()
}

fn texts(settings: &Settings, path: &str) -> Vec<String> {
    settings.get(path).unwrap().to_texts(path).unwrap()
}

fn folder(include: Include<'_>) -> Result<Option<Included>, String> {
    let text = match include.path {
        "more.conf" => "a = 2, own = ${a}",
        "loop.conf" => "include \"loop.conf\"",
        "secret.conf" => return Err("permission denied".into()),
        _ => return Ok(None),
    };
    Ok(Some(Included {
        name: include.path.into(),
        text: text.into(),
    }))
}

#[test]
fn config_case_1_braces_comments_dots_and_trailing_commas() {
    let settings = settings(
        "// a comment\nvideobridge {\n  ice { udp.port = 10001, } # another\n  list = [\n a, b,\n c\n d, ]\n}\n\
         videobridge.relay { enabled : true }\nvideobridge\n{ last = 1e5 }\n",
    );
    assert_eq!(text(&settings, "videobridge.ice.udp.port"), "10001");
    assert_eq!(texts(&settings, "videobridge.list"), ["a", "b", "c", "d"]);
    assert!(
        settings
            .get("videobridge.relay.enabled")
            .unwrap()
            .to_bool("")
            .unwrap()
    );
    assert_eq!(text(&settings, "videobridge.last"), "1e5");
    assert_eq!(
        settings
            .get("videobridge.ice.udp.port")
            .unwrap()
            .origin()
            .line(),
        3
    );
    assert_eq!(text(&self::settings("{ a = 1 }"), "a"), "1");
}

#[test]
fn config_case_2_includes_are_skipped_when_missing_unless_required() {
    let parse = |text: &str| Config::parse(text, "jvb.conf", &folder);
    let read = |text: &str| parse(text).unwrap().resolve(&no_env).unwrap();
    assert_eq!(text(&read("a = 1\ninclude \"more.conf\""), "a"), "2");
    assert_eq!(text(&read("a = 1\ninclude file(\"more.conf\")"), "a"), "2");
    assert_eq!(
        text(
            &read("include required(file( \"more.conf\" ))\na = 3"),
            "own"
        ),
        "3"
    );
    assert_eq!(text(&read("a = 1\ninclude \"none.conf\""), "a"), "1");
    // Names in an included file are its own first.
    assert_eq!(
        text(&read("a = 1\nx { y { include \"more.conf\" } }"), "x.y.own"),
        "2"
    );
    assert_eq!(text(&read("include = 5"), "include"), "5");

    let failure = |text: &str| parse(text).unwrap_err().to_string();
    assert_eq!(
        failure("\ninclude required(\"none.conf\")"),
        "jvb.conf:2: the required file `none.conf` does not exist"
    );
    assert!(failure("include \"loop.conf\"").contains("does a file include itself"));
    assert!(failure("include \"secret.conf\"").contains("permission denied"));
    assert!(failure("include url(\"http://example.com\")").contains("only files"));
}

#[test]
fn config_case_3_optional_substitutions_keep_what_was_set_before() {
    let config = Config::parse(
        "port = 10000\nport = ${?JVB_PORT}",
        "jvb.conf",
        &no_includes,
    )
    .unwrap();
    assert_eq!(text(&config.resolve(&no_env).unwrap(), "port"), "10000");
    let env = |name: &str| (name == "JVB_PORT").then(|| "20000".to_owned());
    assert_eq!(text(&config.resolve(&env).unwrap(), "port"), "20000");
    assert!(settings("port = ${?JVB_PORT}").get("port").is_none());
    let failure = failure("a = 1\nports { one = ${NOPE} }");
    assert!(
        failure.starts_with("jvb.conf:2: ports.one: `${NOPE}` is not set"),
        "{failure}"
    );
}

#[test]
fn config_case_4_unquoted_text_keeps_its_spelling() {
    let settings = settings(
        "a=12e45678-9abc-4def-8123-0e1200000000\nb = 00e1\nc = 5  seconds  // so\nd = \"a\\u0041\\n\"\n\
         e = \"\"\"a \"quoted\"\nline\"\"\"\"\nf = /etc/x/y\ng = x \"y  z\" 1",
    );
    assert_eq!(text(&settings, "a"), "12e45678-9abc-4def-8123-0e1200000000");
    assert_eq!(text(&settings, "b"), "00e1");
    assert_eq!(text(&settings, "c"), "5  seconds");
    assert_eq!(text(&settings, "d"), "aA\n");
    assert_eq!(text(&settings, "e"), "a \"quoted\"\nline\"");
    assert_eq!(text(&settings, "f"), "/etc/x/y");
    assert_eq!(text(&settings, "g"), "x y  z 1");
}

#[test]
fn config_case_5_numbers_durations_and_rates() {
    let value = |text: &str| settings(&format!("k = {text}")).get("k").unwrap().clone();
    for (text, number) in [("0 %", 0.0), ("\"5%\"", 0.05), ("0.05", 0.05), ("-1", -1.0)] {
        assert_eq!(value(text).to_f64("k").unwrap(), number);
    }
    for (text, millis) in [
        ("5 seconds", 5_000),
        ("5s", 5_000),
        ("5000", 5_000),
        ("0.5 minutes", 30_000),
        ("500ms", 500),
        ("1 minute", 60_000),
        ("2 h", 7_200_000),
        ("\"1 day\"", 86_400_000),
        ("3000 micros", 3),
    ] {
        assert_eq!(
            value(text).to_duration("k").unwrap(),
            Duration::from_millis(millis),
            "{text}"
        );
    }
    for text in [
        "5 parsecs",
        "-1",
        "inf",
        "99999999999999 d",
        "[]",
        "{}",
        "\"\"",
    ] {
        assert!(value(text).to_duration("k").is_err(), "{text}");
    }
    for (text, rate) in [
        ("10 Mbps", 10_000_000),
        ("\"10 mbps\"", 10_000_000),
        ("500kbps", 500_000),
        ("7 bps", 7),
    ] {
        assert_eq!(value(text).to_bits_per_second("k").unwrap(), rate);
    }
    for text in ["2.5 mbps", "10", "-1 bps", "99999999999999999 mbps"] {
        assert!(value(text).to_bits_per_second("k").is_err(), "{text}");
    }
    assert_eq!(value("\"5222\"").to_i64("k").unwrap(), 5222);
    assert_eq!(value("5.9").to_i64("k").unwrap(), 5);
    assert_eq!(
        value("abc").to_i64("udp.port").unwrap_err().to_string(),
        "jvb.conf:1: udp.port: `abc` is not a whole number"
    );
    assert_eq!(value("10 MiB").to_bytes("k").unwrap(), 10 << 20);
    assert_eq!(value("10485760").to_bytes("k").unwrap(), 10 << 20);
    assert!(value("1 elephant").to_bytes("k").is_err());
}

#[test]
fn config_case_6_booleans() {
    for (text, expected) in [
        ("True", true),
        ("FALSE", false),
        ("yes", true),
        ("off", false),
        ("on", true),
        ("\"no\"", false),
    ] {
        let settings = settings(&format!("k = {text}"));
        assert_eq!(settings.get("k").unwrap().to_bool("k").unwrap(), expected);
    }
    let settings = settings("\nk = maybe");
    let error = settings.get("k").unwrap().to_bool("k").unwrap_err();
    assert_eq!(
        error.to_string(),
        "jvb.conf:2: k: `maybe` is not a boolean; use true or false"
    );
}

#[test]
fn config_case_7_mistakes_name_their_line_and_what_to_do() {
    for (text, expected) in [
        (
            "a = 1\nb = 2 c = 3",
            "jvb.conf:2: b: `=` cannot be in unquoted text",
        ),
        ("a = {} b = 3", "jvb.conf:1: a: `=`"),
        ("a {} b = 3", "jvb.conf:1: a: `=`"),
        (
            "jid = jvb@example.com",
            "`@` cannot be in unquoted text; put the value in double quotes",
        ),
        (
            "a {\n b = 1\n",
            "jvb.conf:3: a: the `{` of line 1 is not closed",
        ),
        (
            "a = [1, 2",
            "jvb.conf:1: a: the `[` of line 1 is not closed",
        ),
        ("a = 1 }", "`}` too many"),
        (
            "a = \"x\nb = 1",
            "jvb.conf:1: a: the text is not closed at the end of the line",
        ),
        ("a = \"\\x\"", "is no escape"),
        ("a =", "jvb.conf:1: a: the value is missing"),
        ("a = $b", "write `${name}`"),
        ("a\nb = 1", "a key without a value"),
        ("a..b = 1", "an empty key"),
        ("[1]", "the file is a list"),
        ("a = {} [1]", "jvb.conf:1: "),
        ("a = ${b}\nb = ${a}", "refers to itself"),
        ("a = {b = ${a}}", "refers to itself"),
        (",", "without a field"),
    ] {
        let failure = failure(text);
        assert!(failure.contains(expected), "{text:?} gave {failure:?}");
    }
}

#[test]
fn config_case_10_objects_merge_and_lists_replace() {
    let settings = settings(
        "v { ice { a = 1, b = 1 } }\nv { ice { b = 2 }, l = [1, 2] }\nv.ice.c = 3\nv.l = [3]\n\
         gone = 1\ngone = null\nsome { x = 1 }\nsome = 5\nsome { y = 2 }",
    );
    assert_eq!(text(&settings, "v.ice.a"), "1");
    assert_eq!(text(&settings, "v.ice.b"), "2");
    assert_eq!(text(&settings, "v.ice.c"), "3");
    assert_eq!(texts(&settings, "v.l"), ["3"]);
    assert!(settings.get("gone").is_none());
    assert!(settings.get("some.x").is_none());
    assert_eq!(text(&settings, "some.y"), "2");
}

#[test]
fn substitutions_see_all_layers_and_self_reference_looks_below() {
    let low = Config::parse(
        "base { x = 1, y = 1 }\nl = [0]\nport = 7",
        "low.conf",
        &no_includes,
    )
    .unwrap();
    let high = Config::parse(
        "made = ${base} { x = 2 }\nl = ${l} [1]\nl += 2\nport = ${?NONE}\nurl = \"wss:\"${base.x}/${port} end\n\
         self { a = ${self.b}, b = 4 }\nempty = ${?NONE} ${?NONE}\nn += 1\nn += 2",
        "high.conf",
        &no_includes,
    )
    .unwrap();
    let settings = high.with_fallback(low).resolve(&no_env).unwrap();
    assert_eq!(text(&settings, "made.x"), "2");
    assert_eq!(texts(&settings, "l"), ["0", "1", "2"]);
    assert_eq!(text(&settings, "port"), "7");
    assert_eq!(text(&settings, "url"), "wss:1/7 end");
    assert_eq!(text(&settings, "self.a"), "4");
    assert!(settings.get("empty").is_none());
    assert_eq!(texts(&settings, "n"), ["1", "2"]);
    assert_eq!(
        settings.get("port").unwrap().origin().to_string(),
        "low.conf:3"
    );
    assert!(
        settings
            .keys()
            .any(|(path, origin)| path == "base.x" && origin.file() == "low.conf")
    );
}

#[test]
fn quoted_keys_keep_their_dots() {
    let settings = settings("\"a.b\".c = 1\nlimits { 20 = 20, 30 = 15 }");
    assert_eq!(text(&settings, "\"a.b\".c"), "1");
    assert_eq!(settings.leaves().first().unwrap().0, "\"a.b\".c");
    assert_eq!(text(&settings, "limits.30"), "15");
    let list = self::settings("l { 10 = c, 2 = b }");
    assert_eq!(texts(&list, "l"), ["b", "c"]);
}

#[test]
fn what_would_grow_without_bound_is_refused() {
    let mut doubling = String::from("a0 = xxxxxxxxxxxxxxxx\n");
    for n in 1..64 {
        doubling.push_str(&format!("a{n} = ${{a{0}}}${{a{0}}}\n", n - 1));
    }
    assert!(failure(&doubling).contains("expand to too much"));
    assert!(failure(&"[".repeat(100_000)).contains("list"));
    assert!(failure(&format!("a = {}", "[".repeat(100_000))).contains("within each other"));
    assert!(failure(&"{a".repeat(100_000)).contains("within each other"));
    assert!(failure(&format!("{}a = 1", "a.".repeat(100_000))).contains("keys in one path"));
    assert!(failure(&format!("a = \"{}\"", "x".repeat(limits::MAX_TEXT))).contains("longer than"));
    let mut chain = String::from("a0 = 1\n");
    for n in 1..1000 {
        chain.push_str(&format!("a{n} = ${{a{}}}\n", n - 1));
    }
    assert!(failure(&chain).contains("refer to each other"));
    let appended = settings(&"a += 1\n".repeat(100_000));
    assert_eq!(texts(&appended, "a").len(), 100_000);
}

const SAMPLE: &str = include_str!("../../fuzz/corpus/hocon/reference_style");

fn use_all(text: &str) {
    let Ok(config) = Config::parse(text, "f", &folder) else {
        return;
    };
    let Ok(settings) = config.resolve(&no_env) else {
        return;
    };
    for (path, value) in settings.leaves() {
        assert!(
            matches!(value.data(), Data::Null) || settings.get(&path) == Some(value),
            "{path:?}"
        );
        let _ = (
            value.to_bool(&path),
            value.to_i64(&path),
            value.to_f64(&path),
            value.to_bytes(&path),
        );
        let _ = (
            value.to_duration(&path),
            value.to_bits_per_second(&path),
            value.to_texts(&path),
        );
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-c.${}?\\[\\]\"=:+,# \n\\\\/i0-9%é]{0,120}") {
        use_all(&text);
    }

    #[test]
    fn no_mutation_of_a_real_file_panics(
        edits in prop::collection::vec((0..SAMPLE.len(), 0..40usize, "[a-c.${}?\"=\\[\\],\n]{0,6}"), 1..6),
    ) {
        let mut text = SAMPLE.to_owned();
        for (at, length, new) in edits {
            let start = (0..=at.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            let end = (start + length).min(text.len());
            let end = (end..=text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len());
            text.replace_range(start..end, &new);
        }
        use_all(&text);
    }
}

#[test]
fn the_path_of_every_leaf_finds_it_again() {
    let keys = [
        "plain-key_1",
        "with.dot",
        "nul\u{0}",
        "feed\u{c}",
        "new\nline",
        "q\"uote",
        "back\\slash",
        "é",
        "\u{feff}",
        "a b",
        "x//y",
        "",
    ];
    for key in keys {
        let mut quoted = String::new();
        for c in key.chars() {
            quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
        let config = Config::parse(&format!("o.\"{quoted}\" = 1"), "test", &no_includes).unwrap();
        let settings = config.resolve(&|_| None).unwrap();
        let (path, value) = settings.leaves().remove(0);
        assert_eq!(settings.get(&path), Some(value), "{path}");
    }
}
