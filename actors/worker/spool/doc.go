// Package spool is a worker's memory of what it began and how it ended: an
// append-only file that survives kill -9 and power loss.
//
// # Guarantees
//
//   - What [Spool.Exits] and [Spool.Held] return is on disk: nothing is reported
//     that could be forgotten.
//   - An exit is forgotten only by [Spool.Decide], once the fabric has answered.
//   - Completion numbers rise for as long as the spool exists. A new spool has a
//     new random id, so a worker that lost its disk never repeats a number.
//   - A start that was appended is found again by the next process, even if this
//     one is killed before the next fsync; a power cut may lose it, but then the
//     run is gone as well.
//
// # The file
//
// Each record is a length, a CRC-32C and a JSON body. The first is the header
// with the spool's id. A group of records is made durable by one fsync: the
// syncer takes whatever was written while the fsync before it ran. When most of
// the file is about decided assignments it is rewritten beside the old one and
// renamed over it.
//
// At open, the file is read up to the first record that is incomplete or does
// not match its CRC. What follows is cut off and kept in a file of its own.
package spool
