# Everything runs from the project's own virtual environment, .venv, made on first use from constraints.txt.

# The first of these that is Python 3.11 or newer, and can make environments, is used; `make PYTHON=...` chooses another.
USABLE = $(shell $(1) -c 'import ensurepip, sys; sys.version_info >= (3, 11) and print("$(1)")' 2>/dev/null)
PYTHON ?= $(firstword $(foreach python,python3.11 python3,$(call USABLE,$(python))))
# What to install beside nasc itself: `make venv EXTRAS=dev,tensorrt` on a machine with an NVIDIA GPU; with
# `EXTRAS=dev,tensorrt-rtx`, as .ci/run does, the tests that build TensorRT engines without a GPU run too.
EXTRAS ?= dev
BIN := .venv/bin
STAMP := .venv/.installed

# `make test PYTEST_ARGS="-k parser"` runs a part of the tests; two processes are right for two cores.
PYTEST_ARGS ?= -n 2

.DEFAULT_GOAL := help
.PHONY: help venv test demo lint format status clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## make or update the virtual environment in .venv

# torch comes first and by itself: the index's own wheel carries CUDA, which a machine with an NVIDIA GPU needs; where
# pip is set up to offer a CPU build of the same version, that one is taken instead.
# nasc itself is built with the pinned setuptools, so nothing that is not in constraints.txt gets in.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: nasc needs Python 3.11 or newer, with its venv module" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq setuptools torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install -qq --no-build-isolation -e '.[$(EXTRAS)]' -c constraints.txt
	@touch $@

# One thread each, as there are several processes: idle threads of libraries that wait for work slowed the suite down.
test: lint ## check style and types, then run the tests
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q $(PYTEST_ARGS)

demo: venv ## search, train and measure a small network from start to end
	$(BIN)/nasc demo --out build/demo

lint: venv ## check style and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: venv ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

status: venv ## write docs/status.md and the tables of docs/methods.md anew
	$(BIN)/python docs/status.py && $(BIN)/python docs/methods.py

clean: ## remove what was built, the virtual environment too
	rm -rf .venv build dist *.egg-info .coverage htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
