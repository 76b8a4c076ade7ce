package pion

import (
	"encoding/json"
	"fmt"

	"github.com/pion/datachannel"
	"github.com/pion/logging"
	"github.com/pion/sctp"
	"golang.org/x/net/websocket"
)

// channel is a bridge channel, over a data channel or a websocket.
type channel struct {
	write func(text []byte) error
	close func()
}

// openDataChannel opens the bridge channel as Jitsi clients do (bridge-channel spec §4.3).
func openDataChannel(c *Client) (*channel, error) {
	association, err := sctp.Client(sctp.Config{NetConn: c.dtls, LoggerFactory: logging.NewDefaultLoggerFactory()})
	if err != nil {
		return nil, fmt.Errorf("SCTP: %w", err)
	}
	// RFC 8832 §6: the DTLS client takes even streams.
	stream := uint16(0)
	if c.options.dtlsServer {
		stream = 1
	}
	data, err := datachannel.Dial(association, stream, &datachannel.Config{
		ChannelType:   datachannel.ChannelTypeReliable,
		Label:         "JVB data channel",
		Protocol:      "http://jitsi.org/protocols/colibri",
		LoggerFactory: logging.NewDefaultLoggerFactory(),
	})
	if err != nil {
		return nil, fmt.Errorf("data channel: %w", err)
	}
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, isString, err := data.ReadDataChannel(buffer)
			if err != nil {
				return
			}
			c.hear(buffer[:n], isString)
		}
	}()
	return &channel{
		write: func(text []byte) error {
			_, err := data.WriteDataChannel(text, true)
			return err
		},
		close: func() { _ = association.Close() },
	}, nil
}

// openWebSocket opens the bridge channel at the URL of the answer.
func (c *Client) openWebSocket() {
	t := c.conference.t
	t.Helper()
	socket, err := websocket.Dial(c.bridge.webSocket, "", "http://localhost/")
	must(t, err)
	go func() {
		for {
			var text []byte
			if websocket.Message.Receive(socket, &text) != nil {
				return
			}
			c.hear(text, true)
		}
	}()
	c.channel = &channel{
		write: func(text []byte) error { return websocket.Message.Send(socket, string(text)) },
		close: func() { _ = socket.Close() },
	}
}

// hear records a message of the bridge.
func (c *Client) hear(text []byte, isString bool) {
	c.conference.record(func() {
		var message object
		if err := json.Unmarshal(text, &message); err != nil || !isString {
			c.got.faults[fmt.Sprintf("message %q: %v", text, err)]++
			return
		}
		c.got.messages = append(c.got.messages, message)
	})
}

// say sends a message to the bridge.
func (c *Client) say(message object) {
	c.conference.t.Helper()
	text, err := json.Marshal(message)
	must(c.conference.t, err)
	must(c.conference.t, c.channel.write(text))
}

// heard is the newest message of a class that matches.
func (c *Client) heard(class string, matches func(object) bool) object {
	for index := len(c.got.messages) - 1; index >= 0; index-- {
		message := c.got.messages[index]
		if message["colibriClass"] == class && (matches == nil || matches(message)) {
			return message
		}
	}
	return nil
}

// awaitMessage waits for a message of a class that matches and returns it.
func (c *Client) awaitMessage(class string, matches func(object) bool) (found object) {
	c.conference.t.Helper()
	c.conference.await(c.id+" gets "+class, func() bool {
		found = c.heard(class, matches)
		return found != nil
	})
	return found
}

// want asks for every video source up to a height.
func (c *Client) want(height int) {
	c.conference.t.Helper()
	c.say(object{
		"colibriClass":       "ReceiverVideoConstraints",
		"defaultConstraints": object{"maxHeight": height},
	})
}

// mapping is where the bridge says it sends a source.
type mapping struct {
	ssrc, rtx uint32
	mid       string
}

// mapped is what the maps of the bridge say about a source.
func (c *Client) mapped(class, source string) (found mapping, ok bool) {
	for _, message := range c.got.messages {
		if message["colibriClass"] != class {
			continue
		}
		entries, _ := message["mappedSources"].([]any)
		for _, entry := range entries {
			if at(entry, "source") != source {
				continue
			}
			ssrc, _ := at(entry, "ssrc").(float64)
			rtx, _ := at(entry, "rtx").(float64)
			mid, _ := at(entry, "mid").(string)
			found, ok = mapping{ssrc: uint32(ssrc), rtx: uint32(rtx), mid: mid}, true
		}
	}
	return found, ok
}
