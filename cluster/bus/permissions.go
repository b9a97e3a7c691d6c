package bus

import (
	"fmt"
	"regexp"
	"time"
)

// Role is what a credential is for.
type Role string

// The roles. Only this process is in that of the control plane: its credential is
// made at every start and never leaves memory.
const (
	RoleControl  Role = "control"  // everything
	RoleProducer Role = "producer" // asks for actions
	RoleExecutor Role = "executor" // carries out the actions of its commands
	RoleReader   Role = "reader"   // hears the facts, and what the analyzer finds
	RoleSource   Role = "source"   // reports events from outside
)

// Credential is somebody who may be on the bus, and how to know them: by a password
// or by an nkey.
type Credential struct {
	// Name is what a user calls itself, and the executor's name in subjects: 1 to 64
	// letters, digits, '_' and '-'.
	Name string
	Role Role
	// Commands are those that an executor may execute.
	Commands []string
	// PasswordHash is [HashPassword] of the password; "" when it has none. A password
	// is a random secret, so that it needs no slow hash.
	PasswordHash string
	// FormerHash is that of a password that was replaced and is good for a while yet;
	// Users leaves it out when it is not any more.
	FormerHash string
	// PublicKey is the public half of an nkey, "U…"; "" when it has none.
	PublicKey string
	// ExpiresAt ends the credential and its connections; zero: never.
	ExpiresAt time.Time
}

// Users says who may be on the embedded server. Its methods are called from many
// goroutines, and have to be quick: clients wait.
type Users interface {
	// User returns the credential of a user who calls itself id, or proves to have
	// the nkey whose public half is id.
	User(id string) (Credential, bool)
}

// Inbox returns the prefix of the subjects that a user hears answers on. A client
// has to be told to use it: nobody may listen on a common one.
func Inbox(name string) string { return "_INBOX_" + name }

// entityKind may become a token of a subject.
var entityKind = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// Subjects are what somebody may publish and subscribe to. What is not named in
// Allow is refused, and so is what is named in Deny.
type Subjects struct{ Allow, Deny []string }

// Permissions returns what a credential may publish and subscribe to. It is the only
// place where that is decided; an external server's configuration should say the
// same. A credential whose name or role is not valid may do nothing.
func Permissions(c Credential) (publish, subscribe Subjects) {
	if !tokenPattern.MatchString(c.Name) {
		return publish, subscribe
	}
	subscribe.Allow = []string{Inbox(c.Name) + ".>"}
	switch c.Role {
	case RoleControl:
		return Subjects{Allow: []string{">"}}, Subjects{Allow: []string{">"}}
	case RoleProducer:
		publish.Allow = []string{SubjectRequested}
	case RoleSource:
		publish.Allow = []string{SubjectNormalized, SubjectNormalized + ".>"}
		publish.Deny = []string{SubjectNormalized + "." + ownToken, subjectEvents + ".>"}
	case RoleReader:
		for _, s := range streamTable(nil) {
			if s.open { // a message at a time, or in batches; a reader makes no consumers: they publish where they are told
				publish.Allow = append(publish.Allow, "$JS.API.STREAM.INFO."+s.name, "$JS.API.DIRECT.GET."+s.name, "$JS.API.DIRECT.GET."+s.name+".>")
				subscribe.Allow = append(subscribe.Allow, s.subjects...)
			}
		}
	case RoleExecutor:
		publish.Allow = []string{SubjectProgress + "." + c.Name, SubjectResult + "." + c.Name}
		subscribe.Allow = append(subscribe.Allow, SubjectVerdict+"."+c.Name)
		for _, command := range c.Commands {
			if !tokenPattern.MatchString(command) {
				continue
			}
			durable := CommandConsumer(command)
			publish.Allow = append(publish.Allow,
				fmt.Sprintf("$JS.API.CONSUMER.INFO.%s.%s", StreamOrders, durable),
				fmt.Sprintf("$JS.API.CONSUMER.MSG.NEXT.%s.%s", StreamOrders, durable),
				fmt.Sprintf("$JS.ACK.%s.%s.>", StreamOrders, durable),
				fmt.Sprintf("$JS.ACK.*.*.%s.%s.>", StreamOrders, durable)) // the form of newer servers: with domain and account
		}
	default:
		subscribe.Allow = nil
	}
	return publish, subscribe
}
