package explore

import (
	"fmt"

	"github.com/entropy-fabric/entropy"
)

// shadow is a second, simpler account of the job, kept from its events alone.
type shadow struct {
	live      int8 // assignment with the lease, -1: none
	lastAcked int8
	acked     uint8 // set of assignments
	decided   uint8 // whose completion was
	failures  uint8 // that counted as a failure
	losses    uint8
	ended     bool
	preempted uint8 // that made room
}

func newShadow() shadow { return shadow{live: -1, lastAcked: -1} }

func (h *shadow) bytes() []byte {
	return []byte{uint8(h.live), uint8(h.lastAcked), h.acked, h.decided, h.failures, h.losses, flags(h.ended), h.preempted}
}

func bit(i int8) uint8 { return 1 << i }

// broken is a promise that does not hold.
type broken struct{ invariant, message string }

func breaks(invariant, format string, args ...any) *broken {
	return &broken{invariant, fmt.Sprintf(format, args...)}
}

// follow takes one event of the job. Before is the number of assignments made
// before it.
func (h *shadow) follow(e *entropy.JobEvent, spec *entropy.JobSpec, made int) *broken {
	a := &e.Attrs
	i := int8(-1)
	if a.AssignmentID != "" {
		i = int8(number(a.AssignmentID))
	}
	if h.ended && e.Type != entropy.JobEvidence {
		return breaks("INV-7", "%s after the end", e.Type)
	}
	if a.Outcome != "" {
		if h.decided&bit(i) != 0 {
			return breaks("INV-7", "the completion of %s is decided twice", a.AssignmentID)
		}
		h.decided |= bit(i)
	}
	switch e.Type {
	case entropy.JobAssigned:
		if h.live >= 0 || int(i) != made-1 || a.Attempt != made {
			return breaks("INV-5", "%s is assigned as attempt %d while %d is live", a.AssignmentID, a.Attempt, h.live)
		}
		h.live = i
	case entropy.JobStarted:
		if i != h.live {
			return breaks("INV-6", "%s starts and %d is live", a.AssignmentID, h.live)
		}
		if spec.Retry.NoRetry && h.acked&^bit(i) != 0 {
			return breaks("J-7", "%s is a second attempt of a no-retry job", a.AssignmentID)
		}
		h.acked |= bit(i)
		h.lastAcked = i
	case entropy.JobReleased, entropy.JobLost, entropy.JobAttemptFailed, entropy.JobPreempted:
		return h.leave(e, i)
	case entropy.JobReattached, entropy.JobLateFailure:
		return h.comeBack(e, i)
	case entropy.JobSucceeded, entropy.JobFailed, entropy.JobCanceled:
		return h.end(e, i)
	}
	return nil
}

// leave ends the live attempt.
func (h *shadow) leave(e *entropy.JobEvent, i int8) *broken {
	if i != h.live || (h.acked&bit(i) == 0) != (e.Type == entropy.JobReleased) {
		return breaks("INV-6", "%s of a%d while %d is live", e.Type, i, h.live)
	}
	if e.Type == entropy.JobPreempted && e.Attrs.Counted != "" {
		return breaks("INV-11", "preemption spends a budget")
	}
	h.count(e, i)
	h.live = -1
	return nil
}

// comeBack takes the word of an attempt whose lease had ended.
func (h *shadow) comeBack(e *entropy.JobEvent, i int8) *broken {
	if i != h.lastAcked || i == h.live {
		return breaks("INV-6", "%s of a%d, the last ACKed is %d, live is %d", e.Type, i, h.lastAcked, h.live)
	}
	h.failures &^= bit(i)
	h.losses &^= bit(i)
	h.count(e, i)
	if e.Type == entropy.JobReattached {
		if h.decided&bit(i) != 0 {
			return breaks("INV-6", "a%d is reattached after its completion was decided", i)
		}
		h.live = i
	}
	return nil
}

func (h *shadow) end(e *entropy.JobEvent, i int8) *broken {
	h.ended = true
	switch {
	case i < 0 && e.Type == entropy.JobSucceeded:
		return breaks("INV-6", "it succeeded by nobody")
	case i >= 0 && i != h.live && i != h.lastAcked, i >= 0 && h.acked&bit(i) == 0:
		return breaks("INV-6", "%s by a%d, the last ACKed is %d, live is %d", e.Type, i, h.lastAcked, h.live)
	case i >= 0 && i != h.live:
		h.failures &^= bit(i)
		h.losses &^= bit(i)
	}
	if i >= 0 {
		h.count(e, i)
	}
	h.live = -1
	return nil
}

func (h *shadow) count(e *entropy.JobEvent, i int8) {
	switch e.Attrs.Counted {
	case entropy.CountFailure:
		h.failures |= bit(i)
	case entropy.CountLoss:
		h.losses |= bit(i)
	}
}

// agrees compares the machine's account with the shadow's.
func (s *state) agrees() *broken {
	j, h := s.job, &s.shadow
	if j.Failures != ones(h.failures) || j.Losses != ones(h.losses) {
		return breaks("INV-11", "%d failures and %d losses are on record, %d and %d were spent", j.Failures, j.Losses, ones(h.failures), ones(h.losses))
	}
	if j.Failures > j.Spec.Retry.MaxAttempts || j.Losses > j.Spec.Retry.MaxLosses+1 {
		return breaks("INV-11", "%d failures of %d, %d losses of %d", j.Failures, j.Spec.Retry.MaxAttempts, j.Losses, j.Spec.Retry.MaxLosses)
	}
	if int8(s.live()) != h.live || h.ended != j.State.Terminal() {
		return breaks("INV-3", "the lease is a%d's on record, a%d's by the events", s.live(), h.live)
	}
	if j.Spec.Disconnect.Worker != entropy.DisconnectStop {
		return nil
	}
	running := 0
	for i := range s.n {
		if s.a[i].executing {
			running++
		}
	}
	if running > 1 {
		return breaks("J-11", "a stop job runs %d times at once", running)
	}
	return nil
}

func ones(set uint8) (n int) {
	for ; set != 0; set &= set - 1 {
		n++
	}
	return n
}
