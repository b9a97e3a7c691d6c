package main

import (
	"encoding/json"
	"encoding/xml"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/entropy-fabric/entropy/actors/analyzer/graph"
)

// generated returns a file of generated events.
func generatedFile(t *testing.T, args ...string) string {
	t.Helper()
	b := newBench(t)
	if code := b.run(append([]string{"generate"}, args...)...); code != 0 {
		t.Fatal(b.stderr.String())
	}
	return writeFile(t, "events.jsonl", b.stdout.String())
}

// proves E-8: the order of a file's steps comes out in every format, bounded
// when asked for, and what cannot be read is said by its line.
func TestGraphCommand(t *testing.T) {
	file := generatedFile(t, "--days", "2", "--entities", "4", "--start", "2026-01-05")
	look := func(args ...string) string {
		t.Helper()
		b := newBench(t)
		if code := b.run(append([]string{"graph", "supplier", "--events", file}, args...)...); code != 0 {
			t.Fatalf("%v: %s", args, b.stderr.String())
		}
		return b.stdout.String()
	}
	var g graph.Graph
	if err := json.Unmarshal([]byte(look("-o", "json")), &g); err != nil || len(g.Nodes) != 6 || len(g.Edges) != 6 || g.Cases < 300 {
		t.Errorf("%v: %+v", err, g)
	}
	if text := look("-o", "dot"); !strings.HasPrefix(text, "digraph \"supplier\" {\n") || strings.Count(text, " -> ") != 6 {
		t.Errorf("%s", text)
	}
	var any struct{ XMLName xml.Name }
	if err := xml.Unmarshal([]byte(look("-o", "graphml")), &any); err != nil || any.XMLName.Local != "graphml" {
		t.Errorf("%v: %+v", err, any)
	}
	if text := look("--nodes", "4"); !strings.Contains(text, "left out: 2 steps and 4 transitions") || strings.Count(text, "\n") != 6 {
		t.Errorf("%s", text)
	}
	if text := look(); !strings.Contains(text, "check    check") || strings.Contains(text, "left out") {
		t.Errorf("%s", text)
	}
}

// proves E-8: bad input is answered by what, why and what next.
func TestGraphCommandBadInput(t *testing.T) {
	good := `{"entity_id":"a:1","event_type":"x","correlation_id":"c","ts":"2026-01-05T00:00:00Z"}`
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"graph", "a", "--nodes", "1"}, exitUsage, "--nodes is from 2"},
		{[]string{"graph", "a", "--events", writeFile(t, "e", good+"\n"), "-o", "yaml"}, exitUsage, "yaml"},
		{[]string{"graph", "a", "--events", writeFile(t, "e", good+"\nrubbish\n")}, exitUsage, "event 2"},
		{[]string{"graph", "a", "--events", writeFile(t, "e", "{}\n")}, exitUsage, "entity_id"},
		{[]string{"graph", "a", "--events", "/nowhere"}, exitUsage, "/nowhere"},
		{[]string{"graph", "b", "--events", writeFile(t, "e", good+"\n")}, exitNotFound, "kinds with cases are: a"},
	} {
		b := newBench(t)
		if code := b.run(tt.args...); code != tt.code || !strings.Contains(b.stderr.String(), tt.want) || b.stdout.Len() > 0 {
			t.Errorf("%v: %d\n%s%s", tt.args, code, b.stdout.String(), b.stderr.String())
		}
	}
}

// proves E-8: what is wrong with the graph database or its credentials is said, with
// the next step, and no password is shown.
func TestGraphBoltBadInput(t *testing.T) {
	events := writeFile(t, "e", `{"entity_id":"a:1","event_type":"x","correlation_id":"c","ts":"2026-01-05T00:00:00Z"}`+"\n")
	private := func(text string) string {
		t.Helper()
		file := writeFile(t, "credentials", text)
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--graph-bolt", "http://localhost"}, exitUsage, "bolt://localhost:7687"},
		{[]string{"--graph-bolt", "bolt://u:hush-hush@localhost"}, exitUsage, "USER:PASSWORD"},
		{[]string{"--graph-bolt", "bolt://example.com", "--graph-credentials", private("u:hush-hush\n")}, exitUsage, "bolt+s://example.com"},
		{[]string{"--graph-bolt", "bolt://localhost", "--graph-credentials", private("hush-hush\n")}, exitUsage, "colon"},
		{[]string{"--graph-bolt", "bolt://localhost", "--graph-credentials", "/nowhere"}, exitUsage, "/nowhere"},
		{[]string{"--graph-bolt", "bolt://localhost", "--graph-credentials", writeFile(t, "open", "u:hush-hush\n")}, exitNotAllowed, "chmod"},
		{[]string{"--graph-bolt", "bolt://" + l.Addr().String()}, exitUnreachable, "is it running"},
	} {
		b := newBench(t)
		code := b.run(append([]string{"graph", "a", "--events", events}, tt.args...)...)
		if text := b.stderr.String(); code != tt.code || !strings.Contains(text, tt.want) || strings.Contains(text, "hush-hush") || b.stdout.Len() > 0 {
			t.Errorf("%v: %d\n%s%s", tt.args, code, b.stdout.String(), text)
		}
	}
}

// proves E-8, E-4: without a file, the graph and the due times are the control plane's.
func TestGraphAndDueOfTheControlPlane(t *testing.T) {
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"graph supplier -o dot", exitOK, "n0 -> n1 [label=\"100 %, 0.0 bits\""},
		{"graph supplier", exitOK, "(start)  pick"},
		{"graph nobody", exitNotFound, "nobody"},
		{"due", exitOK, "EXPECTED  Mon 2026-03-02 09:00"},
		{"due --zone Europe/Berlin", exitOK, "EXPECTED  Mon 2026-03-02 10:00"},
	} {
		b, _ := newSurpriseBench(t)
		if code := b.run(strings.Fields(tt.args)...); code != tt.code || !strings.Contains(b.stdout.String()+b.stderr.String(), tt.want) {
			t.Errorf("%s: %d\n%s%s", tt.args, code, b.stdout.String(), b.stderr.String())
		}
	}
}
