package pion

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// patience is how long anything that must happen may take on a busy machine.
const patience = 30 * time.Second

// object is a JSON object.
type object = map[string]any

// Conference is a meeting on the bridge, seen by its focus.
type Conference struct {
	t    *testing.T
	rest string
	id   string

	// mu guards all that clients record; changed is closed and replaced whenever they did.
	mu      sync.Mutex
	changed chan struct{}
	clients []*Client
	expired bool
}

// newConference creates a conference that is expired when the test ends.
func newConference(t *testing.T) *Conference {
	t.Helper()
	conference := &Conference{
		t:       t,
		rest:    daemon.rest,
		id:      uuid.NewString(),
		changed: make(chan struct{}),
	}
	conference.request(http.MethodPost, "", object{
		"meeting-id": conference.id,
		"name":       "room@conference.example.com",
		"create":     true,
	}, http.StatusOK)
	t.Cleanup(func() {
		if !conference.expired {
			conference.expire()
		}
		if t.Failed() {
			conference.describe()
			t.Logf("log of the daemon:\n%s", daemon.Log())
		}
	})
	return conference
}

// request sends a request of the focus and returns the answer, which must have the status.
func (c *Conference) request(method, path string, body object, status int) object {
	c.t.Helper()
	text, err := json.Marshal(body)
	must(c.t, err)
	request, err := http.NewRequest(method, c.rest+"/colibri/v2/conferences"+path, bytes.NewReader(text))
	must(c.t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	must(c.t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	must(c.t, err)
	if response.StatusCode != status {
		c.t.Fatalf("%s %s: %s instead of %d: %s", method, path, response.Status, status, answer)
	}
	var parsed object
	if err := json.Unmarshal(answer, &parsed); err != nil && status == http.StatusOK {
		c.t.Fatalf("answer %q: %v", answer, err)
	}
	return parsed
}

// modify changes the conference and returns the answer.
func (c *Conference) modify(body object) object {
	c.t.Helper()
	return c.request(http.MethodPatch, "/"+c.id, body, http.StatusOK)
}

// modifyEndpoint changes one endpoint and returns its part of the answer.
func (c *Conference) modifyEndpoint(id string, changes object) object {
	c.t.Helper()
	changes["id"] = id
	answer := c.modify(object{"endpoints": []object{changes}})
	endpoints, _ := answer["endpoints"].([]any)
	if len(endpoints) != 1 {
		c.t.Fatalf("not one endpoint in %v", answer)
	}
	return endpoints[0].(object)
}

// expire ends the conference.
func (c *Conference) expire() {
	c.t.Helper()
	c.expired = true
	c.modify(object{"expire": true})
}

// record runs a change of what clients recorded and wakes up who waits for it.
func (c *Conference) record(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits until something is true of what clients recorded, and fails the test if that never happens.
func (c *Conference) await(what string, happened func() bool) {
	c.t.Helper()
	if !c.within(patience, happened) {
		c.t.Fatalf("never happened: %s", what)
	}
}

// within tells whether something becomes true of what clients recorded in some time.
func (c *Conference) within(time_ time.Duration, happened func() bool) bool {
	deadline := time.After(time_)
	for {
		c.mu.Lock()
		done, changed := happened(), c.changed
		c.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-deadline:
			return false
		}
	}
}

// describe logs what clients got, for the report of a failed test.
func (c *Conference) describe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, client := range c.clients {
		for ssrc, stream := range client.got.streams {
			c.t.Logf("%s got %d packets and %d of padding on SSRC %d", client.id, len(stream.packets), stream.padding, ssrc)
		}
		kinds := make(map[string]int)
		for _, packet := range client.got.rtcp {
			kinds[fmt.Sprintf("%T", packet)]++
		}
		c.t.Logf("%s got RTCP %v, faults %v, messages:", client.id, kinds, client.got.faults)
		for _, message := range client.got.messages {
			c.t.Logf("  %v", message)
		}
	}
}

// look runs a check on what clients recorded.
func (c *Conference) look(check func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	check()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func at(value any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			inner, _ := value.(object)
			value = inner[step]
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				return nil
			}
			value = list[step]
		default:
			panic(fmt.Sprintf("a path has %T", step))
		}
	}
	return value
}
