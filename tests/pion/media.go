package pion

import (
	"encoding/binary"
	"math/rand"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// What clients negotiate.
const (
	payloadOpus = 111
	payloadVP8  = 100
	payloadRTX  = 96

	extensionAudioLevel  = 1
	extensionAbsSendTime = 3
	extensionTransportCC = 5
	extensionMID         = 10

	uriTransportCC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	uriMID         = "urn:ietf:params:rtp-hdrext:sdes:mid"
)

var medias = []object{
	{
		"type": "audio",
		"payload-types": []object{{
			"name": "opus", "id": payloadOpus, "clockrate": 48000, "channels": 2,
			"parameters": object{"minptime": "10", "useinbandfec": "1"},
			"rtcp-fbs":   []object{{"type": "transport-cc"}},
		}},
		"rtp-hdrexts": []object{
			{"uri": "urn:ietf:params:rtp-hdrext:ssrc-audio-level", "id": extensionAudioLevel},
			{"uri": uriTransportCC, "id": extensionTransportCC},
			{"uri": uriMID, "id": extensionMID},
		},
	},
	{
		"type": "video",
		"payload-types": []object{
			{
				"name": "VP8", "id": payloadVP8, "clockrate": 90000,
				"rtcp-fbs": []object{
					{"type": "ccm", "subtype": "fir"}, {"type": "nack"}, {"type": "nack", "subtype": "pli"}, {"type": "transport-cc"},
				},
			},
			{"name": "rtx", "id": payloadRTX, "clockrate": 90000, "parameters": object{"apt": payloadVP8}},
		},
		"rtp-hdrexts": []object{
			{"uri": "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", "id": extensionAbsSendTime},
			{"uri": uriTransportCC, "id": extensionTransportCC},
			{"uri": uriMID, "id": extensionMID},
		},
	},
}

// sent is a packet as it left its sender, before protection.
type sent struct {
	sequence  uint16
	timestamp uint32
	// media is the payload without its payload descriptor, which the bridge may rewrite.
	media string
}

// encoding is one RTP stream of a sender. The conference guards it.
type encoding struct {
	ssrc, rtxSSRC uint32
	sequence      uint16
	timestamp     uint32
	sent          []sent
	octets        uint32
}

func newEncoding(ssrc uint32) *encoding {
	return &encoding{ssrc: ssrc, sequence: uint16(rand.Intn(1 << 15)), timestamp: rand.Uint32()}
}

// packet makes the next packet and remembers it.
func (e *encoding) packet(payloadType uint8, marker bool, descriptor, media []byte) *rtp.Packet {
	e.sent = append(e.sent, sent{sequence: e.sequence, timestamp: e.timestamp, media: string(media)})
	packet := &rtp.Packet{
		Header: rtp.Header{
			Version: 2, PayloadType: payloadType, Marker: marker,
			SequenceNumber: e.sequence, Timestamp: e.timestamp, SSRC: e.ssrc,
		},
		Payload: append(append([]byte{}, descriptor...), media...),
	}
	e.sequence++
	e.octets += uint32(len(packet.Payload))
	return packet
}

// has tells whether a payload was sent lately.
func (e *encoding) has(media string) bool {
	const lately = 200
	for index := len(e.sent) - 1; index >= 0 && index >= len(e.sent)-lately; index-- {
		if e.sent[index].media == media {
			return true
		}
	}
	return false
}

// report is a sender report about now.
func (e *encoding) report(now time.Time) *rtcp.SenderReport {
	return &rtcp.SenderReport{
		SSRC: e.ssrc, NTPTime: ntp(now), RTPTime: e.timestamp,
		PacketCount: uint32(len(e.sent)), OctetCount: e.octets,
	}
}

// ntp is a time in the format of sender reports (RFC 3550 §4).
func ntp(now time.Time) uint64 {
	const since1900 = 2208988800
	seconds := uint64(now.Unix()) + since1900
	return seconds<<32 | uint64(now.Nanosecond())<<32/1_000_000_000
}

// audioSource sends 20 ms packets that claim to be Opus.
type audioSource struct {
	name string
	*encoding
	// silent sources say so in the audio level extension, others have levels like speech.
	silent bool
}

func newAudioSource(name string, ssrc uint32) *audioSource {
	return &audioSource{name: name, encoding: newEncoding(ssrc)}
}

func (s *audioSource) description() object {
	return object{
		"type": "audio", "id": s.name,
		"sources": []object{{"ssrc": s.ssrc, "name": s.name}},
	}
}

func (s *audioSource) next() *rtp.Packet {
	payload := make([]byte, 80)
	rand.Read(payload)
	packet := s.packet(payloadOpus, false, nil, payload)
	level := uint8(127)
	if !s.silent {
		level = 0x80 | uint8(10+rand.Intn(40))
	}
	if err := packet.Header.SetExtension(extensionAudioLevel, []byte{level}); err != nil {
		panic(err)
	}
	s.timestamp += 960
	return packet
}

// layer is a picture size of a simulcast and how many packets a frame of it needs.
type layer struct {
	width, height uint16
	packets, size int
}

var layers = []layer{{320, 180, 1, 500}, {640, 360, 2, 800}, {1280, 720, 3, 1000}}

// frameInterval is the time between two frames.
const frameInterval = time.Second / 30

// videoSource sends VP8 simulcast: three encodings with pictures of their own.
type videoSource struct {
	name      string
	videoType string
	encodings []*videoEncoding
}

type videoEncoding struct {
	*encoding
	layer     layer
	keyframe  bool
	keyframes int
	picture   uint16
	tl0       uint8
}

func newVideoSource(name string, ssrc uint32, videoType string) *videoSource {
	source := &videoSource{name: name, videoType: videoType}
	for index, layer := range layers {
		encoding := newEncoding(ssrc + uint32(index))
		encoding.rtxSSRC = encoding.ssrc + 10
		source.encodings = append(source.encodings, &videoEncoding{
			encoding: encoding, layer: layer, keyframe: true,
			picture: uint16(rand.Intn(1 << 15)), tl0: uint8(rand.Intn(1 << 8)),
		})
	}
	return source
}

func (s *videoSource) description() object {
	var sources, groups []object
	var simulcast []uint32
	for _, encoding := range s.encodings {
		for _, ssrc := range []uint32{encoding.ssrc, encoding.rtxSSRC} {
			sources = append(sources, object{"ssrc": ssrc, "name": s.name, "videoType": s.videoType})
		}
		simulcast = append(simulcast, encoding.ssrc)
		groups = append(groups, object{"semantics": "FID", "sources": []uint32{encoding.ssrc, encoding.rtxSSRC}})
	}
	groups = append(groups, object{"semantics": "SIM", "sources": simulcast})
	return object{"type": "video", "id": s.name, "sources": sources, "ssrc-groups": groups}
}

// ssrc is the SSRC on which receivers without SSRC rewriting get the source, whatever the encoding.
func (s *videoSource) ssrc() uint32 { return s.encodings[0].ssrc }

func (s *videoSource) rtxSSRC() uint32 { return s.encodings[0].rtxSSRC }

func (s *videoSource) highest() *videoEncoding { return s.encodings[len(s.encodings)-1] }

// next makes the packets of the next frame.
func (e *videoEncoding) next() []*rtp.Packet {
	var packets []*rtp.Packet
	for index := 0; index < e.layer.packets; index++ {
		// RFC 7741 §4.2: X, S on the first packet; picture id of 15 bits, TL0PICIDX and TID.
		descriptor := []byte{0x80, 0xe0, 0x80 | byte(e.picture>>8), byte(e.picture), e.tl0, 0}
		media := make([]byte, e.layer.size)
		rand.Read(media)
		if index == 0 {
			descriptor[0] |= 0x10
			// RFC 6386 §9.1: frame tag; bit 0 is zero in keyframes, which then have start code and size.
			media[0] = 0x11
			if e.keyframe {
				media[0] = 0x10
				copy(media[3:], []byte{0x9d, 0x01, 0x2a})
				binary.LittleEndian.PutUint16(media[6:], e.layer.width)
				binary.LittleEndian.PutUint16(media[8:], e.layer.height)
				e.keyframes++
			}
		}
		packets = append(packets, e.packet(payloadVP8, index == e.layer.packets-1, descriptor, media))
	}
	e.keyframe = false
	e.picture = (e.picture + 1) & 0x7fff
	e.tl0++
	e.timestamp += uint32(90000 / 30)
	return packets
}

// send lets the client send all its sources until the returned function is called.
func (c *Client) send() (stop func()) {
	end := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		audio := time.NewTicker(20 * time.Millisecond)
		video := time.NewTicker(frameInterval)
		reports := time.NewTicker(250 * time.Millisecond)
		defer audio.Stop()
		defer video.Stop()
		defer reports.Stop()
		for {
			var packets []*rtp.Packet
			var reported []rtcp.Packet
			select {
			case <-end:
				return
			case <-audio.C:
				c.conference.look(func() { packets = append(packets, c.audio.next()) })
			case <-video.C:
				c.conference.look(func() {
					for _, source := range c.videoSources() {
						for _, encoding := range source.encodings {
							packets = append(packets, encoding.next()...)
						}
					}
				})
			case now := <-reports.C:
				c.conference.look(func() {
					reported = append(reported, c.audio.report(now))
					for _, source := range c.videoSources() {
						for _, encoding := range source.encodings {
							reported = append(reported, encoding.report(now))
						}
					}
				})
			}
			for _, packet := range packets {
				c.sendRTP(packet)
			}
			if len(reported) > 0 {
				c.sendRTCP(reported...)
			}
		}
	}()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			close(end)
			<-ended
		}
	}
	c.conference.t.Cleanup(stop)
	return stop
}

func (c *Client) videoSources() []*videoSource {
	c.sending.Lock()
	defer c.sending.Unlock()
	return c.video
}
