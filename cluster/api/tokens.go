package api

import (
	"context"
	"net/http"

	"github.com/entropy-fabric/entropy"
)

// Tokens makes, lists and ends tokens, and lets workers in. It is implemented by
// whoever owns the journal, and safe for concurrent use. Errors for the caller are
// [entropy.Error].
type Tokens interface {
	// Create makes a token of the caller in ctx.
	Create(ctx context.Context, spec entropy.TokenSpec) (entropy.CreatedToken, error)
	// List returns every token, oldest first.
	List(ctx context.Context) ([]entropy.TokenInfo, error)
	// Revoke ends a token; the requests that it holds open end with it.
	Revoke(ctx context.Context, id string) (entropy.TokenInfo, error)
	// Rotate gives a token a new secret beside the one it has.
	Rotate(ctx context.Context, id string, r entropy.TokenRotation) (entropy.CreatedToken, error)
	// RevokeWorker ends a worker's key; the requests that it holds open end with it.
	RevokeWorker(ctx context.Context, id entropy.WorkerID) (entropy.RevokedWorker, error)
	// Join lets a worker in: it counts the token's use and records the worker's key
	// in one transaction. The same key gets the same answer again, another is
	// CodeConflict.
	Join(ctx context.Context, who Joining) (entropy.Joined, error)
}

// Joining is a worker that asks to be let in. All but Hostname is by credential.
type Joining struct {
	Token    string // the id of the join token; "" for a worker whose key is known
	Worker   entropy.WorkerID
	KeyHash  string
	Hostname string // its own word, for people
	Keyring  uint64 // its own word, as [entropy.JoinRequest] has it
}

// MaxHostname bounds what a worker may say of its host's name, in bytes.
const MaxHostname = 255

var errNoTokens = entropy.Errorf(entropy.CodeNotFound, "this server manages no tokens").WithHint("ask the control plane itself")

// tokens returns who manages tokens, if anybody does.
func (s *Server) tokens() (Tokens, error) {
	if s.conf.Tokens == nil {
		return nil, errNoTokens
	}
	return s.conf.Tokens, nil
}

func (s *Server) createToken(w *response, r *http.Request) error {
	var spec entropy.TokenSpec
	tokens, err := s.tokens()
	if err := firstOf(noQuery(r), readJSON(w, r, smallBody, &spec), spec.Validate(), err); err != nil {
		return err
	}
	t, err := tokens.Create(r.Context(), spec)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, t)
}

func (s *Server) listTokens(w *response, r *http.Request) error {
	tokens, err := s.tokens()
	if err := firstOf(noQuery(r), err); err != nil {
		return err
	}
	list, err := tokens.List(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, entropy.TokenList{Tokens: list})
}

func (s *Server) revokeToken(w *response, r *http.Request) error {
	tokens, err := s.tokens()
	id := r.PathValue("id")
	if err := firstOf(noQuery(r), entropy.ValidateID("token", id), err); err != nil {
		return err
	}
	t, err := tokens.Revoke(r.Context(), id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, t)
}

func (s *Server) rotateToken(w *response, r *http.Request) error {
	var body entropy.TokenRotation
	tokens, err := s.tokens()
	id := r.PathValue("id")
	if err := firstOf(noQuery(r), entropy.ValidateID("token", id), readJSON(w, r, smallBody, &body), body.Validate(), err); err != nil {
		return err
	}
	t, err := tokens.Rotate(r.Context(), id, body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, t)
}

func (s *Server) revokeWorker(w *response, r *http.Request) error {
	tokens, err := s.tokens()
	name := r.PathValue("name")
	if err := firstOf(noQuery(r), entropy.ValidateID("worker name", name), err); err != nil {
		return err
	}
	revoked, err := tokens.RevokeWorker(r.Context(), entropy.WorkerID(name))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, revoked)
}

// join lets a worker in and tells it what it keeps for good.
func (s *Server) join(w *response, r *http.Request) error {
	var body entropy.JoinRequest
	tokens, err := s.tokens()
	if err := firstOf(readWorker(w, r, smallBody, &body), err); err != nil {
		return err
	}
	who, err := s.joining(r, body.Hostname)
	if err != nil {
		return err
	}
	who.Keyring = body.Keyring
	joined, err := tokens.Join(r.Context(), who)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, joined)
}

// joining says who asks, by credential.
func (s *Server) joining(r *http.Request, hostname string) (Joining, error) {
	p := entropy.PrincipalFrom(r.Context())
	if p.KeyHash == "" {
		return Joining{}, entropy.Errorf(entropy.CodeInvalid, "a join token alone does not say which worker joins").
			WithHint("send the worker's own key in the header %s", entropy.HeaderWorkerKey)
	}
	if len(hostname) > MaxHostname {
		return Joining{}, entropy.Errorf(entropy.CodeInvalid, "the hostname has %d bytes, at most %d are allowed", len(hostname), MaxHostname)
	}
	return Joining{Token: s.conf.Auth.TokenID(r), Worker: entropy.WorkerID(p.Name), KeyHash: p.KeyHash, Hostname: hostname}, nil
}
