package fabric

import (
	"context"
	"io"

	"github.com/entropy-fabric/entropy"
)

// localWorker is the worker protocol for a worker in this process: every call is
// made as that worker, as its credential would have it over HTTP.
type localWorker struct {
	inner entropy.WorkerService
	who   entropy.Principal
}

func (l localWorker) as(ctx context.Context) context.Context {
	return entropy.WithPrincipal(ctx, l.who)
}

func (l localWorker) Register(ctx context.Context, r entropy.Registration) (entropy.Registered, error) {
	return l.inner.Register(l.as(ctx), r)
}

func (l localWorker) Claim(ctx context.Context, r entropy.ClaimRequest) (entropy.ClaimReply, error) {
	return l.inner.Claim(l.as(ctx), r)
}

func (l localWorker) Ack(ctx context.Context, r entropy.AckRequest) ([]entropy.ItemResult, error) {
	return l.inner.Ack(l.as(ctx), r)
}

func (l localWorker) Refuse(ctx context.Context, r entropy.RefuseRequest) ([]entropy.ItemResult, error) {
	return l.inner.Refuse(l.as(ctx), r)
}

func (l localWorker) Heartbeat(ctx context.Context, h entropy.Heartbeat) (entropy.HeartbeatReply, error) {
	return l.inner.Heartbeat(l.as(ctx), h)
}

func (l localWorker) Directives(ctx context.Context, q entropy.DirectivesRequest) (entropy.Directives, error) {
	return l.inner.Directives(l.as(ctx), q)
}

func (l localWorker) Complete(ctx context.Context, r entropy.CompleteRequest) ([]entropy.CompletionReply, error) {
	return l.inner.Complete(l.as(ctx), r)
}

func (l localWorker) StageArtifact(ctx context.Context, u entropy.ArtifactUpload, r io.Reader) (int64, error) {
	return l.inner.StageArtifact(l.as(ctx), u, r)
}

func (l localWorker) AppendLog(ctx context.Context, u entropy.LogUpload, p []byte) (int64, error) {
	return l.inner.AppendLog(l.as(ctx), u, p)
}

func (l localWorker) OpenBlob(ctx context.Context, hash string) (io.ReadCloser, error) {
	return l.inner.OpenBlob(l.as(ctx), hash)
}

func (l localWorker) Leave(ctx context.Context, r entropy.LeaveRequest) error {
	return l.inner.Leave(l.as(ctx), r)
}
