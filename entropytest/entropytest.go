// Package entropytest holds what tests of programs that speak to a fabric need:
// [Service], the behavior that every implementation of [entropy.Service] and
// [entropy.WorkerService] shares, as one suite; and [Memory], a fabric in memory
// for tests of clients and workers.
//
// It imports the standard library and package entropy only.
package entropytest

import (
	"crypto/sha256"
	"encoding/hex"
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

// patience is how long the suite waits for what must happen soon. It is spent
// only by a test that fails.
const patience = 20 * time.Second
