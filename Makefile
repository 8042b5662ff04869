# Entry points: `make demo` and `make test`. Both install missing tools (packaging/install-deps).

SHELL := /bin/bash
# Build folder of cargo, and of all that runs its results.
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
target := $(CARGO_TARGET_DIR)
# The PATH includes a Rust that install-deps has just fetched.
export PATH := $(PATH):$(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin

# The examples are a separate workspace, built to the same folder.
sides_built = cargo build --locked --manifest-path examples/Cargo.toml -p bpfman-examples
# Elsewhere than on Debian, the compilers report what is missing.
build_needs = @! command -v apt-get > /dev/null || packaging/install-deps build

.DEFAULT_GOAL := help
.PHONY: help demo test test-all build release examples images gate-image fmt lint licences test-faults findings open-vswitch corpus-matrix kernels matrix-arm64 strangers packages reproducible test-package upgrade kube-up kube-down kube-update test-kube fleet fleet-5000 test-kube-node measure-node images-oci manifests chart client-v0.6 import-v0.6 reboot reboot-gallery flood million-events simulate kill-loop kill-loop-kube run-as-kills run-as-attacks run-as-matrix run-as-recipes fuzz fuzz-chain fuzz-headers many-hooks bench bench-chain bench-rival bench-entries bench-gallery bench-ipvs bench-run-as gallery gallery-pictures book man clean console-pictures

help: ## show this
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: ## load, chain, count, reorder, unload: the whole story on this machine (root)
	@packaging/install-deps demo
	cargo build --locked -p bpfmand -p bpfman-session -p bpfman-worker -p bpfman
	$(sides_built)
	@$(MAKE) --no-print-directory -C examples
	@examples/demo/run

gallery: ## firewall, balancer, flows, watchdog, reader of TLS and profiler at work together; pictures in target/gallery (root)
	@packaging/install-deps gallery
	cargo build --locked -p bpfmand -p bpfman-session -p bpfman-worker -p bpfman
	$(sides_built)
	@$(MAKE) --no-print-directory -C examples
	@examples/gallery/run

gallery-pictures: ## draw the pictures of pages whose entries speak in lines, from runs on this machine: examples/*/run.svg (root)
	@packaging/install-deps gallery
	cargo build --locked -p bpfmand -p bpfman-session -p bpfman-worker -p bpfman
	$(sides_built)
	@$(MAKE) --no-print-directory -C examples
	@examples/gallery/pictures

console-pictures: export PICTURE_SECONDS := 15
console-pictures: gallery ## take the pictures of the console in docs again, at twice the size: docs/pictures (root)
	@for view in overview programs journal; do cp $(target)/gallery/$$view.png docs/pictures/console-$$view.png; done
	@cp $(target)/gallery/console.png docs/pictures/gallery-console.png
	BPFMAN_TEST_PICTURES=yes cargo test --locked -p bpfman-cluster-tests --test fleet_pages

test: ## what CI runs: every class of behaviour in half an hour (root)
	@packaging/install-deps test
	@.ci/test

test-all: ## all tests, whole; before a release (root; hours; KERNELS="6.1 7.3" PARTS="machines" to choose; docs/tests.md)
	@packaging/install-deps test
	@.ci/test --all $(PARTS)

build: ## the daemon and the client, for trying things out: target/debug
	$(build_needs)
	cargo build --locked -p bpfmand -p bpfman-session -p bpfman-worker -p bpfman

release: ## the daemon and the client, for use: target/release
	packaging/compile build --locked --release -p bpfmand -p bpfman-session -p bpfman-worker -p bpfman

examples: ## the example programs and their companion commands
	$(build_needs)
	@$(MAKE) --no-print-directory -C examples all userspace

images: build examples ## the example programs as images: REGISTRY=… TAG=…, and KEY=… to push and sign them
	@$(MAKE) --no-print-directory -C examples $(if $(KEY),publish,images) BPFMAN=$(target)/debug/bpfman

gate-image: build ## the gate of docs/gate.md as an image: REGISTRY=… TAG=…, and KEY=… to push and sign it
	@$(MAKE) --no-print-directory -C examples $(if $(KEY),publish,image)-gate BPFMAN=$(target)/debug/bpfman

fmt: ## format the sources
	cargo fmt --all
	cargo fmt --all --manifest-path examples/Cargo.toml
	cargo fmt --all --manifest-path benches/Cargo.toml

lint: ## what CI demands of the sources: format, clippy, licences, duplicate crates, who may depend on whom
	@.ci/test lint

test-faults: ## put each fault of tests/faults into the sources and look whether `make test` still finds it (root; two hours; FAULTS="03 22" to choose)
	@packaging/install-deps test
	@tests/faults/run $(FAULTS)

findings: ## run the findings about third-party software, and print a table of which still hold (root; minutes, downloads; FINDINGS="NAME…" to choose)
	@findings/run $(FINDINGS)

open-vswitch: build ## the gallery's switch-port at ports of a real Open vSwitch, on Debian's 6.12 (root; minutes)
	@packaging/install-deps test
	$(sides_built)
	@tests/vm/open-vswitch

corpus-matrix: ## load the corpus here and on Debian's 5.10, 6.1, 6.12, 7.3 and newest, and write docs/corpus.md (root)
	@packaging/install-deps test
	@tests/corpus/matrix

kernels: ## ask the daemon here and on Debian's 5.10, 6.1, 6.12, 7.3 and newest what each has, and write docs/kernels.md (root)
	@packaging/install-deps test
	@tests/kernels/matrix

matrix-arm64: ## build for arm64, run corpus, engine, kernel and daemon on an emulated one, and write docs/arm64.md (root; an hour)
	@packaging/install-deps arm64
	@tests/arm64/matrix

strangers: ## load what Debian's packages ship, and objects of MORE="FOLDER...", and write docs/strangers.md (root)
	@packaging/install-deps test
	@tests/strangers/run $(MORE)

packages: ## .deb and .rpm of daemon, tools and gallery, with bills of materials and checksums: target/packages
	@packaging/install-deps packages
	packaging/compile build --locked --release -p bpfmand -p bpfman-session -p bpfman-worker -p bpfman
	packaging/compile build --locked --release --manifest-path examples/Cargo.toml -p bpfman-examples
	packaging/compile build --locked --release -p bpfman-operator --bin kubectl-bpfman
	@$(MAKE) --no-print-directory -C examples
	@packaging/all

dist: packages ## a release: archives, repositories for apt and rpm, images, chart, install.sh: target/dist (root; KEY=… of gpg, ARCHITECTURES="amd64 arm64")
	@packaging/install-deps dist
	@packaging/release/build $(if $(KEY),-k $(KEY)) $(ARCHITECTURES:%=-a %)

reproducible: ## build the binaries twice, in two folders, and compare them and their packages (an hour on two cores)
	@packaging/install-deps packages
	@tests/packages/reproducible

test-package: build ## install, upgrade, remove and purge the Debian package in a machine of its own (root; minutes)
	@packaging/install-deps test
	cargo build --locked -p bpfman-operator --bin kubectl-bpfman
	$(sides_built)
	@$(MAKE) --no-print-directory -C examples
	@tests/vm/package/run

upgrade: ## upgrade to this build and back, with programs and traffic running, from an older commit (root; FROM=…)
	@tests/upgrade $(FROM)

kube-up: ## a Kubernetes control plane to try things on: target/kube/here (root); tests/kube/kubectl talks to it
	@packaging/install-deps kube
	@tests/kube/build
	@tests/kube/up $(target)/kube/here --full
	@echo "try: tests/kube/kubectl $(target)/kube/here get nodes"

kube-down: ## take it down again, and what tests left
	@tests/kube/down $(target)/kube/here
	@for shared in $(target)/kube/shared*/; do tests/kube/down $$shared; done

kube-update: ## take the Kubernetes of tests/kube/modules, and what its node needs, to the newest patch release
	@tests/kube/update

test-kube: ## the tests that need a Kubernetes API server (root; BPFMAN_KUBE=… for one of your own, see tests/kube/build)
	@packaging/install-deps test
	@.ci/test kube

# Images for the tests on a node, and those tests.
node_images := $(target)/node-images
sides := $(patsubst examples/%/cluster.yaml,%-side,$(wildcard examples/*/cluster.yaml))
node_tests := BPFMAN_IMAGES=$(node_images) cargo nextest run --workspace --locked -E 'package(bpfman-cluster-tests) & binary(node)'

test-kube-node: ## a real node with our packaged images, from manifest to map in a pod (root; builds static binaries; OPTIMIZED=yes)
	@packaging/install-deps test
	@tests/kube/build
	@packaging/containers/build $(if $(OPTIMIZED),,-d) -p bpfman.test -t test -o $(node_images) daemon operator cni $(sides)
	$(node_tests)

measure-node: ## memory and apply to attached on a real node, in optimized images; docs/scale.md (root)
	@packaging/install-deps test
	@tests/kube/build
	@packaging/containers/build -p bpfman.test -t test -o $(node_images)
	$(node_tests) --run-ignored only --no-capture

images-oci: ## daemon, operator and CNI plugin as container images: target/images (PREFIX=… TAG=… ARCHITECTURES="amd64 arm64" IMAGES="flows-side profiler-side")
	@packaging/containers/build $(if $(PREFIX),-p $(PREFIX)) $(if $(TAG),-t $(TAG)) $(ARCHITECTURES:%=-a %) $(IMAGES)

manifests: ## write what packaging/kubernetes has of the program itself
	cargo build --locked -p bpfman-operator
	@f=packaging/kubernetes/base/crds.yaml && { grep '^#' $$f; $(target)/debug/bpfman-operator crds; } > $(target)/crds.yaml && mv $(target)/crds.yaml $$f

chart: ## write what packaging/helm/bpfman has of packaging/kubernetes
	@packaging/helm/generate

fleet: ## 1,000 simulated nodes on a real API server: what they ask and write (root; NODES=…, FLEET="flags"); docs/scale.md
	@packaging/install-deps kube
	@tests/kube/build
	cargo build --locked --release -p bpfman-operator -p bpfman-fleet --bins
	$(target)/release/bpfman-fleet --nodes $(or $(NODES),1000) $(FLEET)

fleet-5000: ## the same with 5,000 nodes of two applications, in as many processes as their open files take (root)
	@$(MAKE) --no-print-directory fleet NODES=5000 FLEET="--applications 2 --patience 3600 $(FLEET)"

client-v0.6: ## drive the daemon with the client crate published for v0.6.0 (root)
	@.ci/test client

import-v0.6: build ## take over what the crate published for v0.6.0 loaded and attached, in a virtual machine (root)
	@tests/import-v0.6/run

reboot: build ## reboot a machine that has the package 20 times, and cut its power 20 times, under clients (root; ROUNDS=…, SEED=…)
	@tests/vm/reboot/run -n $(or $(ROUNDS),20) $(if $(SEED),-s $(SEED))

million-events: build ## a million events past the journal, with a follower, one that reads nothing and one that comes late (root; EVENTS=…)
	EVENTS=$(or $(EVENTS),1000000) cargo test --locked -p bpfman-tests --test system -- --nocapture event_flood::

flood: build ## change chains 1,000 times under a flood of packets and look at each (root; CHANGES=…, SEED=…)
	FLOOD_CHANGES=$(or $(CHANGES),1000) $(if $(SEED),FLOOD_SEED=$(SEED)) \
		cargo test --locked -p bpfman-tests --test system -- --nocapture --test-threads 1 flood::no_datagram

reboot-gallery: build ## all entries of the gallery on a machine of its own: the daemon killed, restarted, the machine rebooted (root; minutes)
	@packaging/install-deps test
	$(sides_built)
	@$(MAKE) --no-print-directory -C examples
	@tests/vm/gallery/run

simulate: ## play schedules of failures, kills and reboots on the simulated kernel: 1,000,000, or SCHEDULES=…, from seed FROM=…; SEED=… one of them
	$(if $(SEED),SIMULATE_SEED=$(SEED),SIMULATE_SCHEDULES=$(or $(SCHEDULES),1000000) SIMULATE_FROM=$(or $(FROM),0)) \
		cargo test --locked --release -p bpfmand-engine --test engine -- --nocapture simulation::

kill-loop: build ## kill the daemon and its starts 2,000 times under clients and traffic, wiping the bpffs in every second round (root; ROUNDS=…, SEED=…, TC=clsact, UNNAMED=yes, COPIED=yes)
	KILL_ROUNDS=$(or $(ROUNDS),2000) $(if $(SEED),KILL_SEED=$(SEED)) $(if $(TC),KILL_TC=$(TC)) $(if $(UNNAMED),KILL_UNNAMED=$(UNNAMED)) \
		$(if $(COPIED),KILL_COPIED=$(COPIED)) \
		cargo test --workspace --locked --test system -- --nocapture --test-threads 1 kill_loop::kills_at_any_time

run-as-kills: build ## kill receivers and daemons under running sessions of `bpfman run-as` 500 times (root; ROUNDS=…)
	KILL_ROUNDS=$(or $(ROUNDS),500) cargo test --workspace --locked --test system -- --nocapture --test-threads 1 run_as::life::kills

run-as-attacks: build ## race 1,000,000 calls of each attack against `bpfman run-as` (root; ROUNDS=…)
	BPFMAN_TEST_ROUNDS=$(or $(ROUNDS),1000000) cargo test --workspace --locked --test system -- --nocapture run_as::hostile::

run-as-matrix: ## run 150 commands as root, without rights and by `bpfman run-as`, here and on 6.1, 6.12 and 7.3, and write docs/run-as-matrix.md (root; two hours)
	@packaging/install-deps run-as
	@tests/run-as/matrix $(KERNELS)

kill-loop-kube: ## kill agent, controller and daemon in 200 rounds of changes of applications on a real API server (root; ROUNDS=…, SEED=…)
	@packaging/install-deps test
	@tests/kube/build
	cargo build --workspace --locked --bins --test real
	KILL_ROUNDS=$(or $(ROUNDS),200) $(if $(SEED),KILL_SEED=$(SEED)) \
		cargo test --workspace --locked --test real -- --nocapture kill_loop::

fuzz: ## fuzz whatever reads what others wrote, for MINUTES=10 each (TARGETS="objects requests …" to choose); tests/fuzz
	@packaging/install-deps test
	FUZZ_PROFILE=release tests/fuzz/run -s $$((60 * $(or $(MINUTES),10))) $(TARGETS)

fuzz-chain: ## random chains against their members alone, for MINUTES=5 (root; SEED=… repeats a round)
	FUZZ_MINUTES=$(or $(MINUTES),5) $(if $(SEED),FUZZ_SEED=$(SEED)) \
		cargo test --locked -p bpfmand-kernel --test oracle -- --ignored --nocapture --exact fuzz::fuzz

fuzz-headers: ## random chains that parse headers once against their members alone: 7,000 of each hook, or CHAINS=… (root; SEED=…)
	$(if $(CHAINS),HEADERS_CHAINS=$(CHAINS)) $(if $(SEED),HEADERS_SEED=$(SEED)) \
		cargo test --locked -p bpfmand-kernel --test oracle -- --ignored --nocapture --exact headers::fuzz

many-hooks: ## three programs at 5,000 simulated interfaces and at 1,000 veths: minutes (root)
	BPFMAN_MANY_HOOKS=5000 cargo nextest run --locked -p bpfmand-engine --no-capture -E 'test(simulated_programs_live_at_many)'
	BPFMAN_MANY_HOOKS=1000 cargo nextest run --locked -p bpfmand-engine --no-capture -E 'test(linux_programs_live_at_many)'

bench: ## measure; JSON lines to target/bench (root; CASES="calls crowd audit hooks scale packets growth guards images large object-readers readers maps metrics top weight" to choose)
	cargo build --locked --release -p bpfmand -p bpfman-session -p bpfman-worker -p bpfman
	cargo build --locked --release --manifest-path benches/Cargo.toml
	$(target)/release/bpfman-bench $(CASES)

bench-rival: ## measure calls beside another daemon that speaks bpfman.v1, in turns, with ratios; target/bench/rival.json (root; RIVAL=SOCKET LOADED=500)
	cargo build --locked --release -p bpfmand -p bpfman-session -p bpfman-worker
	cargo build --locked --release --manifest-path benches/Cargo.toml
	$(if $(LOADED),LOADED=$(LOADED)) $(target)/release/bpfman-bench rival "$(or $(RIVAL),$(error RIVAL=SOCKET is missing: the socket of the other daemon))"

run-as-recipes: ## run the recipes of docs/run-as.md as root and by `bpfman run-as`, with their narrow grants, and compare (root)
	@packaging/install-deps run-as
	@tests/run-as/recipes

bench-run-as: ## measure calls and starts of commands natively and by `bpfman run-as`, in turns (root; ROUNDS=20)
	@packaging/install-deps run-as
	cargo build --locked --release -p bpfmand -p bpfman-session -p bpfman-worker -p bpfman
	@tests/run-as/bench $(target)/release $(ROUNDS)

bench-chain: ## measure what chains cost a packet, and every other way; target/bench/chain.json and chain.svg (root)
	$(if $(ROUNDS),BENCH_ROUNDS=$(ROUNDS)) cargo bench --locked -p bpfmand-kernel --bench chain

bench-entries: ## measure how long each entry of the gallery takes to apply, pulled and from the cache; target/bench/entries.json (root; ROUNDS=5)
	@packaging/install-deps gallery
	cargo build --locked --release -p bpfmand -p bpfman-session -p bpfman-worker -p bpfman
	@$(MAKE) --no-print-directory -C examples
	benches/entries $(ROUNDS)

bench-gallery: ## measure entries of the gallery beside what they replace; target/bench/gallery-* (root; ENTRIES="firewall" ROUNDS=6 PROFILE=dev)
	@packaging/install-deps bench
	@$(MAKE) --no-print-directory -C examples
	cargo build --locked --profile $(or $(PROFILE),release) -p bpfmand -p bpfman-session -p bpfman-worker -p bpfman
	BENCH_ENTRIES="$(ENTRIES)" $(if $(ROUNDS),BENCH_ROUNDS=$(ROUNDS)) \
		cargo bench --locked --manifest-path examples/Cargo.toml --profile $(or $(PROFILE),bench) -p bpfman-examples --bench gallery

bench-ipvs: ## measure the gallery's balancer beside IPVS on Debian's 6.12; target/bench/gallery-ipvs.json (root; minutes; ROUNDS=5)
	@packaging/install-deps test
	@$(if $(ROUNDS),BENCH_ROUNDS=$(ROUNDS)) tests/vm/ipvs

book: ## a book of all pages: target/book/html/index.html, each of its links checked
	@packaging/install-deps book
	@PATH="$(PATH):$(HOME)/.cache/bpfman-tools/bin" docs/book/build

man: build ## manual pages and completions: target/man, target/completions
	$(target)/debug/bpfman man $(target)/man
	$(target)/debug/bpfman completions $(target)/completions

clean: ## remove everything that was built
	rm -rf $(target) tests/client-v0.6/target
