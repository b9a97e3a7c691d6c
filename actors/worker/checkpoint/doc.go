// Package checkpoint saves what a running job marks as its state, and brings it
// back for the next attempt.
//
// # What the job does
//
// It writes a file or a directory anywhere in ENTROPY_CHECKPOINT_DIR and renames
// it into ready/ there, which is atomic:
//
//	cp model "$ENTROPY_CHECKPOINT_DIR/model"
//	mv "$ENTROPY_CHECKPOINT_DIR/model" "$ENTROPY_CHECKPOINT_DIR/ready/"
//
// The newest entry of ready/ is moved away, so that the job can no longer change
// it by its name, and saved; older ones that were not taken yet are removed. The
// job runs on meanwhile. status says what became of the last one. When an attempt
// starts, restored/ holds the file under its name, or what the directory held.
//
// # How it is saved
//
// Files are cut into chunks where their content says so, by a rolling hash: an
// insertion moves the cuts near it and no others. Chunks that the last checkpoint had already are referred to, the rest
// are gathered in packs of up to 4 MiB, so that there is one transfer and one
// fsync for hundreds of chunks. A pack of which less than half is still in use
// is not referred to any more, so that a job's packs are at most about twice the
// size of its checkpoint.
//
// Fixed-size chunks would do for data that is changed in place. Measured with 1 %
// of a file changed, those send 1 % there, these 2 % to 4 %; but everything that
// follows an inserted byte, where these send 1 % to 2 %. See TestOnePercentChanged.
//
// # Guarantees
//
//   - What is not in ready/, or is open for writing there, is not taken. What
//     changes while it is read is not committed.
//   - A link, a socket, a device or a name that is not plain refuses the whole
//     checkpoint, clearly: one with a hole in it would be worse than none.
//   - Every chunk is checked against its hash when it is restored. If one is
//     damaged or missing, the checkpoint before is restored instead.
//   - Nothing is written outside of restored/, whatever a manifest says.
package checkpoint
