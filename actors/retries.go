package actors

import (
	"sync"

	"github.com/entropy-fabric/entropy"
)

// retries counts the jobs that take up a retry slot and those that ask for one,
// so that an outage does not become a storm of retries (J-7). A slot is granted
// before the job is requeued and counted as its own from then on. Whoever finds
// none is told as soon as one is free. It is safe for concurrent use.
type retries struct {
	wake func(entropy.JobID)

	mu      sync.Mutex
	policy  *entropy.Policy
	total   int
	queues  map[string]int
	granted map[entropy.JobID]bool    // to jobs that are still retrying
	asked   map[entropy.JobID]bool    // those in waiting
	waiting map[string][]waitingRetry // by queue, in the order in which they asked
	last    uint64
}

type waitingRetry struct {
	id entropy.JobID
	no uint64 // rises
}

func newRetries(wake func(entropy.JobID)) *retries {
	return &retries{wake: wake, policy: new(entropy.Policy), queues: make(map[string]int), granted: make(map[entropy.JobID]bool),
		asked: make(map[entropy.JobID]bool), waiting: make(map[string][]waitingRetry)}
}

// RetrySlot grants a slot to a job whose backoff is over, or notes that it wants
// one. Asking again is harmless.
func (r *retries) RetrySlot(j *entropy.Job) bool {
	queue := j.QueueName()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.granted[j.ID] {
		return true
	}
	if !r.free(queue) {
		if !r.asked[j.ID] {
			r.last++
			r.asked[j.ID] = true
			r.waiting[queue] = append(r.waiting[queue], waitingRetry{j.ID, r.last})
		}
		return false
	}
	r.granted[j.ID] = true
	r.add(queue, 1)
	return true
}

func (r *retries) free(queue string) bool { return r.freeBeside(queue, 0, 0) }

// freeBeside reports whether a slot is free when others take so many more.
func (r *retries) freeBeside(queue string, all, same int) bool {
	limit := r.policy.Queues[queue].MaxRetrying
	return (r.policy.MaxRetrying == 0 || r.total+all < r.policy.MaxRetrying) && (limit == 0 || r.queues[queue]+same < limit)
}

func (r *retries) add(queue string, n int) {
	r.total += n
	if r.queues[queue] += n; r.queues[queue] == 0 {
		delete(r.queues, queue)
	}
}

// changed follows a commit: before is nil or zero for a new job.
func (r *retries) changed(before, j *entropy.Job) {
	had := before != nil && before.Retried()
	has := j.Retried()
	if had == has && (has || j.State == entropy.Retrying) {
		return
	}
	r.mu.Lock()
	queue := j.QueueName()
	if r.granted[j.ID] && j.State != entropy.Retrying {
		delete(r.granted, j.ID) // it was requeued, or has ended: the slot is counted by its state
		r.add(queue, -1)
	}
	if j.State != entropy.Retrying {
		delete(r.asked, j.ID)
	}
	switch {
	case has && !had:
		r.add(queue, 1)
	case had && !has:
		r.add(queue, -1)
	}
	next := r.next()
	r.mu.Unlock()
	for _, id := range next {
		r.wake(id)
	}
}

// next removes and returns those of the waiting who find a slot now, the longest
// waiting first. They get it when they ask again.
func (r *retries) next() (ids []entropy.JobID) {
	if len(r.waiting) == 0 {
		return nil
	}
	told := make(map[string]int)
	for {
		first := ""
		for queue := range r.waiting {
			list := r.heads(queue)
			if len(list) > 0 && (first == "" || list[0].no < r.waiting[first][0].no) && r.freeBeside(queue, len(ids), told[queue]) {
				first = queue
			}
		}
		if first == "" {
			return ids
		}
		id := r.waiting[first][0].id
		ids = append(ids, id)
		told[first]++
		delete(r.asked, id)
		if r.waiting[first] = r.waiting[first][1:]; len(r.waiting[first]) == 0 {
			delete(r.waiting, first)
		}
	}
}

// heads returns the waiting of a queue without those at its head who have gone.
func (r *retries) heads(queue string) []waitingRetry {
	list := r.waiting[queue]
	for len(list) > 0 && !r.asked[list[0].id] {
		list = list[1:]
	}
	if r.waiting[queue] = list; len(list) == 0 {
		delete(r.waiting, queue)
	}
	return list
}

// waits reports whether a job has asked and will be told.
func (r *retries) waits(id entropy.JobID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[id]
}

// start notes how many jobs take up a slot before anything changes.
func (r *retries) start(queues map[string]int) {
	for queue, n := range queues {
		r.add(queue, n)
	}
}

// setPolicy follows a change of the policy.
func (r *retries) setPolicy(p *entropy.Policy) {
	r.mu.Lock()
	r.policy = p
	next := r.next()
	r.mu.Unlock()
	for _, id := range next {
		r.wake(id)
	}
}
