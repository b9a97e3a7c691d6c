package fabric

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/cluster/discovery"
	"github.com/entropy-fabric/entropy/cluster/identity"
)

// PairingCode is what a worker without a token shows to the person who lets it in.
type PairingCode struct {
	Code   string // for entropy worker pair, at the control plane
	Server string
	Host   string // of the control plane, by its own word; "" when its address was given
	// ClusterID and CAPin are of the control plane that answers there. Nothing is
	// proved before the code is confirmed.
	ClusterID, CAPin string
}

// The times of a pairing, at the worker.
const (
	pairingListens = 2 * time.Second // for a second cluster
	pairingLooks   = time.Second     // whether the code was confirmed
	pairingAgain   = 5 * time.Second // before another is begun
)

// pair lets a worker without a token into a cluster: it shows a code, and waits
// until a person has carried it to the control plane. Afterwards the worker
// remembers that control plane as if a token had named it. Nothing secret is sent.
func pair(ctx context.Context, cfg *WorkerConfig, key string) error {
	_, err := identity.LoadMembership(cfg.DataDir)
	if !cfg.TrustLAN || cfg.TokenFile != "" || !errors.Is(err, fs.ErrNotExist) {
		return nil // what is wrong with a membership is said by who needs it
	}
	p := &pairer{cfg: cfg, key: key}
	var want [32]byte
	if cfg.Server == "" {
		found, err := p.survey(ctx)
		if err != nil {
			return err
		}
		cfg.Server, p.host, want = found.URL, found.Node, found.Pin
	}
	if err := p.meet(ctx); err != nil {
		return err
	}
	if want != [32]byte{} && pinBytes(p.pin) != want {
		return p.stranger("names another authority than it announces")
	}
	p.client, err = entropy.NewClient(entropy.ClientConfig{Server: cfg.Server, CAPin: p.pin, ClusterID: p.cluster})
	if err != nil {
		return err
	}
	defer p.client.CloseIdle()
	for {
		done, err := p.attempt(ctx)
		if err != nil {
			return err
		}
		if done {
			cfg.Logger.Info("paired with a control plane", "server", cfg.Server, "cluster", p.cluster, "ca_pin", p.pin)
			return identity.SaveMembership(cfg.DataDir, identity.Membership{ClusterID: p.cluster, CAPin: p.pin}, identity.Keyring{})
		}
		if err := pause(ctx, pairingAgain); err != nil {
			return err
		}
	}
}

// pairer is a worker that asks to be let in.
type pairer struct {
	cfg          *WorkerConfig
	key          string
	client       *entropy.Client
	host         string
	cluster, pin string // of the control plane that answers
}

// survey looks for the one control plane that takes workers without a token.
func (p *pairer) survey(ctx context.Context) (discovery.Found, error) {
	p.cfg.Logger.Info("looking for a control plane that takes workers without a token")
	all, err := discovery.Survey(ctx, discovery.AskConfig{Node: string(p.cfg.Name)}, pairingListens)
	if err != nil {
		return discovery.Found{}, err
	}
	return only(all)
}

// only returns the one control plane that was heard. Of several it takes none: which
// of them is meant, a person has to say.
func only(all []discovery.Found) (discovery.Found, error) {
	if len(all) == 1 {
		return all[0], nil
	}
	heard := make([]string, len(all))
	for i, f := range all {
		heard[i] = fmt.Sprintf("%s (host %q, authority %s)", f.URL, f.Node, hex.EncodeToString(f.Pin[:6]))
	}
	return discovery.Found{}, entropy.Errorf(entropy.CodeConflict, "%d clusters answer on the networks of this machine: %s", len(all), strings.Join(heard, ", ")).
		WithHint("say which one is meant with --join HOST; entropy ca show, on its host, prints its authority")
}

// meet learns by which authority the control plane proves itself. Whether that is
// the right one, the code will tell.
func (p *pairer) meet(ctx context.Context) error {
	server := p.cfg.Server
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return entropy.Errorf(entropy.CodeInvalid, "a worker cannot be paired with %q: only TLS would keep strangers out afterwards", p.cfg.Server).
			WithHint("start the control plane without --insecure, on loopback with --tls, and name it as https://HOST:PORT")
	}
	p.cfg.Server = server
	port := u.Port()
	if port == "" {
		port = "443"
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}} // nothing is sent; what it shows goes into the code
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return entropy.Errorf(entropy.CodeUnavailable, "no control plane answers by TLS at %s: %v", server, err).WithHint("check the address, and that it is up")
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	ca := chain[len(chain)-1]
	p.cluster, p.pin = ca.Subject.SerialNumber, identity.PinOf(ca)
	if !ca.IsCA || entropy.ValidateID("cluster", p.cluster) != nil {
		return p.stranger("is no control plane of this fabric")
	}
	return nil
}

func (p *pairer) stranger(why string) error {
	return entropy.Errorf(entropy.CodeForbidden, "what answers at %s %s; nothing secret was sent", p.cfg.Server, why).
		WithHint("check the address; if it is right, somebody stands in between: use a join token")
}

// attempt shows one code and waits until it is confirmed. Done is false when the
// pairing is over before that: the control plane was started anew, or it took too long.
func (p *pairer) attempt(ctx context.Context) (done bool, err error) {
	host, _ := os.Hostname() // for people only
	facts := identity.Pairing{ClusterID: p.cluster, CAPin: p.pin, Worker: p.cfg.Name, KeyHash: identity.Hash(p.key), WorkerNonce: identity.NewNonce()}
	offer, err := p.client.StartPairing(ctx, entropy.PairRequest{Worker: p.cfg.Name, Hostname: host, KeyHash: facts.KeyHash, Commitment: identity.Commit(facts.WorkerNonce)})
	if err == nil && !identity.IsDigest(offer.Nonce) {
		return false, p.stranger("answers what no control plane would")
	}
	facts.ControlNonce = offer.Nonce
	if err == nil {
		err = p.client.RevealPairing(ctx, offer.ID, facts.WorkerNonce) // not before it has bound itself
	}
	if err != nil {
		return false, p.unlessPassing(ctx, err)
	}
	code, secret := facts.NewCode()
	p.show(PairingCode{Code: code, Server: p.cfg.Server, Host: p.host, ClusterID: p.cluster, CAPin: p.pin})
	for {
		state, err := p.client.PairingState(ctx, offer.ID)
		switch {
		case entropy.ErrorCode(err) == entropy.CodeNotFound:
			return false, nil
		case err != nil && p.unlessPassing(ctx, err) != nil:
			return false, err
		case err == nil && state.Confirmed && facts.Proves(secret, state.Proof):
			return true, nil
		case err == nil && state.Confirmed:
			return false, p.stranger("was not told the code that this worker shows")
		}
		if err := pause(ctx, pairingLooks); err != nil {
			return false, err
		}
	}
}

// unlessPassing returns nil for an error after which it is worth to try again.
func (p *pairer) unlessPassing(ctx context.Context, err error) error {
	switch entropy.ErrorCode(err) {
	case entropy.CodeUnavailable, entropy.CodeUnknown, entropy.CodeOverloaded:
		if ctx.Err() == nil {
			p.cfg.Logger.Warn("pairing", "error", err)
			return nil
		}
	}
	return err
}

func (p *pairer) show(code PairingCode) {
	if p.cfg.ShowCode != nil {
		p.cfg.ShowCode(code)
		return
	}
	p.cfg.Logger.Info("to let this worker in, run at the control plane: entropy worker pair CODE", "code", code.Code, "server", code.Server, "cluster", code.ClusterID)
}

// pause waits, or returns why ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
