package graphdb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entropy-fabric/entropy"
)

// testGraph returns a graph with everything that may be known and hostile names. Every
// number has a fraction: the engine's binding takes a whole one for another type, and
// all rows for the type of the first.
func testGraph(kind string) *Graph {
	at := time.Date(2026, 3, 2, 10, 0, 0, 123456789, time.UTC)
	return &Graph{Kind: kind, At: at,
		Nodes: []Node{{Role: "start", Step: "(start)", Count: 10.5, Share: 0.5, Entropy: 0.25}, {Role: "step", Step: "pick", Count: 11.5, Share: 0.25, Entropy: 0.5, MedianMS: new(1500.5)},
			{Role: "step", Step: `"}) DETACH DELETE s // ' $rows \`, Count: 3.5, Share: 0.125, Entropy: 0.125}, {Role: "step", Step: "雪\n", Count: 1e9 + 0.5, Share: 0.25, Entropy: 1.5, MedianMS: new(2.25)},
			{Role: "end", Step: "(end)", Count: 10.5, Share: 0.5, Entropy: 0.5}},
		Edges: []Edge{{From: 0, To: 1, Count: 10.5, P: 0.75, Bits: 0.5, MedianMS: new(3.5), P99MS: new(4.5), ChangedAt: at, WasShare: 0.25, IsNowShare: 0.5},
			{From: 1, To: 1, Count: 1.5, P: 0.0625, Bits: 4.5}, {From: 1, To: 2, Count: 1.5, P: 0.5, Bits: 1.5}, {From: 2, To: 3, Count: 1.5, P: 0.5, Bits: 0.5}, {From: 3, To: 4, Count: 1.5, P: 0.5, Bits: 0.5}}}
}

// boltServer is as much of a Bolt 5 server as the driver's side needs: it shakes hands
// and answers every message by its kind. What the statements do is for a real engine
// to say, not for this.
type boltServer struct {
	answer func(tag byte, message []byte) []byte // PackStream; nil: hang up
	mu     sync.Mutex
	got    [][]byte
}

// The messages of Bolt that are told apart.
const (
	boltHello, boltLogon, boltReset, boltGoodbye = 0x01, 0x6A, 0x0F, 0x02
	boltBegin, boltCommit, boltRun, boltPull     = 0x11, 0x12, 0x10, 0x3F
)

var success = []byte{0xB1, 0x70, 0xA0}

// hello is what a server says of itself.
var hello = slices.Concat([]byte{0xB1, 0x70, 0xA2}, text("server"), text("Neo4j/5.0.0"), text("connection_id"), text("bolt-1"))

func text(s string) []byte { return append([]byte{0xD0, byte(len(s))}, s...) }

func failure(code, message string) []byte {
	return slices.Concat([]byte{0xB1, 0x7F, 0xA2}, text("code"), text(code), text("message"), text(message))
}

// normally answers as a server does that has no rows to give.
func normally(tag byte, _ []byte) []byte {
	if tag == boltHello {
		return hello
	}
	return success
}

func (b *boltServer) start(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(c)
		}
	}()
	return "bolt://" + l.Addr().String()
}

func (b *boltServer) serve(c net.Conn) {
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, 20)); err != nil {
		return
	}
	if _, err := c.Write([]byte{0, 0, 0, 5}); err != nil { // Bolt 5.0
		return
	}
	for {
		var message []byte
		for {
			var head [2]byte
			if _, err := io.ReadFull(c, head[:]); err != nil {
				return
			}
			n := binary.BigEndian.Uint16(head[:])
			if n == 0 && len(message) > 0 {
				break
			}
			chunk := make([]byte, n)
			if _, err := io.ReadFull(c, chunk); err != nil {
				return
			}
			message = append(message, chunk...)
		}
		b.mu.Lock()
		b.got = append(b.got, message)
		b.mu.Unlock()
		if message[1] == boltGoodbye {
			return
		}
		reply := b.answer(message[1], message)
		if reply == nil {
			return
		}
		framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
		if _, err := c.Write(append(framed, 0, 0)); err != nil {
			return
		}
	}
}

// messages returns the messages of a kind that were received.
func (b *boltServer) messages(tag byte) (all [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.got {
		if m[1] == tag {
			all = append(all, m)
		}
	}
	return all
}

// proves E-8: a write is one transaction of the planned statements, with everything
// as parameters, and is committed.
func TestWriteIsOneTransaction(t *testing.T) {
	b := &boltServer{answer: normally}
	s, err := Open(t.Context(), Config{URL: b.start(t), User: "neo4j", Password: "secret-word"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	g := testGraph("order")
	if err := s.Write(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if n, c := len(b.messages(boltBegin)), len(b.messages(boltCommit)); n != 1 || c != 1 {
		t.Errorf("%d transactions, %d committed", n, c)
	}
	runs := b.messages(boltRun)
	want := plan(g)
	if len(runs) != 1+len(want) || !bytes.Contains(runs[0], []byte(constraint)) {
		t.Fatalf("%d statements", len(runs))
	}
	for i, st := range want {
		if !bytes.Contains(runs[1+i], []byte(st.Cypher)) {
			t.Errorf("statement %d is not the planned one", i)
		}
	}
	if hi := b.messages(boltHello); len(hi) == 0 || !bytes.Contains(hi[0], []byte("secret-word")) {
		t.Error("the credentials were not sent")
	}
}

// proves E-8: what the database says of an error, and what to do, reaches the caller;
// nothing waits longer than it may; no password is in a message.
func TestErrors(t *testing.T) {
	refuse := func(at byte, code string) *boltServer {
		return &boltServer{answer: func(tag byte, m []byte) []byte {
			if tag == at {
				return failure(code, "no")
			}
			return normally(tag, m)
		}}
	}
	for name, tt := range map[string]struct {
		server *boltServer
		code   entropy.Code
		want   string
	}{
		"credentials refused": {refuse(boltHello, "Neo.ClientError.Security.Unauthorized"), entropy.CodeUnauthorized, "USER:PASSWORD"},
		"statement refused":   {refuse(boltRun, "Neo.ClientError.Statement.SyntaxError"), entropy.CodeInternal, "SyntaxError"},
		"gone while committed": {&boltServer{answer: func(tag byte, m []byte) []byte {
			if tag == boltCommit {
				return nil
			}
			return normally(tag, m)
		}}, entropy.CodeUnknown, "repeating is harmless"},
		"hangs up": {&boltServer{answer: func(byte, []byte) []byte { return nil }}, entropy.CodeUnavailable, "is it running"},
	} {
		var notes []string
		err := attempt(t, Config{URL: tt.server.start(t), User: "u", Password: "pass-phrase", Timeout: 5 * time.Second, Note: func(s string) { notes = append(notes, s) }})
		e, ok := errors.AsType[*entropy.Error](err)
		if !ok || e.Code != tt.code || !strings.Contains(e.Message+e.Hint, tt.want) || strings.Contains(e.Message+e.Hint, "pass-phrase") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// attempt opens a sink and writes a graph.
func attempt(t *testing.T, c Config) error {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		return err
	}
	defer s.Close(context.Background())
	return s.Write(t.Context(), testGraph("order"))
}

// proves E-8: a server that accepts and says nothing, one that is none, and a port
// that is closed are told within the time allowed.
func TestNobodyAnswers(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for {
			c, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			c.Close()
		}
	}()
	for name, l := range map[string]net.Listener{"silent": silent, "closed": closed, "HTTP": other} {
		began := time.Now()
		_, err := Open(t.Context(), Config{URL: "bolt://" + l.Addr().String(), Timeout: time.Second})
		e, ok := errors.AsType[*entropy.Error](err)
		if !ok || e.Code != entropy.CodeUnavailable || e.Hint == "" || time.Since(began) > 10*time.Second {
			t.Errorf("%s: after %v: %v", name, time.Since(began), err)
		}
	}
}

// proves E-8: a URL that cannot work, or that would give the password away, is refused
// before anything is sent.
func TestURLs(t *testing.T) {
	for raw, want := range map[string]string{
		"":                              "bolt://localhost:7687",
		"http://localhost:7474":         "bolt://localhost:7687",
		"bolt://":                       "bolt://localhost:7687",
		"bolt://u:hidden@localhost":     "USER:PASSWORD",
		"bolt://example.com:7687":       "bolt+s://example.com:7687",
		"neo4j://192.0.2.1":             "neo4j+s://192.0.2.1",
		"bolt://localhost:7687/graph":   "named on its own",
		"bolt://localhost:7687?x=y":     "named on its own",
		"bolt://u:hidden@local host/%z": "bolt://localhost:7687",
	} {
		_, err := Open(t.Context(), Config{URL: raw, User: "u", Password: "p", Timeout: time.Second})
		e, ok := errors.AsType[*entropy.Error](err)
		if !ok || e.Code != entropy.CodeInvalid || !strings.Contains(e.Hint, want) || strings.Contains(e.Message, "hidden") {
			t.Errorf("%q: %v", raw, err)
		}
	}
}
