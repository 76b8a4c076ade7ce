package pion

import (
	"encoding/binary"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// everyTwentieth tells for each twentieth video packet of an SSRC that it shall be lost, and calls back with it.
func everyTwentieth(ssrc uint32, lost func(*rtp.Packet)) func(*rtp.Packet) bool {
	count := 0
	return func(packet *rtp.Packet) bool {
		if packet.SSRC != ssrc {
			return false
		}
		count++
		if count%20 != 0 {
			return false
		}
		lost(packet)
		return true
	}
}

// nack asks for packets again, each on its own.
func nack(ssrc uint32, sequences ...uint16) *rtcp.TransportLayerNack {
	request := &rtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: ssrc}
	for _, sequence := range sequences {
		request.Nacks = append(request.Nacks, rtcp.NackPair{PacketID: sequence})
	}
	return request
}

// What a receiver asks for again comes on the retransmission SSRC, as it was (RFC 4588).
func TestReceiverGetsLostPacketsAgain(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true})
	bob.want(720)
	camera := alice.video[0]
	lost := make(map[uint16]string)
	conference.look(func() {
		bob.missing = everyTwentieth(camera.ssrc(), func(packet *rtp.Packet) {
			lost[packet.SequenceNumber] = string(packet.Payload)
		})
	})
	stop := alice.send()
	again := func() map[uint16]string {
		found := make(map[uint16]string)
		for _, packet := range bob.on(camera.rtxSSRC()) {
			if packet.PayloadType != payloadRTX || len(packet.payload) < 2 {
				t.Fatalf("payload type %d with %d bytes on the retransmission SSRC", packet.PayloadType, len(packet.payload))
			}
			// Others are probes for bandwidth.
			if original := binary.BigEndian.Uint16(packet.payload); lost[original] != "" {
				found[original] = string(packet.payload[2:])
			}
		}
		return found
	}
	// As a browser does, it asks at once.
	asked := make(map[uint16]bool)
	for len(asked) < 10 {
		var sequences []uint16
		conference.await("packets are lost", func() bool {
			for sequence := range lost {
				if !asked[sequence] {
					asked[sequence] = true
					sequences = append(sequences, sequence)
				}
			}
			return len(sequences) > 0
		})
		bob.sendRTCP(nack(camera.ssrc(), sequences...))
		conference.await("they come again", func() bool { return len(again()) >= len(asked) })
	}
	stop()
	conference.look(func() {
		for sequence, payload := range again() {
			if lost[sequence] != payload {
				t.Errorf("packet %d came again with another payload", sequence)
			}
		}
	})
	bob.faultless()
}

// The bridge asks a sender for what was lost on the way, and what comes again takes its place in the stream.
func TestSenderIsAskedForLostPackets(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true})
	bob.want(180)
	camera := alice.video[0]
	lowest := camera.encodings[0]
	lost := make(map[uint16]*rtp.Packet)
	alice.sending.Lock()
	alice.lose = everyTwentieth(lowest.ssrc, func(packet *rtp.Packet) {
		copied := *packet
		lost[packet.SequenceNumber] = &copied
	})
	alice.sending.Unlock()
	stop := alice.send()
	answered := make(map[uint16]bool)
	retransmission := uint16(0)
	for len(answered) < 5 {
		var wanted []uint16
		conference.await("the bridge asks", func() bool {
			wanted = nil
			for _, packet := range alice.got.rtcp {
				request, is := packet.(*rtcp.TransportLayerNack)
				if !is || request.MediaSSRC != lowest.ssrc {
					continue
				}
				for _, pair := range request.Nacks {
					for _, sequence := range pair.PacketList() {
						if !answered[sequence] {
							wanted = append(wanted, sequence)
						}
					}
				}
			}
			return len(wanted) > 0
		})
		for _, sequence := range wanted {
			alice.sending.Lock()
			original := lost[sequence]
			alice.sending.Unlock()
			if original == nil {
				t.Fatalf("the bridge asks for packet %d, which was not lost", sequence)
			}
			answered[sequence] = true
			payload := append(binary.BigEndian.AppendUint16(nil, sequence), original.Payload...)
			again := &rtp.Packet{Header: original.Header, Payload: payload}
			again.SSRC, again.PayloadType, again.SequenceNumber = lowest.rtxSSRC, payloadRTX, retransmission
			again.Extensions, again.Extension = nil, false
			retransmission++
			alice.sendRTP(again)
		}
	}
	// The last packets before the end are not lost.
	alice.sending.Lock()
	alice.lose = nil
	alice.sending.Unlock()
	stop()
	conference.await("the retransmitted packets arrive in their places", func() bool {
		media := make(map[string]bool)
		for _, packet := range bob.on(camera.ssrc()) {
			media[packet.media] = true
		}
		for _, sent := range lowest.sent {
			if answered[sent.sequence] && !media[sent.media] {
				return false
			}
		}
		return true
	})
	bob.faultless()
}

// Feedback flows: transport-wide numbers and receiver reports to the sender, sender reports with its clock to the receiver,
// and requests for keyframes from one to the other.
func TestReportsAndKeyframeRequests(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{sctp: true})
	bob := conference.join(options{sctp: true})
	bob.want(720)
	alice.send()
	camera := alice.video[0]
	conference.await("the highest layer arrives", func() bool { return bob.sees(camera.ssrc(), camera.highest()) })

	conference.await("transport-wide feedback comes", func() bool {
		return count(alice, func(*rtcp.TransportLayerCC) bool { return true }) >= 10
	})
	conference.await("receiver reports come, and nothing is lost", func() bool {
		return count(alice, func(report *rtcp.ReceiverReport) bool {
			for _, block := range report.Reports {
				if block.SSRC == alice.audio.ssrc && block.FractionLost == 0 && block.TotalLost == 0 && block.LastSenderReport != 0 {
					return true
				}
			}
			return false
		}) >= 1
	})
	for _, ssrc := range []uint32{camera.ssrc(), alice.audio.ssrc} {
		conference.await("sender reports come", func() bool {
			return count(bob, func(report *rtcp.SenderReport) bool {
				return report.SSRC == ssrc && report.PacketCount > 0 && report.OctetCount > 0
			}) >= 1
		})
	}

	var before int
	conference.look(func() { before = camera.highest().keyframes })
	bob.sendRTCP(&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: camera.ssrc()})
	conference.await("the sender makes a keyframe", func() bool { return camera.highest().keyframes > before })
	alice.faultless()
	bob.faultless()
}
