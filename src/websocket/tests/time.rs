//! Pings, idle sockets, and clients that do not read.

use super::*;

#[tokio::test(start_paused = true)]
async fn bridge_channel_case_20_a_silent_client_that_answers_pings_stays() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    let start = Instant::now();
    let mut pings = 0;
    while start.elapsed() < Duration::from_secs(300) {
        // The client's library answers while it reads on.
        assert!(matches!(client.next().await, Some(Ok(Message::Ping(_)))));
        pings += 1;
    }
    assert_eq!(pings, 20, "one in 15 s");
    assert_alive(&mut client).await;
}

/// T60: a peer that is gone without a word is noticed, whether pings are sent or not.
#[tokio::test(start_paused = true)]
async fn bridge_channel_case_21_rest_and_stats_case_40_t60_a_client_from_which_nothing_comes_is_closed_after_60_s()
 {
    for send_pings in [true, false] {
        let world = World::with(BridgeConfig::default(), |options| {
            options.send_pings = send_pings
        });
        let client = world.connect(world.a).await;
        let mut pipe = client.into_inner();
        let start = Instant::now();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"Connection Idle Timeout") {
            assert_ne!(pipe.read_buf(&mut bytes).await.unwrap(), 0);
        }
        assert_eq!(start.elapsed().as_secs(), 60);
        let pings = bytes.windows(2).filter(|pair| *pair == [0x89, 0]).count();
        assert!(if send_pings { pings >= 3 } else { pings == 0 }, "{pings}");
        assert_eq!(world.sockets.stats().open, 0);
        // The peer never answers the close frame: the connection ends all the same.
        while pipe.read_buf(&mut bytes).await.unwrap() > 0 {}
        assert_eq!(start.elapsed().as_secs(), 65);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_listens_is_pinged_although_it_is_sent_to() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    let start = Instant::now();
    let mut pings = 0;
    while start.elapsed() < Duration::from_secs(120) {
        world.sockets.send(world.a, "{}".into());
        // Its library answers each ping.
        while let Ok(message) = tokio::time::timeout(Duration::from_secs(5), client.next()).await {
            pings += u32::from(message.unwrap().unwrap().is_ping());
        }
    }
    assert!(pings > 3, "{pings}");
    assert_alive(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn a_lively_conversation_needs_no_pings() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(120) {
        assert_alive(&mut client).await;
        let silence = tokio::time::timeout(Duration::from_secs(10), client.next()).await;
        assert!(silence.is_err(), "{silence:?}");
    }
}

/// T60: texts for a client that does not read take bounded memory and nobody's time.
#[tokio::test(start_paused = true)]
async fn t60_a_client_that_does_not_read_is_closed_with_1013() {
    let world = World::new();
    let mut slow = world.connect(world.a).await;
    let mut other = world.connect(world.b).await;
    let text: Arc<str> = format!(r#"{{"x":"{}"}}"#, "x".repeat(8 << 10)).into();
    let fits = WEBSOCKET_SEND_BUFFER / text.len();
    for _ in 0..fits {
        world.sockets.send(world.a, Arc::clone(&text));
    }
    assert_eq!(world.sockets.stats().overflows, 0);
    world.sockets.send(world.a, Arc::clone(&text));
    world.sockets.send(world.a, text);
    assert_eq!(world.sockets.stats().overflows, 1);
    assert_eq!(closed(&mut slow).await, closes(1013, "Send buffer full"));
    assert_alive(&mut other).await;
    assert_eq!(world.sockets.stats().open, 1);
    // It may come back.
    let mut again = world.connect(world.a).await;
    assert_alive(&mut again).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_gets_any_amount() {
    let world = World::new();
    let mut client = world.connect(world.a).await;
    let text: Arc<str> = format!(r#"{{"x":"{}"}}"#, "x".repeat(60 << 10)).into();
    for _ in 0..20 {
        world.sockets.send(world.a, Arc::clone(&text));
        hear(&mut client).await;
    }
    assert_eq!(world.sockets.stats().overflows, 0);
    assert_eq!(world.sockets.stats().messages_sent, 21);
}

/// A socket in the middle of a write that does not progress still obeys.
#[tokio::test(start_paused = true)]
async fn t60_a_stuck_socket_is_let_go() {
    let world = World::new();
    let stuck = world.connect(world.a).await;
    let text: Arc<str> = format!(r#"{{"x":"{}"}}"#, "x".repeat(60 << 10)).into();
    world.sockets.send(world.a, text);
    let mut other = world.connect(world.b).await;
    assert_alive(&mut other).await;
    world.expire(world.a);
    assert_eq!(world.sockets.stats().open, 1);
    let start = Instant::now();
    let mut pipe = stuck.into_inner();
    tokio::time::sleep(limits::GOODBYE * 2).await;
    // The bridge dropped its side long ago: after what was on the way the pipe ends.
    let mut rest = Vec::new();
    pipe.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() <= PIPE);
    assert_eq!(start.elapsed(), limits::GOODBYE * 2);
}
