package entropy_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/entropy-fabric/entropy"
)

// proves H-8: a client remembers the highest epoch, sends it along, and refuses
// the answers of a control plane that was superseded
func TestClientRefusesASupersededControlPlane(t *testing.T) {
	var epoch, sent atomic.Uint64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, _ := strconv.ParseUint(r.Header.Get(entropy.HeaderEpoch), 10, 64)
		sent.Store(e)
		w.Header().Set(entropy.HeaderAPI, entropy.APIVersion)
		w.Header().Set(entropy.HeaderEpoch, strconv.FormatUint(epoch.Load(), 10))
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte("{}"))
	}))
	defer server.Close()
	var told []uint64
	c, err := entropy.NewClient(entropy.ClientConfig{Server: server.URL, Token: "t", Epoch: 3, OnEpoch: func(e uint64) { told = append(told, e) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		epoch uint64
		ok    bool
	}{{2, false}, {3, true}, {5, true}, {3, false}, {5, true}} {
		epoch.Store(step.epoch)
		_, err := c.Status(t.Context())
		if (err == nil) != step.ok || err != nil && entropy.ErrorCode(err) != entropy.CodeUnavailable {
			t.Errorf("epoch %d: %v", step.epoch, err)
		}
	}
	if sent.Load() != 5 || len(told) != 1 || told[0] != 5 {
		t.Errorf("sent %d, told %v", sent.Load(), told)
	}
}
