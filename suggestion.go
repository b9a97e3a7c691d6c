package entropy

import (
	"context"
	"encoding/json"
	"time"
)

// RuleMode says how far a rule goes by itself.
type RuleMode string

// The modes, from the shyest.
const (
	RuleObserve RuleMode = "observe" // it only counts
	RuleSuggest RuleMode = "suggest" // a person may accept what it suggests
	RuleAsk     RuleMode = "ask"     // the action is asked for, and a person approves it
	RuleAct     RuleMode = "act"     // the action is asked for
)

// The types of the events about rules. Each has the entity of the deviation, or
// "rules:all", and the source "entropy".
const (
	SuggestedType           = "entropy.suggested"            // a rule fired, in a mode other than observe
	SuggestionAcceptedType  = "entropy.suggestion.accepted"  // by a person: the action is asked for
	SuggestionDismissedType = "entropy.suggestion.dismissed" // by a person
	SuggestionRefusedType   = "entropy.suggestion.refused"   // its action could not be asked for
	RuleJudgedType          = "entropy.rule.judged"          // what an action was followed by
	RuleDemotedType         = "entropy.rule.demoted"         // its actions made it worse: it asks from now on
	RuleResetType           = "entropy.rule.reset"           // a person trusts it again
	RuleStormType           = "entropy.rule.storm"           // too many actions were wanted at once; or that is over
)

// SuggestionState is where a suggestion stands.
type SuggestionState string

// The states of a suggestion.
const (
	SuggestionOpen      SuggestionState = "open"
	SuggestionRequested SuggestionState = "requested" // its action is asked for
	SuggestionDismissed SuggestionState = "dismissed"
	SuggestionExpired   SuggestionState = "expired" // nobody wanted it within SuggestionTTL
	SuggestionRefused   SuggestionState = "refused" // its action could not be asked for
)

// SuggestionTTL is how long a suggestion may be accepted.
const SuggestionTTL = 24 * time.Hour

// Suggestion is what a rule makes of a deviation: the attrs of an
// "entropy.suggested" event, and what became of it.
type Suggestion struct {
	ID   string    `json:"id"`
	At   time.Time `json:"at"`
	Rule string    `json:"rule"`
	Mode RuleMode  `json:"mode"`
	// Wanted is the rule's own mode, when that went further than Mode; Because says
	// why it may not: storm or harm.
	Wanted  RuleMode `json:"wanted,omitempty"`
	Because string   `json:"because,omitempty"`

	DeviationID   string  `json:"deviation_id"`
	CorrelationID string  `json:"correlation_id,omitempty"`
	Entity        string  `json:"entity"` // that deviates
	Step          string  `json:"step"`
	Channel       string  `json:"channel"`
	Bits          float64 `json:"bits"`

	Command    string          `json:"command"`
	Target     string          `json:"target"` // the entity that the action is for
	Args       json.RawMessage `json:"args,omitempty"`
	Priority   string          `json:"priority,omitempty"`
	TTL        int64           `json:"ttl_sec,omitempty"`
	Timeout    int64           `json:"timeout_sec,omitempty"`
	DryRun     bool            `json:"dry_run,omitempty"`
	Tenant     string          `json:"tenant,omitempty"`
	Reason     string          `json:"reason,omitempty"`  // for people: why
	Benefit    string          `json:"benefit,omitempty"` // for people: what is expected of it
	Reversible bool            `json:"reversible"`
	ActionID   ActionID        `json:"action_id"` // of the action, once it is asked for

	State   SuggestionState `json:"state,omitempty"`
	By      string          `json:"by,omitempty"`      // who accepted or dismissed it
	Outcome ActionState     `json:"outcome,omitempty"` // of the action, as far as it is known
	Message string          `json:"message,omitempty"` // why it was refused
	Verdict string          `json:"verdict,omitempty"` // better, worse or same, once the action was judged
}

// SuggestionFilter selects suggestions, the newest first. Zero fields select all.
type SuggestionFilter struct {
	State  SuggestionState `json:"state,omitempty"`
	Rule   string          `json:"rule,omitempty"`
	Entity string          `json:"entity,omitempty"`
	Limit  int             `json:"limit,omitempty"` // 0 means 100, at most MaxBatch
}

// SuggestionList is a list of suggestions.
type SuggestionList struct {
	Suggestions []Suggestion `json:"suggestions"`
}

// RuleReport is how the rules stand.
type RuleReport struct {
	File       string       `json:"file,omitempty"` // "": the rules that come along
	Digest     string       `json:"digest"`         // of the file's text
	LoadedAt   time.Time    `json:"loaded_at"`
	Problem    string       `json:"problem,omitempty"` // why a newer text of the file is not in force
	CaughtUp   bool         `json:"caught_up"`         // all of the ledger has been looked at
	Deviations int64        `json:"deviations"`        // looked at
	Storm      StormReport  `json:"storm"`
	Rules      []RuleStatus `json:"rules"`
	Harm       []HarmReport `json:"harm"`
	// Worth is the precision and recall of the actions that rules asked for.
	Worth []WorthReport `json:"worth"`
}

// StormReport is how the guard against storms of actions stands.
type StormReport struct {
	On     bool       `json:"on"` // every rule only suggests
	Since  *time.Time `json:"since"`
	Within int        `json:"within"` // actions asked for in the last Window
	AtMost int        `json:"at_most"`
	Window Duration   `json:"window"`
}

// RuleStatus is one rule and its counts. Counts are of the deviations that the
// ledger holds of the last 28 days.
type RuleStatus struct {
	Name       string            `json:"name"`
	When       string            `json:"when"`
	Mode       RuleMode          `json:"mode"`
	Command    string            `json:"command,omitempty"`
	Matched    int64             `json:"matched"`
	Fired      int64             `json:"fired"`      // observed, suggested or asked for
	Suppressed map[string]int64  `json:"suppressed"` // by why: own_effect, cooldown, pending, limit, entity, flood, stale
	Errors     int64             `json:"errors"`
	LastError  string            `json:"last_error,omitempty"`
	Entities   []RuleEntityState `json:"entities"` // that are not idle, at most 100
}

// RuleEntityState is where a rule stands for one entity.
type RuleEntityState struct {
	Entity  string    `json:"entity"`
	State   string    `json:"state"` // pending or cooling
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"` // zero: until more deviations come
	Matches int       `json:"matches"`
}

// HarmReport is what the actions of a rule were followed by, for one command and
// kind of entities.
type HarmReport struct {
	Rule     string  `json:"rule"`
	Command  string  `json:"command"`
	Kind     string  `json:"kind"`
	Better   int     `json:"better"`
	Worse    int     `json:"worse"`
	Same     int     `json:"same"`
	Evidence float64 `json:"evidence"` // for harm: the e-value; from 10 the rule is demoted
	Demoted  bool    `json:"demoted"`  // it asks instead of acting, until a person resets it
}

// WorthReport is the precision and recall of a command's actions for one kind and
// channel. Null: too little is known.
type WorthReport struct {
	Command   string   `json:"command"`
	Kind      string   `json:"kind"`
	Channel   string   `json:"channel"`
	Treated   int      `json:"treated"`   // deviations that an action was asked for, and that have ended
	Untreated int      `json:"untreated"` // that ended without one
	Precision *float64 `json:"precision"`
	Recall    *float64 `json:"recall"`
}

// RuleService is the part of the API that is about rules and their suggestions.
type RuleService interface {
	// Rules returns how the rules stand.
	Rules(ctx context.Context) (RuleReport, error)
	// Suggestions lists suggestions, the newest first. CodeInvalid.
	Suggestions(ctx context.Context, f SuggestionFilter) ([]Suggestion, error)
	// AcceptSuggestion asks for the action of a suggestion, in the caller's name.
	// Repeating it is harmless. CodeNotFound; CodeConflict when it was dismissed or
	// has expired; the errors of RequestAction.
	AcceptSuggestion(ctx context.Context, id string) (Suggestion, error)
	// DismissSuggestion says that a suggestion is not wanted. Repeating it is
	// harmless. CodeNotFound; CodeConflict when its action was asked for.
	DismissSuggestion(ctx context.Context, id string) (Suggestion, error)
	// ResetRule trusts a rule again whose actions made it worse. What was judged
	// before counts no more. CodeNotFound when nothing was judged of that rule.
	ResetRule(ctx context.Context, rule string) error
}
