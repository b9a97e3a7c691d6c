package ledger

import "strings"

// Where collects the conditions of a statement and their arguments, in order. The zero
// value selects everything.
type Where struct {
	conds []string
	Args  []any
}

// And adds a condition, with its arguments.
func (w *Where) And(cond string, args ...any) {
	w.conds, w.Args = append(w.conds, cond), append(w.Args, args...)
}

// Equal adds that a column has a value; "" is any.
func (w *Where) Equal(column, value string) {
	if value != "" {
		w.And(column+" = ?", value)
	}
}

// String returns what stands behind WHERE.
func (w *Where) String() string {
	if len(w.conds) == 0 {
		return "true"
	}
	return strings.Join(w.conds, " AND ")
}
