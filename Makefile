# Everything that a target needs beyond cargo, python3 and bash goes into .venv and target.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CARGO ?= cargo
PYTHON ?= python3
# As in the last deployment, if sam keeps its answers here.
saved = $(shell sed -nE 's/$(1)/\1/p' samconfig.toml 2>/dev/null | head -n 1)
ARCH ?= $(or $(call saved,.*Architecture=\\?"(arm64|x86_64).*),arm64)
EVENT ?= fixtures/events/s3-put.json
STACK ?= $(or $(call saved,^stack_name *= *"(.*)"),cloudtrail-alerter)
TARGET ?= log_file
SECONDS ?= 600

VENV := .venv/bin
SAM := .venv/sam/bin/sam
CARGO_LAMBDA := $(VENV)/cargo-lambda lambda
RUST_TARGET = $(if $(filter arm64,$(ARCH)),aarch64,$(ARCH))-unknown-linux-gnu
FUZZ := target/fuzz-tools/bin
SEEDS_log_file := fixtures/logs
SEEDS_payload := fixtures/events
SEEDS_configuration := fuzz/seeds/configuration
PURE := event log_file object record filter configuration packs triage alert advice

# SAM and cargo-lambda find cargo-lambda and zig here. Neither may call home.
export PATH := $(CURDIR)/$(VENV):$(PATH)
export SAM_CLI_TELEMETRY := 0
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

.PHONY: demo
demo: release .venv/ready ## deploy onto a local AWS, drop a CloudTrail log there and show the alerts
	$(VENV)/python tests/local_aws/demo.py

.PHONY: test
test: .venv/ready ## run all tests (REAL_LOGS=folder adds real CloudTrail logs)
	$(CARGO) test --locked
	$(MAKE) release
	$(VENV)/pytest -p no:cacheprovider -ra tests/local_aws benches/instructions.py

.PHONY: lint
lint: pure .venv/ready .venv/sam/ready ## check format, lints, purity, the template, the workflows and the Python code
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(VENV)/ruff check --no-cache --line-length 120 --select E,F,I,B,UP --target-version py310 tests benches
	AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint
	$(VENV)/actionlint .github/workflows/*.yml

.PHONY: pure
pure: ## check that what decides on alerts knows no AWS, clock, environment or async
	@for file in $(PURE:%=src/%.rs); do \
	  test -f $$file; \
	  if sed -E '/^#\[cfg\(test\)\]/,$$d; s,//.*,,' $$file \
	    | grep -nE 'aws_|tokio|\<(async|await)\>|\<env(::|!)|SystemTime|Instant|std::(fs|net|process|thread)'; \
	  then echo "$$file is to be pure" >&2; exit 1; fi; \
	done

.PHONY: release
release:
	@echo "Building the release binary (the first time takes minutes)"
	$(CARGO) build --locked --release

.PHONY: build
build: .venv/ready ## package for Lambda: target/lambda/cloudtrail-alerter-$ARCH.zip (ARCH=arm64 or x86_64)
	if command -v rustup >/dev/null; then rustup target add $(RUST_TARGET); fi
	$(CARGO_LAMBDA) build --release --locked --target $(RUST_TARGET) --output-format zip
	cp target/lambda/cloudtrail-alerter/bootstrap.zip target/lambda/cloudtrail-alerter-$(ARCH).zip
	@ls -l target/lambda/cloudtrail-alerter-$(ARCH).zip

.PHONY: watch
watch: .venv/ready ## run the function under cargo lambda watch, with a local AWS that holds the fixtures
	$(VENV)/python tests/local_aws/watch.py $(CARGO_LAMBDA)

.PHONY: invoke
invoke: .venv/ready ## invoke the watched function (EVENT=file)
	$(CARGO_LAMBDA) invoke cloudtrail-alerter --data-file $(EVENT)

.PHONY: bench
bench: release .venv/ready ## measure, beside gzip, jq, Python and Node (REAL_LOGS=folder adds a log of real records)
	$(VENV)/python benches/bench.py

.PHONY: bench-record
bench-record: release .venv/ready ## record the instructions of scanning, which make test holds it to
	$(VENV)/python benches/instructions.py

.PHONY: fuzz
fuzz: $(FUZZ)/cargo-fuzz ## fuzz TARGET=log_file, payload or configuration for SECONDS=600
	mkdir -p fuzz/corpus/$(TARGET)
	cp $(SEEDS_$(TARGET))/*.json fuzz/corpus/$(TARGET)/
	cp Cargo.lock fuzz/
	PATH="$(CURDIR)/$(FUZZ):$$PATH" $(CARGO) fuzz run --sanitizer none $(TARGET) -- \
	  -max_total_time=$(SECONDS) -max_len=8192 -timeout=20 -print_final_stats=1

$(FUZZ)/cargo-fuzz:
	$(CARGO) install --quiet --locked cargo-fuzz@0.13.2 --root target/fuzz-tools

DEPLOY = $(SAM) deploy --guided --stack-name $(STACK) --capabilities CAPABILITY_IAM

.PHONY: deploy
deploy: .venv/ready .venv/sam/ready ## build and deploy into your AWS account, asking for the parameters
	if command -v rustup >/dev/null; then rustup target add $(RUST_TARGET); fi
	$(SAM) build --parameter-overrides Architecture=$(ARCH)
	@# Told one parameter, sam forgets what samconfig.toml keeps of the others.
	if [ -f samconfig.toml ]; then \
	  sed -i.old -E 's/(Architecture=\\?")(arm64|x86_64)/\1$(ARCH)/' samconfig.toml && rm samconfig.toml.old && $(DEPLOY); \
	else $(DEPLOY) --parameter-overrides Architecture=$(ARCH); fi
	@if [ -f samconfig.toml ] && ! grep -qE 'Architecture=\\?"$(ARCH)' samconfig.toml; then \
	  echo "It was built for $(ARCH) and deployed for another processor: run make deploy again" >&2; exit 1; fi

.PHONY: redrive
redrive: .venv/ready ## process again what is in the dead-letter queue of STACK, in your AWS account
	$(VENV)/python tests/ops/redrive.py $(STACK)

.PHONY: clean
clean: ## remove all that was built or installed
	rm -rf target .aws-sam .venv fuzz/target fuzz/corpus fuzz/artifacts

.venv/ready: tests/local_aws/requirements.txt
	@echo "Installing what is needed into .venv"
	$(PYTHON) -m venv .venv
	$(VENV)/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.venv/sam/ready: tests/local_aws/requirements-sam.txt
	@echo "Installing the SAM CLI into .venv/sam"
	$(PYTHON) -m venv .venv/sam
	.venv/sam/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
