package api

import (
	"net/http"
	"slices"

	"github.com/entropy-fabric/entropy"
)

// access says who may use a route. The zero value admits nobody.
type access uint8

const (
	nobody   access = iota
	public          // no credential
	admin           // RoleAdmin
	worker          // RoleWorker
	register        // RoleWorker, or RoleJoin
	metrics         // RoleAdmin, or anybody where OpenMetrics is set
)

// admits reports whether the role may use a route of this access.
func (a access) admits(r entropy.Role) bool {
	switch a {
	case public:
		return true
	case admin, metrics:
		return r == entropy.RoleAdmin
	case worker:
		return r == entropy.RoleWorker
	case register:
		return r == entropy.RoleWorker || r == entropy.RoleJoin
	}
	return false
}

// pace says how long a route may take.
type pace uint8

const (
	quick    pace = iota // within the server's timeouts
	waiting              // held open until something happens; released at shutdown
	transfer             // as long as bytes move
)

// route is one row of the API.
type route struct {
	method  string
	pattern string
	access  access
	pace    pace
	handle  func(*response, *http.Request) error
}

// routes is the whole API.
func (s *Server) routes() []route {
	return slices.Concat(s.serviceRoutes(), s.eventRoutes(), s.ruleRoutes(), s.workerRoutes())
}

// ruleRoutes are about what is done about a surprise.
func (s *Server) ruleRoutes() []route {
	return []route{
		{"GET", "/v1/entropy/rules", admin, quick, s.getRules},
		{"POST", "/v1/entropy/rules/{name}/reset", admin, quick, s.resetRule},
		{"GET", "/v1/entropy/suggestions", admin, quick, s.listSuggestions},
		{"POST", "/v1/entropy/suggestions/{id}/accept", admin, quick, s.acceptSuggestion},
		{"POST", "/v1/entropy/suggestions/{id}/dismiss", admin, quick, s.dismissSuggestion},
	}
}

func (s *Server) serviceRoutes() []route {
	return []route{
		{"POST", "/v1/jobs", admin, quick, s.submit},
		{"GET", "/v1/jobs", admin, quick, s.listJobs},
		{"GET", "/v1/jobs/{id}", admin, quick, s.getJob},
		{"POST", "/v1/jobs/{id}/cancel", admin, quick, s.cancelJob},
		{"POST", "/v1/jobs/{id}/retry", admin, quick, s.retryJob},
		{"POST", "/v1/jobs/{id}/hold", admin, quick, s.holdJob},
		{"POST", "/v1/jobs/{id}/release", admin, quick, s.releaseJob},
		{"POST", "/v1/jobs/{id}/prioritize", admin, quick, s.prioritizeJob},
		{"POST", "/v1/bulk", admin, quick, s.bulk},
		{"GET", "/v1/jobs/{id}/explain", admin, quick, s.explainJob},
		{"GET", "/v1/jobs/{id}/wait", admin, waiting, s.waitJob},
		{"GET", "/v1/jobs/{id}/logs", admin, waiting, s.jobLogs},
		{"GET", "/v1/jobs/{id}/artifacts", admin, quick, s.listArtifacts},
		{"GET", "/v1/jobs/{id}/artifacts/{name...}", admin, transfer, s.getArtifact},
		{"POST", "/v1/wait", admin, waiting, s.waitJobs},
		{"HEAD", "/v1/blobs/{sha256}", admin, quick, s.headBlob},
		{"PUT", "/v1/blobs/{sha256}", admin, transfer, s.putBlob},
		{"POST", "/v1/blobs/missing", admin, quick, s.missingBlobs},
		{"GET", "/v1/workers", admin, quick, s.listWorkers},
		{"GET", "/v1/members", admin, quick, s.listMembers},
		{"GET", "/v1/members/rotate-key", admin, quick, s.keyRotation},
		{"POST", "/v1/members/rotate-key", admin, quick, s.rotateKey},
		{"POST", "/v1/workers/{name}/revoke", admin, quick, s.revokeWorker},
		{"POST", "/v1/workers/{name}/{mode}", admin, quick, s.setWorker},
		{"GET", "/v1/events", admin, waiting, s.events},
		{"GET", "/events", admin, waiting, s.events},
		{"GET", "/v1/policy", admin, quick, s.getPolicy},
		{"PUT", "/v1/policy", admin, quick, s.setPolicy},
		{"POST", "/v1/schedules", admin, quick, s.createSchedule},
		{"GET", "/v1/schedules", admin, quick, s.listSchedules},
		{"GET", "/v1/schedules/{name}", admin, quick, s.getSchedule},
		{"POST", "/v1/schedules/{name}/{mode}", admin, quick, s.setSchedule},
		{"POST", "/v1/schedules/{name}/fire", admin, quick, s.fireSchedule},
		{"POST", "/v1/actions", admin, waiting, s.requestAction},
		{"GET", "/v1/actions", admin, quick, s.listActions},
		{"GET", "/v1/actions/{id}", admin, waiting, s.getAction},
		{"POST", "/v1/actions/{id}/{verb}", admin, quick, s.setAction},
		{"GET", "/v1/dlq", admin, quick, s.listDeadLetters},
		{"GET", "/v1/dlq/{id}", admin, quick, s.getDeadLetter},
		{"POST", "/v1/dlq/{id}/replay", admin, quick, s.replayDeadLetter},
		{"POST", "/v1/dlq/{id}/drop", admin, quick, s.dropDeadLetter},
		{"POST", "/v1/tokens", admin, quick, s.createToken},
		{"GET", "/v1/tokens", admin, quick, s.listTokens},
		{"POST", "/v1/tokens/{id}/revoke", admin, quick, s.revokeToken},
		{"POST", "/v1/tokens/{id}/rotate", admin, quick, s.rotateToken},
		{"GET", "/v1/pairings", admin, quick, s.listPairings},
		{"POST", "/v1/pairings/confirm", admin, quick, s.confirmPairing},
		{"GET", "/v1/status", admin, quick, s.status},
		{"GET", "/metrics", metrics, quick, s.metrics},
		{"GET", "/healthz", public, quick, s.healthz},
		{"GET", "/readyz", public, quick, s.readyz},
		{"GET", "/v1/openapi.yaml", public, quick, s.openapi},
	}
}

// eventRoutes are about events from outside, and what is made of all events.
func (s *Server) eventRoutes() []route {
	return []route{
		{"POST", "/v1/ingest", admin, quick, s.postIngest},
		{"GET", "/v1/ledger", admin, quick, s.getLedger},
		{"GET", "/v1/entropy", admin, quick, s.getEntropy},
		{"GET", "/v1/entropy/deviations", admin, quick, s.listDeviations},
		{"GET", "/v1/entropy/series/{entity}/{step}", admin, quick, s.getEntropySeries},
		{"GET", "/v1/entropy/predictions/{case}", admin, quick, s.getPrediction},
		{"GET", "/v1/entropy/graph/{kind}", admin, quick, s.getEntropyGraph},
		{"GET", "/v1/entropy/due", admin, quick, s.listEntropyDue},
		{"GET", "/v1/entropy/effect", admin, quick, s.getEntropyEffect},
		{"GET", "/v1/ledger/actions", admin, quick, s.getActionStats},
		{"GET", "/v1/ledger/steps", admin, quick, s.getSteps},
		{"GET", "/v1/ledger/transitions", admin, quick, s.getTransitions},
		{"GET", "/v1/ingest/dead", admin, quick, s.listDeadItems},
		{"POST", "/v1/ingest/dead/{id}/replay", admin, quick, s.replayDeadItem},
		{"DELETE", "/v1/ingest/dead/{id}", admin, quick, s.dropDeadItem},
	}
}

func (s *Server) workerRoutes() []route {
	return []route{
		{"POST", "/v1/pairing", public, quick, s.startPairing},
		{"POST", "/v1/pairing/{id}/reveal", public, quick, s.revealPairing},
		{"GET", "/v1/pairing/{id}", public, quick, s.pairingState},
		{"POST", "/v1/worker/join", register, quick, s.join},
		{"POST", "/v1/worker/register", register, quick, s.registerWorker},
		{"POST", "/v1/worker/claim", worker, waiting, s.claim},
		{"POST", "/v1/worker/ack", worker, quick, s.ack},
		{"POST", "/v1/worker/refuse", worker, quick, s.refuse},
		{"POST", "/v1/worker/heartbeat", worker, quick, s.heartbeat},
		{"POST", "/v1/worker/directives", worker, waiting, s.directives},
		{"POST", "/v1/worker/complete", worker, quick, s.complete},
		{"POST", "/v1/worker/leave", worker, quick, s.leave},
		{"PUT", "/v1/worker/artifacts/{assignment}/{sha256}", worker, transfer, s.stageArtifact},
		{"PUT", "/v1/worker/logs/{assignment}/{stream}", worker, transfer, s.appendLog},
		{"GET", "/v1/worker/blobs/{sha256}", worker, transfer, s.openBlob},
		{"POST", "/v1/worker/checkpoint/offer", worker, quick, s.offerCheckpoint},
		{"POST", "/v1/worker/checkpoint/commit", worker, quick, s.commitCheckpoint},
		{"PUT", "/v1/worker/checkpoints/{assignment}/{sha256}", worker, transfer, s.putCheckpointPart},
		{"GET", "/v1/worker/checkpoints/{assignment}/{sha256}", worker, transfer, s.openCheckpointPart},
	}
}
