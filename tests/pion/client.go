package pion

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v2"
	"github.com/pion/dtls/v2/pkg/crypto/selfsign"
	"github.com/pion/ice/v2"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sctp"
	"github.com/pion/srtp/v2"
)

// options say how a client joins. Without any it is like a browser: DTLS client, controlled by the bridge in ICE,
// AES-GCM preferred, ECDSA certificate, no bridge channel.
type options struct {
	dtlsServer     bool
	iceControlling bool
	profiles       []dtls.SRTPProtectionProfile
	certificate    tls.Certificate
	sctp           bool
	capabilities   []string
	initialLastN   *int
	visitor        bool
	noSources      bool
}

// Client is a participant.
type Client struct {
	conference *Conference
	id         string
	options    options
	ssrcs      uint32
	bridge     bridgeTransport
	agent      *ice.Agent
	wire       *wire
	dtls       *dtls.Conn
	profile    srtp.ProtectionProfile
	sctp       *sctp.Association
	channel    *channel
	// presents is a certificate to show in place of the signaled one.
	presents *tls.Certificate

	// sending guards the sender's side.
	sending sync.Mutex
	local   *srtp.Context
	twcc    uint16
	lose    func(*rtp.Packet) bool
	audio   *audioSource
	video   []*videoSource

	// The rest is guarded by the conference.
	remote   *srtp.Context
	got      received
	feedback *twcc.Recorder
	stopped  bool
	missing  func(*rtp.Packet) bool
}

// join lets a client in and waits until it is connected.
func (c *Conference) join(options options) *Client {
	c.t.Helper()
	client := c.create(options)
	must(c.t, client.start())
	return client
}

// create signals a new endpoint without connecting it.
func (c *Conference) create(options options) *Client {
	c.t.Helper()
	if len(options.certificate.Certificate) == 0 {
		certificate, err := selfsign.GenerateSelfSigned()
		must(c.t, err)
		options.certificate = certificate
	}
	if options.profiles == nil {
		options.profiles = []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80}
	}
	number := len(c.clients) + 1
	client := &Client{
		conference: c,
		id:         fmt.Sprintf("c11e%04x", number),
		options:    options,
		ssrcs:      uint32(number) * 1000,
		feedback:   twcc.NewRecorder(1),
	}
	c.clients = append(c.clients, client)
	client.got = received{streams: make(map[uint32]*stream), faults: make(map[string]int)}
	client.wire = newWire(client.receive)
	if !options.noSources {
		client.audio = newAudioSource(client.id+"-a0", client.ssrcs+1)
		client.video = []*videoSource{newVideoSource(client.id+"-v0", client.ssrcs+10, "camera")}
	}
	transport := object{"ice-controlling": !options.iceControlling}
	if options.sctp {
		transport["sctp"] = object{}
	}
	endpoint := object{
		"create":       true,
		"capabilities": append([]string{"source-names"}, options.capabilities...),
		"medias":       medias,
		"transport":    transport,
		"sources":      client.sources(),
	}
	if options.initialLastN != nil {
		endpoint["initial-last-n"] = object{"value": *options.initialLastN}
	}
	if options.visitor {
		endpoint["muc-role"] = "visitor"
	}
	answer := c.modifyEndpoint(client.id, endpoint)
	var err error
	client.bridge, err = readTransport(answer)
	must(c.t, err)
	if client.bridge.sctp != options.sctp {
		c.t.Fatalf("SCTP asked for: %t, answered: %v", options.sctp, answer)
	}
	client.agent, err = newAgent()
	must(c.t, err)
	c.t.Cleanup(client.close)
	return client
}

// start signals the client's transport and connects it.
func (c *Client) start() error {
	print, err := certificatePrint(c.options.certificate.Certificate[0])
	if err != nil {
		return err
	}
	setup := "active"
	if c.options.dtlsServer {
		setup = "passive"
	}
	ufrag, password, err := c.agent.GetLocalUserCredentials()
	if err != nil {
		return err
	}
	c.conference.modifyEndpoint(c.id, object{"transport": object{"transport": object{
		"xmlns":        "urn:xmpp:jingle:transports:ice-udp:1",
		"ufrag":        ufrag,
		"pwd":          password,
		"rtcp-mux":     true,
		"fingerprints": []object{{"fingerprint": print, "hash": "sha-256", "setup": setup}},
	}}})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	path, err := connect(ctx, c.agent, c.bridge, c.options.iceControlling)
	if err != nil {
		return fmt.Errorf("ICE: %w", err)
	}
	c.wire.use(path)
	certificate := c.options.certificate
	if c.presents != nil {
		certificate = *c.presents
	}
	if c.dtls, err = secure(ctx, c.wire, c.bridge, c.options, certificate); err != nil {
		return fmt.Errorf("DTLS: %w", err)
	}
	local, remote, profile, err := mediaKeys(c.dtls, c.options.dtlsServer)
	if err != nil {
		return fmt.Errorf("SRTP: %w", err)
	}
	c.sending.Lock()
	c.local, c.profile = local, profile
	c.sending.Unlock()
	c.conference.record(func() { c.remote = remote })
	go c.report()
	if c.options.sctp {
		c.channel, err = openDataChannel(c)
	}
	return err
}

// restartICE moves the client to a new path while the old one is still in use (colibri2 spec §3.9).
func (c *Client) restartICE() {
	t := c.conference.t
	t.Helper()
	answer := c.conference.modifyEndpoint(c.id, object{"transport": object{"ice-restart": true}})
	bridge, err := readTransport(answer)
	must(t, err)
	if bridge.generation == "" || bridge.ufrag == c.bridge.ufrag {
		t.Fatalf("no new transport: %v", answer)
	}
	agent, err := newAgent()
	must(t, err)
	ufrag, password, err := agent.GetLocalUserCredentials()
	must(t, err)
	c.conference.modifyEndpoint(c.id, object{"transport": object{"transport": object{
		"xmlns":          "urn:xmpp:jingle:transports:ice-udp:1",
		"ufrag":          ufrag,
		"pwd":            password,
		"ice-generation": bridge.generation,
	}}})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	path, err := connect(ctx, agent, bridge, c.options.iceControlling)
	must(t, err)
	c.wire.use(path)
	old := c.agent
	c.agent, c.bridge = agent, bridge
	t.Cleanup(func() { _ = old.Close() })
}

// addScreen announces a screen share as a further source.
func (c *Client) addScreen() *videoSource {
	screen := newVideoSource(c.id+"-v1", c.ssrcs+30, "desktop")
	c.sending.Lock()
	c.video = append(c.video, screen)
	c.sending.Unlock()
	c.conference.modifyEndpoint(c.id, object{"sources": c.sources()})
	return screen
}

func (c *Client) sources() []object {
	sources := []object{}
	if c.audio != nil {
		sources = append(sources, c.audio.description())
	}
	for _, video := range c.video {
		sources = append(sources, video.description())
	}
	return sources
}

// sendRTP numbers, protects and sends a packet, unless the test wants it lost.
func (c *Client) sendRTP(packet *rtp.Packet) {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.twcc++
	must(c.conference.t, packet.Header.SetExtension(extensionTransportCC, []byte{byte(c.twcc >> 8), byte(c.twcc)}))
	plain, err := packet.Marshal()
	must(c.conference.t, err)
	// The context must see every packet, for the rollover counter.
	protected, err := c.local.EncryptRTP(nil, plain, nil)
	must(c.conference.t, err)
	if c.lose != nil && c.lose(packet) {
		return
	}
	_, _ = c.wire.Write(protected)
}

// sendRTCP protects and sends reports or feedback.
func (c *Client) sendRTCP(packets ...rtcp.Packet) {
	plain, err := rtcp.Marshal(packets)
	must(c.conference.t, err)
	c.sending.Lock()
	defer c.sending.Unlock()
	protected, err := c.local.EncryptRTCP(nil, plain, nil)
	must(c.conference.t, err)
	_, _ = c.wire.Write(protected)
}

// report sends what any receiver sends by itself: transport-wide feedback every 50 ms.
func (c *Client) report() {
	for range time.Tick(50 * time.Millisecond) {
		var packets []rtcp.Packet
		stopped := false
		c.conference.look(func() {
			packets = c.feedback.BuildFeedbackPacket()
			stopped = c.stopped
		})
		if stopped {
			return
		}
		if len(packets) > 0 {
			c.sendRTCP(packets...)
		}
	}
}

// leave expires the endpoint.
func (c *Client) leave() {
	c.conference.modifyEndpoint(c.id, object{"expire": true})
}

func (c *Client) close() {
	c.conference.look(func() { c.stopped = true })
	if c.channel != nil {
		c.channel.close()
	}
	if c.dtls != nil {
		_ = c.dtls.Close()
	}
	_ = c.agent.Close()
}

// randomText is valid payload of a message, long enough to be unique.
func randomText() string {
	return strings.Repeat(fmt.Sprintf("%x", rand.Uint64()), 4)
}
