"""Asks every Triton replica for one prediction from a made-up input: the shortest proof that a model is served."""

from collections.abc import Iterator

import tritonclient.grpc as triton
from pydantic import BaseModel, ConfigDict
from tritonclient.utils import InferenceServerException

from blocks.fleet import TritonFleet
from infra.errors import ClusterError
from infra.kubernetes.kubectl import forward, list_pods
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.agreement_terms import AgreementTerms
from slipway.releases.proof import Question
from slipway.releases.questions import Sources, ask_candidate

GRPC_PORT = 8001
TIMEOUT_S = 10.0
SEED = 20


class Answered(BaseModel):
    """One replica's prediction."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    replica: str
    model: str
    version: int
    latency_ms: float


def smoke_test_release(model_name: str, release: str, namespace: str) -> Iterator[Answered]:
    """Yield the prediction of every replica of a release of the chart `triton`, reached through the Kubernetes API."""
    selector = f"app.kubernetes.io/instance={release},app.kubernetes.io/component=server"
    replicas = list_pods(namespace, selector)
    if not replicas:
        raise ClusterError(
            f"namespace {namespace} has no pod of release {release}; install it with make deploy-triton, or name "
            "another with NAMESPACE=… RELEASE=…"
        )
    for pod in replicas:
        if pod.phase != "Running":
            raise ClusterError(f"Triton {pod.name}: its pod is {pod.phase} ({pod.trouble or 'starting'}), not Running")
        with forward(namespace, pod.name, GRPC_PORT) as address:
            yield smoke_test(model_name, address, pod.name)


def smoke_test(model_name: str, address: str, replica: str | None = None) -> Answered:
    """Return one replica's prediction; `ClusterError` says what is missing: the server, the model or an answer."""
    replica = replica or address
    signature, version = _ask_signature(model_name, address, replica)
    fleet = TritonFleet(replicas=[address], call_timeout_s=TIMEOUT_S)
    # Triton's metadata says shapes as it serves them, so that nothing is to be added to them
    question = Question(fleet, address, model_name, version, batched=False)
    sources = Sources(golden=None, example=None, given={}, seed=SEED, requests=1)
    asked = ask_candidate(question, signature, sources, AgreementTerms(), None)
    return Answered(replica=replica, model=model_name, version=version, latency_ms=asked.elapsed_ms[0])


def _ask_signature(model_name: str, address: str, replica: str) -> tuple[Signature, int]:
    """Return what a replica says a model takes and gives, and the newest version it serves."""
    with triton.InferenceServerClient(address) as client:
        try:
            if not client.is_server_ready(client_timeout=TIMEOUT_S):
                raise ClusterError(f"Triton {replica} is not ready; see its log for the models it is loading")
            metadata = client.get_model_metadata(model_name, client_timeout=TIMEOUT_S)
        except InferenceServerException as error:
            raise ClusterError(_explain(error, model_name, replica)) from error
    signature = Signature(
        inputs=tuple(_read_spec(tensor) for tensor in metadata.inputs),
        outputs=tuple(_read_spec(tensor) for tensor in metadata.outputs),
    )
    return signature, max(int(version) for version in metadata.versions)


def _read_spec(tensor: "triton.service_pb2.ModelMetadataResponse.TensorMetadata") -> TensorSpec:
    shape = tuple(f"axis_{number}" if size < 0 else int(size) for number, size in enumerate(tensor.shape))
    return TensorSpec(name=tensor.name, dtype=tensor.datatype, shape=shape)


def _explain(error: InferenceServerException, model_name: str, replica: str) -> str:
    message = str(error.message()).replace("\n", " ")
    if "unknown model" in message or "is not found" in message or "not ready" in message:
        return (
            f"Triton {replica} serves no model '{model_name}' ({message}); release it: "
            f"prefect deployment run deploy-model/kubernetes -p model_name={model_name}"
        )
    return f"Triton {replica} does not answer ({message}); check the pod, its log and the network policy"
