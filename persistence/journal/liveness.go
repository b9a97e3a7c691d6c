package journal

import (
	"context"
	"encoding/json"
	"time"

	"github.com/entropy-fabric/entropy"
)

// Liveness is what must survive a restart about who was heard when (L-3). It is
// not history: each save takes the place of the one before.
type Liveness struct {
	Listening time.Duration                      `json:"listening"` // time in which the control plane was running and reading
	Heard     map[entropy.WorkerID]time.Duration `json:"heard"`     // when each worker was last heard, in listening time
	SavedAt   time.Time                          `json:"-"`         // wall clock, set by SaveLiveness
}

// SaveLiveness stores l and returns when it is durable. It writes no event; it
// goes with the next batch. Its errors are those of Append.
func (j *Journal) SaveLiveness(ctx context.Context, l Liveness) error {
	record, err := json.Marshal(&l)
	if err != nil {
		return err
	}
	return j.submit(ctx, &request{liveness: string(record), bytes: len(record), done: make(chan struct{})})
}

// LoadLiveness returns what was saved last, or the zero Liveness.
func (r *Reader) LoadLiveness(ctx context.Context) (l Liveness, err error) {
	err = r.with(ctx, func(c *conn) error {
		row, err := c.one(ctx, "SELECT saved_ms, record FROM liveness WHERE one=1")
		if err != nil || row == nil {
			return err
		}
		l.SavedAt = time.UnixMilli(num(row[0])).UTC()
		return json.Unmarshal([]byte(str(row[1])), &l)
	})
	return l, err
}
