package entropy

import "time"

// JoinRequest asks to be let in. The join token is the call's credential and the
// worker's key its [HeaderWorkerKey]; a worker that is a member already shows its
// key alone, and gets the same answer.
type JoinRequest struct {
	Hostname string `json:"hostname"` // for people
	// Keyring is the version of the cluster's keyring that the worker holds on disk
	// and uses; 0 when it has none.
	Keyring uint64 `json:"keyring,omitempty"`
}

// Joined is the answer to a worker that was let in: what it keeps for good.
type Joined struct {
	ClusterID string   `json:"cluster_id"`
	WorkerID  WorkerID `json:"worker_id"`
	// CA is the cluster's authority as PEM; "" when the control plane serves plain
	// HTTP to other hosts and proves nothing.
	CA string `json:"ca"`
	// ClusterKey is the keyring that all members share: base64, or during and after
	// a rotation VERSION.KEY[,KEY]. Other keys are derived from it. It is sent over
	// TLS, on loopback, or under --insecure only.
	ClusterKey string `json:"cluster_key"`
}

// TokenSpec says what token to make.
type TokenSpec struct {
	Role Role   `json:"role"`           // RoleAdmin, RoleJoin or one of the bus's
	Note string `json:"note,omitempty"` // for people, up to MaxTokenNote bytes
	// Uses is how many workers may join with it; 0 means any number. It is refused
	// on a token of another role.
	Uses int `json:"uses,omitempty"`
	// TTL is how long it is valid from now on, by the control plane's clock; 0 means
	// for ever.
	TTL Duration `json:"ttl,omitzero"`

	// Of a token for the bus: the user's Name, which of an executor is required; the
	// Commands that an executor may execute; and PublicKey, that of an nkey ("U…"),
	// beside which the secret is a password.
	Name      string   `json:"name,omitempty"`
	Commands  []string `json:"commands,omitempty"`
	PublicKey string   `json:"public_key,omitempty"`
}

// Limits of a [TokenSpec].
const (
	MaxTokenNote = 256
	MaxTokenUses = 100_000
	MaxCommands  = 100 // of an executor
)

// OnBus reports whether the role is one of the message bus, and of nothing else.
func (r Role) OnBus() bool {
	return r == RoleExecutor || r == RoleProducer || r == RoleSource || r == RoleViewer
}

// Validate reports what of the spec cannot be, as CodeInvalid.
func (s *TokenSpec) Validate() error {
	switch {
	case s.Role != RoleAdmin && s.Role != RoleJoin && !s.Role.OnBus():
		return Errorf(CodeInvalid, "there are no tokens of role %.40q", string(s.Role)).
			WithHint("use admin, for people and programs, join, for workers, or executor, producer, source or viewer, for the bus")
	case s.Uses < 0 || s.Uses > MaxTokenUses:
		return Errorf(CodeInvalid, "uses is %d", s.Uses).WithHint("it is from 1 to %d; 0 means any number", MaxTokenUses)
	case s.Uses > 0 && s.Role != RoleJoin:
		return Errorf(CodeInvalid, "only a join token has a number of uses").WithHint("leave uses out, or use the role join")
	case s.TTL < 0:
		return Errorf(CodeInvalid, "ttl is negative").WithHint("write it as in 1h30m; 0 means for ever")
	case len(s.Note) > MaxTokenNote:
		return Errorf(CodeInvalid, "the note has %d bytes, at most %d are allowed", len(s.Note), MaxTokenNote)
	}
	return s.validateBus()
}

// validateBus checks what is said of a user of the bus.
func (s *TokenSpec) validateBus() error {
	if !s.Role.OnBus() {
		if s.Name != "" || len(s.Commands) > 0 || s.PublicKey != "" {
			return Errorf(CodeInvalid, "only a token for the bus has a name, commands or a key").WithHint("leave them out, or use the role executor, producer, source or viewer")
		}
		return nil
	}
	if s.Name != "" || s.Role == RoleExecutor {
		if ValidateCommand(s.Name) != nil {
			return Errorf(CodeInvalid, "the name %.40q is not 1 to %d letters, digits, '_' and '-'", s.Name, MaxCommandName).WithHint("it becomes a part of a subject, as in actions.result.NAME")
		}
	}
	if len(s.Commands) > MaxCommands || (len(s.Commands) > 0) != (s.Role == RoleExecutor) {
		return Errorf(CodeInvalid, "an executor has 1 to %d commands, and nobody else has any", MaxCommands).WithHint("name them, as in --command restart_job")
	}
	for _, c := range s.Commands {
		if err := ValidateCommand(c); err != nil {
			return err
		}
	}
	if s.PublicKey != "" && (len(s.PublicKey) != 56 || s.PublicKey[0] != 'U') {
		return Errorf(CodeInvalid, "the public key is not that of an nkey for users").WithHint("it begins with U and has 56 characters; nk -gen user -pubout makes one")
	}
	return nil
}

// TokenRotation says how to give a token a new secret.
type TokenRotation struct {
	// Overlap is how long the old secret stays good beside the new one; 0 means
	// DefaultOverlap. To end a secret at once, revoke its token.
	Overlap Duration `json:"overlap,omitzero"`
}

// Limits of a [TokenRotation].
const (
	DefaultOverlap = 24 * time.Hour
	MinOverlap     = time.Second
	MaxOverlap     = 90 * 24 * time.Hour
)

// Validate reports what of the rotation cannot be, as CodeInvalid.
func (r TokenRotation) Validate() error {
	if d := r.Overlap.D(); d != 0 && (d < MinOverlap || d > MaxOverlap) {
		return Errorf(CodeInvalid, "the overlap is %s", d).
			WithHint("it is from %s to 2160h, so that whoever has the old secret can change to the new one; to end it at once, make another token and revoke this one", MinOverlap)
	}
	return nil
}

// TokenInfo is a token without its hash, as lists show it.
type TokenInfo struct {
	ID        string     `json:"id"`
	Role      Role       `json:"role"`
	State     TokenState `json:"state"`
	Note      string     `json:"note"`
	Name      string     `json:"name,omitempty"`     // of a user of the bus
	Commands  []string   `json:"commands,omitempty"` // of an executor
	Uses      int        `json:"uses"`               // workers that joined with it
	MaxUses   int        `json:"max_uses"`           // 0: any number
	Refused   int        `json:"refused"`            // attempts to use it for what it is not; counted at most once a minute
	CreatedAt time.Time  `json:"created_at"`
	CreatedBy string     `json:"created_by"`
	ExpiresAt *time.Time `json:"expires_at"`
	// FormerUntil is when the secret ends that the newest rotation replaced; nil
	// when there is none that is still good.
	FormerUntil *time.Time `json:"former_until"`
}

// TokenState says whether a token is good for anything.
type TokenState string

// The states of a token.
const (
	TokenActive    TokenState = "active"
	TokenExpired   TokenState = "expired"
	TokenExhausted TokenState = "exhausted"
	TokenIsRevoked TokenState = "revoked"
)

// CreatedToken is the answer to a [TokenSpec]. Token is the whole text, to be
// handed on; it cannot be had again.
type CreatedToken struct {
	TokenInfo
	Token string `json:"token"`
}

// RevokedWorker is the answer to the revocation of a worker's key.
type RevokedWorker struct {
	WorkerID WorkerID  `json:"worker_id"`
	Hostname string    `json:"hostname"`
	JoinedAt time.Time `json:"joined_at"`
}

// TokenList is the list of tokens, oldest first.
type TokenList struct {
	Tokens []TokenInfo `json:"tokens"`
}
