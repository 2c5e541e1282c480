# Everything that a fresh checkout needs installs itself into .venv; only make, git and Python 3.11 or later must be there.
# PYTHON=/path/to/python3 chooses the interpreter.

BIN = .venv/bin

# Threads that wait for each other leave the cores to whoever has work. It changes no number.
export OMP_WAIT_POLICY = PASSIVE

# Every process of the tests would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make demo             install emloop and train a classifier of handwritten digits"
	@echo "make demo-torch       the same with PyTorch: a convolutional network"
	@echo "make demo-tensorflow  the same with Keras"
	@echo "make demo-jax         the same with JAX"
	@echo "make test             lint, type-check and test"
	@echo "make test-fast        the same without the tests that take seconds each"
	@echo "make generated        rewrite the tables and pages that are made from the code"
	@echo "make torture          the slow tests: random kills, full disks, damaged files"
	@echo "make bench            measure what the loop costs"
	@echo "make clean            remove .venv and caches, but no run"

# Train the digits; $(1) is the extra to install, $(2) the config. What to type next, the run itself says.
define train_digits
@PYTHON="$(PYTHON)" tools/environment $(1)
$(BIN)/emloop train examples/digits/$(2)
endef

demo:
	$(call train_digits,demo,config.yaml)

demo-torch:
	$(call train_digits,torch-demo,config_torch.yaml)

demo-tensorflow:
	$(call train_digits,tensorflow-demo,config_tensorflow.yaml)

demo-jax:
	$(call train_digits,jax-demo,config_jax.yaml)

# Lint, check the types and test; $(1) are pytest's options.
define check_all
@PYTHON="$(PYTHON)" tools/environment dev
$(BIN)/ruff check .
$(BIN)/ruff format --check .
$(BIN)/mypy
$(BIN)/pytest -n 2 --dist worksteal $(1)
endef

test:
	$(call check_all,-m "not torture")

# Whole runs, frameworks and figures are left to `make test`.
WHOLE = compat contract docs emloop_onnx emloop_jax emloop_sklearn emloop_tensorflow emloop_torch end_to_end examples models \
	hooks/test_plot_lines.py hooks/test_save_cm.py

test-fast:
	$(call check_all,-m "not torture and not slow" --hypothesis-profile quick $(WHOLE:%=--ignore tests/%))

generated:
	@PYTHON="$(PYTHON)" tools/environment dev
	$(BIN)/python tools/generated.py

# Compiled by XLA as users have it.
torture: export XLA_FLAGS =
torture:
	@PYTHON="$(PYTHON)" tools/environment dev
	$(BIN)/pytest -m torture

bench:
	@PYTHON="$(PYTHON)" tools/environment dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help demo demo-torch demo-tensorflow demo-jax test test-fast generated torture bench clean
