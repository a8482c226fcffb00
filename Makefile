# make app    set up, then serve the page on http://localhost:8501
# make test   set up, then run every test
# Everything is installed into .venv by itself; the second call of either is instant.

PYTHON ?= python3
PORT   ?= 8501
WORKERS ?= -n logical --dist loadfile
BIN    := .venv/bin
ifeq ($(OS),Windows_NT)
BIN    := .venv/Scripts
endif

.PHONY: app test quick lint benchmark clean

app: .venv/app.ready
	@$(BIN)/python -m streamlit run app.py --server.port=$(PORT)

test: lint .venv/browser.ready
	@$(BIN)/python -m pytest $(WORKERS)

quick: .venv/test.ready  ## the tests that take no long computing and no browser
	@$(BIN)/python -m pytest $(WORKERS) -m "not slow and not browser"

benchmark: .venv/test.ready  ## the cost of maps, scores and audits against the libraries, as ratios
	@$(BIN)/python -m tests.benchmarks.maps
	@$(BIN)/python -m tests.benchmarks.scores resnet18 1
	@$(BIN)/python -m tests.benchmarks.audit 1 3

lint: .venv/test.ready
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy

.venv/python.ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Second Look needs Python 3.11 or later: call `make PYTHON=python3.11 $(MAKECMDGOALS)`.")'
	@$(PYTHON) -m venv .venv || { echo "Python cannot make a virtual environment here. On Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

.venv/app.ready: .venv/python.ready requirements.txt
	@echo "Installing the pinned requirements (once, a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/test.ready: .venv/app.ready tests/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

.venv/browser.ready: .venv/test.ready tests/find_browser.py
	@$(BIN)/python tests/find_browser.py --install
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
