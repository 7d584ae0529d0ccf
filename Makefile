# make demo | test | pins | bench | bench-freshness | bench-todg | bench-models | bench-live: each builds .venv from the locked requirements first.
# torch is a build for the CPU, from an index that TORCH_INDEX names (deploy/install.sh has the default and
# what happens where it is not reached). With a GPU: make clean, then make demo TORCH_INDEX=... , or none of its
# own: make demo TORCH_INDEX=
# make lock: the newest versions that fit pyproject.toml. make secrets: what docker compose needs, once.
PYTHON ?= python3
BIN := .venv/bin

# make test-ray | test-real-time: the two halves of the second part of make test.
.PHONY: demo test test-ray test-real-time pins lint bench bench-freshness bench-todg bench-models bench-live lock secrets clean

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| (echo "Fresco needs Python 3.11 or newer; say which: make PYTHON=python3.12 ..." && exit 1)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	deploy/install.sh $(BIN)/python requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

.venv/ready-dev: .venv/ready requirements-dev.lock
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.lock
	@touch $@

demo: .venv/ready
	$(BIN)/fresco run quickstart

# First what computes, each worker on one core (two workers whose torch has two threads wait for each
# other); neighbours in a file share a worker, and with it what they cache. Then what mostly waits for
# real time and for other processes: what starts Ray beside the rest, each in order. (Not by groups of
# xdist: they take tests of one name, as schemathesis makes them, for one test.)
test: export OMP_NUM_THREADS = 1
test: .venv/ready-dev
	$(BIN)/python -m pytest -m "not wall_clock" --numprocesses 2 --dist worksteal
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-ray test-real-time

test-ray test-real-time: export OMP_NUM_THREADS = 1
test-ray: .venv/ready-dev
	$(BIN)/python -m pytest -m ray

test-real-time: .venv/ready-dev
	$(BIN)/python -m pytest -m "wall_clock and not ray"

pins: .venv/ready-dev
	$(BIN)/python tests/pins.py

lint: .venv/ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/ready-dev
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.realtime

COMPARED := popec,popec-async,static-optimum,priority-agnostic,equal-share,greedy,fixed-rate,random

bench-freshness: .venv/ready-dev
	$(BIN)/python -m benchmarks.freshness formula
	$(BIN)/python -m benchmarks.freshness synchronous
	$(BIN)/python -m benchmarks.freshness steps
	$(BIN)/python -m benchmarks.negotiation race
	$(BIN)/python -m benchmarks.negotiation ideas
	$(BIN)/python -m benchmarks.negotiation faults
	$(BIN)/python -m benchmarks.negotiation scale
	$(BIN)/python -m benchmarks.beliefs
	$(BIN)/python -m benchmarks.live_feedback
	for name in sync async fade churn; do \
		$(BIN)/fresco compare scenarios/popec-$$name.yaml --protocols $(COMPARED) --seeds 10 \
			|| exit 1; \
	done

bench-todg: .venv/ready-dev
	$(BIN)/python -m benchmarks.todg
	for table in rivals tradeoff blackout guarantee; do \
		$(BIN)/python -m benchmarks.todg_network $$table || exit 1; \
	done

# CIFAR-100 is not shipped: FRESCO_DATA says where it lies; without it digits and scenes are run.
bench-models: .venv/ready-dev
	$(BIN)/python -m benchmarks.distillation digits
	$(BIN)/python -m benchmarks.distillation scenes
	test -z "$$FRESCO_DATA" || $(BIN)/python -m benchmarks.distillation cifar --data-root "$$FRESCO_DATA"
	$(BIN)/fresco sweep vision-digits --seeds 5 \
		--set servers.0.accelerator.model=noisy-xs,noisy-s,noisy-m,noisy-l
	$(BIN)/python -m benchmarks.students size
	$(BIN)/python -m benchmarks.students sources
	$(BIN)/python -m benchmarks.live_fidelity
	$(BIN)/python -m benchmarks.live_fidelity --busy 2

bench-live: .venv/ready-dev
	$(BIN)/python -m benchmarks.live

lock: .venv/ready
	$(BIN)/python deploy/lock.py

# The containers' users, not the one who wrote them, read the files; others on this machine cannot enter the folder.
SECRETS := deploy/secrets
secrets:
	@mkdir -p $(SECRETS) && chmod 700 $(SECRETS)
	@for name in ray-token fresco-token grafana-password; do \
		test -s $(SECRETS)/$$name || openssl rand -hex 16 > $(SECRETS)/$$name || exit 1; \
	done
	@chmod 644 $(SECRETS)/*

clean:
	rm -rf .venv build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
