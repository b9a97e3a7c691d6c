package entropy

import "context"

// Role is what a credential allows.
type Role string

// The roles.
const (
	RoleAdmin  Role = "admin"
	RoleWorker Role = "worker"
	RoleJoin   Role = "join" // may register a worker, nothing else

	// On the bus only.
	RoleExecutor Role = "executor" // carries out the actions of its commands
	RoleProducer Role = "producer" // asks for actions
	RoleSource   Role = "source"   // reports events from outside
	RoleViewer   Role = "viewer"   // hears the facts
)

// Principal is who makes a call, by credential.
type Principal struct {
	Role    Role
	Name    string // of a worker: its WorkerID; of another: the token's id
	KeyHash string // of a worker or a joining one: SHA-256 of its key, hex
}

// String returns "role:name".
func (p Principal) String() string { return string(p.Role) + ":" + p.Name }

type principalKey struct{}

// WithPrincipal returns a context that carries who makes the call.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalFrom returns who makes the call; the zero Principal if nobody was set.
func PrincipalFrom(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
