package supervisor

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
)

// protocolVersion is what agent and supervisor must have in common. Fields may
// be added without raising it.
const protocolVersion = 1

// maxFrame bounds a message: a start of MaxBatch jobs with the largest specs.
const maxFrame = 1 << 30

// The operations. Each is a request with one answer.
const (
	opHello    = "hello"
	opStart    = "start"
	opStop     = "stop"
	opRenew    = "renew"
	opHeld     = "held"
	opExits    = "exits"
	opAmend    = "amend"
	opDecide   = "decide"
	opShutdown = "shutdown"
)

// message is a request or its answer, which has the same ID.
type message struct {
	ID    uint64          `json:"id"`
	Op    string          `json:"op,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
	Error *entropy.Error  `json:"error,omitempty"`
}

// Hello is how a supervisor introduces itself.
type Hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"` // release of the worker that started it
	PID      int    `json:"pid"`
	SpoolID  string `json:"spool_id"`
	Running  int    `json:"running"`
	Images   bool   `json:"images"` // it knows how to run container images
}

type startBody struct {
	Items []StartItem `json:"items"`
}

type startReply struct {
	Errors []*entropy.Error `json:"errors"`
}

type stopBody struct {
	Stop []entropy.StopDirective `json:"stop"`
}

type renewBody struct {
	IDs   []entropy.AssignmentID `json:"ids"`
	Trust time.Duration          `json:"trust"`
}

type heldBody struct {
	Wait time.Duration `json:"wait"` // how long the engine may take to answer
}

type heldReply struct {
	Held []entropy.Held `json:"held"`
}

type exitsBody struct {
	After uint64        `json:"after"`
	Limit int           `json:"limit"`
	Wait  time.Duration `json:"wait"`
}

type exitsReply struct {
	Exits []spool.Exit `json:"exits"`
}

type decideBody struct {
	Decisions []spool.Decision `json:"decisions"`
}

// writeMessage sends a message as its length and its JSON.
func writeMessage(w io.Writer, m *message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fmt.Errorf("a message of %d bytes, at most %d are allowed", len(body), maxFrame)
	}
	b := make([]byte, 4, 4+len(body))
	binary.LittleEndian.PutUint32(b, uint32(len(body)))
	_, err = w.Write(append(b, body...))
	return err
}

// readMessage reads what writeMessage sent.
func readMessage(r io.Reader) (message, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return message{}, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > maxFrame {
		return message{}, fmt.Errorf("a message of %d bytes, at most %d are allowed", n, maxFrame)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return message{}, err
	}
	var m message
	return m, json.Unmarshal(b, &m)
}

// withSocket calls f with a name for the socket in a state directory that is
// short enough for the kernel (108 bytes), however long the directory's is.
func withSocket(state string, f func(path string) error) error {
	d, err := os.OpenFile(state, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), "supervisor.sock"))
}
