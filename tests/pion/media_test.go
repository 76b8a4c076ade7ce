package pion

import (
	"testing"
)

// Each of two clients gets all that the other sends: on the signaled SSRCs, unchanged, in streams without seams.
func TestMediaArrivesUnchanged(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true})
	alice.want(720)
	bob.want(720)
	stopAlice, stopBob := alice.send(), bob.send()

	directions := [][2]*Client{{alice, bob}, {bob, alice}}
	for _, direction := range directions {
		from, to := direction[0], direction[1]
		conference.await("audio and the highest layer arrive", func() bool {
			return len(to.on(from.audio.ssrc)) > 100 && to.sees(from.video[0].ssrc(), from.video[0].highest())
		})
	}
	stopAlice()
	stopBob()

	for _, direction := range directions {
		from, to := direction[0], direction[1]
		camera := from.video[0]
		conference.await("the last packets arrive", func() bool {
			return to.hasAll(from.audio.ssrc, from.audio.encoding) && to.hasAll(camera.ssrc(), camera.highest().encoding)
		})
		conference.look(func() {
			audio, video := to.on(from.audio.ssrc), to.on(camera.ssrc())
			compareAudio(t, audio, from.audio)
			seen := compareVideo(t, video, camera)
			t.Logf("%s got %d audio and %d video packets, encodings changed %d times", to.id, len(audio), len(video), len(seen)-1)
			for ssrc, stream := range to.got.streams {
				signaled := ssrc == from.audio.ssrc || ssrc == camera.ssrc()
				if ssrc == camera.rtxSSRC() {
					compareProbes(t, stream.packets, video)
				} else if !signaled {
					t.Errorf("%s got %d packets on SSRC %d", to.id, len(stream.packets), ssrc)
				}
			}
		})
		to.faultless()
	}
}

// A client whose SSRCs are rewritten learns from maps on its bridge channel where each source comes and with which
// MID, and gets the media there.
func TestRewrittenSSRCsFollowTheMaps(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true, capabilities: []string{"ssrc-rewriting", "rtp-mid-demux"}})
	bob.want(720)
	stop := alice.send()
	camera := alice.video[0]

	var audio, video mapping
	conference.await("both sources are mapped", func() bool {
		var audioMapped, videoMapped bool
		audio, audioMapped = bob.mapped("AudioSourcesMap", alice.audio.name)
		video, videoMapped = bob.mapped("VideoSourcesMap", camera.name)
		return audioMapped && videoMapped
	})
	if audio.ssrc == alice.audio.ssrc || video.ssrc == camera.ssrc() {
		t.Errorf("SSRCs are those of the sender: %v, %v", audio, video)
	}
	if audio.mid == "" || video.mid == "" || audio.mid == video.mid {
		t.Errorf("MIDs of the maps: %q, %q", audio.mid, video.mid)
	}
	conference.await("audio and the highest layer arrive", func() bool {
		return len(bob.on(audio.ssrc)) > 50 && bob.sees(video.ssrc, camera.highest())
	})
	stop()
	conference.await("the last packets arrive", func() bool {
		return bob.hasAll(audio.ssrc, alice.audio.encoding) && bob.hasAll(video.ssrc, camera.highest().encoding)
	})
	conference.look(func() {
		compareAudio(t, bob.on(audio.ssrc), alice.audio)
		compareVideo(t, bob.on(video.ssrc), camera)
		for _, mapping := range []mapping{audio, video} {
			for _, packet := range bob.on(mapping.ssrc) {
				if packet.mid != mapping.mid {
					t.Fatalf("MID %q on SSRC %d instead of %q", packet.mid, mapping.ssrc, mapping.mid)
				}
			}
		}
		if len(bob.on(alice.audio.ssrc)) > 0 || len(bob.on(camera.ssrc())) > 0 {
			t.Errorf("media on the sender's SSRCs")
		}
	})
	bob.faultless()
}

// A screen share that is signaled during the call arrives beside the camera.
func TestScreenShareIsAdded(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true})
	bob.want(720)
	stop := alice.send()
	camera := alice.video[0]
	conference.await("the camera arrives", func() bool { return len(bob.on(camera.ssrc())) > 0 })
	screen := alice.addScreen()
	conference.await("both arrive in the highest layer", func() bool {
		return bob.sees(screen.ssrc(), screen.highest()) && bob.sees(camera.ssrc(), camera.highest())
	})
	bob.awaitMessage("ForwardedSources", func(message object) bool {
		forwarded, _ := message["forwardedSources"].([]any)
		return len(forwarded) == 2
	})
	stop()
	conference.await("the last packets arrive", func() bool {
		return bob.hasAll(screen.ssrc(), screen.highest().encoding) && bob.hasAll(camera.ssrc(), camera.highest().encoding)
	})
	conference.look(func() {
		compareVideo(t, bob.on(screen.ssrc()), screen)
		compareVideo(t, bob.on(camera.ssrc()), camera)
	})
	bob.faultless()
}
