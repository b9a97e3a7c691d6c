package main

import (
	"io"
	"net"
	"sync"
)

// link is the victim's only way to the control plane: a TCP proxy that can be
// cut like a cable and plugged in again.
type link struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

// newLink listens on a free port of the loopback and forwards to target.
func newLink(target string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{listener: l, target: target, conns: map[net.Conn]bool{}}
	go k.serve()
	return k, nil
}

func (k *link) url() string { return "http://" + k.listener.Addr().String() }

func (k *link) serve() {
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return
		}
		go k.forward(c)
	}
}

// forward copies both ways until either side ends or the cable is cut.
func (k *link) forward(in net.Conn) {
	defer in.Close()
	if !k.add(in) {
		return
	}
	defer k.remove(in)
	out, err := net.Dial("tcp", k.target)
	if err != nil {
		return
	}
	defer out.Close()
	if !k.add(out) {
		return
	}
	defer k.remove(out)
	go func() {
		io.Copy(out, in)
		out.Close()
		in.Close()
	}()
	io.Copy(in, out)
}

// add registers a connection; false means that the cable is cut.
func (k *link) add(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.down {
		return false
	}
	k.conns[c] = true
	return true
}

func (k *link) remove(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
}

// cut breaks every connection and refuses new ones.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = true
	for c := range k.conns {
		c.Close()
	}
}

// mend forwards again.
func (k *link) mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = false
}

func (k *link) close() {
	k.cut()
	k.listener.Close()
}
