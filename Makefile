# What a developer types; .ci/run does the same and more on a clean machine. GOTOOLCHAIN=auto lets any Go from 1.21 on fetch the toolchain
# that go.mod names.
export GOTOOLCHAIN ?= auto

SERVICES := s3 dynamodb kafka registry
CONCURRENT := ./internal/exchange/... ./internal/runtime/... ./dataflow/... ./checkpoint/... ./connectors/...
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: test vet staticcheck race integration services services-stop fmt help

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

test: ## all tests that need only Go
	go test ./...

vet: ## go vet
	go vet ./...

staticcheck: ## staticcheck, built with the same toolchain
	# "go run module@version" goes by the toolchain of that module: name ours, or code of a newer Go cannot be read.
	GOTOOLCHAIN=$$(go env GOVERSION) go run $(STATICCHECK) ./...

race: ## tests of the concurrent packages with the race detector
	go test -race $(CONCURRENT)
	go test -race -run 'Async|Lookup' ./operators

fmt: ## format; an older gofmt rejects generic methods, so go fmt of the right toolchain does it
	go fmt ./...

integration: ## connector suites and the example against real servers (Java 17, Maven, Python 3)
	internal/services/integration run

services: ## start the servers on their usual ports and print what to export
	@for s in $(SERVICES); do internal/services/$$s start || exit 1; done

services-stop: ## stop them
	@for s in $(SERVICES); do internal/services/$$s stop; done
