package entropy

// Document is the state of an entity that is kept whole: its record in the
// journal is its JSON, and it is the fold of its events by Apply. It says its own
// version, the number of events applied.
type Document interface {
	// Entity returns the entity id and the version.
	Entity() (id string, version uint64)
	// Apply makes the document the state after e. On an error it is as it was.
	Apply(e Event) error
}

// NewDocument returns the document of an entity before its first event, or nil
// when the entity is of another kind. Every kind of document is named here.
func NewDocument(entity string) Document {
	switch kind, _ := SplitEntity(entity); kind {
	case KindPolicy:
		return new(Policy)
	case KindArray:
		return new(Array)
	case KindSchedule:
		return new(Schedule)
	case KindToken:
		return new(Token)
	case KindEnrollment:
		return new(Enrollment)
	case KindAction:
		return new(Action)
	case KindDeadLetter:
		return new(DeadLetter)
	case KindKeyring:
		return new(KeyringRecord)
	}
	return nil
}
