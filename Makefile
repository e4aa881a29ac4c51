# Every target works in a fresh clone. `make` alone explains them.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.set-up
# One arithmetic thread a process: the tests run two processes, and results do not depend on the number of cores.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMEXPR_NUM_THREADS=1
EXPERIMENTS := $(subst _,-,$(filter-out __init__,$(basename $(notdir $(wildcard suite/experiments/*.py)))))
ALL_EXTRAS := --extra all --extra bench --extra dev

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench prove docs lock

help: ## explain the targets
	@echo "make setup   virtual environment .venv with the locked dependencies and this project (once; then instant)"
	@echo "make demo    set-up, then the hub with every app in a browser"
	@echo "make test    set-up, then the tests in two processes (but those of make prove), with the twenty slowest"
	@echo "make check   set-up, then style, types, import contracts, house rules, measured numbers"
	@echo "make bench   time the suite and write docs/measured/*.json"
	@echo "make prove   run the slow tests and the experiments behind the claims (hours; a proof that was stopped goes on or starts again)"
	@echo "make docs    fill README and docs from docs/measured/*.json"
	@echo "make lock    resolve the dependencies again (maintainers; needs the network)"

setup: $(STAMP)

# The venv's pip installs uv and uv installs the rest; both check every hash.
$(BIN)/uv:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "$(PYTHON) is not on the PATH; install Python 3.11 or say: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/uv.txt

$(STAMP): pyproject.toml requirements/lock.txt | $(BIN)/uv
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes --requirement requirements/lock.txt
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: setup
	$(BIN)/suite hub --open

test: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal --durations=20 tests

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m suite.measured --check
	$(BIN)/python -m suite.ledger_page --check
	$(BIN)/python -m pytest -q tests/house

bench: setup
	@for script in $(wildcard benchmarks/*.py); do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done
	$(BIN)/python -m suite.measured

# The slow tests, then each paper's experiment, then the experiments over whole apps; pytest says 5 when it has no test.
prove: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -m prove tests || test $$? -eq 5
	@for name in $(EXPERIMENTS); do echo "== $$name"; $(BIN)/suite papers run "$$name" --out results || exit 1; done
	@for script in $(wildcard benchmarks/proof/*.py); do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done
	$(BIN)/python -m suite.measured

docs: setup
	$(BIN)/python -m suite.measured
	$(BIN)/python -m suite.ledger_page

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock"
lock: | $(BIN)/uv
	$(COMPILE) $(ALL_EXTRAS) --output-file requirements/lock.txt pyproject.toml
	grep -E '^uv==' requirements/lock.txt | cut -d ' ' -f 1 | $(COMPILE) --no-deps --output-file requirements/uv.txt -
