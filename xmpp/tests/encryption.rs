//! Servers that offer no encryption.

use causeway_xmpp::{Account, Connection, Security};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const FEATURES: &str = "<?xml version='1.0'?>\
    <stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' version='1.0'>\
    <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>";

/// What a server without TLS is told after it said what it offers, and why the login failed.
async fn answer_to_no_encryption(security: Security) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let account = Account {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
        domain: "auth.meet.test".into(),
        user: "jvb".into(),
        password: "secret".into(),
        security,
        verify: true,
    };
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut header = String::new();
        while !header.contains("to='auth.meet.test'>") {
            let mut bytes = Vec::new();
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "{header}");
            header += &String::from_utf8(bytes).unwrap();
        }
        stream.write_all(FEATURES.as_bytes()).await.unwrap();
        // To the end, or to what it would have to answer.
        let mut next = Vec::new();
        while stream.read_buf(&mut next).await.unwrap() > 0 && !next.ends_with(b"</auth>") {}
        String::from_utf8(next).unwrap()
    };
    let (told, opened) = tokio::join!(server, Connection::open(&account));
    (told, opened.err().expect("no login").to_string())
}

/// That the login goes on from there is tested with a real server.
#[tokio::test]
async fn config_case_19_without_tls_nothing_is_told_where_encryption_is_required() {
    let (told, why) = answer_to_no_encryption(Security::Required).await;
    assert_eq!(told, "");
    assert!(why.contains("offers no encryption"), "{why}");
    for security in [Security::IfPossible, Security::Disabled] {
        let (told, _) = answer_to_no_encryption(security).await;
        assert!(told.starts_with("<auth "), "{told}");
        assert!(told.contains("SCRAM-SHA-1"), "not in the clear: {told}");
    }
}
