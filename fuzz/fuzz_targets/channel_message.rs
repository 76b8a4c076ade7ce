//! Messages of clients on the bridge channel.

#![no_main]

use causeway_bridge::channel::{ClientMessage, ForwardedBody};
use causeway_bridge::ids::EndpointId;
use causeway_bridge::limits::{MAX_LIST_ITEMS, MAX_MESSAGE_BYTES};
use libfuzzer_sys::fuzz_target;

fn body(message: &ClientMessage) -> Option<&ForwardedBody> {
    match message {
        ClientMessage::EndpointMessage { body, .. } | ClientMessage::EndpointStats { body } => {
            Some(body)
        }
        _ => None,
    }
}

fuzz_target!(|text: &str| {
    let Ok(message) = ClientMessage::parse(text) else {
        return;
    };
    assert!(text.len() <= MAX_MESSAGE_BYTES);
    if let ClientMessage::ReceiverVideoConstraints(constraints) = &message {
        let lists = [&constraints.selected_sources, &constraints.on_stage_sources];
        assert!(
            lists
                .into_iter()
                .flatten()
                .all(|list| list.len() <= MAX_LIST_ITEMS)
        );
        let all = constraints.constraints.iter().flat_map(|map| map.values());
        assert!(
            all.chain(&constraints.default_constraints)
                .all(|c| c.max_height >= -1)
        );
    }
    // What others get is one message of the same class from the true sender, whoever reads it.
    let Some(forwarded) = body(&message) else {
        return;
    };
    let sender = EndpointId::from("true \"sender\"");
    let once = forwarded.forward(&sender);
    if once.len() > MAX_MESSAGE_BYTES {
        return;
    }
    let read = ClientMessage::parse(&once).expect("what we wrote");
    assert_eq!(read.class(), message.class());
    assert_eq!(body(&read).expect("a body").forward(&sender), once);
});
