# Everything that a person or a machine does with this repository. "make run" and "make test" need Go and nothing else:
# what is missing of Debian's packages they install.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Pinned: a tool of another version finds other faults.
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOTESTSUM   := go run gotest.tools/gotestsum@v1.13.0 --format pkgname
GOVULNCHECK := go run golang.org/x/vuln/cmd/govulncheck@v1.9.0

# Where what is installed for tests stands, outside of the repository.
CACHE     := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/coap-bridge
ACME_VENV ?= $(CACHE)/acme-2026.5.3
AIOCOAP_VENV     := $(CACHE)/aiocoap-0.4.17
CALIFORNIUM_JARS := $(CACHE)/californium-3.14.0

# What the tests against other people's software are told.
INTEROP_ENV = ACME_VENV="$(ACME_VENV)" AIOCOAP_VENV="$(AIOCOAP_VENV)" CALIFORNIUM_JARS="$(CALIFORNIUM_JARS)"

# How long each fuzz target runs; how long the soak tests do; which Go benchmarks run.
FUZZTIME ?= 5s
SOAK     ?= 10m
BENCH    ?= .

# How much "make bench" measures. Empty: as "bin/coap-load bench --help" says. BENCH_QUICK=1: less of everything, in some four
# minutes. BENCH_FLAGS: any other flag of that command.
BENCH_QUICK    ?=
BENCH_ROUNDS   ?=
BENCH_SESSIONS ?=
BENCH_FLAGS    ?=

# A release is named by its tag; its date is its commit's, so that a build can be repeated bit by bit.
VERSION    := $(shell git describe --tags --always --dirty 2>/dev/null)
BUILD_DATE := $(shell git log -1 --format=%cI 2>/dev/null)
LDFLAGS    := -s -w -X main.buildVersion=$(VERSION) -X main.buildDate=$(BUILD_DATE)

# $(call apt,packages): installs Debian packages, as root or with sudo.
define apt
echo "installing: $(1)"; \
command -v apt-get >/dev/null || { echo "apt-get is missing: install what corresponds to $(1) by hand" >&2; exit 1; }; \
sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
$$sudo apt-get update -qq; \
$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) </dev/null
endef

# $(call need,command ...,packages): installs the packages when one of the commands is missing, and fails when it still is.
define need
missing=; for c in $(1); do command -v $$c >/dev/null || missing=1; done; \
if [ -n "$$missing" ]; then $(call apt,$(2)); fi; \
for c in $(1); do command -v $$c >/dev/null || { echo "$$c is missing, and $(2) did not bring it" >&2; exit 1; }; done
endef

# $(call need-headers,header ...,packages): the same for what programs in C include.
define need-headers
missing() { for h in $(1); do echo "#include <$$h>" | cc -E - >/dev/null 2>&1 || return 0; done; return 1; }; \
if missing; then $(call apt,$(2)); fi; \
if missing; then echo "one of $(1) is missing, and $(2) did not bring it" >&2; exit 1; fi
endef

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: build
build: ## build bin/coap-bridge and bin/coap-load, static
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/ ./cmd/...

.PHONY: run
run: build ## build and start a demonstration that needs no set-up
	@( $(call need,coap-client-openssl coap-client-gnutls,libcoap3-bin) ) || echo "going on without coap-client" >&2
	@exec bin/coap-bridge demo

.PHONY: test
test: test-tools lint ## vet, staticcheck and all tests under the race detector
	$(GOTESTSUM) -- -race -shuffle=on -timeout 5m ./...
	@case "$$(go env GOHOSTARCH)" in amd64) $(test-32);; *) echo "not an amd64 machine: the sockets are not tested in 32 bits" >&2;; esac

# The structures that system calls read have other sizes on 32 bits, where many a gateway is. Kernels of amd64 run such programs.
define test-32
GOARCH=386 CGO_ENABLED=0 go test -count=1 -timeout 1m \
	-run '^Test(AnswersComeFromTheAddressThatWasAsked|DialsFromAnyAddress|(PSK|Certificate)SessionEchoes)$$' ./dtls
endef

.PHONY: test-tools
test-tools:
	@$(call need,git,git)
	@$(call need,cc,build-essential)
	@$(call need,coap-client-openssl coap-client-gnutls coap-server-openssl coap-server-gnutls,libcoap3-bin)
	@$(call need,openssl,openssl)
	@$(call need,gnutls-cli gnutls-serv,gnutls-bin)

.PHONY: lint
lint: ## go vet and staticcheck, the files behind build tags included
	go vet -tags interop,soak ./...
	$(STATICCHECK) -tags interop,soak ./...

# go test runs one fuzz target at a time. What it finds is kept in the package's testdata/fuzz, and is a test from then on. The end is an
# interrupt, not -fuzztime: at that deadline the fuzzer sometimes reports its own timer as a failure (golang/go#75804). The interrupt goes
# to the fuzzer alone (--foreground): of a worker that gets it first, the fuzzer says that it "terminated unexpectedly". An input that
# reaches new code is made smaller for a second at most, not for a minute, in which a short run would do nothing else.
.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@mkdir -p bin "$(CACHE)/fuzz"; bin="$$PWD/bin/fuzz.test"; \
	for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		go test -c -fuzz . -o "$$bin" $$dir; \
		for target in $$(cd $$dir && "$$bin" -test.list '^Fuzz'); do \
			echo "== $$dir $$target"; \
			( cd $$dir && timeout --foreground --preserve-status --kill-after=30s --signal=INT $(FUZZTIME) \
				"$$bin" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzzminimizetime 1s \
				-test.fuzzcachedir "$(CACHE)/fuzz/$$dir" ); \
		done; \
	done; rm -f "$$bin"

.PHONY: interop
interop: test-tools interop-tools ## tests against other people's software
	$(INTEROP_ENV) $(GOTESTSUM) -- -race -shuffle=on -timeout 10m -tags interop -run '^TestInterop' ./...

.PHONY: interop-table
interop-table: test-tools interop-tools ## write docs/interop.md anew
	$(INTEROP_ENV) go test -count=1 -tags interop -run '^TestInteropMatrix$$' ./internal/interop -update

.PHONY: interop-tools
interop-tools: interop-packages $(ACME_VENV)/complete $(AIOCOAP_VENV)/complete $(CALIFORNIUM_JARS)/complete

.PHONY: interop-packages
interop-packages:
	@$(call need,haproxy,haproxy)
	@$(call need,python3,python3)
	@python3 -m ensurepip --version >/dev/null 2>&1 || { $(call apt,python3-venv); }
	@python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || { $(call apt,python3-dev); }
	@$(call need,javac java,default-jdk-headless)
	@$(call need,mvn,maven)
	@$(call need,autoreconf automake libtoolize,autoconf automake libtool)
	@$(call need-headers,mbedtls/ssl.h wolfssl/ssl.h,libmbedtls-dev libwolfssl-dev)

# $(call venv,directory,requirements): a virtual environment of Python with that in it.
define venv
mkdir -p "$(CACHE)"; \
python3 -m venv "$(1)"; \
"$(1)/bin/pip" install --quiet --disable-pip-version-check -r $(2); \
touch "$(1)/complete"
endef

$(ACME_VENV)/complete: internal/acme/requirements.txt | interop-packages
	@$(call venv,$(ACME_VENV),$<)

# The autotools and a compiler build DTLSSocket, and Python's headers where it is Debian's own.
$(AIOCOAP_VENV)/complete: internal/interop/peers/requirements.txt | interop-packages
	@python3 -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || { $(call apt,python3-dev); }
	@$(call venv,$(AIOCOAP_VENV),$<)

$(CALIFORNIUM_JARS)/complete: internal/interop/peers/pom.xml | interop-packages
	mvn --quiet --batch-mode -f $< org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
		-DoutputDirectory="$(CALIFORNIUM_JARS)"
	@touch "$@"

.PHONY: bench
bench: build ## the bridge and its peers under the same load, in one table
	@$(call need,coap-server-openssl coap-server-gnutls coap-server-notls,libcoap3-bin)
	CGO_ENABLED=0 go build -trimpath -o bin/bench/baseline ./internal/baseline
	bin/coap-load bench $(if $(BENCH_QUICK),--quick) $(if $(BENCH_ROUNDS),--rounds $(BENCH_ROUNDS)) \
		$(if $(BENCH_SESSIONS),--sessions $(BENCH_SESSIONS)) $(BENCH_FLAGS)

.PHONY: bench-go
bench-go: ## Go benchmarks, with allocations
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: soak
soak: test-tools ## long runs under load, and 100,000 random handshakes; SOAK says how long the load lasts
	HANDSHAKES=100000 go test -timeout 0 -run '^TestRandom' -v ./dtls/handshake
	SOAK="$(SOAK)" go test -race -timeout 0 -tags soak -run '^TestSoak' -v ./...

.PHONY: vuln
vuln: ## known vulnerabilities that the code can reach; asks the Go vulnerability database
	$(GOVULNCHECK) ./...

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
