package pion

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"testing"

	"github.com/pion/dtls/v2"
	"github.com/pion/dtls/v2/pkg/crypto/selfsign"
	"github.com/pion/srtp/v2"
)

// exchangeAudio checks that two clients get each other's audio, all of it.
func exchangeAudio(alice, bob *Client) {
	conference := alice.conference
	t := conference.t
	t.Helper()
	stopAlice, stopBob := alice.send(), bob.send()
	conference.await("audio arrives", func() bool {
		return len(alice.on(bob.audio.ssrc)) > 20 && len(bob.on(alice.audio.ssrc)) > 20
	})
	stopAlice()
	stopBob()
	conference.await("the last packets arrive", func() bool {
		return alice.hasAll(bob.audio.ssrc, bob.audio.encoding) && bob.hasAll(alice.audio.ssrc, alice.audio.encoding)
	})
	conference.look(func() {
		compareAudio(t, alice.on(bob.audio.ssrc), bob.audio)
		compareAudio(t, bob.on(alice.audio.ssrc), alice.audio)
	})
	alice.faultless()
	bob.faultless()
}

// Clients connect in every role of ICE and DTLS, and with certificates of both kinds.
func TestRoles(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	rsaCertificate, err := selfsign.SelfSign(key)
	must(t, err)
	ecdsaCertificate, err := selfsign.GenerateSelfSigned()
	must(t, err)
	for name, certificate := range map[string]tls.Certificate{"ECDSA": ecdsaCertificate, "RSA": rsaCertificate} {
		for _, server := range []bool{false, true} {
			for _, controlling := range []bool{false, true} {
				options := options{certificate: certificate, dtlsServer: server, iceControlling: controlling}
				dtlsRole, iceRole := "DTLS client", "ICE controlled"
				if server {
					dtlsRole = "DTLS server"
				}
				if controlling {
					iceRole = "ICE controlling"
				}
				t.Run(name+", "+dtlsRole+", "+iceRole, func(t *testing.T) {
					conference := newConference(t)
					exchangeAudio(conference.join(options), conference.join(options))
				})
			}
		}
	}
}

// Each client has the SRTP profile that it can do, and media crosses from one to the other.
func TestProfilesMeet(t *testing.T) {
	conference := newConference(t)
	alice := conference.join(options{profiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AES128_CM_HMAC_SHA1_80}})
	bob := conference.join(options{profiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM}})
	carol := conference.join(options{})
	for client, profile := range map[*Client]srtp.ProtectionProfile{
		alice: srtp.ProtectionProfileAes128CmHmacSha1_80,
		bob:   srtp.ProtectionProfileAeadAes128Gcm,
		carol: srtp.ProtectionProfileAeadAes128Gcm,
	} {
		if client.profile != profile {
			t.Errorf("%s has profile %v instead of %v", client.id, client.profile, profile)
		}
	}
	exchangeAudio(alice, bob)
}

// Whoever presents another certificate than the signaled one is not let in.
func TestForeignCertificateIsRefused(t *testing.T) {
	for _, server := range []bool{false, true} {
		conference := newConference(t)
		mallory := conference.create(options{dtlsServer: server})
		foreign, err := selfsign.GenerateSelfSigned()
		must(t, err)
		mallory.presents = &foreign
		if err := mallory.start(); err == nil {
			t.Errorf("DTLS server %t: connected", server)
		}
	}
}
