"""The chart slipway: workers with the rights they use, the event service, and what registers everything."""

import json
from typing import Any

import pytest

from tests.apparatus.charts import (
    containers,
    environment,
    one,
    patience_s,
    refusal,
    render,
    rendered,
    secrets_of,
    values_of,
)


def test_gives_the_workers_the_rights_they_use_and_nobody_else_any() -> None:
    objects = rendered("slipway", "values-aws.yaml")

    assert one(objects, "Role")["rules"] == [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "delete", "get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
    assert [subject["name"] for subject in one(objects, "RoleBinding")["subjects"]] == ["slipway-worker"]
    assert not [item for item in objects if item["kind"].startswith("Cluster")]


def test_runs_one_worker_a_pool_and_one_observer_in_its_own_namespace() -> None:
    workers = [item for item in containers(rendered("slipway")) if item["name"] == "worker"]

    assert [[word for word in item["args"] if "pool" in word] for item in workers] == [
        ["--pool=cpu"],
        ["--pool=gpu"],
    ]
    prefix = "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_"
    assert [environment(item)[f"{prefix}ENABLED"] for item in workers] == ["true", "false"]
    assert {environment(item)[f"{prefix}NAMESPACES"] for item in workers} == {"ours"}
    assert {item["livenessProbe"]["httpGet"]["path"] for item in workers} == {"/health"}
    assert {patience_s(item["livenessProbe"]) for item in workers} == {300}


def test_lets_a_worker_differ_from_the_others() -> None:
    objects = render("slipway", {"workers": [{"pool": "cpu"}, {"pool": "gpu", "limit": 1, "replicas": 2}]})

    workers = {item["metadata"]["name"]: item["spec"] for item in objects if item["kind"] == "Deployment"}
    assert {name: spec["replicas"] for name, spec in workers.items() if "worker" in name} == {
        "slipway-worker-cpu": 1,
        "slipway-worker-gpu": 2,
    }
    (setup,) = (item for item in containers(objects) if item["name"] == "setup")
    assert json.loads(environment(setup)["SLIPWAY_POOL_LIMITS"]) == {"cpu": 10, "gpu": 1}


def test_gives_flows_the_role_for_s3_and_no_keys() -> None:
    objects = rendered("slipway", "values-aws.yaml")

    flows = one(objects, "ServiceAccount", "slipway-flows")
    assert "role-arn" in next(iter(flows["metadata"]["annotations"]))
    assert flows["automountServiceAccountToken"] is False
    assert not [name for item in containers(objects) for name in environment(item) if "S3_" in name]


def test_registers_everything_after_install_and_upgrade() -> None:
    job = one(rendered("slipway", "values-laptop.yaml"), "Job")
    container = job["spec"]["template"]["spec"]["containers"][0]

    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "post-install,post-upgrade",
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }
    assert container["command"] == ["python", "-m", "infra", "setup", "kubernetes"]
    assert {name for name in environment(container) if name.startswith("SLIPWAY_")} == {
        "SLIPWAY_NAMESPACE",
        "SLIPWAY_SERVICE_ACCOUNT",
        "SLIPWAY_POOL_LIMITS",
        "SLIPWAY_DEPLOYMENT_IMAGE",
        "SLIPWAY_TRAINING_IMAGE",
        "SLIPWAY_S3_ACCESS_KEY_ID",
        "SLIPWAY_S3_SECRET_ACCESS_KEY",
        "SLIPWAY_TRITON_CONTROL_KEY",
        "SLIPWAY_WEBHOOK_SECRET",
    }
    assert environment(container)["SLIPWAY_SERVICE_ACCOUNT"] == "slipway-flows"
    assert job["spec"]["activeDeadlineSeconds"] > 0


def test_hands_the_pools_other_defaults_over_as_they_are() -> None:
    variables = {"gpu": {"memory_request": "4Gi", "node_selector": {"node-group": "gpu-training"}}}
    job = one(render("slipway", {"setup": {"poolVariables": variables}}), "Job")

    found = environment(job["spec"]["template"]["spec"]["containers"][0])
    assert json.loads(found["SLIPWAY_POOL_VARIABLES"]) == variables
    assert "tpu" in refusal("slipway", setup={"poolVariables": {"tpu": {}}})


def test_finds_every_triton_replica_by_name() -> None:
    config = one(rendered("slipway", "values-laptop.yaml"), "ConfigMap")["data"]

    assert config["SLIPWAY_TRITON_REPLICAS"] == "dns:///triton-headless.slipway.svc.cluster.local:8001"
    assert config["SLIPWAY_TRITON_METRICS"] == "dns:///triton-headless.slipway.svc.cluster.local:8002"
    assert config["SLIPWAY_S3_ENDPOINT_URL"] == "http://s3.slipway.svc.cluster.local:9000"


def test_names_no_endpoint_on_aws() -> None:
    config = one(rendered("slipway", "values-aws.yaml"), "ConfigMap")["data"]

    assert "SLIPWAY_S3_ENDPOINT_URL" not in config


def test_listens_to_mlflow_at_the_address_it_registers() -> None:
    objects = rendered("slipway")
    service, deployment = one(objects, "Service"), one(objects, "Deployment", "slipway-events")
    container = deployment["spec"]["template"]["spec"]["containers"][0]

    host = f"{service['metadata']['name']}.ours.svc:{service['spec']['ports'][0]['port']}"
    assert environment(container)["SLIPWAY_EVENTS_URL"] == f"http://{host}/webhooks/mlflow"
    assert environment(container)["SLIPWAY_EVENTS_HOST"] == "0.0.0.0"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"


def test_believes_a_webhook_secrets_predecessor_where_one_is_named() -> None:
    webhook = {"secret": {"name": "slipway", "keyBefore": "webhook-secret-before"}}
    objects = render("slipway", {"events": {"webhook": webhook}})

    found = environment(one(objects, "Deployment", "slipway-events")["spec"]["template"]["spec"]["containers"][0])
    assert found["SLIPWAY_WEBHOOK_SECRET_BEFORE"]["secretKeyRef"]["key"] == "webhook-secret-before"
    assert "SLIPWAY_WEBHOOK_SECRET_BEFORE" not in environment(
        one(rendered("slipway"), "Deployment", "slipway-events")["spec"]["template"]["spec"]["containers"][0]
    )


def test_lets_only_mlflow_and_prometheus_reach_the_event_service() -> None:
    policy = one(rendered("slipway"), "NetworkPolicy")["spec"]

    peers = [peer["namespaceSelector"]["matchLabels"] for rule in policy["ingress"] for peer in rule["from"]]
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "events"
    assert peers == [{"kubernetes.io/metadata.name": "mlflow"}, {"kubernetes.io/metadata.name": "monitoring"}]


def test_keeps_prefects_key_out_of_the_flows_jobs() -> None:
    objects = render("slipway", {"prefect": {"apiKey": {"secret": {"name": "cloud", "key": "api-key"}}}})
    worker = next(item for item in containers(objects) if item["name"] == "worker")

    assert environment(worker)["PREFECT_API_KEY"] == {"secretKeyRef": {"name": "cloud", "key": "api-key"}}
    assert environment(worker)["PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_NAME"] == "cloud"
    assert environment(worker)["PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_KEY"] == "api-key"


def test_keeps_the_auth_string_of_a_prefect_server_out_of_the_flows_jobs() -> None:
    for container in containers(rendered("slipway", "values-laptop.yaml")):
        found = environment(container)
        assert found["PREFECT_API_AUTH_STRING"] == {"secretKeyRef": {"name": "prefect-auth", "key": "auth-string"}}
        if container["name"] == "worker":
            prefix = "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET"
            assert (found[f"{prefix}_NAME"], found[f"{prefix}_KEY"]) == ("prefect-auth", "auth-string")


@pytest.mark.parametrize(
    ("triton", "secret"),
    [
        ({"namespace": "ours"}, "triton-control"),
        ({"namespace": "triton"}, "slipway-triton-control"),
        ({"namespace": "ours", "headlessService": "fast-triton-headless"}, "fast-triton-control"),
        ({"namespace": "triton", "control": {"secret": {"name": "named", "key": "control-key"}}}, "named"),
    ],
    ids=["beside it", "copied", "of another release", "named"],
)
def test_registers_the_key_that_triton_asks_for(triton: dict[str, Any], secret: str) -> None:
    (setup,) = (item for item in containers(render("slipway", {"triton": triton})) if item["name"] == "setup")

    key = {"secretKeyRef": {"name": secret, "key": "control-key"}}
    assert environment(setup)["SLIPWAY_TRITON_CONTROL_KEY"] == key


def test_names_the_secret_that_the_chart_triton_makes_on_a_laptop() -> None:
    made = secrets_of(rendered("triton", "values-laptop.yaml"))
    values = values_of("slipway", ("values-laptop.yaml",), triton={"namespace": "ours"})
    (setup,) = (item for item in containers(render("slipway", values)) if item["name"] == "setup")

    reference = environment(setup)["SLIPWAY_TRITON_CONTROL_KEY"]["secretKeyRef"]
    assert reference["key"] in made[reference["name"]]["data"]


def test_names_the_secret_that_the_chart_servers_makes_on_a_laptop() -> None:
    made = secrets_of(rendered("servers", "values-laptop.yaml"))

    (secret,) = {
        (found["secretKeyRef"]["name"], found["secretKeyRef"]["key"])
        for item in containers(rendered("slipway", "values-laptop.yaml"))
        for name, found in environment(item).items()
        if name == "PREFECT_API_AUTH_STRING"
    }
    assert secret[1] in made[secret[0]]["data"]


def test_asks_for_no_key_of_a_triton_that_is_open() -> None:
    objects = render("slipway", {"triton": {"control": {"open": True}}})

    assert not [item for item in containers(objects) if "SLIPWAY_TRITON_CONTROL_KEY" in environment(item)]


def test_refuses_an_event_service_without_a_secret() -> None:
    assert "webhook" in refusal("slipway", events={"webhook": {"secret": {"name": ""}}})


@pytest.mark.parametrize(
    ("secret", "variables"),
    [
        ({"name": "ours"}, {"SLIPWAY_MLFLOW_USERNAME": "username", "SLIPWAY_MLFLOW_PASSWORD": "password"}),
        ({"name": "ours", "token": "jwt"}, {"SLIPWAY_MLFLOW_TOKEN": "jwt"}),
        ({"name": ""}, {}),
    ],
    ids=["a user", "a token", "nobody"],
)
def test_says_who_asks_mlflow_to_set_up_and_to_the_event_service(
    secret: dict[str, str], variables: dict[str, str]
) -> None:
    found = {item["name"]: environment(item) for item in containers(render("slipway", {"mlflow": {"secret": secret}}))}

    for name in ("setup", "events"):
        named = {variable: value for variable, value in found[name].items() if variable in variables}
        assert named == {key: {"secretKeyRef": {"name": "ours", "key": value}} for key, value in variables.items()}
        assert len([variable for variable in found[name] if variable.startswith("SLIPWAY_MLFLOW")]) == len(variables)


def test_tells_set_up_how_to_speak_tls_to_the_replicas() -> None:
    secret = {"name": "certificates", "clientCertificate": "tls.crt", "clientKey": "tls.key"}
    objects = render("slipway", {"triton": {"tls": {"enabled": True, "serverName": "triton.ours", "secret": secret}}})

    (setup,) = (environment(item) for item in containers(objects) if item["name"] == "setup")
    settings = one(objects, "ConfigMap", "slipway")["data"]
    assert (settings["SLIPWAY_TRITON_TLS"], settings["SLIPWAY_TRITON_TLS_SERVER_NAME"]) == ("true", "triton.ours")
    keys = {name.removeprefix("SLIPWAY_TRITON_TLS_"): value for name, value in setup.items() if "_TLS_" in name}
    assert keys == {
        name: {"secretKeyRef": {"name": "certificates", "key": key}}
        for name, key in (
            ("ROOT_CERTIFICATES", "ca.crt"),
            ("CLIENT_CERTIFICATE", "tls.crt"),
            ("CLIENT_KEY", "tls.key"),
        )
    }


def test_leaves_tls_as_it_is_in_the_fleets_block() -> None:
    objects = rendered("slipway")

    assert not [name for name in one(objects, "ConfigMap", "slipway")["data"] if "TLS" in name]
    assert not [name for item in containers(objects) for name in environment(item) if "TLS" in name]
