use super::*;

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' version='1.0'>";

fn items(text: &str) -> Result<Vec<Item>, ParseError> {
    let mut parser = StreamParser::default();
    let mut items = Vec::new();
    // Small pieces, as slow networks deliver them.
    for piece in text.as_bytes().chunks(7) {
        let mut bytes = piece;
        while let Some(item) = parser.next(&mut bytes)? {
            items.push(item);
        }
    }
    Ok(items)
}

fn stanza(text: &str) -> Item {
    let mut all = items(&format!("{HEADER}{text}")).expect("well-formed");
    assert_eq!(all.len(), 2, "{all:?}");
    all.remove(1)
}

#[test]
fn a_stream_is_cut_into_stanzas() {
    let text = format!(
        "{HEADER} <iq id='1'><query xmlns='x'>a&amp;b<c/></query></iq>\n<presence/></stream:stream>"
    );
    let all = items(&text).expect("well-formed");
    let [
        Item::Begin,
        Item::Stanza(iq),
        Item::Stanza(presence),
        Item::End,
    ] = all.as_slice()
    else {
        panic!("{all:?}");
    };
    let query = iq.child("query", "x").expect("the query");
    assert_eq!(query.text(), "a&b");
    assert!(query.child("c", "x").is_some());
    assert!(presence.is("presence", ns::CLIENT));
}

#[test]
fn colibri2_case_10_prefixes_and_repeated_declarations_change_nothing() {
    let plain = stanza("<iq><a xmlns='u:1' k='v'><b/></a></iq>");
    let other = stanza("<iq xmlns:p='u:1'><p:a k='v'><b xmlns='u:1'/></p:a></iq>");
    assert_eq!(plain, other);
}

#[test]
fn what_is_written_is_read_again() {
    let element = Element::new("iq", ns::CLIENT)
        .with("id", "<'\"&>\t\n")
        .with_child(Element::new("a", "u:1").with_text("x < y && \"z\" 'q' \u{1F600}"))
        .with_child(Element::new("b", ns::CLIENT));
    assert_eq!(stanza(&element.to_string()), Item::Stanza(element));
}

#[test]
fn characters_that_xml_can_not_have_are_replaced() {
    let element = Element::new("iq", ns::CLIENT).with("id", "a\u{1}\u{ffff}b");
    assert!(element.to_string().contains("a\u{fffd}\u{fffd}b"));
    assert!(matches!(stanza(&element.to_string()), Item::Stanza(_)));
}

#[test]
fn t66_forbidden_constructs_end_the_stream() {
    for text in [
        "<!DOCTYPE a [<!ENTITY b 'c'>]>".to_owned() + HEADER,
        format!("{HEADER}<iq><!-- comment --></iq>"),
        format!("{HEADER}<iq><?php echo ?></iq>"),
        format!("{HEADER}<iq>&lol;</iq>"),
        format!("{HEADER}<iq><a></iq>"),
        format!("{HEADER}<iq a='1' a='2'/>"),
        format!("{HEADER}<iq><p:a/></iq>"),
        format!("{HEADER}<iq>\u{1}</iq>"),
    ] {
        assert!(
            matches!(items(&text), Err(ParseError::Malformed(_))),
            "{text}"
        );
    }
    assert_eq!(items("<html/>"), Err(ParseError::NotAStream));
}

#[test]
fn t67_too_much_is_skipped_and_its_sender_known() {
    let expected = Item::TooLarge(Sender {
        name: "iq".into(),
        kind: "set".into(),
        id: "7".into(),
        from: "r@m/f".into(),
    });
    let deep = "<a>".repeat(MAX_DEPTH) + &"</a>".repeat(MAX_DEPTH);
    let many = "<a/>".repeat(MAX_ELEMENTS);
    let long = "x".repeat(MAX_STANZA_BYTES);
    let attributes: String = (0..=MAX_ATTRIBUTES)
        .map(|number| format!(" a{number}=''"))
        .collect();
    let attributes = format!("<a{attributes}/>");
    for content in [deep, many, long, attributes] {
        let text = format!("{HEADER}<iq type='set' id='7' from='r@m/f'>{content}</iq><presence/>");
        let all = items(&text).expect("well-formed");
        assert_eq!(all.len(), 3);
        assert_eq!(all[1], expected);
        assert!(matches!(&all[2], Item::Stanza(next) if next.is("presence", ns::CLIENT)));
    }
}

#[test]
fn the_largest_legal_stanza_passes() {
    let deep = "<a>".repeat(MAX_DEPTH - 1) + &"</a>".repeat(MAX_DEPTH - 1);
    let many = "<a/>".repeat(MAX_ELEMENTS - MAX_DEPTH);
    let content = format!("<iq>{deep}{many}</iq>");
    assert!(matches!(stanza(&content), Item::Stanza(_)));
}

/// The largest that Prosody lets a client send: it must not cost the connection that the bridge has.
#[test]
fn t67_a_long_attribute_is_a_stanza_like_any_other() {
    let long = "x".repeat(260_000);
    let text = format!("{HEADER}<iq type='get' id='7'><a b='{long}'/></iq><presence/>");
    let all = items(&text).expect("well-formed");
    assert!(matches!(&all[1], Item::Stanza(stanza) if stanza.to_string().contains(&long)));
    assert!(matches!(&all[2], Item::Stanza(next) if next.is("presence", ns::CLIENT)));
}

#[test]
fn t66_a_tag_without_end_ends_the_stream() {
    let mut parser = StreamParser::default();
    let mut bytes = HEADER.as_bytes();
    assert_eq!(parser.next(&mut bytes), Ok(Some(Item::Begin)));
    let mut bytes = &b"<iq"[..];
    assert_eq!(parser.next(&mut bytes), Ok(None));
    let failed = (0..100_000).find_map(|number| {
        let text = format!(" a{number}='aaaaaaaa'");
        parser.next(&mut text.as_bytes()).err()
    });
    assert_eq!(failed, Some(ParseError::EndlessTag));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn element() -> impl Strategy<Value = Element> {
        let name = "[a-z][a-z0-9-]{0,6}";
        let ns = prop::sample::select(vec![ns::CLIENT, "u:1", "u:2"]);
        let leaf = (
            name,
            ns,
            prop::collection::btree_map(name, "[ -~\u{a0}-\u{ff}\t\n]{0,12}", 0..4),
        )
            .prop_map(|(name, ns, attributes)| {
                attributes
                    .iter()
                    .fold(Element::new(&name, ns), |element, (name, value)| {
                        element.with(name, value)
                    })
            });
        leaf.prop_recursive(4, 32, 4, |inner| {
            (
                inner.clone(),
                prop::collection::vec(inner, 0..4),
                "[ -~]{0,8}",
            )
                .prop_map(|(element, children, text)| {
                    let element = children.into_iter().fold(element, Element::with_child);
                    if text.is_empty() {
                        element
                    } else {
                        element.with_text(&text)
                    }
                })
        })
    }

    /// Attributes come in the order of their names from the parser.
    fn sorted(element: &Element) -> String {
        let mut text: Vec<char> = element.to_string().chars().collect();
        text.sort_unstable();
        text.into_iter().collect()
    }

    proptest! {
        #[test]
        fn written_elements_are_read_again(element in element()) {
            let Item::Stanza(read) = stanza(&element.to_string()) else {
                return Err(TestCaseError::fail("no stanza"));
            };
            prop_assert_eq!(sorted(&read), sorted(&element));
        }

        #[test]
        fn any_bytes_are_read_without_panic(
            text in prop::collection::vec(prop::sample::select(vec![
                HEADER, "<iq", ">", "</iq>", " a='1'", "<a xmlns='b'>", "</a>", "/>", "&amp;", "&x;", "\"", "<![CDATA[", "]]>", "\u{e4}",
            ]), 0..20),
        ) {
            let _ = items(&text.concat());
            let _ = items(&format!("{HEADER}{}", text.concat()));
        }
    }
}
