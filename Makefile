# Every target prepares what it needs in .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A process for each core; a file's tests stay together, since they share what they train. tests/conftest.py has their order.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not browser" --numprocesses auto \
	--dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test check check-browser check-package site reference format clean

help:
	@echo "make demo    draw cars, train, evaluate, predict: five minutes on two cores"
	@echo "make test    the tests"
	@echo "make check   formatting, ruff, mypy --strict and the tests"
	@echo "make check-browser  the server's page in headless Chromium, which is installed (apt-get) where it is missing"
	@echo "make check-package  the wheel in an environment without torch: it predicts, and is small"
	@echo "make site    the documentation as a web site, in build/site"
	@echo "make reference  docs/commands.md anew, after an option or its description has changed"
	@echo "make setup   only prepare .venv, with everything that development needs"
	@echo "make format  let ruff format the code"

# The stamps are files of .venv, so that a deleted .venv is prepared again.
$(VENV)/train.stamp: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/train.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

setup: $(VENV)/dev.stamp

demo: $(VENV)/train.stamp
	$(BIN)/maskwright demo

test: $(VENV)/dev.stamp
	$(PYTEST)

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST)

check-browser: $(VENV)/dev.stamp
	tests/browser/install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/browser

check-package: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/package.py

# -W: whatever Sphinx warns of, such as a link that leads nowhere, is an error.
site: $(VENV)/dev.stamp
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -c docs/site . build/site
	@echo "Look at build/site/index.html"

reference: $(VENV)/dev.stamp
	$(BIN)/python docs/site/commands.py

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist
