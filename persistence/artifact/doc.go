// Package artifact keeps the bytes of the fabric: inputs and artifacts by their
// content, and the output of jobs by assignment.
//
// # Content
//
// A blob is named by its SHA-256 and never changes. It becomes visible by one
// rename of a file whose bytes have been fsynced, so whatever is visible is
// whole, after kill -9 and after power loss. The directory is fsynced before the
// call that stored it returns; calls that end together share that fsync.
//
// # Staging
//
// Artifacts arrive in pieces, from workers whose links drop. They are staged
// per assignment, resumed at any offset, checked against their hash when the
// last byte is there, and moved into the content store by [Store.Publish] just
// before the completion they belong to is journaled. Staged bytes are not yet
// acknowledged: after a power loss the worker is told what is missing and sends
// it again. What an ended assignment leaves behind is kept as evidence, within a
// bound.
//
// # Checkpoints
//
// The parts of a job's checkpoints, packs of chunks and manifests, are named by
// their content too, but lie apart, one directory a job: checkpoints replace each
// other while the job runs, and which parts are still needed is known from the
// few manifests of that job alone.
//
// # Names
//
// No name from outside becomes a path before it was found to be a SHA-256 in
// lower-case hex, an ID that [entropy.ValidateID] accepts, or one of two streams.
package artifact
