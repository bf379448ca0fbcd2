# The menu. Targets that need more than one line call scripts/, and CI (.ci/run) calls only these
# targets.

COUNT    ?= 3
FUZZTIME ?= 20s
NODES    ?= 3
MINUTES  ?= 30
MUTANTS  ?= full
PAIRS    ?= 200
MODEL    ?= full
CROSS    ?= full
PAGE     ?= full
# Go stores the version from git in the binary, where git works.
BUILDVCS := $(shell git status >/dev/null 2>&1 && echo auto || echo false)
PKG      ?= ./...

# The program is built with a profile, cmd/sharelock/default.pgo, which saves a twentieth of the
# processor time. Tests are built without it, because everything would be compiled twice.
export GOFLAGS := -pgo=off $(shell go env GOFLAGS)

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this menu
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build bin/sharelock, a static binary
	CGO_ENABLED=0 go build -pgo=auto -trimpath -buildvcs=$(BUILDVCS) -o bin/sharelock ./cmd/sharelock

.PHONY: cross
cross: ## build for linux, darwin and windows, on amd64 and arm64 (CROSS=short: three of the six)
	scripts/cross $(CROSS)

.PHONY: run
run: build ## build, and run a mesh of NODES=3 nodes in one process
	bin/sharelock dev --nodes $(NODES)

.PHONY: test
test: ## all tests under the race detector
	scripts/test $(PKG)

.PHONY: race
race: ## all tests under the race detector COUNT=3 times, in random order, on 1, 2 and 8 threads
	go test -race -shuffle on -count $(COUNT) -cpu 1,2,8 -timeout 60m $(PKG)

.PHONY: sim
sim: ## simulated meshes in virtual time: the schedules, MINUTES=30 of random faults, and a third of that with a next release that adds something
	go test -run '^Test(Sim|Schedule)' -skip '^TestSimStorm$$' -count 1 -timeout 10m ./owner ./mesh/... ./internal/cluster ./testcluster/...
	SHARELOCK_SIM_MINUTES=$(MINUTES) go test -run '^TestSimStorm$$' -count 1 -timeout 30m -v ./internal/cluster
	SHARELOCK_SIM_MINUTES=$$(($(MINUTES) / 3)) go test -tags release_next -run '^Test(SimStorm|Schedule19.*)$$' -count 1 -timeout 30m -v ./internal/cluster

.PHONY: sim-long
sim-long: ## a thousand virtual minutes of random faults (about twenty minutes)
	SHARELOCK_SIM_MINUTES=1000 go test -run '^TestSimStorm$$' -count 1 -timeout 4h -v ./internal/cluster

.PHONY: sim-pairs
sim-pairs: ## PAIRS=200 of 1992 crashes beside a broken pair, and all ways to break a pair (schedule 16)
	SHARELOCK_SIM_PAIRS=$(PAIRS) go test -run '^Test(Schedule16|SimCrashBesideACutPair)' -count 1 -timeout 60m -v ./internal/cluster

.PHONY: mutants
mutants: ## break the protocol rules, one at a time; the tests must detect it (MUTANTS=short: no random runs)
	SHARELOCK_MUTANTS=$(MUTANTS) go test -run '^TestMutants$$' -count 1 -timeout 20m -v ./internal/mutants

.PHONY: history
history: ## record a million holds, in a journal and in three processes that are killed and restarted, and ask who held a key at a thousand times
	SHARELOCK_HISTORY=1000000 go test -run '^TestMany$$' -count 1 -timeout 20m -v ./owner/journal
	SHARELOCK_HISTORY=1000000 go test -run '^TestProcessesHistory$$' -count 1 -timeout 20m -v ./cmd/sharelock

.PHONY: model
model: ## search the protocol's models exhaustively (10 minutes; MODEL=short: one)
	scripts/model $(MODEL)

.PHONY: rehearse
rehearse: ## kill, pause and restart real processes, with the default times (7 minutes)
	SHARELOCK_REHEARSAL=full go test -run '^TestProcesses' -count 1 -timeout 20m -v ./cmd/sharelock

.PHONY: alerts
alerts: ## check the rules for Prometheus with promtool (downloads Debian's package if it is not installed)
	scripts/alerts

.PHONY: faults
faults: ## inject faults into real processes, in network namespaces (root; 12 minutes; SHARELOCK_FAULTS=short: 2)
	scripts/faults

.PHONY: secure
secure: ## certificates, permissions, refusals and rotations in network namespaces (root; 5 minutes; SHARELOCK_SECURE=short: 2)
	scripts/secure

.PHONY: hostile
hostile: ## one hostile client beside 300 innocent ones while nodes restart (half an hour; SHARELOCK_HOSTILE=short: 2 minutes)
	scripts/hostile

.PHONY: hostile-auth
hostile-auth: ## one stranger without credentials beside 300 clients of a mesh with TLS and authentication (half an hour; SHARELOCK_HOSTILE=short: 2 minutes)
	scripts/hostile auth

.PHONY: cron
cron: ## jobs under sharelock lock, started as by cron, while nodes restart in turn (twenty minutes; SHARELOCK_CRON=short: 1 minute)
	scripts/cron

.PHONY: upgrade
upgrade: ## roll a mesh from a program of the last release to this one, back, and for good, under load (needs git's history)
	scripts/upgrade

.PHONY: storm-cancels
storm-cancels: ## CANCELS=50000 acquires cancelled at random while nodes are killed and restart in turn: no hold is left
	SHARELOCK_CANCELS=$(or $(CANCELS),50000) go test -count 1 -timeout 0 -run TestCancelStorm -v ./internal/cluster

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME=20s
	FUZZTIME=$(FUZZTIME) scripts/fuzz $(PKG)

.PHONY: page
page: ## open the page of three nodes in Chromium (installs Debian's chromium; PAGE=short: without load)
	scripts/page $(PAGE)

.PHONY: clients
clients: ## generate clients in Go and TypeScript from openapi.yaml, and take a lock with each (installs npm packages)
	scripts/clients

.PHONY: bench
bench: ## micro-benchmarks, compared with bench/micro.txt; SAVE=1 saves them there, ONCE=1 only checks that they run
	SAVE=$(SAVE) ONCE=$(ONCE) scripts/bench $(PKG)

.PHONY: profile
profile: ## profile a mesh under load, for profile-guided builds (cmd/sharelock/default.pgo)
	scripts/profile

.PHONY: bench-peers
bench-peers: ## compare ShareLock with Redis, Redlock and etcd (half an hour); ARGS=-quick only checks that it runs
	scripts/bench-peers $(ARGS)

.PHONY: cover
cover: ## test coverage, to coverage.html
	go test -timeout 8m -coverpkg ./... -coverprofile coverage.out $(PKG)
	go tool cover -html coverage.out -o coverage.html
	go tool cover -func coverage.out | tail -n 1

.PHONY: lint
lint: ## format, go vet, staticcheck and more (.golangci.yml), and the proto files
	scripts/lint

.PHONY: vuln
vuln: ## look for known vulnerabilities in what the code calls (needs vuln.go.dev)
	scripts/vuln $(PKG)

.PHONY: generate
generate: ## generate the code of the proto files
	scripts/generate

.PHONY: generated
generated: ## check that the generated code is current
	scripts/generate --check

.PHONY: clean
clean: ## remove everything that make has made
	rm -rf bin .cache coverage.out coverage.html
