# The front door: everything a person or a CI job runs goes through here.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DATA   := data/toy
DEMO   := runs/demo
# one thread and two processes: the files of the suite go to whichever is free
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
FIT    := $(BIN)/vssl fit --data.num_workers 1

.PHONY: setup format check test test-slow test-gpu demo clean-demo study

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip "setuptools>=77"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev,torchcodec]"
	touch $@

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# lint, types and the default suite
test: check
	$(PYTEST) -m "not slow and not gpu"

# equivalence of processes, kill and resume, learning on the toy world
test-slow: setup
	$(PYTEST) -m "slow and not gpu" --durations=15

test-gpu: setup
	$(BIN)/python -m pytest -m gpu

# the toy world, two methods, a random encoder of each kind, a table and a report; what exists is used again
demo: $(DEMO)/vito.done $(DEMO)/vspp.done
	$(BIN)/vssl evaluate $(DEMO)/vito --data.manifest $(DATA)/shape/manifest.csv --label shape,colour
	$(BIN)/vssl evaluate $(DEMO)/vito $(DEMO)/vspp --data.manifest $(DATA)/motion/manifest.csv --label speed
	$(BIN)/vssl compare $(DEMO)/vito $(DEMO)/vspp --html $(DEMO)/report.html

$(DATA)/motion/manifest.csv: | setup
	$(BIN)/vssl data toy $(DATA)/motion

$(DATA)/shape/manifest.csv: | setup
	$(BIN)/vssl data toy $(DATA)/shape --nuisance redrawn

$(DEMO)/vito.done: $(DATA)/shape/manifest.csv
	rm -rf $(DEMO)/vito
	$(FIT) -c configs/method/toy/vito.yaml --data.manifest $< --trainer.max_steps 800 --run_dir $(DEMO)/vito
	touch $@

$(DEMO)/vspp.done: $(DATA)/motion/manifest.csv
	rm -rf $(DEMO)/vspp
	$(FIT) -c configs/method/toy/vspp.yaml --data.manifest $< --trainer.max_steps 400 --run_dir $(DEMO)/vspp
	touch $@

# auxSKD then VSPP against VSPP alone, three seeds, on a world and with seeds that no setting was chosen on;
# resumable: what is finished is not repeated. PROTOCOLS="knn-v1 linear-v1" scores under both
PROTOCOLS := knn-v1
study: $(DATA)/motion1/manifest.csv
	$(BIN)/python benchmarks/study.py --manifest $< --out runs/study --protocols $(PROTOCOLS) -- --data.num_workers 1

$(DATA)/motion1/manifest.csv: | setup
	$(BIN)/vssl data toy $(DATA)/motion1 --seed 1

clean-demo:
	rm -rf $(DEMO) $(DATA)
