"""The Triton fleet: every replica behind the names it is known by, spoken to over gRPC, one by one."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import NamedTuple, Self

import numpy as np
import tritonclient.grpc as triton
from google.protobuf import text_format
from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, PrivateAttr, SecretStr
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from blocks.apart import run_apart
from blocks.errors import InvalidInput, LoadFailed, ServiceUnavailable, VerificationFailed
from blocks.fence import Fenced
from blocks.load_refusals import explain_load
from blocks.replica_addresses import Replica, expand, find_metrics
from blocks.replica_errors import classify_error, explain_silence, read_reason
from blocks.replica_metrics import METRICS_INTERVAL_S, Gpu, fetch_metrics, read_gpus, sum_used_bytes
from blocks.transport import KeptChannels, Transport
from blocks.transport_security import TransportSecurity

Tensors = dict[str, np.ndarray]
_PINGED_AT_ONCE = 32
CONTROL_HEADER = "triton-grpc-protocol-slipway-control"


class Answer(NamedTuple):
    """What a replica answered one request with."""

    version: int
    outputs: Tensors
    elapsed_ms: float


class _Asked(NamedTuple):
    """What the batches of one conversation have in common."""

    address: str
    model_name: str
    outputs: list[str]
    version: int | None
    subject: str


class TritonFleet(Fenced, Block):
    """Every replica that serves the models, as a list of gRPC addresses or a DNS name that resolves to all of them.

    A load reaches only the server it is sent to, so nothing here talks to a Service in front of the replicas.
    """

    _block_type_name = "Triton Fleet"
    _block_type_slug = "triton-fleet"
    _documentation_url = HttpUrl(
        "https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/README.html"
    )

    replicas: list[Replica] = Field(
        min_length=1,
        description="gRPC addresses: host:port each, or dns:///name:port for every address behind a name.",
    )
    metrics: list[Replica] = Field(
        default=[], description="HTTP addresses of the same replicas' metrics, in the same order; for memory limits."
    )
    control_key: SecretStr | None = Field(
        default=None,
        description="What Triton's model control asks for where it is restricted: --grpc-restricted-protocol="
        "model-repository:slipway-control=KEY.",
    )
    tls: TransportSecurity | None = Field(
        default=None, description="How the replicas' gRPC is encrypted; left out: not at all."
    )
    call_timeout_s: float = Field(default=10, gt=0, description="Seconds an ordinary call or an inference may take.")
    load_timeout_s: float = Field(default=300, gt=0, description="Seconds a replica may take to load a version.")
    loads_at_once: int = Field(default=32, ge=1, le=256, description="Replicas that load a version at once, at most.")

    _transport: Transport | None = PrivateAttr(None)

    @property
    def transport(self) -> Transport:
        """What reaches the replicas: the channels that this process keeps, or what was given in their place."""
        return self._transport or KeptChannels(self.tls)

    def through(self, transport: Transport) -> Self:
        """Return this fleet with its replicas reached through another transport."""
        rerouted = self.model_copy()
        rerouted._transport = transport
        return rerouted

    def list_addresses(self) -> list[str]:
        """Return the address of every replica, names resolved anew on each call."""
        return list(dict.fromkeys(address for replica in self.replicas for address in expand(replica)))

    def check(self, leave_silent: bool = False) -> list[str]:
        """Return every replica's address; `ServiceUnavailable` where one of them does not answer.

        With `leave_silent`, return those that answer, as long as there is one.
        """
        answering, silent = self.find_reached()
        if silent and not (leave_silent and answering):
            raise next(iter(silent.values()))
        return answering

    def find_reached(self) -> tuple[list[str], dict[str, ServiceUnavailable]]:
        """Return the addresses that answer, and for each of the others what happened."""
        addresses = self.list_addresses()
        with ThreadPoolExecutor(min(_PINGED_AT_ONCE, len(addresses))) as pool:
            found = dict(zip(addresses, pool.map(self._find_silence, addresses), strict=True))
        silent = {address: error for address, error in found.items() if error is not None}
        return [address for address in addresses if address not in silent], silent

    def _find_silence(self, address: str) -> ServiceUnavailable | None:
        try:
            self.ping(address)
        except ServiceUnavailable as error:
            return error
        return None

    def ping(self, address: str) -> None:
        """Raise `ServiceUnavailable` where a replica does not answer in the time of an ordinary call."""
        with self._talking(address, "liveness") as client:
            client.is_server_live(client_timeout=self.call_timeout_s)

    def load_model(self, address: str, model_name: str) -> None:
        """Make one replica serve what the committed config.pbtxt says; `LoadFailed` with Triton's reason otherwise."""
        self.require_fence()
        try:
            subject = f"load of model '{model_name}'"
            with self._talking(address, subject, self.load_timeout_s, model_name=model_name) as client:
                client.load_model(model_name, headers=self._control(), client_timeout=self.load_timeout_s)
        except InferenceServerException as error:
            lack = explain_load(str(error.message()))
            observed = f", Triton {self._find_version(address)}: {lack}" if lack else ": load refused"
            raise LoadFailed(
                f"model '{model_name}' on Triton {address}{observed} ({read_reason(error)}); what it served is still "
                "served",
                model_name=model_name,
                address=address,
            ) from error

    def _find_version(self, address: str) -> str:
        """Return which Triton a replica is, nothing where it does not say."""
        with suppress(InferenceServerException, ServiceUnavailable), self._talking(address, "its version") as client:
            return str(client.get_server_metadata(client_timeout=self.call_timeout_s).version)
        return ""

    def unload_model(self, address: str, model_name: str) -> None:
        """Make one replica stop serving a model, all its versions."""
        self.require_fence()
        try:
            subject = f"unload of model '{model_name}'"
            with self._talking(address, subject, self.load_timeout_s, model_name=model_name) as client:
                client.unload_model(model_name, headers=self._control(), client_timeout=self.load_timeout_s)
        except InferenceServerException as error:
            raise LoadFailed(
                f"model '{model_name}' on Triton {address}: unload refused ({read_reason(error)})",
                model_name=model_name,
                address=address,
            ) from error

    def is_ready(self, address: str, model_name: str, version: int) -> bool:
        """Tell whether one replica serves exactly this version."""
        try:
            subject = f"readiness of model '{model_name}' version {version}"
            with self._talking(address, subject, model_name=model_name, version=version) as client:
                return bool(client.is_model_ready(model_name, str(version), client_timeout=self.call_timeout_s))
        except InferenceServerException:
            return False

    def list_ready_versions(self, address: str, model_name: str, timeout_s: float | None = None) -> tuple[int, ...]:
        """Return the versions of a model one replica serves."""
        return self.read_index(address, timeout_s).get(model_name, ())

    def read_index(self, address: str, timeout_s: float | None = None) -> dict[str, tuple[int, ...]]:
        """Return every model one replica serves, with its versions, in the time of an ordinary call or the given."""
        with self._talking(address, "the repository index", timeout_s) as client:
            bound_s = timeout_s or self.call_timeout_s
            entries = client.get_model_repository_index(headers=self._control(), client_timeout=bound_s).models
        served: dict[str, tuple[int, ...]] = {}
        for entry in entries:
            if entry.state == "READY" and entry.version:
                served[entry.name] = tuple(sorted({*served.get(entry.name, ()), int(entry.version)}))
        return served

    def read_served_config(self, address: str, model_name: str) -> str:
        """Return the configuration that one replica serves a model with, what its backend added included, as a text."""
        return str(text_format.MessageToString(self._read_config(address, model_name)))

    def _read_config(self, address: str, model_name: str) -> "triton.model_config_pb2.ModelConfig":
        with self._talking(address, f"configuration of model '{model_name}'", model_name=model_name) as client:
            return client.get_model_config(
                model_name, headers=self._control(), client_timeout=self.call_timeout_s
            ).config

    def computes_on_gpu(self, address: str, model_name: str) -> bool:
        """Tell whether one replica runs instances of a model on a GPU."""
        found = self._read_config(address, model_name)
        return any(group.kind == triton.model_config_pb2.ModelInstanceGroup.KIND_GPU for group in found.instance_group)

    def describe(self, address: str, model_name: str) -> triton.service_pb2.ModelMetadataResponse:
        """Return the inputs and outputs of a model as one replica has them; `InvalidInput` where it serves none so."""
        try:
            with self._talking(address, f"tensors of model '{model_name}'", model_name=model_name) as client:
                return client.get_model_metadata(model_name, client_timeout=self.call_timeout_s)
        except InferenceServerException as error:
            raise InvalidInput(
                f"model '{model_name}' on Triton {address}: is not served ({read_reason(error)}); deploy it first",
                model_name=model_name,
                address=address,
            ) from error

    def infer(self, address: str, model_name: str, inputs: Tensors, outputs: list[str], version: int | None) -> Tensors:
        """Return one replica's outputs for one batch, pinned to a version (None: whatever it answers with).

        Raises `VerificationFailed` where the replica refuses the request.
        """
        return next(self.answers(address, model_name, [inputs], outputs, version)).outputs

    def answers(
        self, address: str, model_name: str, batches: Iterable[Tensors], outputs: list[str], version: int | None
    ) -> Iterator[Answer]:
        """Yield one replica's answer to each batch, asked one after the other over one connection."""
        subject = f"inference with model '{model_name}'" + (f" version {version}" if version is not None else "")
        asked = _Asked(address, model_name, outputs, version, subject)
        with self._talking(address, subject, model_name=model_name, version=version) as client:
            for batch in batches:
                yield self._answer(client, asked, batch)

    def _answer(self, client: triton.InferenceServerClient, asked: _Asked, batch: Tensors) -> Answer:
        """Return the answer to one batch; what it was sent as is let go again, however large it was."""
        tensors = [_as_input(name, array) for name, array in batch.items()]
        requested = [triton.InferRequestedOutput(name) for name in asked.outputs]

        def infer() -> tuple[triton.InferResult, float]:
            start = time.perf_counter()
            result = client.infer(
                asked.model_name,
                tensors,
                model_version=str(asked.version) if asked.version is not None else "",
                outputs=requested,
                client_timeout=self.call_timeout_s,
            )
            return result, (time.perf_counter() - start) * 1000

        try:
            result, elapsed_ms = run_apart(infer)
        except InferenceServerException as error:
            if classify_error(error) is not None:
                raise
            raise VerificationFailed(
                f"Triton {asked.address}: {asked.subject} refused ({read_reason(error)})",
                model_name=asked.model_name,
                version=asked.version,
                address=asked.address,
            ) from error
        arrays = {name: result.as_numpy(name) for name in asked.outputs}
        return Answer(int(result.get_response().model_version), arrays, elapsed_ms)

    def read_used_memory_bytes(self, address: str) -> float:
        """Return the memory, of the host and its GPUs, that is in use where a replica runs, by its own metrics."""
        if (place := find_metrics(address, self.replicas, self.metrics)) is None:
            raise InvalidInput(
                f"service level max_memory_mib: the fleet names no metrics address for Triton {address}; set "
                "SLIPWAY_TRITON_METRICS and register the blocks again, or leave the limit out",
                address=address,
            )
        time.sleep(METRICS_INTERVAL_S)
        return sum_used_bytes(fetch_metrics(place, address, self.call_timeout_s))

    def list_gpus(self, address: str) -> tuple[Gpu, ...]:
        """Return the GPUs of one replica, each with its memory; none where it has none or the fleet has no metrics."""
        place = find_metrics(address, self.replicas, self.metrics)
        if place is None or not read_gpus(fetch_metrics(place, address, self.call_timeout_s)):
            return ()
        time.sleep(METRICS_INTERVAL_S)
        return read_gpus(fetch_metrics(place, address, self.call_timeout_s))

    def _control(self) -> dict[str, str] | None:
        return {CONTROL_HEADER: self.control_key.get_secret_value()} if self.control_key else None

    @contextmanager
    def _talking(
        self,
        address: str,
        subject: str,
        timeout_s: float | None = None,
        *,
        model_name: str | None = None,
        version: int | None = None,
    ) -> Iterator[triton.InferenceServerClient]:
        try:
            with self.transport.connect(address) as client:
                yield client
        except InferenceServerException as error:
            if (found := explain_silence(error, address, subject, timeout_s or self.call_timeout_s)) is None:
                raise
            found.model_name, found.version = model_name, version
            raise found from error


def _as_input(name: str, array: np.ndarray) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor
