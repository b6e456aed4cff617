"""The charts as Helm renders them, and their parts by name."""

import json
from functools import cache
from typing import Any

import pytest
import yaml
from helm_python import Chart, HelmError
from helm_python import _native as engine

from infra.kubernetes.releases import CHARTS, merge_values

Object = dict[str, Any]
OLD, CURRENT = "v1.20.2", "v1.37.0"
NAMES = ("servers", "slipway", "triton")
COMBINATIONS = [
    *((name, (path.name,)) for name in NAMES for path in sorted((CHARTS / name).glob("values*.yaml"))),
    ("triton", ("values-aws.yaml", "values-gpu.yaml")),
]
# kinds that no schema of Kubernetes describes, or no longer does under the name an old cluster knows them by
CUSTOM = {"ServiceMonitor"}
RENAMED = {"policy/v1beta1": "policy/v1", "autoscaling/v2beta2": "autoscaling/v2"}
RESTRICTED = "model-repository,shared-memory,logging,trace,model-config:slipway-control=$(TRITON_CONTROL_KEY)"

every_combination = pytest.mark.parametrize(("name", "files"), COMBINATIONS, ids=lambda value: "+".join(value))
every_version = pytest.mark.parametrize("version", [OLD, CURRENT])


def values_of(name: str, files: tuple[str, ...], **values: Any) -> dict[str, Any]:
    return merge_values([CHARTS / name / file for file in files if file != "values.yaml"], values)


def render(
    name: str, values: dict[str, Any] | None = None, version: str = CURRENT, release: str | None = None
) -> list[Object]:
    """Return what a chart, released under its own name into the namespace `ours`, puts on a cluster of a version."""
    options = {"name": release or name, "namespace": "ours", "is_install": True, "kube_version": version}
    with Chart.load(CHARTS / name) as chart:
        rendered = json.loads(
            engine.call_string("helm_render", chart._raw(), json.dumps(values or {}), json.dumps(options))
        )
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


@cache
def rendered(name: str, *files: str, version: str = CURRENT) -> list[Object]:
    return render(name, values_of(name, files), version)


def one(objects: list[Object], kind: str, name: str | None = None) -> Object:
    found = [item for item in objects if item["kind"] == kind and name in (None, item["metadata"]["name"])]
    assert len(found) == 1, [f"{item['kind']}/{item['metadata']['name']}" for item in objects]
    return found[0]


def secrets_of(objects: list[Object]) -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == "Secret"}


def pods(objects: list[Object]) -> list[Object]:
    """The specification of every pod, Deployments', Jobs' and tests' alike."""
    templates = [item["spec"]["template"]["spec"] for item in objects if "template" in item.get("spec", {})]
    return templates + [item["spec"] for item in objects if item["kind"] == "Pod"]


def containers(objects: list[Object]) -> list[Object]:
    return [item for pod in pods(objects) for item in (*pod.get("initContainers", []), *pod["containers"])]


def environment(container: Object) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}


def patience_s(probe: Object) -> int:
    """Return how long a probe may fail before something comes of it."""
    return int(probe["periodSeconds"]) * int(probe["failureThreshold"])


def server(*files: str, **values: Any) -> Object:
    """Triton's container."""
    found: Object = one(render("triton", values_of("triton", files, **values)), "Deployment")
    container: Object = found["spec"]["template"]["spec"]["containers"][0]
    return container


def refusal(name: str, **values: Any) -> str:
    """What Helm says to values the schema refuses."""
    with pytest.raises(HelmError) as refused:
        render(name, values)
    return str(refused.value)
