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

.PHONY: help build test test-host test-guest lint budgets deny demo install uninstall clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## The three binaries, in target/release
	$(CARGO) build $(FLAGS)

test: ## Everything: lints, documentation, budgets, host tests, guest tests
	@$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory budgets
	if command -v cargo-deny >/dev/null; then
		$(MAKE) --no-print-directory deny
	else
		echo 'deny: not run, cargo-deny is not installed (cargo install --locked cargo-deny)'
	fi
	$(MAKE) --no-print-directory test-host
	$(MAKE) --no-print-directory test-guest
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

lint: ## Formatting, clippy, documentation: no warning allowed
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(FLAGS) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(FLAGS) --no-deps

# What the root half is made of: small enough to be read.
ROOT_CRATES_MAX := 25
# The goal is not reached yet; until it is, the size may only fall.
ROOT_LINES_GOAL := 2500
ROOT_LINES_MAX := 3378
ROOT_BANNED := tokio|tonic|hyper|rustls|prost|clap|toml
# output.rs is the frontend's: the supervisor's side of the ring is in supervisor/.
ROOT_IPC := $(addprefix ipc-protocol/src/,$(addsuffix .rs,channel codec config fds message types))
UNSAFE_ALLOWED := ^(supervisor/src/sys(/.*|[.]rs)|ipc-protocol/src/fds[.]rs)$$
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
	echo "budgets: root half: $$((supervisor + ipc)) code lines ($$supervisor in supervisor, $$ipc in ipc-protocol), goal $(ROOT_LINES_GOAL), at most $(ROOT_LINES_MAX)"
	((supervisor + ipc <= $(ROOT_LINES_MAX))) || over "too many code lines"
	unsafe=$$(grep -rnE --include='*.rs' --exclude-dir=target '^[^/"]*\bunsafe( +(fn|impl|trait|extern)\b| *[{(])' . |
		sed 's|^\./||' | awk -F: '$$1 !~ "$(UNSAFE_ALLOWED)"' || :)
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

demo: build ## A guided tour against a real server
	@tests/demo.sh

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
