package entropy_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves J-5: our IDs are UUIDv7, unique, and in order within a process
func TestNewID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	const makers, each = 4, 5000
	lists := make([][]string, makers)
	var wg sync.WaitGroup
	before := time.Now().UnixMilli()
	for i := range lists {
		wg.Go(func() {
			for range each {
				lists[i] = append(lists[i], entropy.NewID())
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool, makers*each)
	for _, l := range lists {
		if !slices.IsSorted(l) {
			t.Fatal("the IDs that one goroutine made are not in order")
		}
		for _, id := range l {
			if !form.MatchString(id) || entropy.ValidateID("job id", id) != nil {
				t.Fatalf("%q", id)
			}
			seen[id] = true
		}
	}
	if len(seen) != makers*each {
		t.Errorf("%d IDs of %d are distinct", len(seen), makers*each)
	}
	var ms int64
	for _, c := range strings.ReplaceAll(lists[0][0], "-", "")[:12] {
		ms = ms<<4 | int64(strings.IndexRune("0123456789abcdef", c))
	}
	if d := ms - before; d < 0 || d > 60_000 {
		t.Errorf("the time in the first ID is %d ms away", d)
	}
}

// proves J-5: what an ID may be
func TestValidateID(t *testing.T) {
	for id, ok := range map[string]bool{
		"a": true, "A9._-z": true, "0": true, strings.Repeat("x", 64): true, entropy.NewID(): true, "ID.0": true, "a..b": true,
		"": false, strings.Repeat("x", 65): false, ".a": false, "-a": false, "_a": false, "a b": false, "a/b": false, "ä": false, "a\x00": false, "a\n": false, "..": false,
	} {
		if err := entropy.ValidateID("job id", id); (err == nil) != ok || err != nil && entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`"1m30s"`: 90 * time.Second, `90`: 90 * time.Second, `0.25`: 250 * time.Millisecond, `"0s"`: 0, `null`: 0, `"-1s"`: -time.Second, `-2`: -2 * time.Second, `1e3`: 1000 * time.Second,
	} {
		var d entropy.Duration
		if err := json.Unmarshal([]byte(text), &d); err != nil || d.D() != want {
			t.Errorf("%s is read as %s, %v", text, d, err)
		}
	}
	for _, text := range []string{`"soon"`, `"5"`, `""`, `true`, `{}`, `[1]`, `"1h"x`} {
		var d entropy.Duration
		if err := json.Unmarshal([]byte(text), &d); err == nil {
			t.Errorf("%s is read as %s", text, d)
		}
	}
	for _, want := range []time.Duration{0, 1, 1500 * time.Millisecond, -time.Hour, 1<<63 - 1} {
		var d entropy.Duration
		if b := must(json.Marshal(entropy.Duration(want))); json.Unmarshal(b, &d) != nil || d.D() != want {
			t.Errorf("%s is written as %s and read as %s", want, b, d)
		}
	}
}

func TestHugeDurationIsRefusedBySpecs(t *testing.T) {
	for _, text := range []string{"1e300", "-1e300", "9223372037", "1e18"} {
		var s entropy.JobSpec
		err := json.Unmarshal([]byte(`{"command":["x"],"run_timeout":`+text+`}`), &s)
		if err == nil {
			err = s.Validate()
		}
		if err == nil {
			t.Errorf("a run_timeout of %s seconds is accepted as %s", text, s.RunTimeout)
		}
	}
}

func TestPosition(t *testing.T) {
	for _, p := range []entropy.Position{{}, {Epoch: 1, Seq: 42}, {Epoch: 1<<64 - 1, Seq: 1<<64 - 1}} {
		if got, err := entropy.ParsePosition(p.String()); err != nil || got != p {
			t.Errorf("%s is read as %s, %v", p, got, err)
		}
	}
	for _, s := range []string{"", ":", "1", "1:", ":1", "1:2:3", "-1:2", "a:b", "1: 2", "1:18446744073709551616"} {
		if p, err := entropy.ParsePosition(s); entropy.ErrorCode(err) != entropy.CodeInvalid {
			t.Errorf("%q is read as %s, %v", s, p, err)
		}
	}
}

func TestEntity(t *testing.T) {
	if kind, id := entropy.SplitEntity(entropy.Entity(entropy.KindJob, "a.b-c")); kind != "job" || id != "a.b-c" {
		t.Errorf("%q, %q", kind, id)
	}
}

// proves J-7: the backoff doubles to its cap, with jitter in the upper half of each span
func TestDelay(t *testing.T) {
	p := entropy.RetryPolicy{Backoff: entropy.Duration(time.Second), BackoffCap: entropy.Duration(time.Minute)}
	for n, span := range map[int]time.Duration{-1: time.Second, 0: time.Second, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 6: 32 * time.Second,
		7: time.Minute, 100: time.Minute, 1 << 40: time.Minute} {
		for _, seed := range []string{"", "a", "job-1", "job-2"} {
			if d := p.Delay(n, seed); d < span/2 || d >= span || d != p.Delay(n, seed) {
				t.Errorf("the delay before attempt %d of %q is %s, its span is %s", n+1, seed, d, span)
			}
		}
	}
	if d := (entropy.RetryPolicy{}).Delay(1, "x"); d < entropy.DefaultBackoff/2 || d >= entropy.DefaultBackoff {
		t.Errorf("the default delay is %s", d)
	}
}

// proves J-7: jobs that failed together do not return together, even if their names are alike
func TestDelaySpreads(t *testing.T) {
	p := entropy.RetryPolicy{Backoff: entropy.Duration(time.Second)}
	const bins, jobs = 10, 1000
	for _, seeds := range []func(int) (string, int){
		func(i int) (string, int) {
			return "array." + string(rune('0'+i/100)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10)), 1
		},
		func(i int) (string, int) { return "one", i + 20 }, // all at the cap
	} {
		var count [bins]int
		for i := range jobs {
			seed, n := seeds(i)
			span := time.Second
			if n > 1 {
				span = entropy.DefaultBackoffCap
			}
			d := p.Delay(n, seed)
			count[(d-span/2)*bins/(span/2)]++
		}
		for bin, n := range count {
			if n < jobs/bins/2 || n > jobs/bins*2 {
				t.Errorf("%d of %d jobs return in tenth %d of the span: %v", n, jobs, bin, count)
			}
		}
	}
}
