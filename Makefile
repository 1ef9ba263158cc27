# Every target has its meaning behind `##`; `make help` prints them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BINARY := cargo run --locked --quiet --package profile-service --
NEXTEST := scripts/cargo-tool nextest
# Everything that needs PostgreSQL, Redis or RabbitMQ has it in the name of its package, test binary or test.
NO_SERVERS := not (package(profile-postgres) or package(profile-redis) or binary(/postgres|redis|rabbitmq/) or test(/postgres|redis|rabbitmq/))

.PHONY: help
help: ## lists every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: setup ## builds the service and serves it on http://127.0.0.1:8080, with its data in ./data
	@$(BINARY) serve

.PHONY: demo
demo: setup ## serves a few hundred generated profiles, and prints calls to try
	@$(BINARY) demo

.PHONY: build
build: setup ## builds what is deployed: target/release/profile-service
	cargo build --locked --release --package profile-service

.PHONY: test
test: setup-tests ## runs every test, with private servers: PostgreSQL unless TEST_POSTGRES_URL names one, Redis and RabbitMQ
	@cargo test --locked --quiet --workspace --doc
	@scripts/with-postgres $(NEXTEST) run --locked --workspace

.PHONY: test-fast
test-fast: setup-tests ## runs every test that needs no server
	$(NEXTEST) run --locked --workspace --filterset '$(NO_SERVERS)'

.PHONY: soak
soak: setup-tests ## runs every test with counts and lengths as written, which takes long
	TEST_SCALE=1 scripts/with-postgres $(NEXTEST) run --locked --workspace --profile soak

.PHONY: bench
bench: setup ## measures against bare programs and writes BENCHMARKS.md; CASE=get runs what begins so (BENCH_SECONDS, BENCH_ROUNDS, BENCH_SCALE)
	cargo build --locked --release --package profile-service --package profile-bench
	@scripts/with-postgres target/release/profile-bench run $(CASE)

.PHONY: check
check: fmt lint docs deny layers generated ## format, lints, docs, dependencies, layers, generated files

.PHONY: fmt
fmt: setup ## refuses code that `cargo fmt` would change
	cargo fmt --all --check

.PHONY: lint
lint: setup ## refuses warnings of the compiler and of clippy
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: docs
docs: setup ## refuses warnings of the documentation
	@# Whoever reads these pages works on the code, so they show what is private and may link to it.
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" \
		cargo doc --locked --workspace --no-deps --document-private-items

.PHONY: deny
deny: setup ## refuses drivers outside their adapter, other licenses and sources (deny.toml)
	scripts/cargo-tool deny --locked check --hide-inclusion-graph bans licenses sources

.PHONY: layers
layers: setup ## refuses arrows between crates that the map in ARCHITECTURE.md lacks
	@scripts/layers.py

.PHONY: generate
generate: setup ## writes README's table of settings, .env.example and docs/openapi.json anew
	@cargo build --locked --quiet --package profile-service
	@scripts/generate.py

.PHONY: generated
generated: setup ## refuses generated files that `make generate` would change
	@cargo build --locked --quiet --package profile-service
	@scripts/generate.py --check

.PHONY: clean
clean: ## removes what was built; data stays
	cargo clean

# Says what is missing, before anything fails for a reason that names it less clearly.
.PHONY: setup setup-tests
setup:
	@scripts/setup
# README's calls are made with curl. What the tests use of Python, Redis and RabbitMQ are fetched before they begin, whose time is limited.
setup-tests:
	@scripts/setup curl python3-venv
	@scripts/redis-server --version >/dev/null
	@scripts/rabbitmq-server --version >/dev/null
	@scripts/schemathesis --version >/dev/null
