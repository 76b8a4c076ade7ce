package pion

import (
	"net/http"
	"testing"
)

// An ICE restart moves a client to new credentials while media flows, and nothing is lost.
func TestICERestartDuringMedia(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true})
	stop := alice.send()
	conference.await("audio arrives", func() bool { return len(bob.on(alice.audio.ssrc)) > 20 })
	for round := 0; round < 2; round++ {
		var before int
		alice.restartICE()
		conference.look(func() { before = len(bob.on(alice.audio.ssrc)) })
		conference.await("audio goes on", func() bool { return len(bob.on(alice.audio.ssrc)) > before+50 })
	}
	stop()
	conference.await("the last packets arrive", func() bool { return bob.hasAll(alice.audio.ssrc, alice.audio.encoding) })
	conference.look(func() { compareAudio(t, bob.on(alice.audio.ssrc), alice.audio) })
	bob.faultless()
}

// The focus mutes a participant: audio stops and video goes on, until it is allowed again.
func TestForceMute(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true})
	bob.want(180)
	alice.send()
	camera := alice.video[0]
	audio := func() int { return len(bob.on(alice.audio.ssrc)) }
	video := func() int { return len(bob.on(camera.ssrc())) }
	conference.await("both arrive", func() bool { return audio() > 20 && video() > 20 })

	conference.modifyEndpoint(alice.id, object{"force-mute": object{"audio": true, "video": false}})
	var heard, seen int
	conference.look(func() { heard, seen = audio(), video() })
	conference.await("video goes on", func() bool { return video() > seen+60 })
	conference.look(func() {
		// What was on its way when the request was answered may follow.
		if audio() > heard+5 {
			t.Errorf("%d audio packets came from who is muted", audio()-heard)
		}
	})

	conference.modifyEndpoint(alice.id, object{"force-mute": object{"audio": false, "video": false}})
	conference.look(func() { heard = audio() })
	conference.await("audio is back", func() bool { return audio() > heard+20 })
	bob.faultless()
}

// A receiver with an initial last-n of zero gets no video until it says what it wants.
func TestInitialLastN(t *testing.T) {
	none := 0
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true, initialLastN: &none})
	carol := conference.join(options{sctp: true})
	// The constraints of both are the same; only last-n differs.
	carol.want(180)
	bob.want(180)
	alice.send()
	camera := alice.video[0]
	conference.await("carol sees", func() bool { return len(carol.on(camera.ssrc())) > 60 })
	conference.look(func() {
		if came := len(bob.on(camera.ssrc())); came > 0 {
			t.Errorf("%d video packets came in spite of last-n 0", came)
		}
	})
	bob.say(object{
		"colibriClass":       "ReceiverVideoConstraints",
		"lastN":              -1,
		"defaultConstraints": object{"maxHeight": 180},
	})
	conference.await("bob sees", func() bool { return len(bob.on(camera.ssrc())) > 20 })
	bob.faultless()
}

// Who leaves is gone for the others, and a conference that is expired is gone altogether.
func TestLeavingAndExpiry(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true})
	bob.want(180)
	alice.send()
	bob.awaitMessage("ForwardedSources", func(message object) bool {
		forwarded, _ := message["forwardedSources"].([]any)
		return len(forwarded) == 1
	})
	conference.look(func() { bob.got.messages = nil })
	alice.leave()
	bob.awaitMessage("ForwardedSources", func(message object) bool {
		forwarded, _ := message["forwardedSources"].([]any)
		return len(forwarded) == 0
	})
	conference.expire()
	conference.request(http.MethodPatch, "/"+conference.id, object{"endpoints": []object{}}, http.StatusNotFound)
	bob.faultless()
}
