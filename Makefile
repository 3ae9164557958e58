# make demo: register synthetic scans with the bundled model.  make test: run the tests.  make check: lint, types, tests.
# make docs: build the documentation into site/.  make test-slow: also the tests that take minutes.
# Each installs into .venv first. TORCH chooses the PyTorch to install: the default is a pinned release, which is
# a CPU build wherever pip is given one; for CUDA: make install TORCH="torch --index-url <index from pytorch.org>".
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
SOURCES := SlicRegExtension Testing benchmarks docs
RELIABILITY := fuzz full_disk long_use environments
# two processes, each with one thread; files are not split, since their tests share what is slow to make
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: install demo test test-slow coverage mutants reliability lint check docs long-use environments clean

install: .venv/installed

.venv/installed: pyproject.toml Makefile .venv/torch
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "SlicReg needs Python 3.10 or newer; set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q $(TORCH)
	$(BIN)/python -m pip install -q -e '.[train,test,dev]'
	@touch $@

# rewritten, and everything after it redone, when another TORCH is asked for
.venv/torch: FORCE
	@mkdir -p .venv && echo '$(TORCH)' | cmp -s - $@ || echo '$(TORCH)' > $@
FORCE:

demo: install
	$(BIN)/slicreg demo

test: install
	$(PYTEST)

# the shares of lines that the fast tests run; the library's must be 90 %
coverage: install
	$(PYTEST) --cov --cov-report=
	$(BIN)/coverage report --include='*/SlicRegSlicer/*' --skip-covered
	$(BIN)/coverage report --include='*/SlicRegLib/*' --skip-covered --fail-under=90

# small faults put into the library: which do the tests notice? About 40 minutes
mutants: install
	$(BIN)/python Testing/reliability/mutants.py

# 200 registrations in one session, cancelled ones, closed scenes; and the wheel in other environments (several GB)
long-use: install
	$(BIN)/python Testing/reliability/long_use.py --forked

environments: install
	$(BIN)/python -m pip install -q uv
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python Testing/reliability/environments.py

# damaged files, full disks, long use, environments: hours; each prints a table for docs/reliability.md
reliability: install
	@for script in $(RELIABILITY); do $(BIN)/python Testing/reliability/$$script.py || exit 1; done

test-slow: install
	$(PYTEST) --slow

lint: install
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

check: lint test

docs: install
	$(BIN)/python -m pip install -q -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build demo dist site *.egg-info
