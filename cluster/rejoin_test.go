package cluster

import (
	"slices"
	"strconv"
	"testing"
)

// proves C-2: a small fabric tries all who are missing, a large one tries about as
// many in all, seeds are always tried, and who is there never is.
func TestChooseWhomToJoin(t *testing.T) {
	names := func(prefix string, n int) (all []string) {
		for i := range n {
			all = append(all, prefix+strconv.Itoa(i))
		}
		return all
	}
	if got := choose([]string{"seed", "a0"}, []string{"b", "seed"}, names("a", 3), 0.9); !slices.Equal(got, []string{"b", "seed"}) {
		t.Errorf("of a small fabric it tries %v", got)
	}
	if got := choose(nil, names("b", 100), names("a", 3), 0); len(got) != rejoinAtOnce {
		t.Errorf("it tries %d at once", len(got))
	}
	have, tries := names("a", 200), 0
	for i := range have {
		got := choose([]string{"seed"}, names("b", 50), have, float64(i)/200)
		if !slices.Contains(got, "seed") {
			t.Fatalf("the seed is not among %v", got)
		}
		tries += len(got) - 1
	}
	if tries != rejoinTogether {
		t.Errorf("200 members try %d of the missing in one round", tries)
	}
}
