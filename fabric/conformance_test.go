package fabric_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/identity"
	"github.com/entropy-fabric/entropy/entropytest"
	"github.com/entropy-fabric/entropy/fabric"
)

// openControl runs a control plane in this process for the test's duration. It has
// no bus: what the suite asks for is carried out by nobody but the suite.
func openControl(t *testing.T) *fabric.Control {
	t.Helper()
	c, err := fabric.OpenControl(context.Background(), fabric.ControlConfig{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Bus: fabric.BusConfig{Off: true}, Logger: testLogger()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return c
}

// The system over the real journal and store keeps the promises of both services.
func TestConformanceInProcess(t *testing.T) {
	entropytest.Service(t, func(t *testing.T) entropytest.Fabric {
		c := openControl(t)
		return entropytest.Fabric{Service: c.Service(), Worker: func(name entropy.WorkerID) entropy.WorkerService {
			return entropy.AsWorker(c.Service().(entropy.WorkerService), entropytest.Principal(name))
		}}
	})
}

// The client over HTTP keeps them too, each worker with its own key. proves I-3, S-2
func TestConformanceOverHTTP(t *testing.T) {
	entropytest.Service(t, func(t *testing.T) entropytest.Fabric {
		c := openControl(t)
		admin := secret(t, c, fabric.AdminTokenFile)
		join := secret(t, c, fabric.WorkerTokenFile)
		var mu sync.Mutex
		keys := make(map[entropy.WorkerID]string)
		key := func(name entropy.WorkerID) string {
			mu.Lock()
			defer mu.Unlock()
			if keys[name] == "" {
				k, err := identity.NewWorkerKey(name)
				if err != nil {
					t.Fatal(err)
				}
				keys[name] = k
			}
			return keys[name]
		}
		dial := func(conf entropy.ClientConfig) *entropy.Client {
			conf.Server = c.URL()
			cl, err := entropy.NewClient(conf)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cl.CloseIdle)
			return cl
		}
		return entropytest.Fabric{Service: dial(entropy.ClientConfig{Token: admin}),
			Worker: func(name entropy.WorkerID) entropy.WorkerService {
				return dial(entropy.ClientConfig{Token: join, WorkerKey: key(name)})
			},
			KeyHash: func(name entropy.WorkerID) string { return identity.Hash(key(name)) }}
	})
}

func secret(t *testing.T, c *fabric.Control, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.DataDir(), file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
