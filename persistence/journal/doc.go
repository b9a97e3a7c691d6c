// Package journal keeps the only truth of a control plane: an append-only
// journal of events in SQLite, and beside it the tables derived from them
// (jobs, leases, workers), written in the same transaction.
//
// # Guarantees
//
//   - An [Journal.Append] that returned nil is on the disk after fsync: neither
//     kill -9 nor a power cut loses it (P-1).
//   - An append is all or nothing over all of its changes (H-2). One that
//     contradicts what is recorded (a version, a lease, an operation) is refused
//     alone, with CodeConflict; its neighbors in the same transaction are not
//     touched.
//   - Seq is gapless, the versions of an entity are gapless, every row has a
//     CRC-32C, and every batch a seal: a SHA-256 chained to the seal before
//     (P-2). [VerifyFile] checks all of it, and that the derived tables are, byte
//     for byte, what a replay of the events gives.
//   - Two live leases of one job are refused by a key of the lease table (J-3).
//   - An append that was not acknowledged is either not there or there in full;
//     CodeUnknown says that it may be either, any other code that it is not there.
//
// # One writer
//
// Callers encode; one goroutine writes. It takes all that waits, without
// lingering for more, writes it in one transaction, and then, in order of seq,
// informs the taps and releases the callers. While it waits for the disk the
// next batch gathers, so that a slow disk makes batches larger and not callers
// slower in proportion.
//
// # Trouble with the disk
//
// A full disk whose transaction was rolled back costs nothing but the appends
// that met it: they get CodeDiskFull, [Journal.ReadOnly] is true, and it ends by
// itself when there is room again. After any other error of a commit nobody can
// say what is on the disk: the appends in flight get CodeUnknown, nothing further
// is acknowledged, and [Journal.Fatal] is closed. The process should exit; the
// next [Open] finds out (H-3).
package journal
