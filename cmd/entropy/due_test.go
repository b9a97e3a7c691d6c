package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// proves E-4: due times are listed in the zone that is asked for, as of the time that is
// asked for; what is asked wrongly is said.
func TestDueCommand(t *testing.T) {
	var events strings.Builder
	for d := range 40 { // 09:00 in Berlin, over the begin of summer time on 29 March
		at := time.Date(2026, 3, 2+d, 8, d%5, 0, 0, time.UTC)
		if d >= 27 {
			at = at.Add(-time.Hour)
		}
		fmt.Fprintf(&events, `{"entity_id":"job:report","event_type":"ran","ts":%q}`+"\n", at.Format(time.RFC3339))
	}
	file := writeFile(t, "events.jsonl", events.String())
	if _, err := time.LoadLocation("Europe/Berlin"); err != nil {
		t.Skipf("not checked: there are no time zones here: %v", err)
	}
	b := newBench(t)
	if code := b.run("due", "--events", file, "--zone", "Europe/Berlin", "--at", "2026-04-12T08:00:00Z"); code != 0 {
		t.Fatal(b.stderr.String())
	}
	if text := b.stdout.String(); !strings.Contains(text, "MET ") || !strings.Contains(text, "MISSING") || !strings.Contains(text, "Mon 2026-04-13 09:02") {
		t.Errorf("%s", text)
	}
	b = newBench(t)
	if code := b.run("due", "job:report", "--events", file, "--zone", "Europe/Berlin", "-o", "json"); code != 0 {
		t.Fatal(b.stderr.String())
	}
	var runs []entropy.EntropyDue
	if err := json.Unmarshal(b.stdout.Bytes(), &runs); err != nil || len(runs) != 2 || runs[1].Status != "EXPECTED" {
		t.Errorf("%v: %s", err, b.stdout.String())
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"due", "--at", "2026-04-12T08:00:00Z"}, exitUsage, "--events only"},
		{[]string{"due", "--events", file, "--zone", "Mars/Olympus"}, exitUsage, "Europe/Berlin"},
		{[]string{"due", "--events", file, "--at", "noon"}, exitUsage, "2026-03-02T10:00:00Z"},
		{[]string{"due", "job:other", "--events", file}, exitOK, "20 runs"},
	} {
		b := newBench(t)
		if code := b.run(tt.args...); code != tt.code || !strings.Contains(b.stderr.String(), tt.want) {
			t.Errorf("%v: %d\n%s%s", tt.args, code, b.stdout.String(), b.stderr.String())
		}
	}
}
