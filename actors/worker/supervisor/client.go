package supervisor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
)

// ErrGone is wrapped by every error of a client whose supervisor has gone.
var ErrGone = errors.New("the supervisor is gone")

// Client is an agent's connection to the supervisor. Its methods may be called
// from any goroutine and take what [Engine]'s take. When the connection breaks
// they fail with [ErrGone], and so do those in progress.
type Client struct {
	conn  net.Conn
	hello Hello
	gone  chan struct{}

	write sync.Mutex

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan message
	err     error
}

// Dial connects to the supervisor of a state directory.
func Dial(ctx context.Context, state string) (*Client, error) {
	var conn net.Conn
	err := withSocket(state, func(path string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the supervisor: %w", err)
	}
	c := &Client{conn: conn, gone: make(chan struct{}), waiting: map[uint64]chan message{}}
	go c.receive()
	if err := c.call(ctx, opHello, nil, &c.hello); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to the supervisor: %w", err)
	}
	if c.hello.Protocol != protocolVersion {
		conn.Close()
		return nil, entropy.Errorf(entropy.CodeConflict, "the running supervisor (pid %d) speaks protocol %d, this program speaks %d", c.hello.PID, c.hello.Protocol, protocolVersion).
			WithHint("let its jobs end with the release that started it, then start this one")
	}
	return c, nil
}

// Hello returns how the supervisor introduced itself.
func (c *Client) Hello() Hello { return c.hello }

// Gone is closed when the connection has broken.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// Close ends the connection. The supervisor and its jobs go on.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.gone
	return err
}

func (c *Client) receive() {
	r := bufio.NewReaderSize(c.conn, 64<<10)
	for {
		m, err := readMessage(r)
		c.mu.Lock()
		if err != nil {
			c.err = fmt.Errorf("%w: %w", ErrGone, err)
			c.waiting = nil
			c.mu.Unlock()
			close(c.gone)
			return
		}
		reply := c.waiting[m.ID]
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		if reply != nil {
			reply <- m // has room for its one answer
		}
	}
}

func (c *Client) call(ctx context.Context, op string, body, out any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	reply := make(chan message, 1)
	c.mu.Lock()
	if c.waiting == nil {
		defer c.mu.Unlock()
		return c.err
	}
	c.next++
	id := c.next
	c.waiting[id] = reply
	c.mu.Unlock()
	if err := c.send(&message{ID: id, Op: op, Body: b}); err != nil {
		c.forget(id)
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	select {
	case m := <-reply:
		if m.Error != nil {
			return m.Error
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(m.Body, out)
	case <-c.gone:
		return c.err
	case <-ctx.Done():
		c.forget(id)
		return fmt.Errorf("the supervisor did not answer %s: %w", op, ctx.Err())
	}
}

// send writes a request. A supervisor that does not read is as good as gone:
// half a message cannot be taken back, so the connection is closed.
func (c *Client) send(m *message) error {
	c.write.Lock()
	defer c.write.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(30 * time.Second)) // fails only when closed
	err := writeMessage(c.conn, m)
	if err != nil {
		c.conn.Close()
	}
	return err
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// Start begins assignments; see [Engine.Start].
func (c *Client) Start(ctx context.Context, items []StartItem) ([]*entropy.Error, error) {
	var reply startReply
	err := c.call(ctx, opStart, startBody{items}, &reply)
	if err == nil && len(reply.Errors) != len(items) {
		err = fmt.Errorf("the supervisor answered %d of %d starts", len(reply.Errors), len(items))
	}
	return reply.Errors, err
}

// Stop asks assignments to end; see [Engine.Stop].
func (c *Client) Stop(ctx context.Context, stops []entropy.StopDirective) error {
	return c.call(ctx, opStop, stopBody{stops}, nil)
}

// Renew moves the end of trust of assignments; see [Engine.Renew].
func (c *Client) Renew(ctx context.Context, ids []entropy.AssignmentID, trust time.Duration) error {
	return c.call(ctx, opRenew, renewBody{ids, trust}, nil)
}

// Held returns what the supervisor holds; see [Engine.Held]. A supervisor that
// does not answer within ctx is wedged.
func (c *Client) Held(ctx context.Context) ([]entropy.Held, error) {
	wait := time.Minute
	if d, ok := ctx.Deadline(); ok {
		wait = time.Until(d)
	}
	var reply heldReply
	err := c.call(ctx, opHeld, heldBody{wait}, &reply)
	return reply.Held, err
}

// Exits returns up to limit exits after a number, waiting for the first until
// ctx ends; see [spool.Spool.Exits].
func (c *Client) Exits(ctx context.Context, after uint64, limit int) ([]spool.Exit, error) {
	for {
		var reply exitsReply
		err := c.call(ctx, opExits, exitsBody{After: after, Limit: limit, Wait: 30 * time.Second}, &reply)
		if err != nil || len(reply.Exits) > 0 {
			return reply.Exits, err
		}
	}
}

// Amend replaces an exit; see [spool.Spool.Amend].
func (c *Client) Amend(ctx context.Context, x spool.Exit) error { return c.call(ctx, opAmend, x, nil) }

// Decide forgets decided assignments; see [Engine.Decide].
func (c *Client) Decide(ctx context.Context, ds []spool.Decision) error {
	return c.call(ctx, opDecide, decideBody{ds}, nil)
}

// Shutdown ends the supervisor if it runs nothing; CodeConflict otherwise.
func (c *Client) Shutdown(ctx context.Context) error {
	if err := c.call(ctx, opShutdown, nil, nil); err != nil && !errors.Is(err, ErrGone) {
		return err
	}
	select {
	case <-c.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
