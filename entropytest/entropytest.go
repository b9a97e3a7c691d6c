// Package entropytest holds what tests of programs that speak to a fabric need:
// [Service], the behavior that every implementation of [entropy.Service] and
// [entropy.WorkerService] shares, as one suite; and [Memory], a fabric in memory
// for tests of clients and workers.
//
// It imports the standard library and package entropy only.
package entropytest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Fabric is one implementation under test, already open and empty.
type Fabric struct {
	// Service answers as an admin would be answered.
	Service entropy.Service
	// Worker returns the service as the worker of this name sees it: with its
	// credential, over HTTP, or with its principal in every context.
	Worker func(name entropy.WorkerID) entropy.WorkerService
	// KeyHash returns the hash of that worker's key; nil means [KeyHash].
	KeyHash func(name entropy.WorkerID) string
}

// KeyHash returns a hash that stands for the key of the worker of this name.
func KeyHash(name entropy.WorkerID) string { return hash([]byte("key of " + name)) }

// Principal returns the principal of the worker of this name, with [KeyHash].
func Principal(name entropy.WorkerID) entropy.Principal {
	return entropy.Principal{Role: entropy.RoleWorker, Name: string(name), KeyHash: KeyHash(name)}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// As returns w with p in the context of every call.
func As(w entropy.WorkerService, p entropy.Principal) entropy.WorkerService { return as{w, p} }

type as struct {
	w entropy.WorkerService
	p entropy.Principal
}

func (a as) ctx(ctx context.Context) context.Context { return entropy.WithPrincipal(ctx, a.p) }

func (a as) Register(ctx context.Context, r entropy.Registration) (entropy.Registered, error) {
	return a.w.Register(a.ctx(ctx), r)
}

func (a as) Claim(ctx context.Context, c entropy.ClaimRequest) (entropy.ClaimReply, error) {
	return a.w.Claim(a.ctx(ctx), c)
}

func (a as) Ack(ctx context.Context, r entropy.AckRequest) ([]entropy.ItemResult, error) {
	return a.w.Ack(a.ctx(ctx), r)
}

func (a as) Refuse(ctx context.Context, r entropy.RefuseRequest) ([]entropy.ItemResult, error) {
	return a.w.Refuse(a.ctx(ctx), r)
}

func (a as) Heartbeat(ctx context.Context, h entropy.Heartbeat) (entropy.HeartbeatReply, error) {
	return a.w.Heartbeat(a.ctx(ctx), h)
}

func (a as) Directives(ctx context.Context, q entropy.DirectivesRequest) (entropy.Directives, error) {
	return a.w.Directives(a.ctx(ctx), q)
}

func (a as) Complete(ctx context.Context, r entropy.CompleteRequest) ([]entropy.CompletionReply, error) {
	return a.w.Complete(a.ctx(ctx), r)
}

func (a as) StageArtifact(ctx context.Context, u entropy.ArtifactUpload, r io.Reader) (int64, error) {
	return a.w.StageArtifact(a.ctx(ctx), u, r)
}

func (a as) AppendLog(ctx context.Context, u entropy.LogUpload, p []byte) (int64, error) {
	return a.w.AppendLog(a.ctx(ctx), u, p)
}

func (a as) OpenBlob(ctx context.Context, sha256 string) (io.ReadCloser, error) {
	return a.w.OpenBlob(a.ctx(ctx), sha256)
}

func (a as) Leave(ctx context.Context, r entropy.LeaveRequest) error {
	return a.w.Leave(a.ctx(ctx), r)
}

// patience is how long the suite waits for what must happen soon. It is spent
// only by a test that fails.
const patience = 20 * time.Second
