# The one vocabulary of people, hooks and CI. Every target does its own set-up, uv included.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PATH := $(PATH):$(CURDIR)/.local/uv/bin
# Dozens of processes import the same: bytecode is kept, even where a machine says otherwise.
export PYTHONDONTWRITEBYTECODE :=
RUN := uv run --no-sync
# Three processes of tests, each with a stack of its own: while one waits, the others work. Each computes in one thread,
# or those of its trainings would keep each other from the cores.
SPREAD := --numprocesses 3 --dist loadfile --no-loadscope-reorder
SHARED := env OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
SLIPWAY := $(RUN) slipway

# What is given to make reaches programs through the environment, word for word: neither make nor the shell reads a
# reason such as "can't serve $5" or `this` as its own.
GIVEN := MODEL URL REASON TO ARGS SERVER IMAGES TAG ARCHIVES VALUES NAMESPACE ADDRESSES INPUT SHAPE TRITON_MODE TRITON_MODELS
$(foreach name,$(GIVEN),$(if $(filter undefined,$(origin $(name))),,\
	$(eval override $(name) := $$(value $(name)))$(eval export $(name))))
# Lists are split as a shell splits words, quotes included, and nothing in them is run: $(call split,ARGS) … $(WORDS)
split = words=(); given=$$(xargs -n1 printf '%s\n' <<< "$(foreach name,$(1),$${$(name):-})"); \
	while IFS= read -r word; do [ -z "$$word" ] || words+=("$$word"); done <<< "$$given";
WORDS := $${words[@]+"$${words[@]}"}

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup ## Start the local stack, train, gate, export, deploy, verify, and show what is live
	@$(SLIPWAY) stack demo

.PHONY: up
up: setup ## Start the local stack: Prefect, MLflow, S3 and two Tritons; TRITON_MODE=poll TRITON_MODELS=directory
	@$(if $(TRITON_MODE),SLIPWAY_TRITON_MODE="$$TRITON_MODE") \
		$(if $(TRITON_MODELS),SLIPWAY_TRITON_MODELS="$$TRITON_MODELS") $(SLIPWAY) stack up

.PHONY: down
down: setup ## Stop the local stack; its state stays in .local
	@$(SLIPWAY) stack down

.PHONY: status
status: setup ## Show what each server does, and model by model what is served
	@$(SLIPWAY) stack status
	@echo
	@$(SLIPWAY) status

.PHONY: explain-live
explain-live: setup ## Show what serves, since when, why, and what a rollback would do; MODEL=name
	@$(SLIPWAY) explain-live $${MODEL:+"$$MODEL"}

.PHONY: rollback
rollback: setup ## Go back to the previous version; MODEL=name TO=version:3 REASON="..."
	@$(SLIPWAY) rollback $${MODEL:+"$$MODEL"} $${TO:+--to="$$TO"} $${REASON:+--reason="$$REASON"}

.PHONY: reconcile
reconcile: setup ## Repair what drifted from what is committed, show what is left; ARGS=--dry-run
	@$(call split,ARGS) $(SLIPWAY) reconcile $(WORDS)

.PHONY: logs
logs: setup ## Show the servers' last log lines; SERVER=mlflow shows one's
	@$(SLIPWAY) stack logs $${SERVER:+"$$SERVER"}

.PHONY: test
test: setup ## Run all tests against stacks of their own; ARGS="-k word" narrows
	@$(call split,ARGS) $(SHARED) $(RUN) pytest $(SPREAD) $(WORDS)

.PHONY: test-faults
test-faults: setup ## Kill processes and freeze servers at every point of a release; slow
	@$(call split,ARGS) $(SHARED) $(RUN) pytest $(SPREAD) -m faults $(WORDS)

.PHONY: test-kinds
test-kinds: setup ## Release every kind of model twice, ask from 16 clients at once, roll back; slow
	@$(call split,ARGS) $(RUN) pytest -m exhaustive tests/flows/test_{model_kinds,directory_kinds,random_models,exported_models}.py $(WORDS)

.PHONY: test-all
test-all: setup ## What CI runs: make test, and of make test-faults one of each; ARGS="-m benchmark" runs all benchmarks, small
	@$(call split,ARGS) $(SHARED) $(RUN) pytest $(SPREAD) -m "not kubernetes and not exhaustive and not peers" $(WORDS)

.PHONY: test-rest
test-rest: setup ## What CI leaves to the night: every point, kind and fault of which it takes one; hours
	@$(call split,ARGS) $(SHARED) $(RUN) pytest $(SPREAD) -m "exhaustive and not benchmark and not kubernetes and not peers" $(WORDS)

.PHONY: coverage
coverage: setup ## Run the tests with every process measured; show what share of lines and branches ran
	@rm -rf .local/coverage && mkdir -p .local/coverage
	@$(call split,ARGS) $(SHARED) $(RUN) coverage run -m pytest $(SPREAD) $(WORDS) | tee .local/coverage/tests.log
	@$(RUN) coverage combine --quiet
	@$(RUN) coverage report
	@tail -n 1 .local/coverage/tests.log

.PHONY: test-kubernetes
test-kubernetes: setup ## Build the images (BUILD=no: not), install all on the cluster KUBECONFIG names, test it there
	@[ -n "$$KUBECONFIG" ] || { echo "KUBECONFIG names no cluster; start one (kind, k3d, minikube) and set it" >&2; exit 2; }
	@$(if $(filter no,$(BUILD)),:,$(SLIPWAY) images build $${TAG:+--tag="$$TAG"} --archives .local/images)
	@$(call split,ARGS) $(RUN) pytest -m kubernetes tests/kubernetes $(WORDS)

.PHONY: soak
soak: setup ## Release many models at once, killed and paused at random; ARGS="--rounds 50"
	@$(call split,ARGS) $(RUN) pytest -q -s -m "" -p no:logging tests/soak/soak_*.py $(WORDS)

.PHONY: bench
bench: setup ## Time a release step by step, against plain boto3 and one Triton load
	@$(call split,ARGS) $(RUN) pytest -q -s -p no:logging -m benchmark --full-size tests/benchmarks $(WORDS)

.PHONY: bench-peers
bench-peers: setup ## Time slipway beside the ways others deploy, in one run; docs/peers.md says what it needs
	@$(call split,ARGS) $(RUN) pytest -q -s -p no:logging -m peers tests/benchmarks $(WORDS)

.PHONY: images
images: setup ## Build the container images; IMAGES="deployment servers" TAG=name ARCHIVES=directory
	@$(call split,IMAGES) $(SLIPWAY) images build $(WORDS) $${TAG:+--tag="$$TAG"} $${ARCHIVES:+--archives="$$ARCHIVES"}

.PHONY: build
build: images ## Build the container images, as images does

.PHONY: tag
tag: setup ## Give the images that were built the names they have in ECR; IMAGES="deployment servers" TAG=name
	@$(call split,IMAGES) $(SLIPWAY) images tag $(WORDS) $${TAG:+--tag="$$TAG"}

.PHONY: build-triton tag-triton push-triton
build-triton: setup ## Build the image of Triton alone; TAG=name
	@$(SLIPWAY) images build triton $${TAG:+--tag="$$TAG"}
tag-triton: setup ## Give it the name it has in ECR; TAG=name
	@$(SLIPWAY) images tag triton $${TAG:+--tag="$$TAG"}
push-triton: build-triton ## Build the image of Triton, and push it to ECR; TAG=name
	@$(SLIPWAY) images push triton $${TAG:+--tag="$$TAG"}

.PHONY: check-env
check-env: setup ## Check what pushing images to ECR needs: AWS_REGION, AWS_ACCOUNT_ID, credentials
	@$(SLIPWAY) images check-env

.PHONY: create-ecr
create-ecr: setup ## Create the images' repositories in ECR, where they are missing
	@$(call split,IMAGES) $(SLIPWAY) images create-ecr $(WORDS)

.PHONY: login-ecr
login-ecr: setup ## Log the container engine in to ECR for twelve hours, to pull by hand
	@$(SLIPWAY) images login-ecr

.PHONY: push
push: setup ## Push the images that were built to ECR; IMAGES="deployment servers" TAG=name
	@$(call split,IMAGES) $(SLIPWAY) images push $(WORDS) $${TAG:+--tag="$$TAG"}

.PHONY: deploy-triton
deploy-triton: setup ## Install Triton on a cluster; VALUES=infra/charts/triton/values-aws.yaml NAMESPACE=triton
	@$(call split,VALUES ARGS) $(SLIPWAY) cluster deploy-triton $${NAMESPACE:+--namespace="$$NAMESPACE"} $(WORDS)

.PHONY: destroy-triton
destroy-triton: setup ## Remove it from the cluster; NAMESPACE=triton
	@$(call split,ARGS) $(SLIPWAY) cluster destroy-triton $${NAMESPACE:+--namespace="$$NAMESPACE"} $(WORDS)

.PHONY: smoke-test
smoke-test: setup ## Ask every replica; MODEL=name ADDRESSES="http://host:8000" INPUT=input.json SHAPE=1,3,224,224 GPU=yes HTTP=yes
	@$(call split,ADDRESSES ARGS) \
		$(SLIPWAY) cluster smoke-test $${MODEL:+"$$MODEL"} $${NAMESPACE:+--namespace="$$NAMESPACE"} \
		$${INPUT:+--input="$$INPUT"} $${SHAPE:+--shape="$$SHAPE"} \
		$(if $(filter yes,$(GPU)),--gpu) $(if $(filter yes,$(HTTP)),--http) $(WORDS)

.PHONY: loadtest
loadtest: setup ## Ask a served model from many clients at once; MODEL=name URL=grpc://host:8001 INPUT=file ARGS="--users 50"
	@$(call split,ARGS) $(SLIPWAY) loadtest $${MODEL:+"$$MODEL"} $${URL:+--url="$$URL"} $${INPUT:+--input="$$INPUT"} $(WORDS)

.PHONY: generate-input
generate-input: setup ## Write input.json, a request that a served model takes; MODEL=name URL=host:port TO=file
	@$(SLIPWAY) generate-input $${MODEL:+"$$MODEL"} $${URL:+--url="$$URL"} --to="$${TO:-input.json}"

.PHONY: lint
lint: setup ## Check style, format and types
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy
	@$(RUN) lint-imports --no-logo >/dev/null || $(RUN) lint-imports

.PHONY: format
format: setup ## Rewrite the code in the project's format
	@$(RUN) ruff check --fix
	@$(RUN) ruff format

.PHONY: lock
lock: setup ## Renew both locks
	@uv lock --upgrade
	@uv lock --upgrade --script infra/local/triton/serve.py

.PHONY: setup
setup: ## Install what the locks name; the other targets do this by themselves
	@command -v uv >/dev/null || infra/local/install-uv .local/uv
	@uv sync --quiet --locked
