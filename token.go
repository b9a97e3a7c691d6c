package entropy

import (
	"encoding/json"
	"fmt"
)

// The types of a token's events.
const (
	TokenCreated = "token.created"
	TokenRevoked = "token.revoked"
)

// TokenSchema is the schema number of the token events written now.
const TokenSchema = 1

// NewToken returns the change that records a new token.
func NewToken(t Token) (Change, error) {
	t.Version = 1
	attrs, err := json.Marshal(&t)
	if err != nil {
		return Change{}, fmt.Errorf("encode token: %w", err)
	}
	return Change{Entity: Entity(KindToken, t.ID), State: &t,
		Events: []Event{{ID: NewID(), TS: t.CreatedAt, Type: TokenCreated, Source: fabricSource, Attrs: attrs, Schema: TokenSchema}}}, nil
}
