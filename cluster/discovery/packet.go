package discovery

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"
)

// Kind is what a packet is.
type Kind byte

// The kinds of packets.
const (
	Ask    Kind = 1 // a worker: where is the control plane?
	Answer Kind = 2 // the control plane: here
	Skewed Kind = 3 // the control plane: our clocks are too far apart
)

// KeyID says by which key a packet is authenticated; see [IDOf].
type KeyID [16]byte

// IDOf names a key. The name tells nothing about the key.
func IDOf(key []byte) (id KeyID) {
	sum := sha256.Sum256(append([]byte("entropy/discovery/"), key...))
	copy(id[:], sum[:])
	return id
}

// Nonce makes each question one of its own.
type Nonce [16]byte

// Packet is a question or an answer.
type Packet struct {
	Kind  Kind
	Key   KeyID
	Nonce Nonce     // an answer repeats that of its question
	Time  time.Time // the sender's clock, to the millisecond
	Port  uint16    // of the control plane's API; 0 in a question
	TLS   bool      // how the API is served
	Pin   [32]byte  // SHA-256 of the CA's key; zero when there is nothing to prove
	Node  string    // who sends, for people; at most 64 bytes
}

// Size is how long every packet is: a question is as long as its answer, so that
// nobody is flooded by way of a control plane.
const Size = 192

const (
	magic   = "ENT\x01"
	maxNode = 64
	body    = Size - sha256.Size
)

// The reasons for which a packet is dropped.
var (
	errForm = errors.New("not a packet of this protocol")
	errKey  = errors.New("its key is not known here")
	errMAC  = errors.New("its MAC is wrong")
)

// Encode returns the packet as it travels, authenticated by key. A Node that is
// too long is cut.
func Encode(p Packet, key []byte) []byte {
	b := make([]byte, 0, Size)
	b = append(b, magic...)
	flags := byte(0)
	if p.TLS {
		flags = 1
	}
	b = append(b, byte(p.Kind), flags)
	b = append(b, p.Key[:]...)
	b = append(b, p.Nonce[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Time.UnixMilli()))
	b = binary.BigEndian.AppendUint16(b, p.Port)
	b = append(b, p.Pin[:]...)
	b = append(b, p.Node[:min(len(p.Node), maxNode)]...)
	b = b[:body] // zeros
	return append(b, sum(b, key)...)
}

// Decode reads a packet. KeyOf returns the key of an ID, nil when there is none.
// Every byte of a packet that it accepts is authenticated.
func Decode(b []byte, keyOf func(KeyID) []byte) (Packet, error) {
	if len(b) != Size || string(b[:4]) != magic || b[4] < byte(Ask) || b[4] > byte(Skewed) || b[5] > 1 {
		return Packet{}, errForm
	}
	p := Packet{Kind: Kind(b[4]), TLS: b[5] == 1}
	rest := b[6:]
	rest = rest[copy(p.Key[:], rest):]
	rest = rest[copy(p.Nonce[:], rest):]
	key := keyOf(p.Key)
	if len(key) == 0 {
		return Packet{}, errKey
	}
	if !hmac.Equal(b[body:], sum(b[:body], key)) {
		return Packet{}, errMAC
	}
	p.Time = time.UnixMilli(int64(binary.BigEndian.Uint64(rest))).UTC()
	p.Port = binary.BigEndian.Uint16(rest[8:])
	rest = rest[10:]
	copy(p.Pin[:], rest)
	node, _, _ := bytes.Cut(rest[len(p.Pin):][:maxNode], []byte{0})
	p.Node = string(node)
	return p, nil
}

func sum(b, key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	return mac.Sum(nil)
}
