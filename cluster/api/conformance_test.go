package api_test

import (
	"testing"

	"github.com/entropy-fabric/entropy/entropytest"
)

// proves I-2, I-3: a client over HTTP behaves as the fabric behind the server
func TestConformance(t *testing.T) {
	entropytest.Service(t, func(t *testing.T) entropytest.Fabric {
		w, _ := memoryWorld(t)
		return w.fabric()
	})
}
