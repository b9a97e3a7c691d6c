package entropy

import (
	"encoding/hex"
	"strings"
)

// Ticket is what a token made by the fabric says beside its secret: which cluster
// it is for, and how that cluster's control plane proves itself. Its text is
//
//	ent1.<cluster id>.<SHA-256 of the CA's public key, hex>.<credential>
//
// so that one string, carried to another host by any means, is all that a client
// or a worker needs beside an address. The third part is "-" in a ticket of a
// control plane that serves plain HTTP to other hosts: it has nothing to prove
// itself with. It is safe to log ClusterID and CAPin, never Secret.
type Ticket struct {
	ClusterID string
	CAPin     string // 64 hex digits; "" when the control plane proves nothing
	Secret    string // the credential: what is sent as the bearer token
}

const (
	ticketPrefix = "ent1."
	noPin        = "-"
	maxTicket    = 512 // bytes; a longer text is refused unread
)

// IsTicket reports whether the text of a token claims to be a ticket rather than
// a bare credential.
func IsTicket(text string) bool { return strings.HasPrefix(text, ticketPrefix) }

// String returns the text of the ticket, its secret included.
func (t Ticket) String() string {
	pin := t.CAPin
	if pin == "" {
		pin = noPin
	}
	return ticketPrefix + t.ClusterID + "." + pin + "." + t.Secret
}

// ParseTicket reads the text of a ticket. The error is CodeInvalid, names what is
// wrong, and repeats nothing of the secret.
func ParseTicket(text string) (Ticket, error) {
	bad := func(why string) (Ticket, error) {
		return Ticket{}, Errorf(CodeInvalid, "the token %s", why).
			WithHint("copy it again, whole, from the file or the terminal it was written to; `entropy token create` makes another")
	}
	if len(text) > maxTicket {
		return bad("is longer than any that the fabric makes")
	}
	rest, ok := strings.CutPrefix(text, ticketPrefix)
	if !ok {
		return bad("does not begin with " + ticketPrefix)
	}
	cluster, rest, ok1 := strings.Cut(rest, ".")
	pin, secret, ok2 := strings.Cut(rest, ".")
	switch {
	case !ok1 || !ok2 || secret == "":
		return bad("is cut short: it has four parts, separated by dots")
	case ValidateID("cluster", cluster) != nil:
		return bad("names no cluster")
	case pin != noPin && !validPin(pin):
		return bad("holds no SHA-256 of a CA's key in its third part")
	case strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }):
		return bad("holds a character that no token has")
	}
	if pin == noPin {
		pin = ""
	}
	return Ticket{ClusterID: cluster, CAPin: pin, Secret: secret}, nil
}

func validPin(pin string) bool {
	b, err := hex.DecodeString(pin)
	return err == nil && len(b) == 32 && strings.ToLower(pin) == pin
}

// ControlPlaneURI returns the name by which a control plane of a cluster proves
// itself: the URI in its certificate. It names the cluster and no address, so that
// the control plane may move.
func ControlPlaneURI(clusterID string) string { return "entropy://" + clusterID + "/control-plane" }
