# The targets need cargo, a C compiler, python3 and bash. Everything else is installed into .venv and target.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CARGO ?= cargo
PYTHON ?= python3
# Reads an answer from the last deployment, if sam has saved it.
saved = $(shell sed -nE 's/$(1)/\1/p' samconfig.toml 2>/dev/null | head -n 1)
ARCH ?= $(or $(call saved,.*Architecture=\\?"(arm64|x86_64).*),arm64)
EVENT ?= fixtures/events/s3-put.json
STACK ?= $(or $(call saved,^stack_name *= *"(.*)"),cloudtrail-alerter)
REGION ?= $(call saved,^region *= *"(.*)")
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
PURE := src/log src/rules src/alert src/memory src/evaluate.rs

# SAM finds cargo-lambda, and cargo-lambda finds zig, in PATH. SAM's telemetry is off.
export PATH := $(CURDIR)/$(VENV):$(PATH)
export SAM_CLI_TELEMETRY := 0
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

.PHONY: demo
demo: debug .venv/ready ## deploy to a local AWS, upload a CloudTrail log and show the alerts
	$(VENV)/python tools/demo.py

.PHONY: test
test: debug .venv/ready ## run all tests (REAL_LOGS=folder adds your own CloudTrail logs)
	@echo "Running the tests in Rust (usually 6 minutes)"
	$(CARGO) test --locked
	@echo "Comparing rules and the schema with Python (usually 1 minute)"
	$(VENV)/pytest -n 2 tests/rules
	@echo "Running the tests on a local AWS (usually 6 minutes)"
	$(VENV)/pytest -n 2 --dist loadfile tests/local_aws
	@echo "Looking at the report in a browser (usually 1 minute; skipped without Chromium)"
	$(VENV)/pytest -rs tests/browser

.PHONY: mutants
mutants: debug .venv/ready ## change the packs' rules a little, and expect their tests to fail
	@echo "Changing each rule in every way (usually 2 minutes)"
	$(VENV)/python tools/mutants.py

.PHONY: instructions
instructions: release .venv/ready ## compare the number of instructions of a scan with the recorded number
	@echo "Counting instructions (usually 1 minute)"
	$(VENV)/pytest tests/instructions

.PHONY: lint
lint: pure .venv/ready .venv/sam/ready .venv/validators/ready ## check formatting, lints, purity, the template, the workflows and the Python code
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(VENV)/ruff check --no-cache --line-length 120 --select E,F,I,B,UP --target-version py310 tests tools benches
	$(VENV)/actionlint .github/workflows/*.yml
	AWS_DEFAULT_REGION=us-east-1 $(SAM) validate
	@echo "Holding the template against cfn-lint, checkov, cfripper and cdk-nag (usually half a minute)"
	PYTHONDONTWRITEBYTECODE= .venv/validators/bin/python tools/validate_template.py

.PHONY: pure
pure: ## check that log, rules, alert, memory and evaluate use no AWS, clock, environment or async
	@files=$$(find $(PURE) -name '*.rs'); \
	for file in $$files; do \
	  if sed -E '/^#\[cfg\(test\)\]/,$$d; s,//.*,,' $$file \
	    | grep -nE 'aws_|crate::aws|tokio|\<(async|await)\>|\<env(::|!)|SystemTime|Instant|std::(fs|net::[^I]|process|thread)'; \
	  then echo "$$file must not use AWS, the clock, the environment or async" >&2; exit 1; fi; \
	done

# `make demo` and `make test` use the same build. It is made for tests, because cargo gives dependencies more features
# there. After a `cargo build`, it would compile many dependencies again.
.PHONY: debug
debug:
	@echo "Building the program and its tests (usually 2 to 3 minutes on two cores the first time, then seconds)"
	$(CARGO) test --locked --no-run

.PHONY: release
release:
	@echo "Building the release binary (usually 6 minutes on two cores the first time, then 2 after each change)"
	$(CARGO) build --locked --release

.PHONY: build
build: .venv/build-ready ## build the package for Lambda: target/lambda/cloudtrail-alerter-$ARCH.zip (ARCH=arm64 or x86_64)
	@echo "Building for Lambda on $(ARCH) (usually 6 minutes on two cores the first time)"
	if command -v rustup >/dev/null; then rustup target add $(RUST_TARGET); fi
	$(CARGO_LAMBDA) build --release --locked --target $(RUST_TARGET) --output-format zip
	cp target/lambda/cloudtrail-alerter/bootstrap.zip target/lambda/cloudtrail-alerter-$(ARCH).zip
	@ls -l target/lambda/cloudtrail-alerter-$(ARCH).zip

# The template of a release takes the package from beside it, so that it can be deployed without building anything.
.PHONY: template
template: ## write target/lambda/cloudtrail-alerter-template-$ARCH.yaml, for the package of a release (ARCH=arm64 or x86_64)
	@mkdir -p target/lambda
	sed -E '/^ +(LicenseUrl|ReadmeUrl): /d; s/^( +CodeUri: )\.$$/\1cloudtrail-alerter-lambda-$(ARCH).zip/; /^  Architecture:$$/,/Default:/s/(Default: )arm64/\1$(ARCH)/' \
	  template.yaml > target/lambda/cloudtrail-alerter-template-$(ARCH).yaml

.PHONY: wheel
wheel: release .venv/ready ## build the Python package of the command line, and try it: target/wheels
	@echo "Building the Python package (usually half a minute)"
	rm -rf target/wheels
	$(VENV)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir target/wheels \
	  --config-settings build-args=--locked .
	$(VENV)/pytest tests/wheel

.PHONY: watch
watch: .venv/build-ready ## run the function locally with cargo lambda watch, on a local AWS that holds the fixtures
	$(VENV)/python tools/watch.py $(CARGO_LAMBDA)

.PHONY: invoke
invoke: .venv/build-ready ## send an event to the function that make watch runs (EVENT=file)
	$(CARGO_LAMBDA) invoke cloudtrail-alerter --data-file $(EVENT)

.PHONY: bench
bench: release .venv/ready ## measure speed and size against gzip, jq, DuckDB, Python and Node (REAL_LOGS=folder adds your logs and updates the manual)
	@echo "Measuring (usually a quarter of an hour; leave the machine alone)"
	PYTHONPATH=tools:tests/instructions $(VENV)/python benches/bench.py

.PHONY: bench-record
bench-record: release .venv/ready ## record the number of instructions of a scan, for make instructions
	@echo "Counting instructions (usually 1 minute)"
	PYTHONPATH=benches $(VENV)/python tests/instructions/test_instructions.py

.PHONY: fuzz
fuzz: $(FUZZ)/cargo-fuzz ## fuzz one target (TARGET=log_file, payload or configuration; SECONDS=600)
	mkdir -p fuzz/corpus/$(TARGET)
	cp $(SEEDS_$(TARGET))/*.json fuzz/corpus/$(TARGET)/
	cp Cargo.lock fuzz/
	PATH="$(CURDIR)/$(FUZZ):$$PATH" $(CARGO) fuzz run --sanitizer none $(TARGET) -- \
	  -max_total_time=$(SECONDS) -max_len=8192 -timeout=20 -print_final_stats=1

$(FUZZ)/cargo-fuzz:
	$(CARGO) install --quiet --locked cargo-fuzz@0.13.2 --root target/fuzz-tools

DEPLOY = $(SAM) deploy --guided --stack-name $(STACK) --capabilities CAPABILITY_IAM

.PHONY: deploy
deploy: .venv/build-ready .venv/sam/ready ## build and deploy the function into your AWS account (asks for the parameters)
	if command -v rustup >/dev/null; then rustup target add $(RUST_TARGET); fi
	$(SAM) build --parameter-overrides Architecture=$(ARCH)
	@# If sam gets one parameter on its command line, it ignores all parameters in samconfig.toml.
	if [ -f samconfig.toml ]; then \
	  sed -i.old -E 's/(Architecture=\\?")(arm64|x86_64)/\1$(ARCH)/' samconfig.toml && rm samconfig.toml.old && $(DEPLOY); \
	else $(DEPLOY) --parameter-overrides Architecture=$(ARCH); fi
	@if [ -f samconfig.toml ] && ! grep -qE 'Architecture=\\?"$(ARCH)' samconfig.toml; then \
	  echo "The package is for $(ARCH), but the stack was deployed for the other architecture. Run make deploy again." >&2; exit 1; fi

.PHONY: redrive
redrive: .venv/ready ## process dead letters again, in your AWS account (STACK=name REGION=name QUEUE=url of another queue DISCARD=emails)
	$(if $(REGION),AWS_DEFAULT_REGION=$(REGION)) $(VENV)/python tools/redrive.py $(STACK) $(QUEUE) $(if $(DISCARD),--discard $(DISCARD))

.PHONY: calls
calls: .venv/ready ## collect the events and parameters that check knows from botocore, after an update of it
	$(VENV)/python tools/calls.py

.PHONY: clean
clean: ## delete everything that was built or installed
	rm -rf target .aws-sam .venv fuzz/target fuzz/corpus fuzz/artifacts

.venv/ready: tools/requirements.txt
	@echo "Installing Python packages into .venv (usually half a minute)"
	$(PYTHON) -m venv .venv
	$(VENV)/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.venv/build-ready: tools/requirements-build.txt .venv/ready
	@echo "Installing cargo-lambda and zig into .venv (usually half a minute)"
	$(VENV)/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.venv/sam/ready: tools/requirements-sam.txt
	@echo "Installing the SAM CLI into .venv/sam (usually a minute)"
	$(PYTHON) -m venv .venv/sam
	.venv/sam/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# pip does not compile, because most of aws-cdk-lib is never imported. The first run compiles what is.
.venv/validators/ready: tools/requirements-validators.txt
	@echo "Installing the template's validators into .venv/validators (usually a minute)"
	$(PYTHON) -m venv .venv/validators
	.venv/validators/bin/pip install --quiet --disable-pip-version-check --no-compile --requirement $<
	touch $@
