package pion

import (
	"encoding/binary"
	"sort"
	"testing"
)

// inOrder sorts packets by sequence number, for streams in which retransmissions or several paths mix up the order.
func inOrder(packets []arrived) []arrived {
	sorted := append([]arrived{}, packets...)
	sort.SliceStable(sorted, func(a, b int) bool {
		return int16(sorted[a].SequenceNumber-sorted[b].SequenceNumber) < 0
	})
	return sorted
}

// compareAudio checks packets that came against what a source sent: from the first packet that arrived, every
// packet, in order, with its payload, and with numbers that keep their distances.
func compareAudio(t *testing.T, packets []arrived, from *audioSource) {
	t.Helper()
	if len(packets) == 0 {
		t.Fatalf("nothing of %s came", from.name)
	}
	first := 0
	for first < len(from.sent) && from.sent[first].media != packets[0].media {
		first++
	}
	expected := from.sent[first:]
	if len(packets) != len(expected) {
		t.Fatalf("%d packets of %s came instead of %d", len(packets), from.name, len(expected))
	}
	for index, packet := range packets {
		want := expected[index]
		switch {
		case packet.media != want.media:
			t.Fatalf("payload of packet %d of %s changed", index, from.name)
		case packet.PayloadType != payloadOpus:
			t.Fatalf("payload type %d", packet.PayloadType)
		case packet.SequenceNumber-packets[0].SequenceNumber != want.sequence-expected[0].sequence:
			t.Fatalf("sequence number of packet %d of %s", index, from.name)
		case packet.Timestamp-packets[0].Timestamp != want.timestamp-expected[0].timestamp:
			t.Fatalf("timestamp of packet %d of %s", index, from.name)
		}
	}
}

// origin is where a received packet came from.
type origin struct {
	encoding *videoEncoding
	// index is its place among the packets that the encoding sent.
	index int
}

// compareVideo checks packets that came against what a source sent and returns the encodings that were seen, in
// order. The stream must look like one of a single encoder: sequence numbers without a gap, frames complete and with
// successive picture ids and TL0PICIDX, timestamps that grow, every encoding begun with a keyframe and forwarded
// packet by packet as it was sent.
func compareVideo(t *testing.T, packets []arrived, from *videoSource) []*videoEncoding {
	t.Helper()
	origins := make(map[string]origin)
	for _, encoding := range from.encodings {
		for index, sent := range encoding.sent {
			origins[sent.media] = origin{encoding, index}
		}
	}
	if len(packets) == 0 {
		t.Fatalf("nothing of %s came", from.name)
	}
	var seen []*videoEncoding
	var before origin
	for index, packet := range packets {
		from, known := origins[packet.media]
		switch {
		case !known:
			t.Fatalf("packet %d was never sent like this", index)
		case packet.PayloadType != payloadVP8:
			t.Fatalf("payload type %d", packet.PayloadType)
		}
		newFrame := packet.picture.S == 1
		if from.encoding != before.encoding {
			if !newFrame || packet.media[0]&1 != 0 {
				t.Fatalf("packet %d begins another encoding without a keyframe", index)
			}
			seen = append(seen, from.encoding)
		} else if from.index != before.index+1 {
			t.Fatalf("packet %d is number %d of its encoding, after %d", index, from.index, before.index)
		}
		if index > 0 {
			last := packets[index-1]
			step := uint16(0)
			if newFrame {
				step = 1
			}
			switch {
			case packet.SequenceNumber != last.SequenceNumber+1:
				t.Fatalf("sequence number %d of packet %d after %d", packet.SequenceNumber, index, last.SequenceNumber)
			case newFrame != last.Marker:
				t.Fatalf("packet %d: marker before %t, new frame %t", index, last.Marker, newFrame)
			case (packet.picture.PictureID-last.picture.PictureID)&0x7fff != step:
				t.Fatalf("picture id %d of packet %d after %d", packet.picture.PictureID, index, last.picture.PictureID)
			case uint16(packet.picture.TL0PICIDX-last.picture.TL0PICIDX) != step:
				t.Fatalf("TL0PICIDX %d of packet %d after %d", packet.picture.TL0PICIDX, index, last.picture.TL0PICIDX)
			case newFrame != (int32(packet.Timestamp-last.Timestamp) > 0):
				t.Fatalf("timestamp %d of packet %d after %d", packet.Timestamp, index, last.Timestamp)
			case from.encoding == before.encoding && newFrame && packet.Timestamp-last.Timestamp != 3000:
				t.Fatalf("timestamp %d of packet %d after %d", packet.Timestamp, index, last.Timestamp)
			}
		}
		before = from
	}
	return seen
}

// compareProbes checks packets on the retransmission SSRC that nobody asked for: the bridge probes for bandwidth with packets
// that it has sent already.
func compareProbes(t *testing.T, probes, media []arrived) {
	t.Helper()
	payloads := make(map[uint16]string)
	for _, packet := range media {
		payloads[packet.SequenceNumber] = string(packet.payload)
	}
	for _, probe := range probes {
		if probe.PayloadType != payloadRTX || len(probe.payload) < 2 {
			t.Fatalf("payload type %d with %d bytes on the retransmission SSRC", probe.PayloadType, len(probe.payload))
		}
		original := binary.BigEndian.Uint16(probe.payload)
		if payloads[original] != string(probe.payload[2:]) {
			t.Fatalf("packet %d was repeated with another payload", original)
		}
	}
}
