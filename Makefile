# Every target sets up all that it needs: a virtual environment here in .venv, and a stamp in it, so that the second
# call starts at once. A change of pyproject.toml or constraints.txt installs again.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CORE   := .venv-core
LOWEST := .venv-lowest
PROJECTS := .venv-projects
PINS   := pyproject.toml constraints.txt
# The versions that the tests ran with, on Python 3.11. `make test CONSTRAINTS=` takes the newest ones instead.
CONSTRAINTS ?= -c constraints.txt
# More arguments, e.g. make test ARGS="-k plateau -x"
ARGS   ?=

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\#.*/\1/p' $(firstword $(MAKEFILE_LIST)))
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##/\1:/p' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-demo  ## train on digits from three learning rates, with and without the callback, on the CPU (a minute)
	$(BIN)/python examples/any_start.py $(ARGS)

quickstart: $(VENV)/.stamp-demo  ## one run on digits with wrong labels: searched, restored, annealed
	$(BIN)/python examples/quickstart.py $(ARGS)

# What needs a cluster, a browser, other versions or half an hour has its own target.
test: $(VENV)/.stamp-dev  ## the tests and the examples in the docstrings (about 10 minutes)
	$(BIN)/python -m pytest $(ARGS)
	@echo "left out: make test-resume test-cluster test-soak test-tab test-lowest test-core test-package (make help)"

test-resume: $(VENV)/.stamp-dev  ## every scheduler, killed after every kind of checkpoint and resumed (minutes)
	$(BIN)/python -m pytest tests/resume -m "resume or not resume" $(ARGS)

test-cluster: $(VENV)/.stamp-cluster  ## strategies, faults, several hosts: every test on several processes (minutes)
	@command -v ip || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq iproute2; } || \
	    echo "no iproute2: the tests on two hosts are skipped"
	$(BIN)/python -m pytest tests/cluster -m "cluster or not cluster" $(ARGS)

test-soak: $(VENV)/.stamp-dev  ## 200 small runs, killed at random and resumed: half an hour; ARGS="--cases 20 --first 200"
	$(BIN)/python -m tests.cluster.soak $(ARGS)

test-lowest: $(LOWEST)/.stamp  ## core and live with the least versions that pyproject.toml names
	$(LOWEST)/bin/python -m pytest tests/engine tests/offline tests/run tests/optim tests/snapshot \
	    tests/loggers tests/callbacks tests/layerwise tests/contracts tests/equivalence $(ARGS)

test-core: $(CORE)/.stamp  ## core and offline, in an environment that has no torch
	$(CORE)/bin/python -m pytest tests/engine tests/offline tests/layerwise/test_rule.py tests/test_architecture.py \
	    lightning_lr/engine lightning_lr/offline lightning_lr/errors.py $(ARGS)

# A checkout of Lightning, of the installed version or near it.
LIGHTNING ?=

test-lightning: $(VENV)/.stamp-dev  ## Lightning's own tests with the callback in every Trainer (an hour): LIGHTNING=CHECKOUT
	@test -n "$(LIGHTNING)" || { echo "give the path of a checkout: make test-lightning LIGHTNING=../pytorch-lightning"; exit 2; }
	$(BIN)/python -m tests.lightning_suite $(LIGHTNING) $(ARGS)

test-projects: $(PROJECTS)/.stamp  ## public projects with the callback, and the table of docs/compatibility.md (half an hour)
	$(PROJECTS)/bin/python tests/projects --write $(ARGS)

test-tab: $(VENV)/.stamp-dev  ## the TensorBoard tab in a real Chromium, which it installs where apt-get is at hand
	@command -v chromium && command -v chromedriver || \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver; }
	$(BIN)/python -m pytest tests/tensorboard_plugin $(ARGS)

pictures: test-tab  ## take the pictures of the docs anew; look at them before you commit them
	LIGHTNING_LR_PICTURES=docs/images $(BIN)/python -m pytest tests/tensorboard_plugin/test_pictures.py

test-package: $(VENV)/.stamp-dev  ## build wheel and sdist into dist/, check them, install each in a bare environment (minutes)
	CONSTRAINTS="$(CONSTRAINTS)" tests/packaging/in_bare_environments.sh $(abspath $(BIN)/python)

# The torch of the machine if it has one that sees its GPU, with lightning beside it; else that of .venv.
test-cuda:  ## on a GPU: scaler, pinned snapshots, no waiting, compile, FSDP (six minutes at most); says what was not run
	@$(PYTHON) -c "import torch, lightning" 2> /dev/null || $(MAKE) --no-print-directory $(VENV)/.stamp-dev
	@if $(PYTHON) -c "import torch, lightning" 2> /dev/null; then $(PYTHON) -m tests.cuda; else $(BIN)/python -m tests.cuda; fi

coverage: $(VENV)/.stamp-dev  ## the same tests, and which lines they reached
	$(BIN)/python -m pytest --cov --cov-report=term-missing $(ARGS)

golden: $(VENV)/.stamp-dev  ## rewrite the golden journals
	$(BIN)/python -m tests.golden

lint: $(VENV)/.stamp-dev  ## rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.stamp-dev  ## put right what lint can put right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.stamp-dev  ## mypy, strict
	$(BIN)/mypy

docs: $(VENV)/.stamp-dev  ## the site, into build/docs; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going --fresh-env -q -d build/doctrees docs build/docs
	@echo "built build/docs/index.html"

check: test lint types docs  ## all that CI runs

bench-detection: $(VENV)/.stamp-dev  ## delay, misses and false alarms of the detectors
	$(BIN)/python -m benchmarks.detection $(ARGS)

bench-overhead: $(VENV)/.stamp-dev  ## what the callback costs: a step, a check, snapshots, replay (half an hour)
	$(BIN)/python -m benchmarks.overhead $(ARGS)

bench-metrics: $(VENV)/.stamp-dev  ## what the probes bring, from the recorded runs: the table and its figure
	$(BIN)/python -m benchmarks.metrics $(ARGS)

bench-any-start: $(VENV)/.stamp-bench  ## untuned runs of ours against tuned runs of the peers: ARGS="--data FOLDER --jobs 2"
	$(BIN)/python -m benchmarks.any_start $(ARGS)

bench-healthy: $(VENV)/.stamp-dev  ## how often a healthy run would be lowered: 1,560 recorded ones, replayed in seconds
	$(BIN)/python -m benchmarks.healthy $(ARGS)

bench-reactive: $(VENV)/.stamp-dev  ## what reactive rules bring at constant rates: ours, ReduceLROnPlateau, EarlyStopping (15 minutes)
	$(BIN)/python -m benchmarks.reactive $(ARGS)

bench-layerwise: $(VENV)/.stamp-bench  ## a multiplier for each layer, with and without, and what it costs: DATA=FOLDER
	$(BIN)/python -m benchmarks.layerwise.overhead --data $(DATA)
	$(BIN)/python -m benchmarks.layerwise --data $(DATA) $(ARGS)

clean:  ## remove what was built, the environments too
	rm -rf build dist *.egg-info $(VENV) $(CORE) $(LOWEST) $(PROJECTS) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# torch comes first and alone, at the version that constraints.txt names. Where the CPU build of that version is on
# offer it outranks the plain one, and whatever is installed afterwards finds torch there and fetches no other.
$(VENV)/.stamp-torch: $(PINS)
	@echo "installing torch, Lightning and the rest into $(VENV), once: about 3 minutes, 2 GB"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) torch
	@touch $@

$(VENV)/.stamp-demo: $(VENV)/.stamp-torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[all,examples]'
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[all,examples,test,dev]'
	@touch $(VENV)/.stamp-demo $@

# Ray, for the test of its example alone.
$(VENV)/.stamp-cluster: $(VENV)/.stamp-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[cluster]'
	@touch $@

# The peers' own packages, for the comparison alone.
$(VENV)/.stamp-bench: $(VENV)/.stamp-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[bench]'
	@touch $@

# The package without its dependencies, and of those only the ones that core and offline use.
$(CORE)/.stamp: $(PINS)
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) \
	    tensorboard 'jsonargparse[signatures]' rich matplotlib pytest pytest-timeout hypothesis
	$(CORE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Public projects that train with Lightning: they decide which versions of everything else are installed, so they come
# one after the other, and none hinders the next.
$(PROJECTS)/.stamp: pyproject.toml tests/projects/packages.txt
	$(PYTHON) -m venv $(PROJECTS)
	$(PROJECTS)/bin/python -m pip install --quiet --disable-pip-version-check torch
	$(PROJECTS)/bin/python -m pip install --quiet --disable-pip-version-check -e . pytorch-lightning scikit-learn
	while read -r package; do \
	    $(PROJECTS)/bin/python -m pip install --quiet --disable-pip-version-check "$$package" || echo "left out: $$package"; \
	done < tests/projects/packages.txt
	@touch $@

# What pyproject.toml calls the least (`"torch>=2.6"`) becomes the version that is installed
# (`torch==2.6`). Of what the tests use not all comes along: comet-ml, for one, asks for a newer rich than we do.
# fsspec: lightning 2.5.0 wants one before 2026, its twin pytorch-lightning any, and pip calls the newest a conflict.
$(LOWEST)/.stamp: $(PINS)
	$(PYTHON) -m venv $(LOWEST)
	sed -n '/^dependencies/,/^]/s/^ *"\([a-z]*\)[^>]*>=\([0-9.]*\).*/\1==\2/p' pyproject.toml > $(LOWEST)/lowest.txt
	sed -n 's/^lightning==/pytorch-lightning==/p' $(LOWEST)/lowest.txt > $(LOWEST)/twin.txt
	echo 'fsspec<2026' >> $(LOWEST)/twin.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(LOWEST)/lowest.txt -c $(LOWEST)/twin.txt \
	    -e '.[plot]' pytorch-lightning mlflow-skinny pytest pytest-timeout hypothesis scikit-learn
	@touch $@
