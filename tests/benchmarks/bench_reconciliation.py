"""How long `make status` and a reconcile pass with nothing to do take for 200 models with 10 versions each.

The models are put where releases would have put them, and loaded by every replica: one version served, nine in the
archive. What is served besides would only cost memory here: each served version is a Python process in the local
replicas.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from rich.console import Console

from blocks.environment import Environment
from blocks.registry import RegisteredVersion
from flows.reconciliation import Reconciliation, reconcile_models
from infra.local.settings import ROOT
from slipway.releases.agreement_terms import AgreementTerms
from slipway.releases.artifacts import prepare
from slipway.releases.fetched import FetchedModel, ensure_files, load_golden
from slipway.releases.plan import ReleasePlan
from slipway.releases.proof import Proof, write_proof
from slipway.releases.version_files import record_files
from tasks.deployment.fetch_model import fetch_model
from tests.apparatus.models import register_linear
from tests.benchmarks.size import Size

MODELS, VERSIONS = 200, 10
LIMIT_S = 20.0
DAMAGED = 20
DAMAGES = (
    "records/{}/{}/proof.npz",
    "records/{}/{}/files.json",
    "repository/{}/{}/metadata.json",
    "repository/{}/config.pbtxt",
    "journal/{}.json",
)
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.exhaustive,
]  # bench_scale.py reconciles more, test_damaged_records.py damaged ones


@pytest.mark.timeout(1800)
def test_200_models_are_surveyed_and_reconciled_in_20_seconds(environment: Environment, size: Size) -> None:
    template = register_linear(environment.registry, "bench-template-onnx", seed=1)
    names = [f"bench-{number:03}-onnx" for number in range(size.choose(MODELS, len(DAMAGES) * 2))]
    asked: list[str] | None = size.choose(None, names)  # all, but where other tests have left theirs
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: _released(environment, name, template), names))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda address: _loaded(environment, address, names), environment.fleet.list_addresses()))

    start = time.perf_counter()
    outcome = reconcile_models(asked, keep_archived=VERSIONS)
    reconcile_s = time.perf_counter() - start
    start = time.perf_counter()
    shown = subprocess.run(
        [sys.executable, "-m", "infra", "status"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"},  # readline, which pytest imports, has set 80 for children
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    status_s = time.perf_counter() - start

    Console(highlight=False).print(
        f"\n{len(names)} models, {VERSIONS} versions each, {len(environment.fleet.list_addresses())} replicas: "
        f"reconcile with nothing to do {reconcile_s:.1f} s, status {status_s:.1f} s (limit {LIMIT_S:g} s each)"
    )
    assert isinstance(outcome, Reconciliation)
    assert outcome.models >= len(names) and outcome.found == ()
    assert sum(name in shown.stdout for name in names) == len(names)
    assert max(reconcile_s, status_s) <= size.within(LIMIT_S)
    _look_after_the_others(environment, names, size.choose(DAMAGED, len(DAMAGES)), asked)


def _look_after_the_others(environment: Environment, names: list[str], count: int, asked: list[str] | None) -> None:
    """Damage so many models; every other one is looked after, and nothing is changed of the damaged ones."""
    damaged, store = names[:: len(names) // count], environment.repository.store
    for number, name in enumerate(damaged):
        store.write(DAMAGES[number % len(DAMAGES)].format(name, VERSIONS), b"\xffnot what it was")
    lost = [name for name in names if name not in damaged][::20]
    for name in lost:
        environment.fleet.unload_model(environment.fleet.list_addresses()[0], name)
    kept = {name: store.list_keys(f"repository/{name}/") | store.list_keys(f"archive/{name}/") for name in damaged}

    outcome = reconcile_models(asked, keep_archived=VERSIONS)

    assert isinstance(outcome, Reconciliation)
    assert sorted({drift.model_name for drift in outcome.left}) == damaged
    assert sorted({drift.model_name for drift in outcome.repaired}) == lost
    assert {n: store.list_keys(f"repository/{n}/") | store.list_keys(f"archive/{n}/") for n in damaged} == kept
    served = [environment.fleet.read_index(address) for address in environment.fleet.list_addresses()]
    assert all(index[name] == (VERSIONS,) for index in served for name in names)
    Console(highlight=False).print(
        f"{len(damaged)} of {len(names)} models damaged: {len(names) - len(damaged)} looked after, "
        f"{len(lost)} repaired, {len(outcome.left)} findings"
    )


def _released(environment: Environment, name: str, template: RegisteredVersion) -> None:
    """Leave everything as releasing ten versions would have left it."""
    client, source = environment.registry.connect(), template.source_uri
    client.create_registered_model(name)
    for number in range(1, VERSIONS + 1):
        client.create_model_version(
            name, source, model_id=source.removeprefix("models:/"), tags={"triton_version": str(number)}
        )
    fetched = fetch_model.fn(name, f"version:{VERSIONS}", registry=environment.registry)
    for number in range(1, VERSIONS + 1):
        _stored(environment, fetched, number)
    samples = load_golden(fetched, environment.registry)
    assert samples is not None
    proof = Proof(list(samples.list_exchanges(fetched.signature, batched=True)), AgreementTerms())
    write_proof(environment.repository, name, VERSIONS, proof, batched=True)
    record_files(environment.repository, name, VERSIONS)
    environment.registry.set_alias(name, "live", VERSIONS)
    environment.registry.set_alias(name, "previous", VERSIONS - 1)


def _stored(environment: Environment, fetched: FetchedModel, number: int) -> None:
    registered = fetched.registered.model_copy(update={"version": number})
    plan = ReleasePlan(
        model_name=fetched.model_name,
        registry_version=number,
        version=number,
        creates_version=True,
        already_live=False,
        flow_run_id="bench",
    )
    artifacts = prepare(fetched.model_copy(update={"registered": registered}), plan)
    prefix = "repository" if number == VERSIONS else "archive"
    write = environment.repository.store.write
    environment.repository.claim(fetched.model_name, number, "bench")
    model = (ensure_files(fetched, environment.registry) / "model.onnx").read_bytes()
    write(f"{prefix}/{fetched.model_name}/{number}/model.onnx", model)
    write(f"{prefix}/{fetched.model_name}/{number}/metadata.json", artifacts.metadata.encode())
    if prefix == "repository":
        environment.repository.commit(fetched.model_name, artifacts.config, after=None)


def _loaded(environment: Environment, address: str, names: list[str]) -> None:
    for name in names:
        environment.fleet.load_model(address, name)
        environment.fleet.infer(address, name, {"input": np.ones((1, 4), np.float32)}, ["output"], VERSIONS)
