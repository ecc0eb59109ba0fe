# The first two work on a fresh Debian 12 with git, make and a Rust toolchain, as root or with sudo. All that
# touches a network does so in network namespaces of its own: this machine's network is left alone.

export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin:/sbin
# What needs root - kernel tests and whole systems - gets it from tests/setup/isolated, through sudo if need be.
ROOT := SLUICE_SUDO=1
# What the manual and the completions are tried with.
READERS := mandoc man-db zsh fish

.PHONY: demo check test ha kernels systemd fuzz fuzz-check mutants mutants-daemon deny deb soak setup

demo: setup            ## client, balancer and four backends on this machine, step by step
	cargo build --bins
	$(ROOT) cargo run --quiet --package sluice-tests --bin sluice-demo

# Crates whose tests need no root; of sluiced those on the fake kernel.
PURE := --package sluice-nft --package sluice-core --package sluice-config --package sluice-api

check:                 ## without root and in 90 s on a warm tree: formatting, clippy, unit tests, laws, goldens, the fake kernel
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@# Tests with mandoc, zsh and fish need these installed: `make test` does that.
	PROPTEST_CASES=64 cargo test --workspace --exclude sluice-netlink --lib --bins -- --skip page_by_mandoc --skip completion_by
	PROPTEST_CASES=64 cargo test $(PURE) --test '*'
	SLUICE_HISTORIES=100 cargo test --package sluiced --test daemon --test histories -- --skip on_the_kernel
	cargo xtask man --check

test: setup            ## every test: unit, property, golden, then real connections in namespaces, and a browser
	tests/setup/install $(READERS) chromium dnsmasq-base
	@tests/setup/tool promtool > /dev/null
	cargo build --workspace --bins
	cargo test --workspace --exclude sluice-netlink --lib --bins
	cargo test --workspace --doc
	$(ROOT) cargo test --package sluice-netlink --lib
	$(ROOT) cargo test --workspace --test '*'
	cargo xtask security

ha: setup              ## two balancers with keepalived, conntrackd and BIRD, and what clients notice of failures
	tests/setup/install keepalived conntrackd bird2
	cargo build --bins
	$(ROOT) cargo test --package sluice-tests --test ha -- --ignored --test-threads=2

kernels: setup         ## the same daemon on Debian's kernels 6.1 and 6.12, in virtual machines
	tests/setup/install mmdebstrap cpio
	tests/kernels/smoke

systemd: setup         ## the package under Debian's systemd, version 12's and 13's, booted in containers
	tests/setup/install mmdebstrap systemd-container bird2
	tests/systemd/run

fuzz: setup            ## configurations, control requests and answers of the kernel, made up: SECONDS for each, or 20
	tests/setup/install g++
	tests/fuzz/run $(or $(SECONDS),20)

fuzz-check: setup      ## that the fuzz targets compile; `make soak` runs them for an hour
	tests/setup/install g++
	RUSTFLAGS='--cfg fuzzing' cargo check --locked --manifest-path tests/fuzz/Cargo.toml --target-dir target/fuzz-check

mutants: setup         ## changes of the code, one by one, that tests must notice: in files of .cargo/mutants.toml; ARGS as for cargo-mutants
	PATH="$$(tests/setup/tool cargo-mutants):$$PATH" PROPTEST_CASES=8 PROPTEST_MAX_SHRINK_ITERS=0 \
		PROPTEST_DISABLE_FAILURE_PERSISTENCE=1 cargo mutants --output target $(ARGS)

mutants-daemon: setup  ## the same for the daemon: in files of .cargo/mutants-daemon.toml
	PATH="$$(tests/setup/tool cargo-mutants):$$PATH" \
		cargo mutants --config .cargo/mutants-daemon.toml --output target/daemon $(ARGS)

deny: setup            ## licences, sources and versions of what sluice depends on
	PATH="$$(tests/setup/tool cargo-deny):$$PATH" cargo deny --locked check bans licenses sources

deb: setup             ## the Debian package, in target/debian
	systemd/package

soak: setup            ## property tests and histories with many more cases, then storms of reloads, and an hour of fuzzing
	tests/setup/install $(READERS) dnsmasq-base
	cargo build --workspace --bins
	PROPTEST_CASES=4096 cargo test --workspace --exclude sluice-netlink --lib --bins
	PROPTEST_CASES=4096 $(ROOT) cargo test --package sluice-netlink --lib
	PROPTEST_CASES=4096 SLUICE_HISTORIES=20000 SLUICE_KERNEL_HISTORIES=2000 SLUICE_SEED=1 \
		$(ROOT) cargo test --workspace --exclude sluice-tests --test '*'
	SLUICE_RELOADS=1000 $(ROOT) cargo test --package sluice-tests --test e2e storm
	tests/setup/install g++
	tests/fuzz/run 1200

setup:
	@tests/setup/install
