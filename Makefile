# The commands of this project. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test browser alltests docs pages package torture hostile simulations oldest torchless lint screenshots bench study robustness comparison clean

help: ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s%s\n", $$1, $$2}'

setup: .venv/.ready ## make .venv and install loraloom into it, with all that development needs
ifneq ($(filter command environment,$(firstword $(origin PYTHON))),)
	@test "$$($(PYTHON) -V)" = "$$($(BIN)/python -V)" || { echo ".venv has $$($(BIN)/python -V), not $(PYTHON)'s: make clean first" >&2; exit 2; }
endif

.venv/.ready: pyproject.toml scripts/install
	PYTHON="$(PYTHON)" scripts/install

demo: setup ## the main job on real text: writes runs/demo
	@if [ -e runs/demo ]; then \
	  echo "runs/demo is there and is gone on with; remove it for a new one"; $(BIN)/loraloom resume runs/demo; \
	else $(BIN)/loraloom search recipes/demo.yaml --out runs/demo; fi
	@command -v loraloom >/dev/null || echo "first       . $(BIN)/activate   (loraloom is there)"

lint: setup ## format, lint and types
	scripts/check

test: ## lint beside the tests, some of them in a browser
	$(MAKE) --jobs=2 --no-print-directory setup browser
	$(MAKE) --jobs=2 --no-print-directory lint alltests

browser:
	scripts/browser

alltests: setup
	scripts/test

docs: setup ## the documentation's site, in site/, with warnings as errors; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	$(BIN)/python -m website.links site

pages: setup ## the tutorial's commands and the notebooks, run again: writes their outputs into docs/ and examples/
	$(BIN)/python -m website.executed
	$(BIN)/python -m website.notebooks

package: setup ## the wheel and the sdist, in dist/, built twice and compared; scripts/try_package.py tries them
	scripts/package

torture: setup ## all faults by the thousand, hours: kills, signals, failing calls, power cuts, damage, searches drawn at random; see docs/faults.md
	$(BIN)/python -m pytest tests/faults
	$(BIN)/python -m tests.faults.torture

hostile: setup ## 20,000 malformed requests and 10,000 changed adapters, half an hour; see docs/serve.md
	$(BIN)/python -m tests.use.hostile

simulations: setup ## the statistics against known truth, ten minutes: writes docs/statistics.md
	$(BIN)/python -m tests.simulated.page

screenshots: setup browser ## the page of runs/demo, every section, both modes, and a search's screen: writes docs/report/, docs/terminal.svg
	test -d runs/demo || $(MAKE) demo
	test -d runs/demo-rank-1 || $(BIN)/loraloom search demo --set lora.r=1 --out runs/demo-rank-1
	$(BIN)/python -m bench.screenshots --against runs/demo-rank-1
	$(BIN)/python -m bench.screenshots --terminal

oldest: ## the tests with the oldest versions that pyproject.toml allows, in build/oldest
	scripts/oldest

torchless: setup ## an ONNX export in a fresh environment of onnxruntime, tokenizers and numpy alone
	$(BIN)/python -m tests.use.torchless

bench: setup browser ## speed and memory beside HF Trainer + PEFT, an hour or so: writes docs/performance.md
	$(BIN)/python -m bench.engines
	$(BIN)/python -m bench.accuracy
	$(BIN)/python -m bench.ledger
	$(BIN)/python -m bench.report
	$(BIN)/python -m bench.serve --soak 600
	$(BIN)/python -m bench.predict
	$(BIN)/python -m bench.predict_memory
	$(BIN)/python -m bench.page

study: setup ## the contest's claims by two encoders and the learning curve on AG News, seven hours or so, goes on: writes docs/study.md
	$(BIN)/python -m study.claims
	$(BIN)/python -m study.claims --test
	$(BIN)/python -m study.claims --table preset
	$(BIN)/python -m study.claims --similarity
	$(BIN)/python -m study.curve
	test -d runs/mpnet || $(BIN)/python -m study.mpnet runs/mpnet
	$(BIN)/python -m study.claims --table base_size --model runs/mpnet --name all-mpnet-base-v2
	$(BIN)/python -m study.claims --table base_size --model runs/mpnet --name all-mpnet-base-v2 --test
	$(BIN)/python -m study.claims --page

robustness: setup ## worse texts and training rows, beside an SVM and full fine-tuning: writes docs/robustness.md
	$(BIN)/python -m study.robustness
	$(BIN)/python -m study.robustness --page

comparison: setup ## loraloom beside other tools, as docs/comparison.md has it, a day: writes that page
	$(BIN)/python -m study.peers.environments
	$(BIN)/python -m study.first --set trec sst2 banking77 subj16 bbc r8 clinc150 --seconds 120
	$(BIN)/python -m study.first --set agnews --seconds 1200
	test -d runs/mpnet || $(BIN)/python -m study.mpnet runs/mpnet
	$(BIN)/python -m study.first --set agnews --seconds 3600 --encoder mpnet=runs/mpnet
	$(BIN)/python -m study.first --set agnews --seconds 3600
	$(BIN)/python -m study.first --page

clean: ## remove .venv and caches; runs/ is kept
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist site
