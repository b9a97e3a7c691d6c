# Entropy. `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
.DEFAULT_GOAL := help

# What may be set on the command line, as in `make soak BUDGET=8h`.
BUDGET ?= 30m
FUZZTIME ?= 30s
DATA ?= ../shared/data
EVENTS ?= 1000000
TEST_LIMIT ?= 22m
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

GOLANGCI_LINT_VERSION := v2.15.0
export CGO_ENABLED := 1

# The tests that renew a generated document when they are given a flag, and
# fail when it is stale when they are not.
GENERATED_ROOT := ^TestLifecycleDoc$$
GENERATED_CLI := ^TestTheReferenceIsFresh$$
GENERATED_API := ^TestOpenAPI

.PHONY: help setup build demo demo-entropy test bench bench-entropy soak lint generate verify-generated fuzz clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

setup: ## check for Go, git and a C compiler; as root, install the latter two
	@./scripts/setup

build: setup ## build bin/entropy and bin/entropysim
	go build -ldflags "-X main.version=$(VERSION)" -o bin/entropy ./cmd/entropy
	go build -o bin/entropysim ./cmd/entropysim

demo: build ## kill a worker and the control plane in mid-batch, and prove that nothing was lost
	go build -o bin/entropy-demo ./examples/kill-a-worker
	go build -o bin/prove ./examples/kill-a-worker/prove
	./bin/entropy-demo -entropy ./bin/entropy

demo-entropy: build ## make a service slow: see the surprise, its why, the action of a rule, and the entropy coming back down
	go build -o bin/demo-entropy ./examples/entropy-demo
	./bin/demo-entropy -entropy ./bin/entropy $(if $(wildcard $(DATA)/nab),-data $(DATA))

# What proves the scheduler runs without the race detector first, where it is ten
# times as fast: the simulator, the explorer, and the real actors under a seed. It
# prints what it reached and the share of time each part took. Under the race
# detector they run again, fewer. So does the analyzer, whose scores on the published
# sets are checked without it only. The rest has a total bound, TEST_LIMIT, beside
# go's own for each package; the fabric's own tests wait more than they compute, so
# they come first, and one package more at once than there are processors.
test: setup ## format, vet, the simulator, and every test under the race detector
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not gofmt-ed:" $$unformatted; exit 1; }
	go vet ./...
	go test -timeout 10m -v ./actors/sim/... ./actors/explore/... ./actors/harness/... ./cmd/entropysim/... | grep -v '^=== '
	go test -timeout 5m ./actors/analyzer/...
	timeout --foreground -k 30 $(TEST_LIMIT) go test -race -timeout 15m -p $$(($$(nproc) + 1)) ./fabric ./...

# The last lines take some seven minutes: 20 kills by each gossip profile, from the
# kill to LOST and to its job running elsewhere, and 200 members in one process.
bench: build ## measure, beside a baseline in the same run
	go build -o bin/entropybench ./cmd/entropybench
	./bin/entropybench
	for labs in 'fast -labs 4' 'lan -labs 4' 'wan -labs 10'; do \
		go test -count 1 -timeout 15m -parallel 10 -run '^TestKillIsWitnessed$$' -v ./fabric -args -deaths 20 -profile $$labs | grep -v '^ *=== '; \
	done
	go test -count 1 -timeout 15m -run '^TestCrowd$$' -v ./cluster -args -members 200 -crowd-profile wan | grep -v '^=== '

bench-entropy: build ## score the entropy layer on published sets below DATA (default ../shared/data), and time both ledgers over EVENTS events
	GOMAXPROCS=1 ./scripts/bench-entropy $(DATA) ./bin/entropy
	go test -count 1 -timeout 55m -run '^TestMeasure$$' -v ./persistence/ledger/clickhouse -args -events $(EVENTS) | grep -v '^ *=== \|level='

soak: setup ## fresh seeds, the crash tests and cuts of minutes, in turn, for BUDGET (default 30m)
	./scripts/soak $(BUDGET)

fuzz: setup ## every fuzz target for FUZZTIME (default 30s)
	./scripts/fuzz $(FUZZTIME)

lint: setup ## golangci-lint with .golangci.yml
	./scripts/lint $(GOLANGCI_LINT_VERSION)

generate: setup ## renew docs/LIFECYCLE.md, docs/CLI.md and cluster/api/openapi.yaml
	go test . -run '$(GENERATED_ROOT)' -update
	go test ./cmd/entropy -run '$(GENERATED_CLI)' -rewrite
	go test ./cluster/api -run '$(GENERATED_API)' -update

verify-generated: setup ## fail when a generated document is stale
	go test -count 1 . -run '$(GENERATED_ROOT)'
	go test -count 1 ./cmd/entropy -run '$(GENERATED_CLI)'
	go test -count 1 ./cluster/api -run '$(GENERATED_API)'

clean: ## remove what was built
	rm -rf bin
