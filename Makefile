# What one does every day, by name: `make` lists it. Each line is a script or a tool of .venv; VENV=FOLDER names another.
BIN := $(or $(VENV),.venv)/bin
.DEFAULT_GOAL := help
.PHONY: help setup format check quick test bench-quick docs map

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/  make \1	\2/p' Makefile | expand -t 22

setup: ## make the virtual environment with all that tests need; nothing where it is up to date
	scripts/setup.sh train,demo,sql,bulk,signing,dev

format: ## write the code as ruff does, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: ## style, types, import directions, no secrets (as `git commit` does with pre-commit installed)
	scripts/check.sh

quick: ## the tests that are not slow, in two processes: the loop while working
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadgroup --no-loadscope-reorder

test: ## what CI runs: sets up, checks, then every test
	scripts/test.sh

bench-quick: ## every benchmark on small sizes: does it still run?
	$(BIN)/python -m pytest tests/end_to_end/test_benchmarks.py

docs: ## build the documents, warnings as errors
	scripts/docs.sh

map: ## write the README's map from the tree
	$(BIN)/python scripts/map.py
