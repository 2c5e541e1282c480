# Everything that a fresh checkout needs installs itself into .venv; only make, git and Python 3.11 or later must be there.
# PYTHON=/path/to/python3 chooses the interpreter.

BIN = .venv/bin

help:
	@echo "make demo      install emloop and train a classifier of handwritten digits"
	@echo "make test      lint, type-check and test"
	@echo "make torture   the slow tests: random kills, full disks, damaged files"
	@echo "make bench     measure what the loop costs"
	@echo "make clean     remove .venv and caches, but no run"

demo:
	@PYTHON="$(PYTHON)" tools/environment demo
	$(BIN)/emloop train examples/digits/config.yaml
	@echo
	@echo "The run is a directory under log/. Try next, '@' being the latest training:"
	@echo "  $(BIN)/emloop resume @ main_loop.epochs_count=20    train on, as if it had never ended"
	@echo "  $(BIN)/emloop eval test @                           evaluate the best model on unseen digits"
	@echo "  $(BIN)/emloop eval predict @                        write its predictions to a CSV file"

test:
	@PYTHON="$(PYTHON)" tools/environment dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal -m "not torture"

torture:
	@PYTHON="$(PYTHON)" tools/environment dev
	$(BIN)/pytest -m torture

bench:
	@PYTHON="$(PYTHON)" tools/environment dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help demo test torture bench clean
