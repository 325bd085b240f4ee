# Targets for users: demo, demo-multinode. For developers: test, clients, lint, bench, faults, soak. Each makes what it
# needs in .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.PHONY: demo demo-multinode test clients lint bench faults soak docs clean

# ENGINE=docker: in containers, of an image built from examples/montecarlo/Dockerfile (BASE=IMAGE for another base).
demo: $(VENV)/.montecarlo
	$(BIN)/python examples/montecarlo/demo.py $(if $(ENGINE),--engine $(ENGINE)) $(if $(BASE),--base $(BASE)) \
		$(if $(IMAGE),--image $(IMAGE)) $(DEMO_ARGS)

demo-multinode: $(VENV)/.multinode
	$(BIN)/python examples/multinode/demo.py $(DEMO_ARGS)

# BATCHYARD_TEST_PROFILE=ci makes the random tests look as long as CI does.
test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

# Clients of AWS Batch that some tests run, each in an environment of its own (.venv-clients).
clients: $(VENV)/.test
	$(BIN)/python -m tests.clients.environments

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.test
	$(BIN)/python -m bench $(BENCH_ARGS)

# Faults (docs/faults.md): SEED=n tells one story, SEEDS=n is the long form, SWEEP=n dies at each place of one seed.
faults: $(VENV)/.test
ifneq ($(SEED)$(SEEDS)$(SWEEP),)
	$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) $(if $(CRASH),--crash '$(CRASH)') \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(BASE),--base $(BASE)) $(if $(SWEEP),--sweep $(SWEEP))
else
	$(BIN)/python -m pytest tests/faults tests/acceptance/test_crash_points.py tests/acceptance/test_real_faults.py \
		-n auto --dist worksteal $(PYTEST_ARGS)
endif

# Writes docs/soak.md, docs/soak.png and docs/soak.csv; the machine should have nothing else to do.
soak: $(VENV)/.test
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30) $(SOAK_ARGS)

docs: $(VENV)/.test
	$(BIN)/python tools/generate_docs.py

clean:
	rm -rf $(VENV) .venv-clients .venv-bench .mypy_cache .ruff_cache .import_linter_cache .hypothesis demo-output

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Batchyard needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# One stamp per set of extras: installing again after pyproject.toml changed, and not otherwise.
$(VENV)/.montecarlo: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[montecarlo]'
	touch $@

$(VENV)/.multinode: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[multinode]'
	touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/.lint: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[lint]'
	touch $@
