# The two commands of the README are "make demo" and "make test".
# Everything needs Go, git, gcc and make; see CONTRIBUTING.md for the rest.

GO          ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Without a checkout's path in them, packages that were compiled in one are found by all.
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)

.PHONY: demo build test lint fmt bench torture help

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: build ## the whole story on this machine, on loopback only
	./bin/touchmark demo

build: ## bin/touchmark and the programs that it runs
	$(GO) build -o bin/ ./cmd/touchmark ./cmd/touchmark-predicates ./cmd/touchmark-keys
	CGO_ENABLED=0 $(GO) build -ldflags=-s -o bin/ ./cmd/touchmark-containerd

test: ## everything, where goroutines meet with the race detector; says what it could not run
	./integration/test.sh

lint: ## vet, staticcheck (pinned) and gofmt, over all modules
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run make fmt"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	cd integration/oracles && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd integration/containerd/daemon && $(GO) vet ./...

fmt: ## gofmt, in place
	gofmt -w $$(git ls-files '*.go')

bench: ## figures, kept in integration/results
	./integration/bench.sh

torture: ## the long campaigns (some hours), kept in integration/results
	./integration/torture.sh
