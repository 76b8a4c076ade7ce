package pion

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v2"
	"github.com/pion/dtls/v2/pkg/crypto/fingerprint"
	"github.com/pion/ice/v2"
	"github.com/pion/srtp/v2"
	"github.com/pion/transport/v2/packetio"
)

// newAgent makes an ICE agent that has gathered its candidates.
func newAgent() (*ice.Agent, error) {
	agent, err := ice.NewAgent(&ice.AgentConfig{
		NetworkTypes:     []ice.NetworkType{ice.NetworkTypeUDP4},
		CandidateTypes:   []ice.CandidateType{ice.CandidateTypeHost},
		MulticastDNSMode: ice.MulticastDNSModeDisabled,
		IPFilter:         daemon.address.Equal,
	})
	if err != nil {
		return nil, err
	}
	gathered := make(chan struct{})
	err = agent.OnCandidate(func(candidate ice.Candidate) {
		if candidate == nil {
			close(gathered)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := agent.GatherCandidates(); err != nil {
		return nil, err
	}
	<-gathered
	return agent, nil
}

// bridgeTransport is what the bridge says about its side in an answer.
type bridgeTransport struct {
	ufrag, password, fingerprint, generation string
	candidates                               []string
	webSocket                                string
	sctp                                     bool
}

func readTransport(answer any) (bridgeTransport, error) {
	inner := at(answer, "transport", "transport")
	text := func(path ...any) string {
		text, _ := at(inner, path...).(string)
		return text
	}
	transport := bridgeTransport{
		ufrag:       text("ufrag"),
		password:    text("pwd"),
		generation:  text("ice-generation"),
		fingerprint: text("fingerprints", 0, "fingerprint"),
		webSocket:   text("web-sockets", 0),
		sctp:        at(answer, "transport", "sctp", "port") == float64(5000),
	}
	candidates, _ := at(inner, "candidates").([]any)
	for index := range candidates {
		part := func(name string) string { return text("candidates", index, name) }
		transport.candidates = append(transport.candidates, fmt.Sprintf("%s %s %s %s %s %s typ %s",
			part("foundation"), part("component"), part("protocol"), part("priority"), part("ip"), part("port"), part("type")))
	}
	if transport.ufrag == "" || transport.password == "" || len(candidates) == 0 {
		return transport, fmt.Errorf("no transport in %v", answer)
	}
	return transport, nil
}

// connect finds a path to the bridge.
func connect(ctx context.Context, agent *ice.Agent, bridge bridgeTransport, controlling bool) (*ice.Conn, error) {
	for _, line := range bridge.candidates {
		candidate, err := ice.UnmarshalCandidate(line)
		if err != nil {
			return nil, fmt.Errorf("candidate %q: %w", line, err)
		}
		if err := agent.AddRemoteCandidate(candidate); err != nil {
			return nil, err
		}
	}
	if controlling {
		return agent.Dial(ctx, bridge.ufrag, bridge.password)
	}
	return agent.Accept(ctx, bridge.ufrag, bridge.password)
}

// wire is what DTLS and SRTP share: it writes to the path in use and sorts what comes in (RFC 7983).
type wire struct {
	mu   sync.Mutex
	path *ice.Conn

	// Conn for DTLS: reads what was sorted out for it.
	records *packetio.Buffer
	media   func(datagram []byte, rtcp bool)
}

func newWire(media func([]byte, bool)) *wire {
	return &wire{records: packetio.NewBuffer(), media: media}
}

// use makes a path the one to send on, and reads from it until it is closed. Older paths are read from as well.
func (w *wire) use(path *ice.Conn) {
	w.mu.Lock()
	w.path = path
	w.mu.Unlock()
	go func() {
		buffer := make([]byte, 2048)
		for {
			n, err := path.Read(buffer)
			if err != nil {
				return
			}
			switch first := buffer[0]; {
			case n > 0 && first >= 20 && first <= 63:
				_, _ = w.records.Write(buffer[:n])
			case n > 1 && first >= 128 && first <= 191:
				// RFC 5761 §4.
				w.media(buffer[:n], buffer[1] >= 192 && buffer[1] <= 223)
			}
		}
	}()
}

func (w *wire) current() *ice.Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.path
}

func (w *wire) Write(datagram []byte) (int, error) { return w.current().Write(datagram) }

// dtlsConn is the part of the wire that DTLS sees.
type dtlsConn struct {
	net.Conn
	wire *wire
}

func (c dtlsConn) Read(buffer []byte) (int, error)    { return c.wire.records.Read(buffer) }
func (c dtlsConn) Write(datagram []byte) (int, error) { return c.wire.Write(datagram) }

// SetReadDeadline ends a read, as the handshake does when its time is over.
func (c dtlsConn) SetReadDeadline(at time.Time) error { return c.wire.records.SetReadDeadline(at) }

func (c dtlsConn) Close() error { return c.wire.records.Close() }

// secure does the DTLS handshake. The bridge must present the certificate that it signaled.
func secure(ctx context.Context, wire *wire, bridge bridgeTransport, options options, certificate tls.Certificate) (*dtls.Conn, error) {
	config := &dtls.Config{
		Certificates:           []tls.Certificate{certificate},
		SRTPProtectionProfiles: options.profiles,
		ExtendedMasterSecret:   dtls.RequireExtendedMasterSecret,
		ClientAuth:             dtls.RequireAnyClientCert,
		InsecureSkipVerify:     true,
		VerifyPeerCertificate: func(chain [][]byte, _ [][]*x509.Certificate) error {
			print, err := certificatePrint(chain[0])
			if err == nil && print != bridge.fingerprint {
				err = fmt.Errorf("the bridge signaled %s and presents %s", bridge.fingerprint, print)
			}
			return err
		},
	}
	conn := dtlsConn{Conn: wire.current(), wire: wire}
	if options.dtlsServer {
		return dtls.ServerWithContext(ctx, conn, config)
	}
	return dtls.ClientWithContext(ctx, conn, config)
}

// certificatePrint is the fingerprint of a certificate as it is signaled (RFC 8122).
func certificatePrint(der []byte) (string, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return "", err
	}
	print, err := fingerprint.Fingerprint(certificate, crypto.SHA256)
	return strings.ToUpper(print), err
}

// mediaKeys makes the SRTP contexts for sending and receiving.
func mediaKeys(conn *dtls.Conn, server bool) (local, remote *srtp.Context, profile srtp.ProtectionProfile, err error) {
	selected, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return nil, nil, 0, fmt.Errorf("no SRTP profile was selected")
	}
	profile = srtp.ProtectionProfile(selected)
	config := srtp.Config{Profile: profile}
	state := conn.ConnectionState()
	if err := config.ExtractSessionKeysFromDTLS(&state, !server); err != nil {
		return nil, nil, 0, err
	}
	keys := config.Keys
	if local, err = srtp.CreateContext(keys.LocalMasterKey, keys.LocalMasterSalt, profile); err != nil {
		return nil, nil, 0, err
	}
	// A packet that comes twice is a fault that the tests look for.
	remote, err = srtp.CreateContext(keys.RemoteMasterKey, keys.RemoteMasterSalt, profile,
		srtp.SRTPReplayProtection(1024), srtp.SRTCPReplayProtection(128))
	return local, remote, profile, err
}
