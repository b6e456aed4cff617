"""The chart triton: every replica visible to slipway, control behind a key, nothing lost when it stops."""

import pytest

from tests.apparatus.charts import RESTRICTED, environment, one, refusal, render, rendered, secrets_of, server


def test_starts_the_server_of_any_image_with_the_options_slipway_relies_on() -> None:
    container = server("values-aws.yaml")

    assert container["command"] == ["tritonserver"]
    assert {
        "--model-repository=s3://example-triton-models/repository",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--exit-on-error=false",
        "--strict-readiness=false",
        "--disable-auto-complete-config",
        "--allow-metrics=true",
    } <= set(container["args"])


def test_asks_live_for_life_and_ready_for_traffic() -> None:
    container = server()

    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert paths == {
        "startupProbe": "/v2/health/ready",
        "readinessProbe": "/v2/health/ready",
        "livenessProbe": "/v2/health/live",
    }


@pytest.mark.parametrize(("startup", "period"), [(600, 10), (7, 10), (1200, 7)])
def test_gives_the_start_the_time_it_is_allowed(startup: int, period: int) -> None:
    probe = server(probes={"startupSeconds": startup, "periodSeconds": period})["startupProbe"]

    assert startup - period < probe["periodSeconds"] * probe["failureThreshold"] <= max(startup, period)


@pytest.mark.parametrize("files", [(), ("values-laptop.yaml",), ("values-aws.yaml", "values-gpu.yaml")])
def test_is_killed_only_after_draining_and_finishing(files: tuple[str, ...]) -> None:
    pod = one(rendered("triton", *files), "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]

    drain_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    exit_s = next(int(word.partition("=")[2]) for word in container["args"] if "exit-timeout" in word)
    assert pod["terminationGracePeriodSeconds"] > drain_s + exit_s


def test_shows_slipway_every_replica_and_clients_only_the_ready_ones() -> None:
    objects = rendered("triton")

    headless = one(objects, "Service", "triton-headless")["spec"]
    balanced = one(objects, "Service", "triton")["spec"]
    assert (headless["clusterIP"], headless["publishNotReadyAddresses"]) == ("None", True)
    assert "clusterIP" not in balanced and "publishNotReadyAddresses" not in balanced
    assert {port["name"]: port["port"] for port in headless["ports"]} == {
        "http": 8000,
        "grpc": 8001,
        "metrics": 8002,
    }


def test_asks_for_the_key_before_models_are_loaded_and_never_shows_it() -> None:
    container = server(control={"secret": {"name": "keys", "key": "ours"}})

    assert {f"--http-restricted-api={RESTRICTED}", f"--grpc-restricted-protocol={RESTRICTED}"} <= set(container["args"])
    assert environment(container)["TRITON_CONTROL_KEY"] == {"secretKeyRef": {"name": "keys", "key": "ours"}}


def test_makes_a_key_of_its_own_where_no_secret_is_named() -> None:
    objects = rendered("triton")
    container = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]

    assert {f"--http-restricted-api={RESTRICTED}", f"--grpc-restricted-protocol={RESTRICTED}"} <= set(container["args"])
    assert environment(container)["TRITON_CONTROL_KEY"] == {
        "secretKeyRef": {"name": "triton-control", "key": "control-key"}
    }
    assert secrets_of(objects)["triton-control"]["data"].keys() == {"control-key"}


def test_makes_no_key_where_a_secret_is_named() -> None:
    assert secrets_of(rendered("triton", "values-aws.yaml")) == {}


def test_restricts_nothing_where_it_is_told_to_be_open() -> None:
    objects = render("triton", {"control": {"open": True}})
    container = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]

    assert not [word for word in container["args"] if "restricted" in word]
    assert "TRITON_CONTROL_KEY" not in environment(container)
    assert secrets_of(objects) == {}


def test_refuses_a_key_for_a_control_that_is_open() -> None:
    assert "secret" in refusal("triton", control={"open": True, "secret": {"name": "keys"}})


def test_reads_s3_by_a_role_without_any_key() -> None:
    objects = rendered("triton", "values-aws.yaml")

    account = one(objects, "ServiceAccount")
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].startswith("arn:aws:iam::")
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert {name for name in environment(pod["containers"][0]) if name.startswith("AWS_")} == {"AWS_DEFAULT_REGION"}


def test_refuses_a_role_beside_keys_since_triton_would_take_the_keys() -> None:
    s3 = {"roleArn": "arn:aws:iam::123456789012:role/reader", "secret": {"name": "keys"}}

    assert "secret" in refusal("triton", s3=s3)


def test_refuses_keys_in_the_plain_environment() -> None:
    assert "AWS_SECRET_ACCESS_KEY" in refusal("triton", environment={"AWS_SECRET_ACCESS_KEY": "open"})


@pytest.mark.parametrize("repository", ["s3://http://s3/bucket/models", "s3://Bucket/models", "models", "s3://"])
def test_refuses_a_repository_triton_cannot_read(repository: str) -> None:
    assert "modelRepository" in refusal("triton", modelRepository=repository)


def test_refuses_options_that_undo_its_own() -> None:
    assert "extraArguments" in refusal("triton", extraArguments=["--model-control-mode=poll"])


def test_takes_a_gpu_from_a_node_that_has_one_and_no_second_while_it_rolls_out() -> None:
    deployment = one(rendered("triton", "values-gpu.yaml"), "Deployment")["spec"]
    pod = deployment["template"]["spec"]

    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["nodeSelector"] == {"node-group": "gpu-inference"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert "--allow-gpu-metrics=true" in pod["containers"][0]["args"]


def test_asks_for_no_gpu_on_a_cpu() -> None:
    pod = one(rendered("triton"), "Deployment")["spec"]["template"]["spec"]

    assert "nvidia.com/gpu" not in pod["containers"][0]["resources"]["limits"]
    assert "tolerations" not in pod


def test_keeps_downloads_and_shared_memory_in_volumes_of_a_size() -> None:
    pod = one(rendered("triton"), "Deployment")["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}

    assert mounts.keys() == {"/downloads", "/tmp", "/dev/shm"}
    assert environment(pod["containers"][0])["TRITON_AWS_MOUNT_DIRECTORY"] == "/downloads"
    assert volumes[mounts["/dev/shm"]]["medium"] == "Memory"
    assert all("sizeLimit" in volume for volume in volumes.values())


def test_leaves_the_number_of_replicas_to_the_autoscaler() -> None:
    objects = rendered("triton", "values-aws.yaml")

    scaler = one(objects, "HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in one(objects, "Deployment")["spec"]
    assert scaler["metrics"][0]["pods"]["metric"]["name"] == "triton_queue_milliseconds_per_request"
    assert scaler["scaleTargetRef"]["name"] == one(objects, "Deployment")["metadata"]["name"]


def test_draws_no_disruption_budget_for_one_replica() -> None:
    kinds = {item["kind"] for item in render("triton", {"replicas": 1})}

    assert "PodDisruptionBudget" not in kinds
    assert one(rendered("triton"), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_lets_clients_predict_and_only_slipway_and_prometheus_reach_the_rest() -> None:
    policy = one(rendered("triton"), "NetworkPolicy")["spec"]
    doors = {
        label: {port["port"] for port in rule["ports"]}
        for rule in policy["ingress"]
        for peer in rule["from"]
        for label in peer.get("namespaceSelector", {}).get("matchLabels", {}).items()
    }

    assert policy["policyTypes"] == ["Ingress"]
    assert doors == {
        ("kubernetes.io/metadata.name", "slipway"): {"grpc", "metrics"},
        ("triton-access", "true"): {"http", "grpc"},
        ("kubernetes.io/metadata.name", "monitoring"): {"metrics"},
    }


def test_is_scraped_through_the_service_that_has_the_monitors_labels() -> None:
    objects = rendered("triton", "values-aws.yaml")
    monitor = one(objects, "ServiceMonitor")

    services = [item for item in objects if item["kind"] == "Service"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert [item["metadata"]["name"] for item in services if wanted <= item["metadata"]["labels"].items()] == ["triton"]
    assert monitor["spec"]["endpoints"] == [{"port": "metrics", "path": "/metrics", "interval": "15s"}]
