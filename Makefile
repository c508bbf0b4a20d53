# What a developer types; .ci/run does the same and more on a clean machine. GOTOOLCHAIN=auto lets any Go from 1.21 on fetch the toolchain
# that go.mod names.
export GOTOOLCHAIN ?= auto

SERVICES := s3 dynamodb kafka registry
CONCURRENT := ./internal/exchange/... ./internal/runtime/... ./internal/history ./internal/e2e ./dataflow/... ./checkpoint/... ./connectors/... ./state/...
# Python's reader of container files, and the compression that it takes from another package.
FASTAVRO := fastavro==1.13.1 backports.zstd==1.3.0
FASTAVRO_VENV := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/millrace-services/fastavro-1.13.1
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: test vet staticcheck race fastavro integration services services-stop fmt help

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

fastavro: ## container files of savepoints, read by another implementation of Avro (Python 3 with venv)
	@[ -x $(FASTAVRO_VENV)/done ] || { rm -rf $(FASTAVRO_VENV) && python3 -m venv $(FASTAVRO_VENV) && \
		$(FASTAVRO_VENV)/bin/pip -q install $(FASTAVRO) && ln -s bin/python $(FASTAVRO_VENV)/done; }
	FASTAVRO_PYTHON=$(FASTAVRO_VENV)/bin/python go test -count=1 -run Fastavro ./checkpoint/savepoint

fmt: ## format; an older gofmt rejects generic methods, so go fmt of the right toolchain does it
	go fmt ./...

integration: ## connector suites and the example against real servers (Java 17, Maven, Python 3)
	internal/services/integration run

services: ## start the servers on their usual ports and print what to export
	@for s in $(SERVICES); do internal/services/$$s start || exit 1; done

services-stop: ## stop them
	@for s in $(SERVICES); do internal/services/$$s stop; done
