# Needs only Python 3.11 or newer with its venv module, and make. Everything else goes into .venv/.
PYTHON ?= python3
BIN := .venv/bin
ORCH := $(BIN)/orch
STAMP := .venv/.ready
# Most of a test is waiting. A file stays with one worker; the longest, with a real engine, come first.
SIDE_BY_SIDE ?= -n 2 --dist loadfile --no-loadscope-reorder

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export MODEL  # the vllm-* targets read it in the shell, so that no name needs quoting here

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit test-real chaos lint fmt bench check clean vllm-start vllm-logs vllm-status vllm-stop

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------------------- to begin

setup: $(STAMP) ## install orch and its development tools into .venv/

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'cannot set up: $(PYTHON) is not Python 3.11 or newer; name one with make setup PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	    { echo 'cannot set up: $(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo 'installing orch and its development tools into .venv/'
	@$(BIN)/python -m pip install -qq --editable '.[dev]'  # errors only
	@touch $@

define ASK
import json, urllib.request
question = {"model": "tiny-qwen3", "max_tokens": 24, "messages": [{"role": "user", "content": "Hello, little model"}]}
headers = {"Content-Type": "application/json"}
url = "http://127.0.0.1:8000/v1/chat/completions"
request = urllib.request.Request(url, json.dumps(question).encode(), headers)
answer = json.load(urllib.request.urlopen(request, timeout=60))
print("it answers (nonsense: its weights are random):", repr(answer["choices"][0]["message"]["content"]))
endef
export ASK

demo: $(STAMP) ## serve a tiny model on the processor, ask it something, show its status
	@$(ORCH) apply profiles/demo-cpu.yaml --yes
	@$(BIN)/python -c "$$ASK"
	@$(ORCH) status
	@echo 'stop it with: $(ORCH) stop demo-cpu'

# ------------------------------------------------------------------------------------------------------- to develop

check: lint test ## lint, then test: what CI runs

test: $(STAMP) ## all tests: unit, process, and the first scenarios with a real vLLM (a quarter of an hour)
	@$(BIN)/python -m pytest -m 'not real_more' $(SIDE_BY_SIDE) tests/real tests/process tests/fakes tests/unit

unit: $(STAMP) ## the fast tests only (seconds)
	@$(BIN)/python -m pytest tests/unit

test-real: $(STAMP) ## the other scenarios with a real vLLM
	@$(BIN)/python -m pytest -m real_more

chaos: $(STAMP) ## kill, damage and forge all that can be, 200 times; a run that fails says how to repeat it (a quarter of an hour)
	@$(BIN)/python -m tests.chaos

lint: $(STAMP) ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: $(STAMP) ## format, and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP) ## measure the commands, how fast weights come, how soon what died is back (8 minutes)
	@$(BIN)/python -m tests.bench

clean: ## remove .venv/ and all caches; what runs goes on running
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ----------------------------------------------------------------------- old habits: MODEL=... make vllm-start

vllm-start: $(STAMP) ## MODEL=Qwen/Qwen3-32B-AWQ make vllm-start: serve it as its profile says
	@test -n "$$MODEL" || { echo 'cannot start: which model? MODEL=Qwen/Qwen3-32B-AWQ make vllm-start (or a profile: MODEL=profiles/qwen32b-awq.yaml)' >&2; exit 1; }
	@$(ORCH) apply "$$MODEL" --yes

vllm-logs: $(STAMP) ## follow its log
	@$(ORCH) logs $${MODEL:+"$$MODEL"} -f

vllm-status: $(STAMP) ## what runs (all, or MODEL)
	@$(ORCH) status $${MODEL:+"$$MODEL"}

vllm-stop: $(STAMP) ## stop it
	@$(ORCH) stop $${MODEL:+"$$MODEL"}
