"""Every chart: valid objects everywhere, no right, no key and no open door too many."""

import base64

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from helm_python import lint

from infra.kubernetes.releases import CHARTS
from tests.apparatus.charts import (
    CURRENT,
    CUSTOM,
    NAMES,
    OLD,
    RENAMED,
    containers,
    environment,
    every_combination,
    every_version,
    pods,
    refusal,
    render,
    rendered,
    secrets_of,
    values_of,
)


@every_version
@every_combination
def test_passes_helms_own_lint(name: str, files: tuple[str, ...], version: str) -> None:
    report = lint(CHARTS / name, values_of(name, files), strict=True, kube_version=version)

    complaints = [message for message in report["messages"] if "icon is recommended" not in message["error"]]
    assert (complaints, report["errors"]) == ([], [])


@every_version
@every_combination
def test_renders_objects_that_fit_their_schemas_to_the_last_key(
    name: str, files: tuple[str, ...], version: str
) -> None:
    for item in rendered(name, *files, version=version):
        if item["kind"] not in CUSTOM:
            as_now = {**item, "apiVersion": RENAMED.get(item["apiVersion"], item["apiVersion"])}
            kubernetes_validate.validate(as_now, CURRENT, strict=True)


@every_combination
def test_asks_an_old_cluster_for_kinds_it_knows(name: str, files: tuple[str, ...]) -> None:
    versions = {item["kind"]: item["apiVersion"] for item in rendered(name, *files, version=OLD)}

    assert versions.get("PodDisruptionBudget", "policy/v1beta1") == "policy/v1beta1"
    assert versions.get("HorizontalPodAutoscaler", "autoscaling/v2beta2") == "autoscaling/v2beta2"


@every_combination
def test_runs_every_container_without_rights_and_within_limits(name: str, files: tuple[str, ...]) -> None:
    for container in containers(rendered(name, *files)):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for bound in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][bound].keys(), container["name"]


@every_combination
def test_runs_every_pod_as_a_user_and_without_a_token_but_the_workers(name: str, files: tuple[str, ...]) -> None:
    for pod in pods(rendered(name, *files)):
        works = pod["containers"][0]["name"] == "worker"
        assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsNonRoot"]) == (1000, True)
        assert pod["automountServiceAccountToken"] is works


@every_combination
def test_takes_every_key_from_a_secret_by_reference(name: str, files: tuple[str, ...]) -> None:
    secret = {"KEY", "SECRET", "ALERTS", "AUTH"}
    for container in containers(rendered(name, *files)):
        for variable, value in environment(container).items():
            if secret & set(variable.split("_")) and not variable.startswith("PREFECT_INTEGRATIONS"):
                assert list(value) == ["secretKeyRef"], variable


@every_combination
def test_makes_no_secret_but_random_ones_that_stay(name: str, files: tuple[str, ...]) -> None:
    values = values_of(name, files)
    first, second = (secrets_of(render(name, values)) for _ in range(2))

    assert first.keys() == second.keys()
    for made, found in first.items():
        (value,) = (base64.b64decode(text).decode() for text in found["data"].values())
        assert len(value.rpartition(":")[2]) == 40
        assert found["data"] != second[made]["data"]
        assert found["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@every_combination
def test_names_an_immutable_image_everywhere(name: str, files: tuple[str, ...]) -> None:
    for container in containers(rendered(name, *files)):
        tag = container["image"].rpartition(":")[2]
        assert tag not in ("", "latest") and "/" not in tag


@every_combination
def test_makes_services_that_select_the_pods_they_are_for(name: str, files: tuple[str, ...]) -> None:
    objects = rendered(name, *files)
    labels = [item["spec"]["template"]["metadata"]["labels"] for item in objects if item["kind"] == "Deployment"]

    for service in (item for item in objects if item["kind"] == "Service"):
        wanted = service["spec"]["selector"].items()
        ports = {port["name"] for container in containers(objects) for port in container.get("ports", [])}
        assert sum(wanted <= found.items() for found in labels) == 1
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tag", ["latest", "main", "has space"])
def test_refuses_a_tag_that_moves(name: str, tag: str) -> None:
    values = {"images": {"deployment": {"tag": tag}}} if name == "slipway" else {"image": {"tag": tag}}

    assert "tag" in refusal(name, **values)


@pytest.mark.parametrize("name", NAMES)
def test_refuses_a_key_it_does_not_know_by_name(name: str) -> None:
    assert "replicaCount" in refusal(name, replicaCount=3)
