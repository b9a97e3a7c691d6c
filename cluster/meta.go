package cluster

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"
)

// Node is what a node says about itself. It travels with every gossip message
// that announces it and must fit into 512 bytes.
type Node struct {
	// ID names the node's data directory. Required, as is Role.
	ID   string `json:"i"`
	Name string `json:"n,omitempty"` // the worker's name, unique in the fabric
	Role string `json:"r"`           // "control" or "worker"
	// BootID is that of the machine's kernel.
	BootID  string `json:"b,omitempty"`
	Version string `json:"v,omitempty"`
	API     string `json:"a,omitempty"` // the URL of a control plane's API
}

// announcement is a node's metadata on the wire.
type announcement struct {
	Node
	// Leaving says that the silence which follows is meant. memberlist itself
	// cannot tell: Node.State is always alive in NotifyLeave (hashicorp/memberlist#293).
	Leaving bool `json:"l,omitempty"`
}

// encode returns the metadata, or an error when it would not fit.
func (a announcement) encode() ([]byte, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode node metadata: %w", err)
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("node metadata is %d bytes, at most %d travel with gossip", len(b), memberlist.MetaMaxSize)
	}
	return b, nil
}

// decode reads metadata that came from the network.
func decode(meta []byte) (announcement, error) {
	var a announcement
	switch err := json.Unmarshal(meta, &a); {
	case err != nil:
		return announcement{}, fmt.Errorf("node metadata: %w", err)
	case a.ID == "" || a.Role == "":
		return announcement{}, fmt.Errorf("node metadata lacks an ID or a role")
	case !utf8.Valid(meta):
		return announcement{}, fmt.Errorf("node metadata is not UTF-8")
	}
	return a, nil
}
