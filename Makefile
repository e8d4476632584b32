# Every target sets up what it needs: a fresh machine with Python >= 3.11 and pip is enough.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_OPTIONS)
TORCH := $(shell grep '^torch==' constraints.txt)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo race-quick test lint docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.dev ## Grow a network on scikit-learn's digits, into runs/demo
	rm -rf runs/demo
	$(BIN)/neuroexapt grow digits --seed 0 --out runs/demo

race-quick: $(VENV)/.dev ## Race growing networks against others on digits, into runs/race-quick
	rm -rf runs/race-quick
	$(BIN)/python benchmarks/race run --quick

test: $(VENV)/.dev ## Run the tests and the doctests
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(VENV)/.dev ## Check style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/.docs ## Build the documentation, warnings as errors, into docs/_build
	$(BIN)/sphinx-build -E -W --keep-going --quiet docs docs/_build

clean: ## Remove caches and build outputs; keep .venv and runs
	rm -rf dist docs/_build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(PIP) -c constraints.txt $(TORCH)
	$(PIP) -c constraints.txt -e ".[dev]"
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(PIP) -c constraints.txt -e ".[docs]"
	@touch $@

# Some systems ship Python without ensurepip; there the system's own pip puts pip into the environment.
$(BIN)/pip:
	@for python in python3.13 python3.12 python3.11 python3 python; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "creating $(VENV) with $$($$python --version)"; \
	        $$python -m venv $(VENV) || { \
	            $$python -m venv --clear --without-pip $(VENV) && \
	            $$python -m pip --python $(BIN)/python install -qq pip; \
	        }; \
	        exit; \
	    fi; \
	done; \
	echo "make: no Python >= 3.11 found on PATH; install one, then run make again" >&2; exit 1
