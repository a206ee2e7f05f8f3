# The whole project in five verbs: run, test, bench, image, deb.
#
#   make run     builds the page and the gateway, starts it with two demo accounts; Ctrl-C ends it
#   make test    sets up what it needs and runs every check and test; the last line sums them up
#   make bench   prints CPU per packet (also transcoded) and memory per call of the relay, and one round of all of make bench-signaling:
#                CPU per REGISTER and call, memory per browser and contact, ours beside Kamailio's where that is installed, and what
#                the database costs
#   make image   builds the container image causeway:VERSION; make image-test has it carry real calls
#   make deb     builds the Debian package in target/; make deb-test installs it in a clean Debian
#
# make fuzz gives every parser inputs that nobody meant, SECONDS=60 for each (TARGETS="sdp stun": only these);
# and make peer-tests RTPENGINE_SRC=CHECKOUT runs rtpengine's own tests against the relay.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

# The arguments of `causeway run`: make run ARGS="--config causeway.toml"
ARGS ?= --demo
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)

# What the page is made of: everything in web-demo but what npm and the bundler put there.
PAGE_SOURCES := $(shell find web-demo -type f -not -path 'web-demo/node_modules/*' -not -path 'web-demo/dist/*' \
	-not -name '*.png' 2>/dev/null)

.PHONY: run test bench bench-signaling fuzz image image-test deb deb-test page build tools screenshot peer-tests

run: build
	@exec target/release/causeway run $(ARGS)

build: tools page
	@cargo build --release --locked --package causeway

page: tools web-demo/dist/.built

# npm writes the hidden lock file last, so its age tells whether the modules are those of package-lock.json.
web-demo/node_modules/.package-lock.json: web-demo/package.json web-demo/package-lock.json
	@cd web-demo && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

web-demo/dist/.built: web-demo/node_modules/.package-lock.json $(PAGE_SOURCES)
	@cd web-demo && npm run --silent build
	@touch $@

tools:
	@.ci/tools

test:
	@tests/run.sh

bench: tools page
	@cargo run --release --locked --package media --example relay_bench -- 200 10 1
	@cargo run --release --locked --package media-core --example transcode_bench
	@$(MAKE) bench-signaling ROUNDS=1 ROWS=$(or $(ROWS),all)

# More rounds make the medians steadier.
ROUNDS ?= 5
# ROWS=contacts measures the memory of 300,000 contacts, ROWS=keeping what the database of the default configuration costs, ROWS=all
# both, calls with a relay, and the rest, which takes some ten minutes; ROWS=basic the rest alone, as when nothing is said here.
ROWS ?=

bench-signaling: build
	@cargo run --release --locked --package e2e --example signaling_bench -- $(ROUNDS) $(ROWS)

SECONDS ?= 60
TARGETS ?=

fuzz: tools
	@tests/fuzz/run.sh "$(SECONDS)" $(TARGETS)

# PEER_ARGS="--only main-0" runs some of them.
peer-tests: tools
	@RTPENGINE_SRC="$(RTPENGINE_SRC)" tests/peers/rtpengine/run.sh $(PEER_ARGS)

image: build
	@command -v docker >/dev/null || { echo "docker is missing: apt-get install docker.io"; exit 1; }
	@cargo build --release --locked --package media --bin causeway-relay
	@deploy/docker/root.sh target/image.tar target/release/causeway target/release/causeway-relay
	DOCKER_BUILDKIT=1 docker build --build-arg ROOT=host --file deploy/docker/Dockerfile \
		--tag causeway:$(VERSION) --tag causeway:latest .

# The Debian package, for the release of this host and later ones.
deb: build
	@cargo build --release --locked --package media --bin causeway-relay
	@deploy/deb/build.sh target/release $(VERSION) target

# As root, and with debootstrap: installs, starts, upgrades and purges it in a clean Debian.
deb-test: deb
	@deploy/deb/test.sh target/release

# As root, where a Docker engine runs; CI has none, so the summary of make test counts these as skipped.
image-test: image
	@cargo test --locked --package e2e --test interop_container -- --ignored --test-threads=1

# The picture in README.md, taken by the interop tests from the real page in a call.
screenshot: tools page
	@cargo test --locked --package e2e --test interop_page -- --test-threads=1
	@cp target/screenshots/call-wide-dark.png web-demo/screenshot.png
