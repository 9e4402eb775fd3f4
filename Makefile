# Everything a contributor runs. Continuous integration (.ci/run) calls the same names.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# pip would compile every file of every package, most of which nobody imports. Importing the heavy
# ones afterwards compiles what counts in less time, and proves that the installation works.
PIP_INSTALL = $(BIN)/python -m pip install --no-compile -c constraints.txt
HEAVY := torch, transformers.models.gpt2.modeling_gpt2, scipy.stats, sklearn.linear_model, matplotlib.pyplot, pyarrow.parquet

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1

.PHONY: help setup demo test test-slow lint build clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## install the project and its pinned dependencies into .venv

demo: $(STAMP)  ## compare the roads on a built-in world; the report goes to runs/demo
	$(BIN)/allroads compare --world routes --out runs/demo

# Tests start many processes; each would compile again what none before it was allowed to keep.
test: $(STAMP)  ## run the fast tests (a selection: make test ARGS="-k stats")
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(STAMP)  ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(STAMP)  ## check style with ruff and types with pyright
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

build: $(STAMP)  ## build the sdist and the wheel into dist/
	rm -rf dist src/*.egg-info  # setuptools would take an old list of files from there
	$(BIN)/python -m build --outdir dist .

clean:  ## delete build products and caches; .venv and runs stay
	rm -rf build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# An interpreter that is missing, or a dangling link after an upgrade of the system's Python.
$(BIN)/python:
	$(make_venv)

# An installation that was interrupted leaves .unfinished behind, and the next one starts afresh.
$(STAMP): pyproject.toml constraints.txt $(BIN)/python
	@if [ -e $(VENV)/.unfinished ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  echo "the last installation did not finish: making $(VENV) anew"; \
	  $(MAKE) --no-print-directory fresh-venv; \
	fi
	@touch $(VENV)/.unfinished
	$(PIP_INSTALL) "$$(grep '^torch==' constraints.txt)"
	$(PIP_INSTALL) --quiet -e '.[dev]'
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c "import $(HEAVY)"
	@mv $(VENV)/.unfinished $(STAMP) && touch $(STAMP)

.PHONY: fresh-venv
fresh-venv:
	$(make_venv)

define make_venv
@command -v "$(PYTHON)" >/dev/null || { \
  echo "$(PYTHON) was not found: install Python 3.11 or newer, or name one: make setup PYTHON=python3.12" >&2; exit 1; }
@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("allroads needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + "; name another: make setup PYTHON=python3.12")'
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
  echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
rm -rf $(VENV)
$(PYTHON) -m venv $(VENV)
endef
