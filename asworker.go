package entropy

import (
	"context"
	"io"
)

// AsWorker returns w with who in the context of every call: the worker protocol
// for a worker in this process, as its credential would have it over HTTP.
func AsWorker(w WorkerService, who Principal) WorkerService { return asWorker{w, who} }

type asWorker struct {
	inner WorkerService
	who   Principal
}

func (l asWorker) as(ctx context.Context) context.Context {
	return WithPrincipal(ctx, l.who)
}

func (l asWorker) Register(ctx context.Context, r Registration) (Registered, error) {
	return l.inner.Register(l.as(ctx), r)
}

func (l asWorker) Claim(ctx context.Context, r ClaimRequest) (ClaimReply, error) {
	return l.inner.Claim(l.as(ctx), r)
}

func (l asWorker) Ack(ctx context.Context, r AckRequest) ([]ItemResult, error) {
	return l.inner.Ack(l.as(ctx), r)
}

func (l asWorker) Refuse(ctx context.Context, r RefuseRequest) ([]ItemResult, error) {
	return l.inner.Refuse(l.as(ctx), r)
}

func (l asWorker) Heartbeat(ctx context.Context, h Heartbeat) (HeartbeatReply, error) {
	return l.inner.Heartbeat(l.as(ctx), h)
}

func (l asWorker) Directives(ctx context.Context, q DirectivesRequest) (Directives, error) {
	return l.inner.Directives(l.as(ctx), q)
}

func (l asWorker) Complete(ctx context.Context, r CompleteRequest) ([]CompletionReply, error) {
	return l.inner.Complete(l.as(ctx), r)
}

func (l asWorker) StageArtifact(ctx context.Context, u ArtifactUpload, r io.Reader) (int64, error) {
	return l.inner.StageArtifact(l.as(ctx), u, r)
}

func (l asWorker) AppendLog(ctx context.Context, u LogUpload, p []byte) (int64, error) {
	return l.inner.AppendLog(l.as(ctx), u, p)
}

func (l asWorker) OpenBlob(ctx context.Context, hash string) (io.ReadCloser, error) {
	return l.inner.OpenBlob(l.as(ctx), hash)
}

func (l asWorker) Leave(ctx context.Context, r LeaveRequest) error {
	return l.inner.Leave(l.as(ctx), r)
}

func (l asWorker) OfferCheckpoint(ctx context.Context, o CheckpointOffer) error {
	return l.inner.OfferCheckpoint(l.as(ctx), o)
}

func (l asWorker) PutCheckpointPart(ctx context.Context, u CheckpointUpload, r io.Reader) error {
	return l.inner.PutCheckpointPart(l.as(ctx), u, r)
}

func (l asWorker) CommitCheckpoint(ctx context.Context, c CheckpointCommit) (CheckpointReply, error) {
	return l.inner.CommitCheckpoint(l.as(ctx), c)
}

func (l asWorker) OpenCheckpointPart(ctx context.Context, job JobID, a AssignmentID, sha256 string) (io.ReadCloser, error) {
	return l.inner.OpenCheckpointPart(l.as(ctx), job, a, sha256)
}
