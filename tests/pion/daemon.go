package pion

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// daemon is the bridge under test, one for all tests: each has a conference of its own.
var daemon *Daemon

// Daemon is a running bridge.
type Daemon struct {
	rest    string
	address net.IP
	process *exec.Cmd
	folder  string

	mu  sync.Mutex
	log bytes.Buffer
}

const configuration = `
videobridge {
  ice.udp.port = %[1]d
  apis.rest.enabled = true
  http-servers.private { host = 127.0.0.1, port = %[2]d }
  http-servers.public { host = 127.0.0.1, port = %[3]d }
  websockets { enabled = true, domain = "127.0.0.1:%[3]d", server-id = pion }
}
ice4j.harvest {
  allowed-addresses = [%[4]s]
  udp.receive-buffer-size = 1048576
}
`

// StartDaemon starts the bridge on ports that were free a moment ago: HTTP on loopback, media on an address of this
// machine, as the bridge does not use loopback for media.
func StartDaemon() (*Daemon, error) {
	binary := os.Getenv("CAUSEWAY_BIN")
	if binary == "" {
		binary = filepath.Join("..", "..", "target", "release", "causeway")
	}
	address, err := localAddress()
	if err != nil {
		return nil, err
	}
	udp, err := freeUDPPort(address)
	if err != nil {
		return nil, err
	}
	private, err := freeTCPPort()
	if err != nil {
		return nil, err
	}
	public, err := freeTCPPort()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "causeway-pion-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "jvb.conf")
	text := fmt.Sprintf(configuration, udp, private, public, address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	daemon := &Daemon{
		address: address,
		rest:    fmt.Sprintf("http://127.0.0.1:%d", private),
		process: exec.Command(binary, "--config", file),
		folder:  folder,
	}
	// Also if the tests run out of time.
	daemon.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := daemon.process.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := daemon.process.Start(); err != nil {
		return nil, fmt.Errorf("%w: build the daemon, or name it in CAUSEWAY_BIN", err)
	}
	ready := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(output)
		for announced := false; lines.Scan(); {
			daemon.mu.Lock()
			fmt.Fprintln(&daemon.log, lines.Text())
			daemon.mu.Unlock()
			if !announced && strings.Contains(lines.Text(), "bridge ready") {
				announced = true
				close(ready)
			}
		}
	}()
	select {
	case <-ready:
		return daemon, nil
	case <-ended:
		err = fmt.Errorf("the daemon ended at once")
	case <-time.After(patience):
		err = fmt.Errorf("the daemon did not get ready")
	}
	err = fmt.Errorf("%w:\n%s", err, daemon.Log())
	daemon.Stop()
	return nil, err
}

// Log is what the daemon wrote so far.
func (d *Daemon) Log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// Stop ends the daemon.
func (d *Daemon) Stop() {
	_ = d.process.Process.Kill()
	_ = d.process.Wait()
	_ = os.RemoveAll(d.folder)
}

// localAddress is an IPv4 address of this machine that others could reach.
func localAddress() (net.IP, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, address := range addresses {
		network, is := address.(*net.IPNet)
		if is && network.IP.To4() != nil && network.IP.IsGlobalUnicast() {
			return network.IP, nil
		}
	}
	return nil, fmt.Errorf("no interface with an IPv4 address is up")
}

func freeUDPPort(address net.IP) (int, error) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: address})
	if err != nil {
		return 0, err
	}
	defer socket.Close()
	return socket.LocalAddr().(*net.UDPAddr).Port, nil
}

func freeTCPPort() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
