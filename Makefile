# The one recipe file: a person and CI run the same targets. `make help` lists them. What is longer than a few lines is a
# program in tests/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

CARGO ?= cargo
# One profile for everything that is built, so that nothing is compiled twice.
FLAGS := --release --locked --workspace
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
BIN_DIR ?= $(TARGET)/release
export CARGO
export PRN_BIN_DIR := $(BIN_DIR)

DESTDIR ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc

# Where a recipe needs programs that not every machine has, tests/needs.sh has the list.
.PHONY: help build static packages reproduce image image-test test test-host test-guest test-fresh bench bench-guest soak lint fuzz fuzz-corpora budgets density deny demo install uninstall clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## The binaries, in target/release
	$(CARGO) build $(FLAGS)

static: ## The command prn as one file that needs nothing of its host: starts faster, runs anywhere
	@tests/static.sh

# Kinds (deb rpm tarball homebrew sbom; none: all).
PACKAGES ?=

packages: ## What is published, in target/packages: .deb, .rpm, static commands, sources, lists of crates: PACKAGES='deb sbom'
	@tests/needs.sh packages
	packaging/release.sh $(PACKAGES)

reproduce: ## make packages twice from what is committed, in two folders, and compares the checksums
	@tests/needs.sh packages
	packaging/reproduce.sh $(PACKAGES)

image: ## The server as an OCI image, target/image/prn.oci.tar: no daemon, no registry (needs root)
	@tests/needs.sh image
	$(MAKE) --no-print-directory build
	packaging/container/build.sh

image-test: ## That image under podman: least rights, a client, a reload, a stop (docs/operate/container.md)
	@tests/needs.sh image-test
	$(MAKE) --no-print-directory image
	tests/image.sh

test: ## Everything: lints, documentation, budgets, host tests, guest tests
	@tests/needs.sh test
	tests/all.sh

test-host: build ## Unit and integration tests that run on this machine
	@tests/host.sh

test-guest: build ## Tests that need real systemd and cgroup v2, in a virtual machine (tests/guest/README.md)
	@mkdir -p $(TARGET)/results
	rm -f $(TARGET)/results/guest
	PRN_GUEST_LOG=$(TARGET)/results/guest.d tests/guest/run.sh
	cp $(TARGET)/results/guest.d/summary $(TARGET)/results/guest

# What runs there.
FRESH ?= demo test

test-fresh: ## make demo and make test in a fresh Debian with git, make and Rust alone: FRESH=demo, PRN_FRESH_SUITE=trixie
	@tests/needs.sh test-fresh
	tests/fresh.sh $(FRESH)

# Subjects (output fanout input terminal copy latency handshake start audit policy signed idle growth namespaces cli;
# none: all) and flags (--rounds N, --idle-seconds N, --files N).
BENCH ?=

bench: build ## prn beside what it is made of, and ssh: BENCH='output --rounds 5' (needs root; ssh if openssh-server is there)
	@tests/bench.sh $(BENCH)

# Rounds.
BENCH_GUEST ?= 1

bench-guest: build ## Growth to 4,000 processes of the installed unit, in the virtual machine of test-guest: BENCH_GUEST=3 (rounds)
	@tests/bench-guest.sh $(BENCH_GUEST)

# Seconds of readers that come and go.
SOAK_SECONDS ?= 600
# Processes that clients start while halves of the server are killed so often.
SOAK_PROCESSES ?= 20000
SOAK_KILLS ?= 200

soak: build ## Output under load for SOAK_SECONDS (600): readers that join, stall, drop and resume; longer models; clients while halves are killed
	@export PRN_SOAK_SECONDS=$(SOAK_SECONDS)
	$(CARGO) test --release --locked -p prn-ipc-protocol --lib -- --nocapture interleavings
	$(CARGO) test --release --locked -p prn-tests --test soak -- --nocapture
	@export PRN_SOAK_PROCESSES=$(SOAK_PROCESSES) PRN_SOAK_KILLS=$(SOAK_KILLS)
	$(CARGO) test --release --locked -p prn-tests --test soak_halves -- --nocapture

lint: ## Formatting, clippy, documentation, shell: no warning allowed
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml --check
	$(CARGO) clippy $(FLAGS) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(FLAGS) --no-deps
	tests/mutations.sh --check
	if command -v shellcheck >/dev/null; then shellcheck -x tests/*.sh tests/guest/*.sh examples/*.sh packaging/*.sh packaging/debian/*.p* packaging/container/build.sh packaging/container/container-start; fi

# Seconds for each target (0: each file of the corpora once), and which (none: all).
export FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=

fuzz: ## Each fuzz target for FUZZ_SECONDS (60), from its corpus on (tests/fuzz/README.md; needs a C++ compiler)
	@tests/fuzz.sh run $(FUZZ_TARGETS)

fuzz-corpora: ## Adds to the committed corpora what fuzz found, and drops from them what covers nothing more
	@tests/fuzz.sh corpora $(FUZZ_TARGETS)

budgets: ## Size of what runs as root, and where unsafe is
	@tests/budgets.sh

density: ## How dense the code of each crate is, its unit tests, the longest functions
	@tests/density.sh

deny: ## Known vulnerabilities, licences, unwanted crates (needs cargo-deny)
	@tests/deny.sh

demo: ## A guided tour against a real server
	@tests/needs.sh demo
	$(MAKE) --no-print-directory build
	tests/demo.sh

install: ## Into DESTDIR, below PREFIX; does not build
	@BIN_DIR=$(BIN_DIR) PREFIX=$(PREFIX) SYSCONFDIR=$(SYSCONFDIR) packaging/stage.sh "$(DESTDIR)"

uninstall: ## Removes what install put there, but for the configuration
	@PREFIX=$(PREFIX) SYSCONFDIR=$(SYSCONFDIR) packaging/stage.sh --list | grep -v '^$(SYSCONFDIR)/' |
		while read -r path; do rm -f "$(DESTDIR)$$path"; done
	rm -rf "$(DESTDIR)$(PREFIX)/libexec/prn" "$(DESTDIR)$(PREFIX)/share/prn"

clean: ## Removes target/; the guest's image stays in its cache
	$(CARGO) clean
