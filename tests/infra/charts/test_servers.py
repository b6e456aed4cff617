"""The chart servers: Prefect, MLflow and S3 for a laptop's cluster."""

import json
from typing import Any

import pytest

from infra.setup.pools import TEMPLATES
from tests.apparatus.charts import containers, environment, one, patience_s, pods, render, rendered


def test_have_short_addresses() -> None:
    services = [item for item in rendered("servers") if item["kind"] == "Service"]

    found = {item["metadata"]["name"]: item["spec"]["ports"][0]["port"] for item in services}
    assert found == {"prefect": 4200, "mlflow": 5000, "s3": 9000}


def test_let_mlflow_answer_to_its_names_and_deliver_inside_the_cluster() -> None:
    container = next(item for item in containers(rendered("servers")) if item["name"] == "mlflow")
    found = environment(container)

    hosts = found["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {"mlflow:*", "mlflow.ours:*", "mlflow.ours.svc.cluster.local:*", "localhost:*"} <= set(hosts)
    assert found["MLFLOW_WEBHOOK_ALLOWED_SCHEMES"] == "http,https"
    assert found["MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"] == "true"
    assert found["MLFLOW_S3_ENDPOINT_URL"] == "http://s3.ours.svc.cluster.local:9000"


def test_keep_their_data_where_they_are_told_to() -> None:
    kept, lost = rendered("servers", "values-laptop.yaml"), rendered("servers")

    claims = {item["metadata"]["name"] for item in kept if item["kind"] == "PersistentVolumeClaim"}
    used = [
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods(kept)
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert claims == set(used) == {"prefect", "mlflow", "s3"}
    assert not [item for item in lost if item["kind"] == "PersistentVolumeClaim"]


def container_of(name: str, **values: Any) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (item for item in containers(render("servers", values)) if item["name"] == name)
    return found


def test_have_minutes_to_be_busy_in() -> None:
    assert {patience_s(item["livenessProbe"]) for item in containers(rendered("servers"))} == {300}


def test_let_nobody_ask_prefect_without_its_auth_string() -> None:
    found = environment(container_of("prefect"))

    assert found["PREFECT_SERVER_API_AUTH_STRING"] == {"secretKeyRef": {"name": "prefect-auth", "key": "auth-string"}}
    named = container_of("prefect", prefect={"auth": {"secret": {"name": "ours", "key": "login"}}})
    assert environment(named)["PREFECT_SERVER_API_AUTH_STRING"] == {"secretKeyRef": {"name": "ours", "key": "login"}}


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://localhost:4200/api", "http://localhost:4200"),
        ("https://prefect.example.org/api", "https://prefect.example.org"),
    ],
)
def test_let_no_page_but_prefects_own_ask_prefect(url: str, origin: str) -> None:
    found = environment(container_of("prefect", prefect={"browserApiUrl": url}))

    assert found["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == origin


def test_open_nothing_of_the_object_store_but_s3() -> None:
    found = container_of("s3")

    words = set(found["args"])
    assert {"-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-disableHttp", "-s3.ip.bind=0.0.0.0", "-s3.port=9000"} <= words
    assert {"-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"} <= words
    assert [port["containerPort"] for port in found["ports"]] == [9000]


def test_are_not_ready_before_the_buckets_are_there() -> None:
    made = container_of("s3")["lifecycle"]["postStart"]["exec"]["command"]

    assert made == [
        "make-buckets",
        "http://127.0.0.1:9000",
        "mlflow",
        "prefect-results",
        "triton-models/repository/.keep",
    ]


def admitted(policy: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a NetworkPolicy lets a pod of its namespace with these labels in."""
    return any(
        peer["podSelector"].get("matchLabels", {}).items() <= labels.items()
        and all(labels.get(rule["key"]) in rule["values"] for rule in peer["podSelector"].get("matchExpressions", []))
        for rule in policy["spec"]["ingress"]
        for peer in rule["from"]
    )


def labels_of_pods() -> dict[str, dict[str, str]]:
    """The labels of every pod there is on a laptop's cluster, by what it is."""
    objects = [item for name in ("servers", "slipway", "triton") for item in rendered(name, "values-laptop.yaml")]
    templates = [item["spec"]["template"] for item in objects if "template" in item.get("spec", {})]
    found = {item["spec"]["containers"][0]["name"]: item["metadata"]["labels"] for item in templates}
    flow = json.loads((TEMPLATES / "cpu.json").read_text())["job_configuration"]["job_manifest"]
    return found | {"flow": flow["spec"]["template"]["metadata"]["labels"], "stranger": {"app": "stranger"}}


@pytest.mark.parametrize(
    ("server", "port", "callers"),
    [
        ("prefect", 4200, {"worker", "events", "setup", "flow"}),
        ("mlflow", 5000, {"events", "setup", "flow"}),
        ("s3", 9000, {"mlflow", "triton", "setup", "flow"}),
    ],
)
def test_answer_those_who_need_them_and_nobody_else(server: str, port: int, callers: set[str]) -> None:
    policy = one(rendered("servers", "values-laptop.yaml"), "NetworkPolicy", server)

    assert {name for name, labels in labels_of_pods().items() if admitted(policy, labels)} == callers
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert [rule["port"] for found in policy["spec"]["ingress"] for rule in found["ports"]] == [port]
    assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == server


def test_answer_others_where_they_are_named() -> None:
    elsewhere = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "triton"}}}

    policy = one(render("servers", {"networkPolicy": {"from": {"s3": [elsewhere]}}}), "NetworkPolicy", "s3")

    assert elsewhere in policy["spec"]["ingress"][0]["from"]
