"""A whole slipway on the cluster that KUBECONFIG names: three charts in a namespace of the test's own."""

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry
from infra.images.names import ImageSettings, select_images
from infra.kubernetes.kubectl import Pod, forward, list_pods
from infra.kubernetes.releases import CHARTS, install, uninstall
from infra.local.settings import ROOT

T = TypeVar("T")
REPLICAS = "app.kubernetes.io/instance=triton,app.kubernetes.io/component=server"
SECRET = "slipway"
LOOK_S = 3.0  # each look is a process of kubectl, or Prefect's to answer, on the cores that the cluster needs
TRAINING_CORES = "1"
# Two cores for everything: what production asks for would not find room.
POOLS = {
    "cpu": {"cpu_request": "100m", "memory_request": "256Mi", "finished_job_ttl": 3600},
    "gpu": {
        "cpu_request": "100m",
        "cpu_limit": TRAINING_CORES,
        "memory_request": "512Mi",
        "memory_limit": "4Gi",
        "shm_size": "256Mi",
    },
}


class Ran(NamedTuple):
    """A pod of a flow run, as it was seen last."""

    name: str
    flow_run_id: UUID
    node: str | None
    gpus: int
    phase: str
    uid: str


class Cluster:
    """The namespace with everything in it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._forwards = ExitStack()
        self.prefect_url = self.mlflow_url = self.events_url = ""
        self.installed_in_s = 0.0

    def install(self, replicas: int = 2) -> None:
        """Install Prefect, MLflow and S3, then Triton, then slipway, each when the one before is ready."""
        self.kubectl("create", "namespace", self.namespace)
        keys = {
            "access-key-id": "slipway",
            "secret-access-key": secrets.token_hex(16),
            "webhook-secret": secrets.token_hex(16),
            "webhook-encryption-key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        literals = [f"--from-literal={name}={value}" for name, value in keys.items()]
        self.kubectl("create", "secret", "generic", SECRET, *literals)
        self._install("servers", {"image": self._image("servers")})
        self.scale_triton(replicas)
        self._install(
            "slipway",
            {
                "images": {"deployment": self._image("deployment"), "training": self._image("training")},
                "prefect": {"apiUrl": f"http://prefect.{self._domain}:4200/api"},
                "mlflow": {
                    "trackingUri": f"http://mlflow.{self._domain}:5000",
                    "artifactsDestination": "s3://mlflow",
                },
                "s3": {"endpointUrl": f"http://s3.{self._domain}:9000"},
                "triton": {"namespace": self.namespace},
                "setup": {"poolVariables": POOLS},
            },
        )

    def scale_triton(self, replicas: int) -> None:
        """Install Triton, or change how many replicas there are."""
        repository = f"s3://http://s3.{self._domain}:9000/triton-models/repository"
        values = {
            "image": self._image("triton"),
            "modelRepository": repository,
            "replicas": replicas,
            "networkPolicy": {"slipwayNamespace": self.namespace},
        }
        self._install("triton", values)

    def leave(self) -> None:
        """End what connects this machine with it."""
        self._forwards.close()

    def remove(self) -> None:
        """Remove everything."""
        for release in ("slipway", "triton", "servers"):
            uninstall(release, self.namespace)
        self.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """Run kubectl in the namespace and return what it prints."""
        command = ["kubectl", "--namespace", self.namespace, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0 or not check, f"{command}: {done.stderr}"
        return done.stdout + ("" if check else done.stderr)

    def objects(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Return objects of a kind."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"]
        return found

    def flow_pods(self) -> list[Ran]:
        """Return the pods of all flow runs."""
        return [
            Ran(
                name=item["metadata"]["name"],
                flow_run_id=UUID(item["metadata"]["labels"]["prefect.io/flow-run-id"]),
                node=item["spec"].get("nodeName"),
                gpus=int(item["spec"]["containers"][0]["resources"].get("limits", {}).get("nvidia.com/gpu", 0)),
                phase=item["status"]["phase"],
                uid=item["metadata"]["uid"],
            )
            for item in self.objects("pods", "prefect.io/flow-run-id")
        ]

    def gpu_nodes(self) -> set[str]:
        """Return the nodes that have a GPU."""
        nodes = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        return {n["metadata"]["name"] for n in nodes if int(n["status"]["allocatable"].get("nvidia.com/gpu", 0))}

    def replicas(self) -> list[Pod]:
        """Return Triton's pods."""
        return list_pods(self.namespace, REPLICAS)

    @contextmanager
    def fleet(self) -> Iterator[TritonFleet]:
        """Reach every replica by an address of its own."""
        key = self.secret("control-key", "triton-control")
        with ExitStack() as stack:
            addresses = [
                stack.enter_context(forward(self.namespace, pod.name, 8001)) for pod in self.replicas() if pod.ready
            ]
            yield TritonFleet.model_validate({"replicas": addresses, "control_key": key})

    def secret(self, key: str, name: str = SECRET) -> str:
        """Return an entry of the Secret that the tests made, or of another one."""
        entries: dict[str, str] = json.loads(self.kubectl("get", "secret", name, "-o", "json"))["data"]
        return base64.b64decode(entries[key]).decode()

    @property
    def registry(self) -> ModelRegistry:
        """The registry, reached from here; files go through MLflow, since S3 is not reached from here."""
        return ModelRegistry(tracking_uri=self.mlflow_url, presigned_downloads=False)

    def prefect(self, *arguments: str) -> str:
        """Run a command of Prefect's, as a user would."""
        command = [sys.executable, "-m", "prefect", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, deployment: str, **parameters: Any) -> UUID:
        """Start a deployment by `prefect deployment run`; return the flow run's id."""
        given = [part for name, value in parameters.items() for part in ("-p", f"{name}={json.dumps(value)}")]
        printed = self.prefect("deployment", "run", deployment, *given)
        return UUID(printed.partition("UUID: ")[2].split()[0])

    @property
    def _domain(self) -> str:
        return f"{self.namespace}.svc.cluster.local"

    def _image(self, name: str) -> dict[str, str]:
        (image,) = select_images((name,), os.environ.get("TAG"))
        return {"repository": f"{ImageSettings().registry}/{image.repository}", "tag": image.tag}

    def find_image(self, name: str) -> str:
        """Return one of slipway's images by its whole name."""
        return "{repository}:{tag}".format(**self._image(name))

    def _install(self, chart: str, values: dict[str, Any]) -> None:
        files = [path for path in (CHARTS / chart).glob("values-laptop.yaml") if chart != "servers"]
        install(chart, chart, self.namespace, files, values)

    def reach(self) -> None:
        """Forward ports of the servers to this machine, and point this process at them."""
        for attribute, selector, port in (
            ("prefect_url", "app.kubernetes.io/name=prefect", 4200),
            ("mlflow_url", "app.kubernetes.io/name=mlflow", 5000),
            ("events_url", "app.kubernetes.io/component=events", 8900),
        ):
            (pod, *_) = [pod for pod in list_pods(self.namespace, selector) if pod.ready]
            address = self._forwards.enter_context(forward(self.namespace, pod.name, port))
            setattr(self, attribute, f"http://{address}")
        os.environ["PREFECT_API_URL"] = f"{self.prefect_url}/api"
        os.environ["PREFECT_API_AUTH_STRING"] = self.secret("auth-string", "prefect-auth")


def eventually(what: str, found: Callable[[], T], within_s: float, every_s: float = LOOK_S) -> T:
    """Return the first true value found; an AssertionError says what did not come."""
    end = time.monotonic() + within_s
    while not (value := found()):
        assert time.monotonic() < end, f"{what}: not within {within_s:.0f} s"
        time.sleep(every_s)
    return value
