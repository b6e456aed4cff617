"""Everything on a real cluster: trained on the GPU node, released by an alias, healed, resumed, scaled, kept in bounds.

The tests build on each other in this order: what one releases, the next one breaks.
"""

import json
import subprocess
import time
import uuid
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import get_client

from blocks.registry import ModelRegistry
from infra.events.delivery import ID_HEADER
from infra.local.settings import ROOT
from tests.infra.events.deliveries import alias_body, events_of, signed
from tests.kubernetes.cluster import Cluster, eventually
from tests.kubernetes.runs import children, completed, ended, read_run, runs_of, step_end, steps, watched_pods
from tests.models import register_linear

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1500)]

MODEL, SERVED = "resnet18-digits", "resnet18-digits-onnx"
POD_S = 300  # a pod's start, its imports and a short flow on two busy cores
DIGITS = {"model_name": MODEL, "epochs": 3, "metric_threshold": 0.5}


@pytest.fixture(scope="session")
def registry(cluster: Cluster) -> ModelRegistry:
    return cluster.registry


@pytest.fixture(scope="session")
def trained(cluster: Cluster) -> dict[str, Any]:
    """The first training, from its start by `prefect deployment run` to the release its alias triggers."""
    start = time.monotonic()
    with watched_pods(cluster) as pods:
        training = completed(cluster.run("train-model/kubernetes", **DIGITS), 1200)
        release = release_of(1)
        completed(release, POD_S)
    return {"training": training, "release": read_run(release), "pods": pods, "total_s": time.monotonic() - start}


def release_of(version: int) -> UUID:
    """Return the run that the alias triggered for a version of the served model."""
    asked = {"model_name": SERVED, "source": f"version:{version}"}
    (run, *_) = eventually("the release an alias asks for", lambda: runs_of("deploy-model", **asked), 180)
    return run.id


def served_versions(cluster: Cluster, model_name: str = SERVED) -> list[tuple[int, ...]]:
    """Return what each replica serves, asked one by one."""
    with cluster.fleet() as fleet:
        return [fleet.ready_versions(address, model_name) for address in fleet.addresses()]


def test_training_runs_on_the_gpu_node_and_nothing_else_does(cluster: Cluster, trained: dict[str, Any]) -> None:
    (child,) = children(trained["training"].id)
    on_gpu_nodes = {pod.flow_run_id for pod in trained["pods"].values() if pod.node in cluster.gpu_nodes()}
    with_gpu = {pod.flow_run_id: pod.gpus for pod in trained["pods"].values() if pod.gpus}

    assert with_gpu == {child.id: 1}
    assert on_gpu_nodes == {child.id}
    assert child.deployment_id is not None
    assert {trained["training"].id, trained["release"].id} <= {pod.flow_run_id for pod in trained["pods"].values()}


def test_the_gpu_is_free_when_training_ends(trained: dict[str, Any]) -> None:
    (child,) = children(trained["training"].id)

    assert child.end_time is not None
    gates = [step for step in steps(trained["training"].id) if step.name.startswith("promote")]
    assert all(step.start_time is not None and child.end_time <= step.start_time for step in gates)
    assert [pod.phase for pod in trained["pods"].values() if pod.gpus] == ["Succeeded"]


def test_the_alias_releases_to_both_replicas_and_each_is_verified(
    cluster: Cluster, registry: ModelRegistry, trained: dict[str, Any]
) -> None:
    assert registry.aliases(SERVED) == {"deploy": 1, "live": 1}
    assert served_versions(cluster) == [(1,), (1,)]
    receipt = json.loads(registry.version(SERVED, 1).tags["receipt"])
    assert len({replica["address"] for replica in receipt["replicas"]}) == 2
    assert all(replica["comparison"]["top1_agreement"] == 1 for replica in receipt["replicas"])
    set_at = datetime.fromisoformat(trained["release"].parameters["alias_set_at"])
    to_live_s = step_end(trained["release"].id, "verify-deployment").timestamp() - set_at.timestamp()
    print(f"\ntrained, gated, exported, released, verified in {trained['total_s']:.0f} s")  # noqa: T201
    print(f"alias set to verified live on both replicas: {to_live_s:.1f} s")  # noqa: T201


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


def findings(run_id: UUID) -> list[str]:
    """Return the kinds of drift a reconciliation reported."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    of_it = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        tables = client.read_artifacts(artifact_filter=of_it)
    return [row["drift"] for table in tables for row in json.loads(str(table.data))]


def test_a_third_replica_serves_the_live_version_without_a_release(cluster: Cluster, trained: dict[str, Any]) -> None:
    cluster.scale_triton(3)

    assert served_versions(cluster) == [(1,), (1,), (1,)]
    run = completed(cluster.run("reconcile-models/kubernetes", model_names=[SERVED]), POD_S)
    assert findings(run.id) == []
    assert [run.name for run in runs_of("deploy-model", model_name=SERVED)] == [trained["release"].name]


def kill_pod_of(cluster: Cluster, run_id: UUID) -> None:
    """Kill the pod a flow run runs in as a lost node does: at once, without a word to its process."""
    (pod,) = [pod for pod in cluster.flow_pods() if pod.flow_run_id == run_id and pod.phase == "Running"]
    cluster.kubectl("delete", "pod", pod.name, "--grace-period=0", "--force")


def evict_pod_of(cluster: Cluster, run_id: UUID) -> None:
    """End the pod a flow run runs in as an eviction does: by SIGTERM."""
    (pod,) = [pod for pod in cluster.flow_pods() if pod.flow_run_id == run_id and pod.phase == "Running"]
    cluster.kubectl("delete", "pod", pod.name, "--wait=false")


def test_a_training_pod_that_is_killed_goes_on_at_its_last_epoch(cluster: Cluster, registry: ModelRegistry) -> None:
    name = f"killed-{uuid.uuid4().hex[:6]}"
    epochs = 6
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
    assert [version for version, _ in registry.versions(name)] == [1]
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

    assert registry.aliases(name) == {"deploy": 1, "live": 1}
    assert served_versions(cluster, name) == [(1,)] * 3
    assert "Cached" in {step.state_name for step in steps(run.id) if step.name.startswith("fetch-model")}


def test_a_training_that_is_cancelled_frees_the_gpu(cluster: Cluster) -> None:
    run_id = cluster.run("train-model/kubernetes", model_name="cancelled", epochs=200)

    def in_training() -> bool:
        return any(pod.gpus and pod.phase == "Running" for pod in cluster.flow_pods())

    eventually("the training pod", in_training, 600)
    cluster.prefect("flow-run", "cancel", str(run_id))

    assert ended(run_id, 180).state_name == "Cancelled"
    (child,) = children(run_id)
    assert ended(child.id, 180).state_name == "Cancelled"
    eventually("the end of the GPU pod", lambda: not in_training(), 120)


def deliver(cluster: Cluster, body: bytes, headers: dict[str, str]) -> int:
    url = f"{cluster.events_url}/webhooks/mlflow"
    return httpx.post(url, content=body, headers=headers, timeout=30, trust_env=False).status_code


def counted(cluster: Cluster) -> dict[str, float]:
    lines = httpx.get(f"{cluster.events_url}/metrics", timeout=30, trust_env=False).text.splitlines()
    prefix = 'slipway_webhook_deliveries_total{outcome="'
    rows = [line.removeprefix(prefix).split('"} ') for line in lines if line.startswith(prefix)]
    return {outcome: float(value) for outcome, value in rows}


def test_what_mlflow_did_not_send_is_refused_and_counted(cluster: Cluster) -> None:
    secret, before = cluster.secret("webhook-secret"), counted(cluster)
    body, huge = alias_body("hook-cluster"), b"x" * 1_000_000
    headers = signed(body, secret)

    assert deliver(cluster, body, headers) == 202
    assert deliver(cluster, body, headers) == 409
    assert deliver(cluster, body, signed(body, "guessed" * 5)) == 401
    assert deliver(cluster, body, signed(body, secret, age_s=3600)) == 401
    assert deliver(cluster, b"{", signed(b"{", secret)) == 400
    assert deliver(cluster, body, {k: v for k, v in headers.items() if k != ID_HEADER}) == 400
    assert deliver(cluster, huge, signed(huge, secret)) == 413

    after = counted(cluster)
    grown = {outcome: after[outcome] - before[outcome] for outcome in after if after[outcome] != before[outcome]}
    assert grown == {"accepted": 1, "duplicate": 1, "forged": 1, "stale": 1, "malformed": 2, "oversized": 1}


def test_a_burst_of_aliases_loses_none(cluster: Cluster, registry: ModelRegistry) -> None:
    name = f"burst-{uuid.uuid4().hex[:6]}"
    register_linear(registry, name, seed=1)
    for number in range(100):
        registry.set_alias(name, f"alias-{number}", 1)

    aliases = {event.payload["alias"] for event in events_of(name, 101, within_s=60)}

    assert aliases == {"deploy", *(f"alias-{number}" for number in range(100))}


def test_what_was_set_while_the_service_was_down_is_found_by_the_poll(
    cluster: Cluster, registry: ModelRegistry
) -> None:
    prefix = f"down-{uuid.uuid4().hex[:6]}"
    names = [f"{prefix}-{number}-onnx" for number in range(4)]
    for number, name in enumerate(names):
        if number == 1:
            cluster.kubectl("scale", "deployment", "slipway-events", "--replicas=0")
            eventually("the end of the service", lambda: not events_pods(cluster), 60)
        register_linear(registry, name, seed=1)
    time.sleep(12)  # longer than MLflow goes on trying
    cluster.kubectl("scale", "deployment", "slipway-events", "--replicas=1")

    completed(cluster.run("poll-aliases/kubernetes"), POD_S)

    eventually("all events", lambda: {e.resource.name for e in events_of(prefix)} == set(names), 60)
    eventually(
        "all releases",
        lambda: all(registry.aliases(name).get("live") == 1 for name in names),
        900,
        every_s=3,
    )


def events_pods(cluster: Cluster) -> list[Any]:
    return cluster.objects("pods", "app.kubernetes.io/component=events")


ALLOWED = {("jobs.batch", verb) for verb in ("create", "delete", "get", "list", "watch")} | {
    ("pods", "list"),
    ("pods", "watch"),
    ("pods/log", "get"),
}
RESOURCES = (
    "jobs.batch",
    "pods",
    "pods/log",
    "pods/exec",
    "secrets",
    "configmaps",
    "deployments.apps",
    "serviceaccounts",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "nodes",
    "namespaces",
)
VERBS = ("create", "delete", "get", "list", "watch", "patch", "update")


def test_the_workers_account_can_do_what_it_needs_and_nothing_more(cluster: Cluster, tmp_path: Any) -> None:
    (worker, *_) = cluster.objects("pods", "app.kubernetes.io/component=worker")
    path = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    token = cluster.kubectl("exec", worker["metadata"]["name"], "--", "cat", path).strip()
    own = tmp_path / "worker.kubeconfig"
    own.write_text(with_token(cluster, token))

    def can(verb: str, resource: str, namespace: str) -> bool:
        kind, _, sub = resource.partition("/")
        parts = [verb, kind, *([f"--subresource={sub}"] if sub else []), "--namespace", namespace]
        return cluster.kubectl("--kubeconfig", str(own), "auth", "can-i", *parts, check=False).startswith("yes")

    granted = {(r, v) for r in RESOURCES for v in VERBS if can(v, r, cluster.namespace)}
    assert granted == ALLOWED
    assert not any(can(verb, resource, "default") for resource, verb in ALLOWED)
    assert "Forbidden" in cluster.kubectl("--kubeconfig", str(own), "get", "secret", "slipway", check=False)
    assert "pod/" in cluster.kubectl("--kubeconfig", str(own), "get", "pods", "-o", "name")


def with_token(cluster: Cluster, token: str) -> str:
    """Return the kubeconfig in use with a token as its only credential."""
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    return json.dumps(config)


def test_the_smoke_test_gets_a_prediction_of_every_replica(cluster: Cluster, trained: dict[str, Any]) -> None:
    command = ["make", "smoke-test", f"MODEL={SERVED}", f"NAMESPACE={cluster.namespace}"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stdout + done.stderr
    assert all(pod.name in done.stdout for pod in cluster.replicas())
