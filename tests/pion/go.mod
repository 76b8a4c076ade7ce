module causeway/tests/pion

go 1.19

require (
	github.com/google/uuid v1.3.1
	github.com/pion/datachannel v1.5.5
	github.com/pion/dtls/v2 v2.2.7
	github.com/pion/ice/v2 v2.3.24
	github.com/pion/interceptor v0.1.25
	github.com/pion/logging v0.2.2
	github.com/pion/rtcp v1.2.12
	github.com/pion/rtp v1.8.5
	github.com/pion/sctp v1.8.16
	github.com/pion/srtp/v2 v2.0.18
	github.com/pion/transport/v2 v2.2.4
	golang.org/x/net v0.22.0
)

require (
	github.com/davecgh/go-spew v1.1.1 // indirect
	github.com/pion/mdns v0.0.12 // indirect
	github.com/pion/randutil v0.1.0 // indirect
	github.com/pion/stun v0.6.1 // indirect
	github.com/pion/turn/v2 v2.1.3 // indirect
	github.com/pmezard/go-difflib v1.0.0 // indirect
	github.com/stretchr/testify v1.9.0 // indirect
	golang.org/x/crypto v0.21.0 // indirect
	golang.org/x/sys v0.18.0 // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
)
