package actors

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/entropy-fabric/entropy"
	"github.com/entropy-fabric/entropy/actors/es"
	"github.com/entropy-fabric/entropy/actors/fleet"
	"github.com/entropy-fabric/entropy/actors/job"
)

// Submit implements entropy.Service.
func (s *System) Submit(ctx context.Context, subs []entropy.Submission) ([]entropy.SubmitResult, error) {
	if len(subs) > entropy.MaxBatch {
		return nil, entropy.Errorf(entropy.CodeTooLarge, "%d submissions in one call, at most %d are allowed", len(subs), entropy.MaxBatch)
	}
	if err := s.writable(); err != nil {
		return nil, err
	}
	if entropy.Grouped(subs) {
		return s.submitGroup(ctx, subs)
	}
	principal := entropy.PrincipalFrom(ctx).String()
	results := make([]entropy.SubmitResult, len(subs))
	questions := make([]es.Question, len(subs))
	asked := make([]bool, len(subs))
	for i := range subs {
		cmd, id, err := s.submission(ctx, &subs[i], principal)
		if err != nil {
			results[i].Error = entropy.AsError(err)
			continue
		}
		results[i].ID = id
		questions[i], asked[i] = s.jobs.Ask(ctx, string(id), cmd), true
	}
	for i := range subs {
		if !asked[i] {
			continue
		}
		out, err := await(ctx, questions[i])
		if err != nil {
			results[i].Error = entropy.AsError(err)
			continue
		}
		results[i].Created = !out.Decision.Repeat
	}
	return results, nil
}

// submission checks one submission and returns the command and the job's ID.
func (s *System) submission(ctx context.Context, sub *entropy.Submission, principal string) (*job.Command, entropy.JobID, error) {
	id, fresh, err := s.submissionID(sub, principal)
	if err != nil {
		return nil, "", err
	}
	if err := sub.Spec.Validate(); err != nil {
		return nil, "", err
	}
	if err := s.graceFits(&sub.Spec); err != nil {
		return nil, "", err
	}
	if sub.Spec.Array != nil {
		return nil, "", entropy.Errorf(entropy.CodeInvalid, "spec.array is set by the fabric").WithHint("submit an array with the field array beside spec")
	}
	if sub.ID != "" && !fresh {
		if err := s.notAnArray(ctx, id); err != nil {
			return nil, "", err
		}
	}
	if missing := s.missingInputs(&sub.Spec); missing != "" {
		return nil, "", inputNotStored(missing)
	}
	hash, err := sub.Spec.SpecHash()
	if err != nil {
		return nil, "", err
	}
	return &job.Command{Fresh: fresh, Cmd: entropy.Submit{Spec: cloneSpec(&sub.Spec), SpecHash: hash, Principal: principal, Operation: sub.IdempotencyKey, Hold: sub.Hold}}, id, nil
}

// submissionID returns the ID of what is submitted, and whether it was made just now.
func (s *System) submissionID(sub *entropy.Submission, principal string) (id entropy.JobID, fresh bool, err error) {
	switch {
	case sub.ID != "" && sub.IdempotencyKey != "":
		return "", false, entropy.Errorf(entropy.CodeInvalid, "a submission has an id or an idempotency_key, not both")
	case sub.ID != "":
		return sub.ID, madeJustNow(string(sub.ID), s.cfg.Now()), entropy.ValidateID("job id", string(sub.ID))
	case len(sub.IdempotencyKey) > 256:
		return "", false, entropy.Errorf(entropy.CodeInvalid, "idempotency_key has %d bytes, at most 256 are allowed", len(sub.IdempotencyKey))
	case sub.IdempotencyKey != "":
		return derivedID("submit", principal, sub.IdempotencyKey), false, nil
	}
	return entropy.JobID(entropy.NewID()), true, nil
}

func inputNotStored(path string) error {
	return entropy.Errorf(entropy.CodeInvalid, "input %q is not stored", path).WithHint("upload its content with PUT /v1/blobs/{sha256} first")
}

// graceFits refuses a job that its worker must end before its lease can end, and
// that wants more time to end than a third of the lease: after a cut of a moment
// it would be ended for nothing.
func (s *System) graceFits(spec *entropy.JobSpec) error {
	if most := s.cfg.LeaseTTL / 3; spec.Disconnect.Worker == entropy.DisconnectStop && spec.Grace.D() > most {
		return entropy.Errorf(entropy.CodeInvalid, "grace is %s; with disconnect.worker stop it may be at most a third of the lease, %s", spec.Grace, most).
			WithHint("shorten the grace, or let the control plane grant longer leases with --lease-ttl")
	}
	return nil
}

// cloneSpec returns a copy that shares nothing with the caller's: the job keeps it.
func cloneSpec(s *entropy.JobSpec) entropy.JobSpec {
	c := *s
	c.Command, c.Artifacts, c.Inputs = slices.Clone(s.Command), slices.Clone(s.Artifacts), slices.Clone(s.Inputs)
	c.Env, c.Labels, c.Require = maps.Clone(s.Env), maps.Clone(s.Labels), maps.Clone(s.Require)
	c.Payload, c.Retry.NonRetryable = slices.Clone(s.Payload), slices.Clone(s.Retry.NonRetryable)
	c.Resources, c.After, c.AnyOf = maps.Clone(s.Resources), slices.Clone(s.After), slices.Clone(s.AnyOf)
	for i, alt := range c.AnyOf {
		c.AnyOf[i] = entropy.Need{Require: maps.Clone(alt.Require), Resources: maps.Clone(alt.Resources)}
	}
	if s.Checkpoint != nil {
		p := *s.Checkpoint
		c.Checkpoint = &p
	}
	if s.NotBefore != nil {
		at := *s.NotBefore
		c.NotBefore = &at
	}
	if s.NotAfter != nil {
		at := *s.NotAfter
		c.NotAfter = &at
	}
	return c
}

// madeJustNow reports whether an ID is a UUIDv7 of the last second. Such a job is
// taken for new without looking: a repeat that comes so soon is found out by the
// journal, which then makes its actor look.
func madeJustNow(id string, now time.Time) bool {
	if len(id) != 36 || id[14] != '7' {
		return false
	}
	ms, err := strconv.ParseInt(id[:8]+id[9:13], 16, 64)
	age := now.UnixMilli() - ms
	return err == nil && -1000 < age && age < 1000
}

func (s *System) missingInputs(spec *entropy.JobSpec) string {
	if len(spec.Inputs) == 0 {
		return ""
	}
	hashes := make([]string, 0, len(spec.Inputs))
	for _, in := range spec.Inputs {
		if !in.Dir {
			hashes = append(hashes, in.SHA256)
		}
	}
	missing := s.cfg.Store.Missing(hashes)
	if len(missing) == 0 {
		return ""
	}
	i := slices.IndexFunc(spec.Inputs, func(in entropy.Input) bool { return in.SHA256 == missing[0] })
	return spec.Inputs[i].Path
}

// derivedID returns the ID that belongs to a key: the same key of the same
// principal always means the same job. It is a UUIDv8 (RFC 9562 §5.8) of a SHA-256.
func derivedID(parts ...string) entropy.JobID {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	x := hex.EncodeToString(b)
	return entropy.JobID(x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:])
}

// writable refuses a call that could not be recorded.
func (s *System) writable() error {
	switch {
	case s.closing.Load():
		return errStopping()
	case s.cfg.Journal.ReadOnly():
		return entropy.Errorf(entropy.CodeDiskFull, "the control plane's disk is full; nothing was recorded").
			WithHint("free space on its data directory's file system; it resumes by itself")
	}
	return nil
}

// Job implements entropy.Service.
func (s *System) Job(ctx context.Context, id entropy.JobID) (*entropy.Job, error) {
	return s.seen(ctx, id)
}

// Jobs implements entropy.Service.
func (s *System) Jobs(ctx context.Context, f entropy.JobFilter) (entropy.JobPage, error) {
	return s.cfg.Journal.Jobs(ctx, f)
}

// existing returns the job, so that a command to an unknown one makes nothing.
func (s *System) existing(ctx context.Context, id entropy.JobID) (*entropy.Job, error) {
	j, err := s.seen(ctx, id)
	if err == nil && j.Array != nil {
		return nil, entropy.Errorf(entropy.CodeNotFound, "%s is an array of %d jobs", id, j.Array.Count).WithHint("name one of them, as in %s", entropy.MemberID(id, j.Array.First))
	}
	return j, err
}

// operation looks up an operation id. Done says that it was carried out already;
// else the record is to be written with the change.
func (s *System) operation(ctx context.Context, op entropy.Operation, verb, entity string) (record *entropy.OperationRecord, done bool, err error) {
	if err := s.writable(); err != nil {
		return nil, false, err
	}
	if op.ID == "" {
		return nil, false, nil
	}
	if err := entropy.ValidateID("operation id", op.ID); err != nil {
		return nil, false, err
	}
	record = &entropy.OperationRecord{Principal: entropy.PrincipalFrom(ctx).String(), ID: op.ID, Digest: verb + " " + entity, Entity: entity}
	old, err := s.cfg.Journal.Operation(ctx, record.Principal, record.ID)
	switch {
	case err != nil:
		return nil, false, err
	case old == nil:
		return record, false, nil
	case old.Digest != record.Digest:
		return nil, false, entropy.Errorf(entropy.CodeConflict, "operation %s was already used for: %s", op.ID, old.Digest).WithHint("use a new operation id")
	}
	return nil, true, nil
}

// repeated makes the error of a change none when it was refused because another
// call carried out the same operation meanwhile.
func (s *System) repeated(ctx context.Context, record *entropy.OperationRecord, err error) error {
	if record == nil || entropy.ErrorCode(err) != entropy.CodeConflict {
		return err
	}
	old, unread := s.cfg.Journal.Operation(ctx, record.Principal, record.ID)
	if unread != nil || old == nil || old.Digest != record.Digest {
		return err
	}
	return nil
}

// Retry implements entropy.Service.
func (s *System) Retry(ctx context.Context, id entropy.JobID, op entropy.Operation) (*entropy.Job, error) {
	old, err := s.seen(ctx, id)
	if err != nil {
		return nil, err
	}
	if !old.State.Terminal() {
		return nil, notEnded(old)
	}
	if op.ID != "" {
		if err := entropy.ValidateID("operation id", op.ID); err != nil {
			return nil, err
		}
	}
	if old.Array != nil {
		return s.retryArray(ctx, id, op)
	}
	sub := entropy.Submission{Spec: retried(old)}
	if op.ID != "" {
		sub.ID = derivedID("retry", entropy.PrincipalFrom(ctx).String(), op.ID)
	}
	results, err := s.Submit(ctx, []entropy.Submission{sub})
	if err != nil {
		return nil, err
	}
	if results[0].Error != nil {
		return nil, results[0].Error
	}
	return s.cfg.Journal.Job(ctx, results[0].ID)
}

// Wait implements entropy.Service.
func (s *System) Wait(ctx context.Context, ids []entropy.JobID, limit time.Duration) ([]*entropy.Job, error) {
	if len(ids) > entropy.MaxBatch {
		return nil, entropy.Errorf(entropy.CodeTooLarge, "%d jobs in one wait, at most %d are allowed", len(ids), entropy.MaxBatch)
	}
	limited, cancel := context.WithTimeout(ctx, max(limit, 0))
	defer cancel()
	var ended []*entropy.Job
	for _, id := range ids {
		j, err := s.waitOne(limited, id)
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, entropy.Errorf(entropy.CodeUnavailable, "the wait was given up: %v", context.Cause(ctx))
		}
		if j.State.Terminal() {
			ended = append(ended, j)
		}
	}
	return ended, nil
}

// waitOne returns the job when it is terminal or ctx has ended.
func (s *System) waitOne(ctx context.Context, id entropy.JobID) (*entropy.Job, error) {
	for {
		rung, quit := s.bell.listen(entropy.Entity(entropy.KindJob, string(id)))
		j, err := s.seen(context.WithoutCancel(ctx), id)
		if err != nil || j.State.Terminal() || ctx.Err() != nil {
			quit()
			return j, err
		}
		select {
		case <-rung:
		case <-s.done:
			quit()
			return nil, errStopping()
		case <-ctx.Done():
			quit()
		}
	}
}

// Events implements entropy.Service.
func (s *System) Events(ctx context.Context, f entropy.EventFilter) (entropy.EventPage, error) {
	deadline := time.NewTimer(f.Wait)
	defer deadline.Stop()
	for {
		rung, quit := s.bell.listen(anyEvent)
		page, err := s.cfg.Journal.Events(ctx, f)
		if err != nil || len(page.Events) > 0 || f.Wait <= 0 {
			quit()
			return page, err
		}
		f.After, f.Latest = page.Next, false
		select {
		case <-rung:
		case <-deadline.C:
			quit()
			return page, nil
		case <-s.done:
			quit()
			return page, errStopping()
		case <-ctx.Done():
			quit()
			return page, nil
		}
	}
}

// PutBlob implements entropy.Service.
func (s *System) PutBlob(ctx context.Context, hash string, size int64, r io.Reader) error {
	return s.cfg.Store.Put(ctx, hash, size, r)
}

// HasBlobs implements entropy.Service.
func (s *System) HasBlobs(_ context.Context, hashes []string) ([]string, error) {
	for _, h := range hashes {
		if !entropy.ValidSHA256(h) {
			return nil, entropy.Errorf(entropy.CodeInvalid, "%q is not a SHA-256 in lower-case hex", h)
		}
	}
	return s.cfg.Store.Missing(hashes), nil
}

// Workers implements entropy.Service.
func (s *System) Workers(context.Context) ([]entropy.WorkerInfo, error) {
	return s.registry.List(), nil
}

// SetWorker implements entropy.Service.
func (s *System) SetWorker(ctx context.Context, id entropy.WorkerID, mode entropy.WorkerMode, op entropy.Operation) (entropy.WorkerInfo, error) {
	ref, ok := s.known(id)
	if !ok {
		return entropy.WorkerInfo{}, entropy.Errorf(entropy.CodeNotFound, "there is no worker %s", id).WithHint("entropy workers lists them")
	}
	record, done, err := s.operation(ctx, op, string(mode), entropy.Entity(entropy.KindWorker, string(id)))
	if err == nil && !done {
		_, err = ref.Ask(ctx, &fleet.SetMode{Mode: mode, Op: op, Operation: record}).Await(ctx)
		err = s.repeated(ctx, record, err)
	}
	if err != nil {
		return entropy.WorkerInfo{}, err
	}
	info, _ := s.registry.Info(id)
	return info, nil
}
