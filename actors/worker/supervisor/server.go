package supervisor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/worker/spool"
)

// server lets agents speak to an engine.
type server struct {
	engine   *Engine
	log      *slog.Logger
	listener net.Listener
	version  string
	idleExit time.Duration
	stop     chan struct{} // closed by a shutdown request, or when idle for long

	mu    sync.Mutex
	conns map[net.Conn]bool
	idle  *time.Timer
	once  sync.Once
}

// listen opens the socket of a state directory, for its owner only.
func listen(state string) (net.Listener, error) {
	_ = os.Remove(filepath.Join(state, "supervisor.sock")) // of a dead one: the lock says so
	var l net.Listener
	err := withSocket(state, func(path string) (err error) {
		l, err = net.Listen("unix", path)
		if err != nil {
			return err
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false) // path is of this moment only
		return os.Chmod(path, 0o600)
	})
	return l, err
}

func newServer(e *Engine, l net.Listener, idleExit time.Duration, log *slog.Logger) *server {
	s := &server{engine: e, log: log, listener: l, idleExit: idleExit, stop: make(chan struct{}), conns: map[net.Conn]bool{}}
	s.idle = time.AfterFunc(idleExit, s.leaveIfIdle)
	return s
}

// serve accepts agents until the listener is closed.
func (s *server) serve() error {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := samePeer(conn); err != nil {
			s.log.Warn("a connection was refused", slog.Any("error", err))
			conn.Close()
			continue
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		go s.talk(conn)
	}
}

// samePeer refuses everybody but the same user and root.
func samePeer(conn net.Conn) error {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if cerr != nil {
		return cerr
	}
	if uid := int(cred.Uid); uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("user %d is not this worker's", uid)
	}
	return nil
}

// talk serves one agent until it goes away.
func (s *server) talk(conn net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	var write sync.Mutex
	var calls sync.WaitGroup
	defer func() {
		cancel()
		conn.Close()
		calls.Wait()
		s.mu.Lock()
		delete(s.conns, conn)
		s.idle.Reset(s.idleExit)
		s.mu.Unlock()
	}()
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		m, err := readMessage(r)
		if err != nil {
			return
		}
		calls.Go(func() {
			answer := message{ID: m.ID}
			out, err := s.handle(ctx, m.Op, m.Body)
			if err == nil && out != nil {
				answer.Body, err = json.Marshal(out)
			}
			answer.Error = entropy.AsError(err)
			write.Lock()
			defer write.Unlock()
			if err := writeMessage(conn, &answer); err != nil {
				conn.Close() // half an answer cannot be taken back
			}
		})
	}
}

// handle carries out one request.
func (s *server) handle(ctx context.Context, op string, body json.RawMessage) (any, error) {
	switch op {
	case opHello:
		return Hello{Protocol: protocolVersion, Version: s.version, PID: os.Getpid(), SpoolID: s.engine.spool.ID(), Running: s.engine.Running(), Images: true}, nil
	case opStart:
		return decode(body, func(b startBody) (any, error) {
			errs, err := s.engine.Start(b.Items)
			return startReply{errs}, err
		})
	case opStop:
		return decode(body, func(b stopBody) (any, error) { s.engine.Stop(b.Stop); return nil, nil })
	case opRenew:
		return decode(body, func(b renewBody) (any, error) { s.engine.Renew(b.IDs, b.Trust); return nil, nil })
	case opHeld:
		return decode(body, func(b heldBody) (any, error) { return s.held(ctx, b) })
	case opExits:
		return decode(body, func(b exitsBody) (any, error) { return s.exits(ctx, b) })
	case opAmend:
		return decode(body, func(x spool.Exit) (any, error) { return nil, s.engine.spool.Amend(x) })
	case opDecide:
		return decode(body, func(b decideBody) (any, error) { return nil, s.engine.Decide(b.Decisions) })
	case opShutdown:
		return nil, s.shutdown()
	}
	return nil, entropy.Errorf(entropy.CodeInvalid, "unknown operation %q", op)
}

func decode[T any](body json.RawMessage, f func(T) (any, error)) (any, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, entropy.Errorf(entropy.CodeInvalid, "malformed request: %v", err)
	}
	return f(v)
}

func (s *server) held(ctx context.Context, b heldBody) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, b.Wait)
	defer cancel()
	held, err := s.engine.Held(ctx)
	return heldReply{held}, err
}

func (s *server) exits(ctx context.Context, b exitsBody) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, b.Wait)
	defer cancel()
	list, err := s.engine.spool.Exits(ctx, b.After, b.Limit)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return exitsReply{list}, err
}

// shutdown agrees to end when nothing runs. From then on nothing is begun.
func (s *server) shutdown() error {
	if n := s.engine.Running(); n > 0 {
		return entropy.Errorf(entropy.CodeConflict, "the supervisor still runs %d jobs", n)
	}
	s.once.Do(func() { close(s.stop) })
	return nil
}

// leaveIfIdle ends a supervisor that no agent has spoken to for long and that
// has nothing to do. Results that wait in the spool wait as well without it.
func (s *server) leaveIfIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) > 0 || s.engine.Running() > 0 {
		s.idle.Reset(s.idleExit)
		return
	}
	s.once.Do(func() { close(s.stop) })
}

// close ends the conversations.
func (s *server) close() {
	s.listener.Close()
	s.idle.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}
