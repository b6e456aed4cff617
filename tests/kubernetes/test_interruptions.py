"""Pods are killed and evicted, runs are cancelled: what was finished stays finished, and no GPU stays taken."""

import uuid
from uuid import UUID

import pytest

from blocks.registry import ModelRegistry
from tests.apparatus.models import register_linear
from tests.kubernetes.cluster import Cluster, eventually
from tests.kubernetes.released import POD_S, served_versions
from tests.kubernetes.runs import children, completed, ended, runs_of, steps, watched_pods

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(2700)]


def kill_pod_of(cluster: Cluster, run_id: UUID) -> None:
    """Kill the pod a flow run runs in as a lost node does: at once, without a word to its process."""
    (pod,) = [pod for pod in cluster.flow_pods() if pod.flow_run_id == run_id and pod.phase == "Running"]
    cluster.kubectl("delete", "pod", pod.name, "--grace-period=0", "--force")


def evict_pod_of(cluster: Cluster, run_id: UUID) -> None:
    """End the pod a flow run runs in as an eviction does: by SIGTERM."""
    (pod,) = [pod for pod in cluster.flow_pods() if pod.flow_run_id == run_id and pod.phase == "Running"]
    cluster.kubectl("delete", "pod", pod.name, "--wait=false")


@pytest.mark.exhaustive  # tests/flows/test_killed_training.py kills one that is no pod
@pytest.mark.usefixtures("trained")
def test_a_training_pod_that_is_killed_goes_on_at_its_last_epoch(cluster: Cluster, registry: ModelRegistry) -> None:
    name = f"killed-{uuid.uuid4().hex[:6]}"
    epochs = 3
    run_id = cluster.run("train-candidate/gpu", model_name=name, epochs=epochs)
    client = registry.connect()

    def finished_epochs() -> int:
        experiment = client.get_experiment_by_name(name)
        runs = client.search_runs([experiment.experiment_id]) if experiment else []
        return len(client.get_metric_history(runs[0].info.run_id, "val_accuracy")) if runs else 0

    eventually("two finished epochs", lambda: finished_epochs() >= 2, 600, every_s=0.5)
    with watched_pods(cluster) as pods:
        kill_pod_of(cluster, run_id)
        completed(run_id, 600)

    (run,) = client.search_runs([client.get_experiment_by_name(name).experiment_id])  # type: ignore[union-attr]
    history = client.get_metric_history(run.info.run_id, "val_accuracy")
    assert [entry.step for entry in history] == list(range(1, epochs + 1))
    assert int(run.data.tags["resumed_from_epoch"]) >= 1
    assert [version for version, _ in registry.list_versions(name)] == [1]
    assert len({pod.uid for pod in pods.values() if pod.flow_run_id == run_id}) >= 2


def test_a_deployment_pod_that_ends_goes_on_at_its_last_cached_step(cluster: Cluster, registry: ModelRegistry) -> None:
    name = f"evicted-{uuid.uuid4().hex[:6]}-onnx"
    register_linear(registry, name, seed=1)
    (run, *_) = eventually("the release", lambda: runs_of("deploy-model", model_name=name), 180)

    def fetched() -> bool:
        return any(step.name.startswith("fetch-model") and step.state_name == "Completed" for step in steps(run.id))

    eventually("the first step", fetched, POD_S, every_s=0.1)
    evict_pod_of(cluster, run.id)
    completed(run.id, POD_S)

    assert registry.get_aliases(name) == {"deploy": 1, "live": 1}
    assert served_versions(cluster, name) == [(1,)] * len(cluster.replicas())
    assert "Cached" in {step.state_name for step in steps(run.id) if step.name.startswith("fetch-model")}


@pytest.mark.exhaustive  # tests/flows/test_cancelled_deployment.py cancels a run of a worker
@pytest.mark.usefixtures("trained")
def test_a_training_that_is_cancelled_frees_the_gpu(cluster: Cluster) -> None:
    run_id = cluster.run("train-model/kubernetes", model_name="cancelled", epochs=200)

    def has_gpu() -> bool:
        return any(pod.gpus and pod.phase == "Running" for pod in cluster.flow_pods())

    # not earlier: Prefect's runner does not hear of a cancellation while it starts the process of a run
    eventually("the training", lambda: [run for run in children(run_id) if run.state_name == "Running"], 600)
    assert has_gpu()
    cluster.prefect("flow-run", "cancel", str(run_id))

    assert ended(run_id, 180).state_name == "Cancelled"
    (child,) = children(run_id)
    assert ended(child.id, 180).state_name == "Cancelled"
    eventually("the end of the GPU pod", lambda: not has_gpu(), 120)
