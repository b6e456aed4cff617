"""Asks every Triton replica for one prediction: the shortest proof that a model is served."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from blocks.errors import InvalidInput, ServiceUnavailable, VerificationFailed
from blocks.replica_metrics import count_by_gpu, fetch_metrics
from infra.errors import ClusterError
from infra.kubernetes.kubectl import Pod, forward, list_pods
from infra.prediction.endpoint import Endpoint, connect
from infra.prediction.requests import read_request
from infra.prediction.served import FREE, Answer, Arrays, Served, Tensor
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.questions import check_answer
from slipway.releases.synthetic import list_attempts, parse_shapes

HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002
TIMEOUT_S = 10.0
SEED = 20


class Answered(BaseModel):
    """One replica's prediction."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    replica: str
    model: str
    version: int
    latency_ms: float
    gpu: str | None = None  # the UUID of the one that computed it; None where nobody asked


class Asked(NamedTuple):
    """What a replica is asked: a request of a file, else one made up, in the shapes that are given."""

    model_name: str
    request: Path | None = None
    shape: str | None = None

    def check(self) -> None:
        """Raise `InvalidInput` where both a request and a shape are given."""
        if self.request and self.shape:
            raise InvalidInput(f"--input {self.request} says its shapes itself; leave --shape {self.shape} out")


class Replica(NamedTuple):
    """A replica, and where it answers."""

    name: str
    url: str
    metrics: str | None = None  # host:port; where given, the answer has to come from a GPU


def find_replicas(
    release: str, namespace: str, server: str | None = None, *, over_http: bool = False, on_gpu: bool = False
) -> Iterator[Replica]:
    """Yield each replica of a release of the chart `triton`, reached through the Kubernetes API while it is asked.

    Where `server` is given, those of that one of the release's `tritonServers`.
    """
    replicas = list_pods(namespace, select_replicas(release, server))
    if not replicas:
        raise ClusterError(
            f"namespace {namespace} has no pod of {f'server {server} of ' if server else ''}release {release}; install "
            'it with make deploy-triton, or name another with NAMESPACE=… and ARGS="--release=… --server=…"'
        )
    scheme, port = ("http", HTTP_PORT) if over_http else ("grpc", GRPC_PORT)
    for pod in replicas:
        _require_running(pod)
        with ExitStack() as forwarded:
            address = forwarded.enter_context(forward(namespace, pod.name, port))
            metrics = forwarded.enter_context(forward(namespace, pod.name, METRICS_PORT)) if on_gpu else None
            yield Replica(pod.name, f"{scheme}://{address}", metrics)


def select_replicas(release: str, server: str | None = None) -> str:
    """Return the labels of the replicas of a release, or of one of its `tritonServers`, as kubectl takes them."""
    labels = f"app.kubernetes.io/instance={release},app.kubernetes.io/component=server"
    return f"{labels},triton-server={server}" if server else labels


def _require_running(pod: Pod) -> None:
    if pod.phase != "Running":
        raise ClusterError(f"Triton {pod.name}: its pod is {pod.phase} ({pod.trouble or 'starting'}), not Running")


def name_replica(address: str, metrics: str | None = None) -> Replica:
    """Return the replica at an address: `host:port` and `grpc://` by gRPC, `http://` and `https://` by HTTP."""
    return Replica(address, address if "://" in address else f"grpc://{address}", metrics)


def smoke_test(asked: Asked, replica: Replica) -> Answered:
    """Return one replica's prediction, checked for shape, data type and numbers.

    Raises `ClusterError` where the server, the model, an answer or a GPU is missing, and `InvalidInput` where the
    request or the shape is not one of the model.
    """
    asked.check()
    try:
        endpoint = connect(replica.url, TIMEOUT_S)
        served = endpoint.describe(asked.model_name)
    except ServiceUnavailable as error:
        raise ClusterError(f"{replica.name}: {error}; check the pod, its log and the network policy") from error
    except InvalidInput as error:
        raise ClusterError(
            f"{replica.name}: {error}; release it: prefect deployment run deploy-model/kubernetes "
            f"-p model_name={asked.model_name}"
        ) from error
    before = _count_by_gpu(replica, asked.model_name)
    answer = _ask(asked, replica, endpoint, served)
    gpu = _find_gpu(replica, asked.model_name, before)
    return Answered(
        replica=replica.name,
        model=asked.model_name,
        version=int(answer.version),
        latency_ms=answer.elapsed_ms,
        gpu=gpu,
    )


def _ask(asked: Asked, replica: Replica, endpoint: Endpoint, served: Served) -> Answer:
    """Return the first answer there is to a request of the file, or to made-up ones of one size after the other."""
    signature, subject = _read_signature(served), f"model '{asked.model_name}' on Triton {replica.name}"
    refusal: Exception | None = None
    for inputs in _list_inputs(asked, served, signature, subject):
        try:
            answer = endpoint.infer(served, inputs)
            check_answer(subject, signature, answer.outputs, None)
            return answer
        except VerificationFailed as error:
            raise ClusterError(f"{error}; see that replica's log, and what was released") from error
        except InvalidInput as error:
            refusal = refusal or error
    hint = "correct the request" if asked.request else "give a request with --input, or its sizes with --shape"
    raise ClusterError(f"{refusal}; {hint}") from refusal


def _list_inputs(asked: Asked, served: Served, signature: Signature, subject: str) -> Iterator[Arrays]:
    if asked.request:
        yield read_request(asked.request, served)
        return
    shapes = parse_shapes(signature, asked.shape, subject, "--shape") if asked.shape else {}
    for requests in list_attempts(signature, shapes, 1, seed=SEED, subject=subject):
        yield dict(requests[0])


def _read_signature(served: Served) -> Signature:
    """Return what a replica says a model takes and gives: shapes as clients send them, the batch axis included."""
    return Signature(
        inputs=tuple(_read_spec(tensor) for tensor in served.inputs),
        outputs=tuple(_read_spec(tensor) for tensor in served.outputs),
    )


def _read_spec(tensor: Tensor) -> TensorSpec:
    shape = tuple(f"axis_{number}" if size == FREE else size for number, size in enumerate(tensor.shape))
    return TensorSpec(name=tensor.name, dtype=tensor.datatype, shape=shape)


def _count_by_gpu(replica: Replica, model_name: str) -> dict[str, float]:
    if replica.metrics is None:
        return {}
    try:
        return count_by_gpu(fetch_metrics(replica.metrics, replica.name, TIMEOUT_S), model_name)
    except ServiceUnavailable as error:
        raise ClusterError(f"{error}; a GPU is told by them alone: name their address with --metrics") from error


def _find_gpu(replica: Replica, model_name: str, before: dict[str, float]) -> str | None:
    """Return the GPU that the replica counts the answer for; `ClusterError` where a GPU was asked for and none did."""
    if replica.metrics is None:
        return None
    after = _count_by_gpu(replica, model_name)
    answered = [gpu for gpu, count in after.items() if gpu and count > before.get(gpu, 0)]
    if not answered:
        raise ClusterError(
            f"model '{model_name}' on Triton {replica.name}: answered, and on no GPU (its metrics count the answer "
            "without a gpu_uuid); see that the pod has a GPU (`nvidia-smi` in it), and give the model instances there: "
            f"slipway config set {model_name} --instance-kind gpu"
        )
    return answered[0]
