"""`prefect.yaml`, the pools and the automations: Prefect ignores what it does not know, so that is refused here."""

import asyncio
import inspect
import json
from importlib import import_module
from typing import Any

import jsonschema
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.flows import Flow

from blocks.errors import InvalidInput
from flows.running.elsewhere import DEADLINE_S
from flows.training import VALIDATION_DEADLINE_S
from infra.local.settings import ROOT, LocalStack
from infra.setup.automations import apply_automations, read_automations
from infra.setup.pools import POOLS, fill_template
from infra.setup.queues import URGENT
from infra.setup.settings import AlertSettings, ClusterSettings

FILE = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS: list[dict[str, Any]] = FILE["deployments"]
ALLOWED = {
    "name",
    "entrypoint",
    "description",
    "tags",
    "parameters",
    "schedules",
    "triggers",
    "concurrency_limit",
    "work_pool",
    "pull",
}
ALLOWED_IN = {
    "work_pool": {"name", "work_queue_name", "job_variables"},
    "concurrency_limit": {"limit", "collision_strategy", "grace_period_seconds"},
    "schedules": {"slug", "cron", "timezone", "active", "parameters"},
    "triggers": {"type", "enabled", "expect", "match", "parameters"},
}
SETTINGS = ClusterSettings.model_validate(
    {"namespace": "ml", "service_account": "flows", "deployment_image": "a/b:1", "training_image": "a/c:1"}
)


def named(deployment: dict[str, Any]) -> str:
    return f"{flow_of(deployment).name}/{deployment['name']}"


def flow_of(deployment: dict[str, Any]) -> Flow[Any, Any]:
    path, _, function = deployment["entrypoint"].partition(":")
    found = getattr(import_module(path.removesuffix(".py").replace("/", ".")), function)
    assert isinstance(found, Flow)
    return found


every_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=named)


def test_every_flow_is_deployed_to_both_worlds() -> None:
    flows = {
        "train-model",
        "deploy-model",
        "deploy-by-git",
        "publish-model",
        "adopt-model",
        "tune-model",
        "rollback-model",
        "withdraw-model",
        "reconcile-models",
        "poll-aliases",
    }

    names = {named(deployment) for deployment in DEPLOYMENTS}

    assert names == {f"{flow}/{world}" for flow in flows for world in ("local", "kubernetes")} | {
        "train-candidate/local",
        "train-candidate/gpu",
        "validate-export/local",
        "validate-export/gpu",
        "train-yolo/local",
        "train-yolo/gpu",
    }


@every_deployment
def test_no_key_is_one_that_prefect_ignores(deployment: dict[str, Any]) -> None:
    assert deployment.keys() <= ALLOWED
    for key, allowed in ALLOWED_IN.items():
        found = deployment.get(key, [])
        for part in found if isinstance(found, list) else [found]:
            assert part.keys() <= allowed, key


@every_deployment
def test_every_parameter_is_one_of_the_flows(deployment: dict[str, Any]) -> None:
    parameters = inspect.signature(flow_of(deployment).fn).parameters.keys()

    assert deployment.get("parameters", {}).keys() <= parameters
    for trigger in deployment.get("triggers", []):
        assert trigger["parameters"].keys() <= parameters
        DeploymentEventTrigger.model_validate(trigger)


@every_deployment
def test_every_job_variable_is_one_of_the_pools(deployment: dict[str, Any]) -> None:
    pool, variables = deployment["work_pool"]["name"], deployment["work_pool"].get("job_variables", {})

    known = set() if pool == "local" else fill_template(pool, SETTINGS)["variables"]["properties"].keys()

    assert variables.keys() <= set(known)


def test_only_training_and_gate_2_have_a_gpu() -> None:
    on_gpu = [named(found) for found in DEPLOYMENTS if found["work_pool"]["name"] == "gpu"]

    assert on_gpu == ["train-candidate/gpu", "validate-export/gpu", "train-yolo/gpu"]


def test_what_brings_serving_back_has_a_queue_of_its_own() -> None:
    urgent = {named(found) for found in DEPLOYMENTS if found["work_pool"].get("work_queue_name") == URGENT}

    flows = ("rollback-model", "withdraw-model", "reconcile-models", "poll-aliases")
    assert urgent == {f"{flow}/{world}" for flow in flows for world in ("local", "kubernetes")}
    assert {found["work_pool"].get("work_queue_name", URGENT) for found in DEPLOYMENTS} == {URGENT}


def test_a_parent_may_work_longer_than_it_follows_its_child_and_that_longer_than_the_child_may_work() -> None:
    parents = [found for found in DEPLOYMENTS if found.get("parameters", {}).get("training_deployment")]

    variables = fill_template("gpu", SETTINGS)["variables"]["properties"]
    for parent in parents:
        allowed_s = parent["work_pool"]["job_variables"]["active_deadline_seconds"]
        assert allowed_s > DEADLINE_S + VALIDATION_DEADLINE_S
        assert variables["active_deadline_seconds"]["default"] <= DEADLINE_S
    assert [named(parent) for parent in parents] == ["train-model/kubernetes"]


def test_a_training_that_may_take_longer_than_its_parent_follows_it_is_refused() -> None:
    settings = SETTINGS.model_copy(update={"pool_variables": {"gpu": {"active_deadline_seconds": 72 * 3600}}})

    with pytest.raises(InvalidInput, match=r"pool 'gpu', active_deadline_seconds: 259200 > 172800"):
        fill_template("gpu", settings)


def test_nightly_training_is_off_until_somebody_switches_it_on() -> None:
    nightly = [found["schedules"][0] for found in DEPLOYMENTS if named(found).startswith("train-model/")]

    assert [schedule["active"] for schedule in nightly] == [False, False]


@pytest.mark.parametrize("pool", POOLS)
def test_every_placeholder_of_a_pools_template_is_a_variable_and_every_variable_is_used(pool: str) -> None:
    template = fill_template(pool, SETTINGS)

    text = json.dumps(template["job_configuration"])

    for variable in template["variables"]["properties"]:
        assert f"{{{{ {variable} }}}}" in text, variable
    assert text.count("{{") == sum(text.count(f"{{{{ {v} }}}}") for v in template["variables"]["properties"])


@pytest.mark.parametrize("pool", POOLS)
def test_the_worker_takes_what_a_pool_makes_of_its_variables(pool: str) -> None:
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    made = asyncio.run(
        KubernetesWorkerJobConfiguration.from_template_and_values(fill_template(pool, SETTINGS), {"image": "a/b:1"})
    )

    container = made.job_manifest["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "a/b:1"
    assert made.job_manifest["spec"]["backoffLimit"] == 4
    assert "None" not in json.dumps(made.job_manifest)


def test_the_gpu_pool_asks_for_a_gpu_and_the_node_that_has_one() -> None:
    template = fill_template("gpu", SETTINGS)
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    defaults = {name: found.get("default") for name, found in template["variables"]["properties"].items()}

    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpu_count }}"
    assert defaults["gpu_count"] == 1
    assert defaults["node_selector"] == {"node-group": "gpu-training"}
    assert defaults["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert (defaults["cpu_request"], defaults["cpu_limit"]) == ("3", "4")
    assert (defaults["memory_request"], defaults["memory_limit"]) == ("8Gi", "14Gi")
    assert "nvidia" not in json.dumps(fill_template("cpu", SETTINGS))


@pytest.mark.parametrize("pool", POOLS)
def test_a_pod_needs_an_image_whose_tag_does_not_change(pool: str) -> None:
    schema = fill_template(pool, SETTINGS)["variables"]

    jsonschema.validate({"image": "registry/slipway-training:1f2e3d4"}, schema)
    for image in ("registry/slipway-training", "registry/slipway-training:latest"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"image": image}, schema)


def test_what_a_cluster_sets_is_a_default_of_its_pools() -> None:
    settings = SETTINGS.model_copy(update={"pool_variables": {"gpu": {"memory_request": "1Gi"}}})

    properties = fill_template("gpu", settings)["variables"]["properties"]

    assert properties["memory_request"]["default"] == "1Gi"
    assert (properties["namespace"]["default"], properties["service_account_name"]["default"]) == ("ml", "flows")


def test_a_variable_no_pool_has_is_refused() -> None:
    settings = SETTINGS.model_copy(update={"pool_variables": {"gpu": {"memory": "1Gi"}}})

    with pytest.raises(InvalidInput, match="pool 'gpu' has no variable 'memory'"):
        fill_template("gpu", settings)


def test_automations_applied_twice_change_nothing_and_stay_paused_where_people_paused_them(stack: LocalStack) -> None:
    with get_client(sync_client=True) as client:
        before = sorted((found.name, found.enabled) for found in client.read_automations())

        for _ in range(2):
            apply_automations(client, AlertSettings())

        assert sorted((found.name, found.enabled) for found in client.read_automations()) == before


def test_people_are_told_of_what_cannot_wait() -> None:
    names = {found.name for found in read_automations()}

    assert names == {
        "slipway-action-failed",
        "slipway-run-crashed",
        "slipway-release-failed",
        "slipway-run-pending",
        "slipway-drift-found",
        "slipway-run-lost",
        "slipway-run-cancelling",
        "slipway-update-refused",
    }
