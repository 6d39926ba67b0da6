# The one recipe file: a person and CI run the same targets. `make help` lists them.

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
RESULTS := $(TARGET)/results
export PRN_BIN_DIR := $(BIN_DIR)

DESTDIR ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc

# Where a recipe needs programs that not every machine has, tests/needs.sh has the list.
.PHONY: help build static test test-host test-guest test-fresh bench soak lint fuzz fuzz-corpora budgets deny demo install uninstall clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## The three binaries, in target/release
	$(CARGO) build $(FLAGS)

STATIC := $(shell uname -m)-unknown-linux-musl

static: ## The command prn as one file that needs nothing of its host: starts faster, runs anywhere
	@command -v musl-gcc >/dev/null || { echo 'static: missing: musl-gcc (apt-get install musl-tools)' >&2; exit 1; }
	[[ -d $$(rustc --print sysroot)/lib/rustlib/$(STATIC) ]] || { echo 'static: missing: rustup target add $(STATIC)' >&2; exit 1; }
	# Optimized as a whole, which takes minutes and is not worth it for what is built all the time: a smaller file, of which
	# a short run touches fewer pages.
	export CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
	$(CARGO) build --release --locked -p prn --target $(STATIC) --target-dir $(TARGET)/static
	@echo $(TARGET)/static/$(STATIC)/release/prn

test: ## Everything: lints, documentation, budgets, host tests, guest tests
	@tests/needs.sh test
	# The guest's image comes from the network while the compiler has the CPUs; run.sh waits for it, and builds it if this
	# fails.
	tests/guest/build-image.sh >/dev/null &
	image=$$!
	trap 'kill "$$image" 2>/dev/null || :' EXIT
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory budgets
	if command -v cargo-deny >/dev/null; then
		$(MAKE) --no-print-directory deny
	else
		echo 'deny: not run, cargo-deny is not installed (cargo install --locked cargo-deny)'
	fi
	$(MAKE) --no-print-directory test-host
	$(MAKE) --no-print-directory test-guest
	trap - EXIT
	# A test that the host ignores runs in the guest, or it runs nowhere.
	ignored=$$(awk '{ print $$6 }' $(RESULTS)/host)
	ran=$$(awk '{ print $$2 + $$4 }' $(RESULTS)/guest)
	if [[ $$ignored != "$$ran" ]]; then
		echo "test: $$ignored tests are ignored on the host, but $$ran ran in the guest" >&2
		exit 1
	fi
	cat $(RESULTS)/host $(RESULTS)/guest

test-host: build ## Unit and integration tests that run on this machine
	@mkdir -p $(RESULTS)
	rm -f $(RESULTS)/host
	status=0
	$(CARGO) test $(FLAGS) --no-fail-fast 2>&1 | tee $(RESULTS)/host.log || status=$$?
	awk '/^test result: / { p += $$4; f += $$6; i += $$8 }
		END { printf "host: %d passed, %d failed, %d ignored\n", p, f, i; exit p == 0 }' $(RESULTS)/host.log |
		tee $(RESULTS)/host
	exit $$status

test-guest: build ## Tests that need real systemd and cgroup v2, in a virtual machine (tests/guest/README.md)
	@mkdir -p $(RESULTS)
	rm -f $(RESULTS)/guest
	PRN_GUEST_LOG=$(RESULTS)/guest.d tests/guest/run.sh
	cp $(RESULTS)/guest.d/summary $(RESULTS)/guest

# What runs there.
FRESH ?= demo test

test-fresh: ## make demo and make test in a fresh Debian with git, make and Rust alone: FRESH=demo, PRN_FRESH_SUITE=trixie
	@tests/needs.sh test-fresh
	tests/fresh.sh $(FRESH)

# Subjects (output fanout latency start idle cli; none: all) and flags (--rounds N, --idle-seconds N).
BENCH ?=

bench: build ## prn beside what it is made of, and ssh: BENCH='output --rounds 5' (needs root; ssh if openssh-server is there)
	@$(CARGO) build --release --locked -p prn-supervisor -p prn-api-frontend --target-dir $(TARGET)/unmoderated \
		--features prn-supervisor/unmoderated,prn-api-frontend/unmoderated
	static=$(TARGET)/static/$(STATIC)/release/prn
	[[ ! -x $$static ]] || export PRN_STATIC_BIN=$$static
	PRN_UNMODERATED_BIN_DIR=$(TARGET)/unmoderated/release $(TARGET)/release/bench $(BENCH)

# Seconds of readers that come and go.
SOAK_SECONDS ?= 600

soak: build ## Output under load for SOAK_SECONDS (600): readers that join, stall, drop and resume; longer models
	@PRN_SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --release --locked -p prn-ipc-protocol --lib -- --nocapture interleavings
	PRN_SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --release --locked -p prn-tests --test soak -- --nocapture

lint: ## Formatting, clippy, documentation: no warning allowed
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml --check
	$(CARGO) clippy $(FLAGS) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(FLAGS) --no-deps

# Seconds for each target; 0 runs each file of the corpora once.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(sort $(basename $(notdir $(wildcard tests/fuzz/targets/*.rs))))
# Files of each committed corpus, besides those with names.
FUZZ_CORPUS_MAX := 12
FUZZ_DIR := $(TARGET)/fuzz
FUZZ_HOST = $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# As cargo-fuzz sets them, without a sanitizer: there is next to no unsafe code to watch, and stable Rust knows these.
FUZZ_RUSTFLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0
# --target, so that build scripts and macros are built without the flags: libFuzzer is not linked to them.
define FUZZ_BUILD
missing() { echo "fuzz: missing: $$*" >&2; exit 1; }
command -v $(firstword $(CARGO)) >/dev/null && [[ -n '$(FUZZ_HOST)' ]] || missing 'cargo and rustc'
command -v $${CXX:-c++} >/dev/null || missing 'a C++ compiler, for libFuzzer (apt install g++)'
RUSTFLAGS='$(FUZZ_RUSTFLAGS)' $(CARGO) build --release --locked --manifest-path tests/fuzz/Cargo.toml \
	--target $(FUZZ_HOST) --target-dir $(FUZZ_DIR)
mkdir -p $(FUZZ_DIR)/crashes
run() {
	"$(FUZZ_DIR)/$(FUZZ_HOST)/release/$$1" -timeout=10 -rss_limit_mb=1024 \
		-artifact_prefix=$(FUZZ_DIR)/crashes/$$1- "$${@:2}"
}
endef

fuzz: ## Each fuzz target for FUZZ_SECONDS (60), from its corpus on (tests/fuzz/README.md; needs a C++ compiler)
	@$(FUZZ_BUILD)
	failed=0
	for target in $(FUZZ_TARGETS); do
		if [[ ! -x $(FUZZ_DIR)/$(FUZZ_HOST)/release/$$target ]]; then
			echo "fuzz: missing: $$target in tests/fuzz/Cargo.toml" >&2
			failed=1
			continue
		fi
		# New inputs go to the first folder, so the committed corpus stays as it is.
		found=$(FUZZ_DIR)/corpora/$$target log=$(FUZZ_DIR)/$$target.log crashes=0
		mkdir -p $$found tests/fuzz/corpora/$$target
		bound=(-max_total_time=$(FUZZ_SECONDS) $$found)
		[[ $(FUZZ_SECONDS) != 0 ]] || bound=(-runs=0)
		run $$target -print_final_stats=1 "$${bound[@]}" tests/fuzz/corpora/$$target >$$log 2>&1 || crashes=1
		awk -v target=$$target -v crashes=$$crashes '/^stat::number_of_executed_units:/ { n = $$2 }
			/^stat::average_exec_per_sec:/ { rate = $$2 }
			END { printf "fuzz: %s: %d executions, %d a second, %d crashes\n", target, n, rate, crashes }' $$log
		((crashes == 0)) || { failed=1; grep -aE 'panicked at|ERROR:|Test unit written' -A1 $$log >&2 || tail -5 $$log >&2; }
	done
	exit $$failed

fuzz-corpora: ## Adds to the committed corpora what fuzz found, and drops from them what covers nothing more
	@$(FUZZ_BUILD)
	for target in $(FUZZ_TARGETS); do
		[[ -x $(FUZZ_DIR)/$(FUZZ_HOST)/release/$$target ]] || continue
		corpus=tests/fuzz/corpora/$$target
		merged=$$(mktemp -d -p $(FUZZ_DIR))
		mkdir -p $(FUZZ_DIR)/corpora/$$target $$corpus
		# Those with a name of their own are kept: somebody wrote them, or a bug was found with them.
		find $$corpus -type f ! -name "$$(printf '[0-9a-f]%.0s' {1..40})" -exec cp {} $$merged \;
		# Branches count here, not how often each is taken. Files come in the order of what each adds, and the first few
		# cover most: the rest, an end at each byte of a message and the like, is found again within seconds.
		run $$target -set_cover_merge=1 -use_counters=0 $$merged $$corpus $(FUZZ_DIR)/corpora/$$target 2>/dev/null
		ls -tr $$merged | sed -nE '/^[0-9a-f]{40}$$/p' | tail -n +$$(($(FUZZ_CORPUS_MAX) + 1)) | (cd $$merged && xargs -r rm)
		rm -rf $$corpus
		mv $$merged $$corpus
		chmod 755 $$corpus
		echo "fuzz-corpora: $$target: $$(ls $$corpus | wc -l) files, $$(cat $$corpus/* | wc -c) bytes"
	done

# What the root half is made of: small enough to be read. Code lines are counted as stock rustfmt breaks them, which is how
# the whole workspace is formatted (`make lint`): a budget is met by doing less. AUTHORITY is what decides and acts as root
# for a peer: what a reviewer reads in one sitting.
ROOT_CRATES_MAX := 25
ROOT_LINES_MAX := 6000
AUTHORITY_LINES_MAX := 2400
ROOT_BANNED := tokio|tonic|hyper|rustls|prost|clap|toml
# Not names.rs, output.rs and what is in a file frontend.rs: those are the frontend's alone.
ROOT_IPC := $(addprefix ipc-protocol/src/,$(addsuffix .rs,channel codec config fds message output/layout types))
AUTHORITY := $(addprefix ipc-protocol/src/,$(addsuffix .rs,channel codec message types)) \
	$(addprefix supervisor/src/,$(addsuffix .rs,frontend privilege runner/start sys/spawn))
UNSAFE_ALLOWED := ^(supervisor/src/sys(/.*|[.]rs)|ipc-protocol/src/fds[.]rs)$$
# No part of any of the three programs: what attacks them makes system calls that no safe wrapper would.
UNSAFE_TESTS := ^tests/
# Code lines: not blank, not a comment, above the unit tests at a file's end.
define COUNT_LINES
FNR == 1 { tests = 0 }
/^#\[cfg\(test\)\]/ { tests = 1 }
!tests && NF && $$0 !~ /^[[:space:]]*\/\// { n++ }
END { print n + 0 }
endef
export COUNT_LINES

budgets: ## Size of the root half, and where unsafe is
	@failed=0
	over() { echo "budgets: $$*" >&2; failed=1; }
	crates=$$($(CARGO) tree --locked -e normal --prefix none -p prn-supervisor | sed 's/ (\*)$$//' | sort -u)
	count=$$(wc -l <<<"$$crates")
	echo "budgets: root half: $$count crates of $(ROOT_CRATES_MAX)"
	((count <= $(ROOT_CRATES_MAX))) || over "too many crates:" $$crates
	banned=$$(grep -E '^($(ROOT_BANNED))([-_][a-z0-9_-]+)? ' <<<"$$crates" || :)
	[[ -z $$banned ]] || over "not in the root half:" $$banned
	supervisor=$$(find supervisor/src -name '*.rs' ! -name tests.rs -print0 | xargs -0 awk "$${COUNT_LINES}")
	ipc=$$(awk "$${COUNT_LINES}" $(ROOT_IPC))
	echo "budgets: root half: $$((supervisor + ipc)) code lines ($$supervisor in supervisor, $$ipc in ipc-protocol) of $(ROOT_LINES_MAX)"
	((supervisor + ipc <= $(ROOT_LINES_MAX))) || over "too many code lines"
	authority=$$(awk "$${COUNT_LINES}" $(AUTHORITY))
	echo "budgets: root half: $$authority code lines of $(AUTHORITY_LINES_MAX) are its authority"
	((authority <= $(AUTHORITY_LINES_MAX))) || over "too many code lines of authority"
	unsafe=$$(grep -rnE --include='*.rs' --exclude-dir=target '^[^/"]*\bunsafe( +(fn|impl|trait|extern)\b| *[{(])' . |
		sed 's|^\./||' | awk -F: '$$1 !~ "$(UNSAFE_ALLOWED)" && $$1 !~ "$(UNSAFE_TESTS)"' || :)
	blocks=$$({ grep -rhE --include='*.rs' '^[^/"]*\bunsafe *\{' supervisor/src/sys* ipc-protocol/src/fds.rs || :; } | wc -l)
	echo "budgets: root half: $$blocks unsafe blocks in supervisor/src/sys and ipc-protocol/src/fds.rs"
	[[ -z $$unsafe ]] || over "unsafe elsewhere:" "$$unsafe"
	exit $$failed

deny: ## Known vulnerabilities, licences, unwanted crates (needs cargo-deny)
	@if $(CARGO) deny --locked fetch db 2>/dev/null; then
		$(CARGO) deny --locked check advisories
	else
		echo 'deny: advisories not checked, their database cannot be reached'
	fi
	$(CARGO) deny --locked check bans licenses sources

demo: ## A guided tour against a real server
	@tests/needs.sh demo
	$(MAKE) --no-print-directory build
	tests/demo.sh

install: ## Into DESTDIR, below PREFIX; does not build
	@for binary in prn prn-supervisor prn-frontend; do
		[[ -x $(BIN_DIR)/$$binary ]] || { echo "install: $(BIN_DIR)/$$binary is missing: run make build" >&2; exit 1; }
	done
	put() { install -D -m "$$1" "$$2" "$(DESTDIR)$$3"; }
	put 0755 $(BIN_DIR)/prn $(PREFIX)/bin/prn
	put 0755 $(BIN_DIR)/prn-supervisor $(PREFIX)/libexec/prn/prn-supervisor
	put 0755 $(BIN_DIR)/prn-frontend $(PREFIX)/libexec/prn/prn-frontend
	put 0644 packaging/prn.service $(PREFIX)/lib/systemd/system/prn.service
	sed -i 's|^ExecStart=/usr/|ExecStart=$(PREFIX)/|' $(DESTDIR)$(PREFIX)/lib/systemd/system/prn.service
	put 0644 packaging/prn.sysusers $(PREFIX)/lib/sysusers.d/prn.conf
	put 0644 packaging/prn.tmpfiles $(PREFIX)/lib/tmpfiles.d/prn.conf
	put 0644 packaging/prn.sysctl $(PREFIX)/lib/sysctl.d/10-prn.conf
	install -d -m 0700 $(DESTDIR)$(SYSCONFDIR)/prn
	[[ -e $(DESTDIR)$(SYSCONFDIR)/prn/prn.toml ]] || put 0600 packaging/prn.toml $(SYSCONFDIR)/prn/prn.toml

uninstall: ## Removes what install put there, but for the configuration
	rm -rf $(DESTDIR)$(PREFIX)/libexec/prn
	rm -f $(DESTDIR)$(PREFIX)/bin/prn \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/prn.service \
		$(DESTDIR)$(PREFIX)/lib/sysusers.d/prn.conf \
		$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/prn.conf \
		$(DESTDIR)$(PREFIX)/lib/sysctl.d/10-prn.conf

clean: ## Removes target/; the guest's image stays in its cache
	$(CARGO) clean
