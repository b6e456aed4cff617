"""Triton's pods come and go: what they serve is what is committed, without a release."""

import os
import subprocess
from typing import Any

import pytest

from blocks.registry import ModelRegistry
from infra.local.settings import ROOT
from tests.kubernetes.cluster import Cluster, eventually
from tests.kubernetes.released import POD_S, SERVED, findings, served_versions
from tests.kubernetes.runs import completed, runs_of

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(2700)]


def test_a_replica_that_is_deleted_comes_back_with_what_is_committed(
    cluster: Cluster, registry: ModelRegistry, trained: dict[str, Any]
) -> None:
    before = cluster.replicas()
    cluster.kubectl("delete", "pod", before[0].name)

    eventually(
        "a new replica",
        lambda: (
            [p for p in cluster.replicas() if p.ready and p.name not in {b.name for b in before}]
            and all(p.ready for p in cluster.replicas())
        ),
        180,
    )

    assert served_versions(cluster) == [(1,), (1,)]
    run = completed(cluster.run("reconcile-models/kubernetes", model_names=[SERVED]), POD_S)
    assert findings(run.id) == []
    assert [run.name for run in runs_of("deploy-model", model_name=SERVED)] == [trained["release"].name]


@pytest.mark.exhaustive  # one that was deleted comes back as new, above
def test_a_third_replica_serves_the_live_version_without_a_release(cluster: Cluster, trained: dict[str, Any]) -> None:
    cluster.scale_triton(3)

    assert served_versions(cluster) == [(1,), (1,), (1,)]
    run = completed(cluster.run("reconcile-models/kubernetes", model_names=[SERVED]), POD_S)
    assert findings(run.id) == []
    assert [run.name for run in runs_of("deploy-model", model_name=SERVED)] == [trained["release"].name]


def test_the_smoke_test_gets_a_prediction_of_every_replica(cluster: Cluster, trained: dict[str, Any]) -> None:
    command = ["make", "smoke-test", f"MODEL={SERVED}", f"NAMESPACE={cluster.namespace}"]
    # a make around the tests would hand its own variables on, ARGS among them
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "ARGS"}

    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stdout + done.stderr
    assert all(pod.name in done.stdout for pod in cluster.replicas())
