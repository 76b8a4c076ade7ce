// Package pion meets the daemon from outside with a WebRTC stack that shares no code with it: the ICE, DTLS,
// SRTP, SCTP and RTCP of github.com/pion.
//
// The tests start one daemon with a configuration file, play the focus over its Colibri2 REST routes, and let
// clients in. A client sends synthetic Opus and VP8 simulcast, remembers what it sent, and records all it receives,
// so that what comes out of the bridge can be compared to what went in. Tests wait for what can be observed, see
// [Conference.await]; nothing waits for time to pass, except to see that something does not arrive.
//
// CAUSEWAY_BIN names the daemon's binary; without it, ../../target/release/causeway is used.
package pion
