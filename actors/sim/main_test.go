package sim

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// spent is how long each of the long tests took.
var spent struct {
	sync.Mutex
	names []string
	took  []time.Duration
}

// measured notes how long a test takes, for the table of shares at the end.
func measured(t *testing.T) {
	began := time.Now()
	t.Cleanup(func() {
		spent.Lock()
		defer spent.Unlock()
		spent.names, spent.took = append(spent.names, t.Name()), append(spent.took, time.Since(began))
	})
}

// TestMain prints which share of the time each of the long tests took.
func TestMain(m *testing.M) {
	began := time.Now()
	code := m.Run()
	all := time.Since(began)
	for i, name := range spent.names {
		fmt.Printf("%-22s %8s %3.0f %%\n", name, spent.took[i].Round(time.Millisecond), 100*spent.took[i].Seconds()/all.Seconds())
	}
	os.Exit(code)
}
