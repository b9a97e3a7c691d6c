// Package ingest lets events in from outside: it brings whatever a source emits
// into the fabric's envelope by configured rules, and what it cannot understand
// into the dead letters.
package ingest
