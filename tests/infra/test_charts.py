"""What the charts put on a cluster: valid objects everywhere, no right, no key and no open door too many."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from helm_python import Chart, HelmError, lint
from helm_python import _native as engine

from infra.kubernetes.errors import ClusterError
from infra.kubernetes.releases import CHARTS, install, merged_values

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
    return merged_values([CHARTS / name / file for file in files if file != "values.yaml"], values)


def render(name: str, values: dict[str, Any] | None = None, version: str = CURRENT) -> list[Object]:
    """Return what a chart, released under its own name into the namespace `ours`, puts on a cluster of a version."""
    options = {"name": name, "namespace": "ours", "is_install": True, "kube_version": version}
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


def pods(objects: list[Object]) -> list[Object]:
    """The specification of every pod, Deployments', Jobs' and tests' alike."""
    templates = [item["spec"]["template"]["spec"] for item in objects if "template" in item.get("spec", {})]
    return templates + [item["spec"] for item in objects if item["kind"] == "Pod"]


def containers(objects: list[Object]) -> list[Object]:
    return [item for pod in pods(objects) for item in (*pod.get("initContainers", []), *pod["containers"])]


def environment(container: Object) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}


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


class TestEveryChart:
    @every_version
    @every_combination
    def test_passes_helms_own_lint(self, name: str, files: tuple[str, ...], version: str) -> None:
        report = lint(CHARTS / name, values_of(name, files), strict=True, kube_version=version)

        complaints = [message for message in report["messages"] if "icon is recommended" not in message["error"]]
        assert (complaints, report["errors"]) == ([], [])

    @every_version
    @every_combination
    def test_renders_objects_that_fit_their_schemas_to_the_last_key(
        self, name: str, files: tuple[str, ...], version: str
    ) -> None:
        for item in rendered(name, *files, version=version):
            if item["kind"] not in CUSTOM:
                as_now = {**item, "apiVersion": RENAMED.get(item["apiVersion"], item["apiVersion"])}
                kubernetes_validate.validate(as_now, CURRENT, strict=True)

    @every_combination
    def test_asks_an_old_cluster_for_kinds_it_knows(self, name: str, files: tuple[str, ...]) -> None:
        versions = {item["kind"]: item["apiVersion"] for item in rendered(name, *files, version=OLD)}

        assert versions.get("PodDisruptionBudget", "policy/v1beta1") == "policy/v1beta1"
        assert versions.get("HorizontalPodAutoscaler", "autoscaling/v2beta2") == "autoscaling/v2beta2"

    @every_combination
    def test_runs_every_container_without_rights_and_within_limits(self, name: str, files: tuple[str, ...]) -> None:
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
    def test_runs_every_pod_as_a_user_and_without_a_token_but_the_workers(
        self, name: str, files: tuple[str, ...]
    ) -> None:
        for pod in pods(rendered(name, *files)):
            works = pod["containers"][0]["name"] == "worker"
            assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsNonRoot"]) == (1000, True)
            assert pod["automountServiceAccountToken"] is works

    @every_combination
    def test_takes_every_key_from_a_secret_by_reference(self, name: str, files: tuple[str, ...]) -> None:
        objects = rendered(name, *files)

        assert not [item for item in objects if item["kind"] == "Secret"]
        secret = {"KEY", "SECRET", "ALERTS"}
        for container in containers(objects):
            for variable, value in environment(container).items():
                if secret & set(variable.split("_")) and not variable.startswith(("RCLONE", "PREFECT_INTEGRATIONS")):
                    assert list(value) == ["secretKeyRef"], variable

    @every_combination
    def test_names_an_immutable_image_everywhere(self, name: str, files: tuple[str, ...]) -> None:
        for container in containers(rendered(name, *files)):
            tag = container["image"].rpartition(":")[2]
            assert tag not in ("", "latest") and "/" not in tag

    @every_combination
    def test_makes_services_that_select_the_pods_they_are_for(self, name: str, files: tuple[str, ...]) -> None:
        objects = rendered(name, *files)
        labels = [item["spec"]["template"]["metadata"]["labels"] for item in objects if item["kind"] == "Deployment"]

        for service in (item for item in objects if item["kind"] == "Service"):
            wanted = service["spec"]["selector"].items()
            ports = {port["name"] for container in containers(objects) for port in container.get("ports", [])}
            assert sum(wanted <= found.items() for found in labels) == 1
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("tag", ["latest", "main", "has space"])
    def test_refuses_a_tag_that_moves(self, name: str, tag: str) -> None:
        values = {"images": {"deployment": {"tag": tag}}} if name == "slipway" else {"image": {"tag": tag}}

        assert "tag" in refusal(name, **values)

    @pytest.mark.parametrize("name", NAMES)
    def test_refuses_a_key_it_does_not_know_by_name(self, name: str) -> None:
        assert "replicaCount" in refusal(name, replicaCount=3)


class TestTriton:
    def test_starts_the_server_of_any_image_with_the_options_slipway_relies_on(self) -> None:
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

    def test_asks_live_for_life_and_ready_for_traffic(self) -> None:
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
    def test_gives_the_start_the_time_it_is_allowed(self, startup: int, period: int) -> None:
        probe = server(probes={"startupSeconds": startup, "periodSeconds": period})["startupProbe"]

        assert startup - period < probe["periodSeconds"] * probe["failureThreshold"] <= max(startup, period)

    @pytest.mark.parametrize("files", [(), ("values-laptop.yaml",), ("values-aws.yaml", "values-gpu.yaml")])
    def test_is_killed_only_after_draining_and_finishing(self, files: tuple[str, ...]) -> None:
        pod = one(rendered("triton", *files), "Deployment")["spec"]["template"]["spec"]
        container = pod["containers"][0]

        drain_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        exit_s = next(int(word.partition("=")[2]) for word in container["args"] if "exit-timeout" in word)
        assert pod["terminationGracePeriodSeconds"] > drain_s + exit_s

    def test_shows_slipway_every_replica_and_clients_only_the_ready_ones(self) -> None:
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

    def test_asks_for_the_key_before_models_are_loaded_and_never_shows_it(self) -> None:
        container = server(control={"secret": {"name": "keys", "key": "ours"}})

        assert {f"--http-restricted-api={RESTRICTED}", f"--grpc-restricted-protocol={RESTRICTED}"} <= set(
            container["args"]
        )
        assert environment(container)["TRITON_CONTROL_KEY"] == {"secretKeyRef": {"name": "keys", "key": "ours"}}

    def test_restricts_nothing_without_a_secret(self) -> None:
        container = server()

        assert not [word for word in container["args"] if "restricted" in word]
        assert "TRITON_CONTROL_KEY" not in environment(container)

    def test_reads_s3_by_a_role_without_any_key(self) -> None:
        objects = rendered("triton", "values-aws.yaml")

        account = one(objects, "ServiceAccount")
        pod = one(objects, "Deployment")["spec"]["template"]["spec"]
        assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].startswith("arn:aws:iam::")
        assert pod["serviceAccountName"] == account["metadata"]["name"]
        assert {name for name in environment(pod["containers"][0]) if name.startswith("AWS_")} == {"AWS_DEFAULT_REGION"}

    def test_refuses_a_role_beside_keys_since_triton_would_take_the_keys(self) -> None:
        s3 = {"roleArn": "arn:aws:iam::123456789012:role/reader", "secret": {"name": "keys"}}

        assert "secret" in refusal("triton", s3=s3)

    def test_refuses_keys_in_the_plain_environment(self) -> None:
        assert "AWS_SECRET_ACCESS_KEY" in refusal("triton", environment={"AWS_SECRET_ACCESS_KEY": "open"})

    @pytest.mark.parametrize("repository", ["s3://http://s3/bucket/models", "s3://Bucket/models", "models", "s3://"])
    def test_refuses_a_repository_triton_cannot_read(self, repository: str) -> None:
        assert "modelRepository" in refusal("triton", modelRepository=repository)

    def test_refuses_options_that_undo_its_own(self) -> None:
        assert "extraArguments" in refusal("triton", extraArguments=["--model-control-mode=poll"])

    def test_takes_a_gpu_from_a_node_that_has_one_and_no_second_while_it_rolls_out(self) -> None:
        deployment = one(rendered("triton", "values-gpu.yaml"), "Deployment")["spec"]
        pod = deployment["template"]["spec"]

        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert pod["nodeSelector"] == {"node-group": "gpu-inference"}
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
        assert "--allow-gpu-metrics=true" in pod["containers"][0]["args"]

    def test_asks_for_no_gpu_on_a_cpu(self) -> None:
        pod = one(rendered("triton"), "Deployment")["spec"]["template"]["spec"]

        assert "nvidia.com/gpu" not in pod["containers"][0]["resources"]["limits"]
        assert "tolerations" not in pod

    def test_keeps_downloads_and_shared_memory_in_volumes_of_a_size(self) -> None:
        pod = one(rendered("triton"), "Deployment")["spec"]["template"]["spec"]
        mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}

        assert mounts.keys() == {"/downloads", "/tmp", "/dev/shm"}
        assert environment(pod["containers"][0])["TRITON_AWS_MOUNT_DIRECTORY"] == "/downloads"
        assert volumes[mounts["/dev/shm"]]["medium"] == "Memory"
        assert all("sizeLimit" in volume for volume in volumes.values())

    def test_leaves_the_number_of_replicas_to_the_autoscaler(self) -> None:
        objects = rendered("triton", "values-aws.yaml")

        scaler = one(objects, "HorizontalPodAutoscaler")["spec"]
        assert "replicas" not in one(objects, "Deployment")["spec"]
        assert scaler["metrics"][0]["pods"]["metric"]["name"] == "triton_queue_milliseconds_per_request"
        assert scaler["scaleTargetRef"]["name"] == one(objects, "Deployment")["metadata"]["name"]

    def test_draws_no_disruption_budget_for_one_replica(self) -> None:
        kinds = {item["kind"] for item in render("triton", {"replicas": 1})}

        assert "PodDisruptionBudget" not in kinds
        assert one(rendered("triton"), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1

    def test_lets_clients_predict_and_only_slipway_and_prometheus_reach_the_rest(self) -> None:
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

    def test_is_scraped_through_the_service_that_has_the_monitors_labels(self) -> None:
        objects = rendered("triton", "values-aws.yaml")
        monitor = one(objects, "ServiceMonitor")

        services = [item for item in objects if item["kind"] == "Service"]
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        assert [item["metadata"]["name"] for item in services if wanted <= item["metadata"]["labels"].items()] == [
            "triton"
        ]
        assert monitor["spec"]["endpoints"] == [{"port": "metrics", "path": "/metrics", "interval": "15s"}]


class TestSlipway:
    def test_gives_the_workers_the_rights_they_use_and_nobody_else_any(self) -> None:
        objects = rendered("slipway", "values-aws.yaml")

        assert one(objects, "Role")["rules"] == [
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "delete", "get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
            {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        ]
        assert [subject["name"] for subject in one(objects, "RoleBinding")["subjects"]] == ["slipway-worker"]
        assert not [item for item in objects if item["kind"].startswith("Cluster")]

    def test_runs_one_worker_a_pool_and_one_observer_in_its_own_namespace(self) -> None:
        workers = [item for item in containers(rendered("slipway")) if item["name"] == "worker"]

        assert [[word for word in item["args"] if "pool" in word] for item in workers] == [
            ["--pool=cpu"],
            ["--pool=gpu"],
        ]
        prefix = "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_"
        assert [environment(item)[f"{prefix}ENABLED"] for item in workers] == ["true", "false"]
        assert {environment(item)[f"{prefix}NAMESPACES"] for item in workers} == {"ours"}
        assert {item["livenessProbe"]["httpGet"]["path"] for item in workers} == {"/health"}

    def test_lets_a_worker_differ_from_the_others(self) -> None:
        objects = render("slipway", {"workers": [{"pool": "cpu"}, {"pool": "gpu", "limit": 1, "replicas": 2}]})

        workers = {item["metadata"]["name"]: item["spec"] for item in objects if item["kind"] == "Deployment"}
        assert {name: spec["replicas"] for name, spec in workers.items() if "worker" in name} == {
            "slipway-worker-cpu": 1,
            "slipway-worker-gpu": 2,
        }
        assert "--limit=1" in workers["slipway-worker-gpu"]["template"]["spec"]["containers"][0]["args"]

    def test_gives_flows_the_role_for_s3_and_no_keys(self) -> None:
        objects = rendered("slipway", "values-aws.yaml")

        flows = one(objects, "ServiceAccount", "slipway-flows")
        assert "role-arn" in next(iter(flows["metadata"]["annotations"]))
        assert flows["automountServiceAccountToken"] is False
        assert not [name for item in containers(objects) for name in environment(item) if "S3_" in name]

    def test_registers_everything_after_install_and_upgrade(self) -> None:
        job = one(rendered("slipway", "values-laptop.yaml"), "Job")
        container = job["spec"]["template"]["spec"]["containers"][0]

        assert job["metadata"]["annotations"] == {
            "helm.sh/hook": "post-install,post-upgrade",
            "helm.sh/hook-delete-policy": "before-hook-creation",
        }
        assert container["command"] == ["python", "-m", "infra.setup", "kubernetes"]
        assert {name for name in environment(container) if name.startswith("SLIPWAY_")} == {
            "SLIPWAY_NAMESPACE",
            "SLIPWAY_SERVICE_ACCOUNT",
            "SLIPWAY_DEPLOYMENT_IMAGE",
            "SLIPWAY_TRAINING_IMAGE",
            "SLIPWAY_S3_ACCESS_KEY_ID",
            "SLIPWAY_S3_SECRET_ACCESS_KEY",
            "SLIPWAY_TRITON_CONTROL_KEY",
            "SLIPWAY_WEBHOOK_SECRET",
        }
        assert environment(container)["SLIPWAY_SERVICE_ACCOUNT"] == "slipway-flows"
        assert job["spec"]["activeDeadlineSeconds"] > 0

    def test_hands_the_pools_other_defaults_over_as_they_are(self) -> None:
        variables = {"gpu": {"memory_request": "4Gi", "node_selector": {"node-group": "gpu-training"}}}
        job = one(render("slipway", {"setup": {"poolVariables": variables}}), "Job")

        found = environment(job["spec"]["template"]["spec"]["containers"][0])
        assert json.loads(found["SLIPWAY_POOL_VARIABLES"]) == variables
        assert "tpu" in refusal("slipway", setup={"poolVariables": {"tpu": {}}})

    def test_finds_every_triton_replica_by_name(self) -> None:
        config = one(rendered("slipway", "values-laptop.yaml"), "ConfigMap")["data"]

        assert config["SLIPWAY_TRITON_REPLICAS"] == "dns:///triton-headless.slipway.svc.cluster.local:8001"
        assert config["SLIPWAY_TRITON_METRICS"] == "dns:///triton-headless.slipway.svc.cluster.local:8002"
        assert config["SLIPWAY_S3_ENDPOINT_URL"] == "http://s3.slipway.svc.cluster.local:9000"

    def test_names_no_endpoint_on_aws(self) -> None:
        config = one(rendered("slipway", "values-aws.yaml"), "ConfigMap")["data"]

        assert "SLIPWAY_S3_ENDPOINT_URL" not in config

    def test_listens_to_mlflow_at_the_address_it_registers(self) -> None:
        objects = rendered("slipway")
        service, deployment = one(objects, "Service"), one(objects, "Deployment", "slipway-events")
        container = deployment["spec"]["template"]["spec"]["containers"][0]

        host = f"{service['metadata']['name']}.ours.svc:{service['spec']['ports'][0]['port']}"
        assert environment(container)["SLIPWAY_EVENTS_URL"] == f"http://{host}/webhooks/mlflow"
        assert environment(container)["SLIPWAY_EVENTS_HOST"] == "0.0.0.0"
        assert container["livenessProbe"]["httpGet"]["path"] == "/health"

    def test_believes_a_webhook_secrets_predecessor_where_one_is_named(self) -> None:
        webhook = {"secret": {"name": "slipway", "keyBefore": "webhook-secret-before"}}
        objects = render("slipway", {"events": {"webhook": webhook}})

        found = environment(one(objects, "Deployment", "slipway-events")["spec"]["template"]["spec"]["containers"][0])
        assert found["SLIPWAY_WEBHOOK_SECRET_BEFORE"]["secretKeyRef"]["key"] == "webhook-secret-before"
        assert "SLIPWAY_WEBHOOK_SECRET_BEFORE" not in environment(
            one(rendered("slipway"), "Deployment", "slipway-events")["spec"]["template"]["spec"]["containers"][0]
        )

    def test_lets_only_mlflow_and_prometheus_reach_the_event_service(self) -> None:
        policy = one(rendered("slipway"), "NetworkPolicy")["spec"]

        peers = [peer["namespaceSelector"]["matchLabels"] for rule in policy["ingress"] for peer in rule["from"]]
        assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "events"
        assert peers == [{"kubernetes.io/metadata.name": "mlflow"}, {"kubernetes.io/metadata.name": "monitoring"}]

    def test_keeps_prefects_key_out_of_the_flows_jobs(self) -> None:
        objects = render("slipway", {"prefect": {"apiKey": {"secret": {"name": "cloud", "key": "api-key"}}}})
        worker = next(item for item in containers(objects) if item["name"] == "worker")

        assert environment(worker)["PREFECT_API_KEY"] == {"secretKeyRef": {"name": "cloud", "key": "api-key"}}
        assert environment(worker)["PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_NAME"] == "cloud"
        assert environment(worker)["PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_KEY"] == "api-key"

    def test_refuses_an_event_service_without_a_secret(self) -> None:
        assert "webhook" in refusal("slipway", events={"webhook": {"secret": {"name": ""}}})


class TestServers:
    def test_have_short_addresses(self) -> None:
        services = [item for item in rendered("servers") if item["kind"] == "Service"]

        found = {item["metadata"]["name"]: item["spec"]["ports"][0]["port"] for item in services}
        assert found == {"prefect": 4200, "mlflow": 5000, "s3": 9000}

    def test_let_mlflow_answer_to_its_names_and_deliver_inside_the_cluster(self) -> None:
        container = next(item for item in containers(rendered("servers")) if item["name"] == "mlflow")
        found = environment(container)

        hosts = found["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
        assert {"mlflow:*", "mlflow.ours:*", "mlflow.ours.svc.cluster.local:*", "localhost:*"} <= set(hosts)
        assert found["MLFLOW_WEBHOOK_ALLOWED_SCHEMES"] == "http,https"
        assert found["MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"] == "true"
        assert found["MLFLOW_S3_ENDPOINT_URL"] == "http://s3.ours.svc.cluster.local:9000"

    def test_keep_their_data_where_they_are_told_to(self) -> None:
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


class TestArgoApplications:
    @pytest.mark.parametrize("name", ["triton", "slipway"])
    def test_follow_the_chart_with_values_it_accepts(self, name: str) -> None:
        application = yaml.safe_load((CHARTS.parent / "argocd" / f"{name}.yaml").read_text())
        spec = application["spec"]

        assert (application["apiVersion"], application["kind"]) == ("argoproj.io/v1alpha1", "Application")
        chart = CHARTS.parents[1] / spec["source"]["path"]
        assert chart == CHARTS / name
        assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}
        assert "CreateNamespace=true" in spec["syncPolicy"]["syncOptions"]
        assert spec["ignoreDifferences"][0]["jsonPointers"] == ["/spec/replicas"]
        assert render(name, values_of(name, tuple(spec["source"]["helm"]["valueFiles"])))


class TestInstalling:
    def test_lays_later_files_over_earlier_ones_and_values_over_all(self, tmp_path: Path) -> None:
        first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
        first.write_text("a: {x: 1, y: 1}\nlist: [1, 2]\n")
        second.write_text("a: {y: 2}\nlist: [3]\n")

        merged = merged_values([first, second], {"a": {"z": 3}})

        assert merged == {"a": {"x": 1, "y": 2, "z": 3}, "list": [3]}

    def test_names_a_values_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ClusterError, match=r"values file .*absent\.yaml cannot be read"):
            merged_values([tmp_path / "absent.yaml"])

    def test_names_the_charts_there_are(self) -> None:
        with pytest.raises(ClusterError, match=r"no chart 'tritton'.*servers, slipway, triton"):
            install("tritton", "t", "t")

    def test_says_which_setting_names_the_cluster_that_does_not_answer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster = {"server": "https://127.0.0.1:1"}
        nowhere = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "nowhere", "cluster": cluster}],
            "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "me"}}],
            "users": [{"name": "me", "user": {}}],
            "current-context": "nowhere",
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(nowhere))
        monkeypatch.setenv("KUBECONFIG", str(path))

        with pytest.raises(ClusterError, match=r"release t of chart triton in namespace n: .*unreachable.*KUBECONFIG"):
            install("triton", "t", "n")
