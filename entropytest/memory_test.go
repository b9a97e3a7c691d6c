package entropytest_test

import (
	"testing"

	"github.com/entropy-fabric/entropy/entropytest"
)

// proves I-2: the reference in memory behaves as the interfaces say
func TestMemory(t *testing.T) {
	entropytest.Service(t, func(*testing.T) entropytest.Fabric { return entropytest.NewMemory().Fabric() })
}
