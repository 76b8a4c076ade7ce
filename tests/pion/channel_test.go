package pion

import (
	"testing"

	"golang.org/x/net/websocket"
)

// The bridge channel over SCTP: hello on request, messages between clients, no other greeting than the state.
func TestDataChannel(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true, dtlsServer: true})
	carol := conference.join(options{sctp: true})
	for _, client := range conference.clients {
		client.awaitMessage("ForwardedSources", nil)
	}
	conference.look(func() {
		if alice.heard("ServerHello", nil) != nil {
			t.Errorf("a hello that nobody asked for")
		}
	})
	alice.say(object{"colibriClass": "ClientHello"})
	alice.awaitMessage("ServerHello", nil)
	exchangeMessages(alice, bob, carol)
}

// exchangeMessages lets the first client send to the second, then to both.
func exchangeMessages(from, to, other *Client) {
	t := from.conference.t
	t.Helper()
	carries := func(text string) func(object) bool {
		return func(message object) bool {
			return message["from"] == from.id && at(message, "msgPayload", "text") == text
		}
	}
	private, public := randomText(), randomText()
	say := func(receiver, text string) {
		from.say(object{"colibriClass": "EndpointMessage", "to": receiver, "msgPayload": object{"text": text}})
	}
	say(to.id, private)
	say("", public)
	for _, client := range []*Client{to, other} {
		client.awaitMessage("EndpointMessage", carries(public))
	}
	from.conference.look(func() {
		if to.heard("EndpointMessage", carries(private)) == nil {
			t.Errorf("the private message did not arrive, or later than the public one")
		}
		if other.heard("EndpointMessage", carries(private)) != nil {
			t.Errorf("somebody else got the private message")
		}
		if from.heard("EndpointMessage", nil) != nil {
			t.Errorf("the sender got its own message")
		}
	})
}

// The bridge channel over the websocket of the answer.
func TestWebSocket(t *testing.T) {
	conference := newConference(t)
	alice, bob, carol := conference.join(options{}), conference.join(options{}), conference.join(options{})
	for _, client := range conference.clients {
		client.openWebSocket()
		client.awaitMessage("ServerHello", nil)
		client.awaitMessage("ForwardedSources", nil)
	}
	exchangeMessages(alice, bob, carol)

	if _, err := websocket.Dial(alice.bridge.webSocket+"x", "", "http://localhost/"); err == nil {
		t.Errorf("a wrong password opened a websocket")
	}
	bob.want(720)
	alice.send()
	conference.await("what was wanted arrives", func() bool {
		return bob.sees(alice.video[0].ssrc(), alice.video[0].highest())
	})
}

// What a receiver wants decides which encoding it gets, and what its sender is told to send.
func TestConstraintsChooseTheLayer(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true})
	alice.send()
	camera := alice.video[0]
	forwards := func(number int) func(object) bool {
		return func(message object) bool {
			forwarded, _ := message["forwardedSources"].([]any)
			return len(forwarded) == number
		}
	}
	constrained := func(height int) func(object) bool {
		return func(message object) bool {
			return message["sourceName"] == camera.name && message["maxHeight"] == float64(height)
		}
	}
	for _, step := range []struct{ height, encoding int }{{720, 2}, {180, 0}, {360, 1}, {720, 2}} {
		encoding := camera.encodings[step.encoding]
		conference.look(func() { alice.got.messages = nil })
		bob.want(step.height)
		conference.await("the encoding is the one that was wanted", func() bool {
			return bob.sees(camera.ssrc(), encoding)
		})
		alice.awaitMessage("SenderSourceConstraints", constrained(step.height))
	}
	bob.awaitMessage("ForwardedSources", forwards(1))
	conference.look(func() { bob.got.messages = nil })
	bob.want(0)
	bob.awaitMessage("ForwardedSources", forwards(0))
	alice.awaitMessage("SenderSourceConstraints", constrained(0))
	var before, audioBefore int
	conference.look(func() { before, audioBefore = len(bob.on(camera.ssrc())), len(bob.on(alice.audio.ssrc)) })
	conference.await("audio goes on", func() bool { return len(bob.on(alice.audio.ssrc)) > audioBefore+50 })
	conference.look(func() {
		// What was on its way when the message was sent may follow it.
		if after := len(bob.on(camera.ssrc())); after > before+3 {
			t.Errorf("%d video packets came that nobody wants", after-before)
		}
		compareVideo(t, bob.on(camera.ssrc()), camera)
	})
	bob.faultless()
}

// Audio levels decide who is the dominant speaker, and everybody is told.
func TestDominantSpeaker(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true})
	conference.look(func() { bob.audio.silent = true })
	alice.send()
	bob.send()
	dominates := func(speaker *Client) func(object) bool {
		return func(message object) bool { return message["dominantSpeakerEndpoint"] == speaker.id }
	}
	for _, client := range conference.clients {
		client.awaitMessage("DominantSpeakerEndpointChangeEvent", dominates(alice))
	}
	conference.look(func() {
		alice.audio.silent, bob.audio.silent = true, false
		alice.got.messages, bob.got.messages = nil, nil
	})
	for _, client := range conference.clients {
		event := client.awaitMessage("DominantSpeakerEndpointChangeEvent", dominates(bob))
		if at(event, "previousSpeakers", 0) != alice.id {
			t.Errorf("previous speakers: %v", event)
		}
	}
}
