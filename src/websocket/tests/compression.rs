//! Compressed texts in both directions.

use super::*;

#[tokio::test(start_paused = true)]
async fn compressed_and_plain_texts_are_heard_in_any_order() {
    let world = World::new();
    let (mut client, _) = world.offer(world.a, CHROMIUM).await;
    let mut received = 0;
    for _ in 0..3 {
        for text in [
            compressed(Data::Text, true, &HELLO_DEFLATED),
            Message::text(HELLO),
        ] {
            // Binary messages are ignored, whatever is in them.
            client.send(Message::binary(HELLO)).await.unwrap();
            client
                .send(compressed(Data::Binary, true, b"\x07"))
                .await
                .unwrap();
            client.send(text).await.unwrap();
            assert_eq!(hear(&mut client).await["colibriClass"], "ServerHello");
            received += 1;
        }
    }
    // In fragments, of which only the first says that it is compressed, and with control frames between.
    let (head, tail) = HELLO_DEFLATED.split_at(5);
    client
        .send(compressed(Data::Text, false, head))
        .await
        .unwrap();
    client.send(Message::Ping("between".into())).await.unwrap();
    client
        .send(fragment(Data::Continue, false, b""))
        .await
        .unwrap();
    client
        .send(fragment(Data::Continue, true, tail))
        .await
        .unwrap();
    assert_eq!(hear(&mut client).await["colibriClass"], "ServerHello");
    assert_eq!(world.sockets.stats().messages_received, received + 1);
}

#[tokio::test(start_paused = true)]
async fn rsv1_belongs_on_the_first_frame_of_a_message_only() {
    let world = World::new();
    let control = |opcode| {
        let mut frame = Frame::ping(&b""[..]);
        frame.header_mut().opcode = OpCode::Control(opcode);
        frame.header_mut().rsv1 = true;
        vec![Message::Frame(frame)]
    };
    let mut reserved = Frame::message(HELLO_DEFLATED.to_vec(), OpCode::Data(Data::Text), true);
    (reserved.header_mut().rsv1, reserved.header_mut().rsv2) = (true, true);
    for frames in [
        control(ControlOpCode::Ping),
        control(ControlOpCode::Pong),
        control(ControlOpCode::Close),
        vec![
            compressed(Data::Text, false, &HELLO_DEFLATED[..5]),
            compressed(Data::Continue, true, &HELLO_DEFLATED[5..]),
        ],
        vec![
            fragment(Data::Text, false, b"{"),
            compressed(Data::Continue, true, b"}"),
        ],
        // A message inside of another one.
        vec![
            compressed(Data::Text, false, &HELLO_DEFLATED[..5]),
            compressed(Data::Text, true, &HELLO_DEFLATED),
        ],
        vec![Message::Frame(reserved)],
    ] {
        let (mut client, _) = world.offer(world.a, CHROMIUM).await;
        for frame in frames {
            client.send(frame).await.unwrap();
        }
        assert_eq!(closed(&mut client).await, closes(1002, "Protocol error"));
    }
}

/// From a client that compresses, through the bridge, to one that reads compressed texts, one that agreed to a
/// window that is too small, and one that does not know of it.
#[tokio::test(start_paused = true)]
async fn long_texts_are_sent_compressed_to_whoever_agreed() {
    let world = World::new();
    let words = "so much to say, ".repeat(300);
    let text = format!(r#"{{"colibriClass":"EndpointMessage","to":"B","msgPayload":"{words}"}}"#);
    let message = deflate::Deflater::new().deflated(text.as_bytes()).unwrap();
    assert!(message.len() < 200);
    let (mut a, _) = world.offer(world.a, CHROMIUM).await;
    for (offer, flags) in [
        (Some(CHROMIUM), 0xc1),
        (Some("permessage-deflate; server_max_window_bits=15"), 0xc1),
        (Some("permessage-deflate; server_max_window_bits=13"), 0xc1),
        (Some("permessage-deflate; server_max_window_bits=12"), 0x81),
        (None, 0x81),
    ] {
        let b = match offer {
            Some(offer) => world.offer(world.b, offer).await.0,
            None => world.connect(world.b).await,
        };
        let mut b = b.into_inner();
        // Twice: no message refers to the one before.
        for _ in 0..2 {
            a.send(compressed(Data::Text, true, &message))
                .await
                .unwrap();
            let (got, payload) = next_frame(&mut b).await;
            assert_eq!(got, flags, "{offer:?}");
            let payload = if flags == 0xc1 {
                assert!(payload.len() < 200);
                deflate::inflated(&payload).unwrap()
            } else {
                payload
            };
            let got: Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(got["from"], "A");
            assert_eq!(got["msgPayload"], *words);
        }
    }
    assert_eq!(world.sockets.stats().messages_sent, 1 + 5 + 10);
}

#[tokio::test(start_paused = true)]
async fn t57_what_compressed_texts_become_is_bounded() {
    let world = World::new();
    let mut b = world.connect(world.b).await;
    let deflated = |text: &[u8]| miniz_oxide::deflate::compress_to_vec(text, 9);
    let too_large = "Text message too large: 65,537 > 65,536";
    for (message, expected) in [
        // 64 KiB of zeros, a thousand times: in one frame of 64 KiB.
        (deflated(&vec![0; 1_000 << 16]), closes(1009, too_large)),
        (
            deflated(&vec![b' '; MAX_MESSAGE_BYTES + 1]),
            closes(1009, too_large),
        ),
        ([0x03, 0x00].repeat(30_000), closes(1008, "Too many blocks")),
        (vec![0x07; 100], closes(1007, "Invalid compressed data")),
        // A reference to the message before.
        (
            vec![0xf2, 0x00, 0x11, 0x00, 0x00],
            closes(1007, "Invalid compressed data"),
        ),
        (deflated(b"\xff\xfe"), closes(1007, "Invalid UTF-8")),
        // Too long before it is decompressed.
        (
            vec![0; limits::MAX_READ + 1],
            closes(1009, "Text message too large: 131,073 > 65,536"),
        ),
    ] {
        let (mut client, _) = world.offer(world.a, CHROMIUM).await;
        client
            .send(compressed(Data::Text, true, &deflated(b"{}")))
            .await
            .unwrap();
        // As long as it is not read to its end, sending does not end.
        let sending = client.send(compressed(Data::Text, true, &message));
        let _ = tokio::time::timeout(Duration::from_millis(1), sending).await;
        assert_eq!(closed(&mut client).await, expected);
        assert_alive(&mut b).await;
    }
    assert_eq!(world.sockets.stats().errors, 7);

    let (mut client, _) = world.offer(world.a, CHROMIUM).await;
    let longest = HELLO.to_owned() + &" ".repeat(MAX_MESSAGE_BYTES - HELLO.len());
    client
        .send(compressed(Data::Text, true, &deflated(longest.as_bytes())))
        .await
        .unwrap();
    assert_eq!(hear(&mut client).await["colibriClass"], "ServerHello");
}

/// Between messages there is nothing but where in its frame the stream is.
#[test]
fn t57_an_idle_compressed_socket_costs_next_to_nothing() {
    use hyper::upgrade::Upgraded;
    use hyper_util::rt::TokioIo;

    let plain = size_of::<WebSocketStream<TokioIo<Upgraded>>>();
    assert!(size_of::<Socket>() <= plain + 128);
}
