package pion

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
)

// received is all that a client got from the bridge. The conference guards it.
type received struct {
	streams  map[uint32]*stream
	rtcp     []rtcp.Packet
	messages []object
	// faults are packets that do not open, do not parse, or came twice.
	faults map[string]int
}

// stream is what came on one SSRC, in order of arrival.
type stream struct {
	packets []arrived
	// padding counts packets without payload, which probe for bandwidth.
	padding int
}

// arrived is a packet of media or of a retransmission.
type arrived struct {
	rtp.Header
	payload []byte
	mid     string
	// picture is the VP8 payload descriptor; zero for anything else.
	picture codecs.VP8Packet
	// media is the payload without its payload descriptor.
	media string
}

// receive is called by the wire for each SRTP and SRTCP packet.
func (c *Client) receive(datagram []byte, isRTCP bool) {
	c.conference.record(func() {
		if c.remote == nil {
			return
		}
		var err error
		if isRTCP {
			err = c.receiveRTCP(datagram)
		} else {
			err = c.receiveRTP(datagram)
		}
		if err != nil {
			c.got.faults[err.Error()]++
		}
	})
}

func (c *Client) receiveRTCP(datagram []byte) error {
	plain, err := c.remote.DecryptRTCP(nil, datagram, nil)
	if err != nil {
		return fmt.Errorf("SRTCP: %w", err)
	}
	packets, err := rtcp.Unmarshal(plain)
	if err != nil {
		return fmt.Errorf("RTCP %x: %w", plain, err)
	}
	for _, packet := range packets {
		switch request := packet.(type) {
		case *rtcp.PictureLossIndication:
			c.keyframe(request.MediaSSRC)
		case *rtcp.FullIntraRequest:
			for _, entry := range request.FIR {
				c.keyframe(entry.SSRC)
			}
		}
	}
	c.got.rtcp = append(c.got.rtcp, packets...)
	return nil
}

// keyframe makes the next frames of a source keyframes: of all encodings, whichever was asked for, as browsers do.
func (c *Client) keyframe(ssrc uint32) {
	for _, source := range c.videoSources() {
		for _, asked := range source.encodings {
			if asked.ssrc != ssrc {
				continue
			}
			for _, encoding := range source.encodings {
				encoding.keyframe = true
			}
		}
	}
}

func (c *Client) receiveRTP(datagram []byte) error {
	plain, err := c.remote.DecryptRTP(nil, datagram, nil)
	if err != nil {
		return fmt.Errorf("SRTP: %w", err)
	}
	var packet rtp.Packet
	if err := packet.Unmarshal(plain); err != nil {
		return fmt.Errorf("RTP: %w", err)
	}
	if c.missing != nil && c.missing(&packet) {
		return nil
	}
	// Everything is numbered for bandwidth estimation: audio negotiated it as well.
	number := packet.GetExtension(extensionTransportCC)
	if len(number) != 2 {
		return fmt.Errorf("payload type %d with transport-wide number %x", packet.PayloadType, number)
	}
	c.feedback.Record(packet.SSRC, binary.BigEndian.Uint16(number), time.Now().UnixMicro())
	known := c.got.streams[packet.SSRC]
	if known == nil {
		known = &stream{}
		c.got.streams[packet.SSRC] = known
	}
	if len(packet.Payload) == 0 {
		known.padding++
		return nil
	}
	arrived := arrived{Header: packet.Header, payload: packet.Payload, mid: string(packet.GetExtension(extensionMID))}
	switch packet.PayloadType {
	case payloadOpus:
		arrived.media = string(packet.Payload)
	case payloadVP8:
		media, err := arrived.picture.Unmarshal(packet.Payload)
		if err != nil {
			return fmt.Errorf("VP8: %w", err)
		}
		arrived.media = string(media)
	case payloadRTX:
	default:
		return fmt.Errorf("payload type %d was not negotiated", packet.PayloadType)
	}
	known.packets = append(known.packets, arrived)
	return nil
}

// on is what came on an SSRC.
func (c *Client) on(ssrc uint32) []arrived {
	if stream := c.got.streams[ssrc]; stream != nil {
		return stream.packets
	}
	return nil
}

// last is the newest packet on an SSRC.
func (c *Client) last(ssrc uint32) (arrived, bool) {
	packets := c.on(ssrc)
	if len(packets) == 0 {
		return arrived{}, false
	}
	return packets[len(packets)-1], true
}

// hasAll tells whether the newest packet that an encoding sent has arrived on an SSRC.
func (c *Client) hasAll(ssrc uint32, from *encoding) bool {
	newest, some := c.last(ssrc)
	return some && len(from.sent) > 0 && newest.media == from.sent[len(from.sent)-1].media
}

// sees tells whether the newest packet on an SSRC is of that encoding.
func (c *Client) sees(ssrc uint32, of *videoEncoding) bool {
	newest, some := c.last(ssrc)
	return some && of.has(newest.media)
}

// count counts the RTCP packets that are of some kind.
func count[P rtcp.Packet](c *Client, matches func(P) bool) int {
	number := 0
	for _, packet := range c.got.rtcp {
		if packet, is := packet.(P); is && matches(packet) {
			number++
		}
	}
	return number
}

// faultless fails the test if the client got anything that it should not have.
func (c *Client) faultless() {
	c.conference.t.Helper()
	c.conference.look(func() {
		for fault, times := range c.got.faults {
			c.conference.t.Errorf("%s got %d times: %s", c.id, times, fault)
		}
	})
}
