"""The Triton fleet: every replica behind the names it is known by, spoken to over gRPC, one by one."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import numpy as np
import tritonclient.grpc as triton
from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, StringConstraints
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from blocks.errors import LoadFailed, ServiceUnavailable, VerificationFailed

Tensors = dict[str, np.ndarray]
_UNREACHABLE = {"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNIMPLEMENTED"}
_DNS = "dns:///"

Replica = Annotated[str, StringConstraints(pattern=r"^(dns:///)?[A-Za-z0-9_.\[\]:-]+:[0-9]+$")]


class TritonFleet(Block):
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
    call_timeout_s: float = Field(default=10, gt=0, description="Seconds an ordinary call or an inference may take.")
    load_timeout_s: float = Field(default=300, gt=0, description="Seconds a replica may take to load a version.")

    def addresses(self) -> list[str]:
        """Return the address of every replica, names resolved anew on each call."""
        found = [address for replica in self.replicas for address in self._expanded(replica)]
        return list(dict.fromkeys(found))

    def check(self) -> list[str]:
        """Return every replica's address; `ServiceUnavailable` where one of them does not answer."""
        addresses = self.addresses()
        for address in addresses:
            with self._talking(address, "liveness") as client:
                client.is_server_live(client_timeout=self.call_timeout_s)
        return addresses

    def load_model(self, address: str, model_name: str) -> None:
        """Make one replica serve what the committed config.pbtxt says; `LoadFailed` with Triton's reason otherwise."""
        try:
            with self._talking(address, f"load of model '{model_name}'", self.load_timeout_s) as client:
                client.load_model(model_name, client_timeout=self.load_timeout_s)
        except InferenceServerException as error:
            raise LoadFailed(
                f"model '{model_name}' on Triton {address}: load refused ({_reason(error)}); the versions it served "
                "before are still served"
            ) from error

    def unload_model(self, address: str, model_name: str) -> None:
        """Make one replica stop serving a model, all its versions."""
        try:
            with self._talking(address, f"unload of model '{model_name}'", self.load_timeout_s) as client:
                client.unload_model(model_name, client_timeout=self.load_timeout_s)
        except InferenceServerException as error:
            raise LoadFailed(f"model '{model_name}' on Triton {address}: unload refused ({_reason(error)})") from error

    def is_ready(self, address: str, model_name: str, version: int) -> bool:
        """Tell whether one replica serves exactly this version."""
        try:
            with self._talking(address, f"readiness of model '{model_name}' version {version}") as client:
                return bool(client.is_model_ready(model_name, str(version), client_timeout=self.call_timeout_s))
        except InferenceServerException:
            return False

    def ready_versions(self, address: str, model_name: str) -> tuple[int, ...]:
        """Return the versions of a model one replica serves."""
        with self._talking(address, "the repository index") as client:
            index = client.get_model_repository_index(client_timeout=self.call_timeout_s)
        entries = [e for e in index.models if e.name == model_name and e.state == "READY" and e.version]
        return tuple(sorted(int(entry.version) for entry in entries))

    def infer(self, address: str, model_name: str, inputs: Tensors, outputs: list[str], version: int | None) -> Tensors:
        """Return one replica's outputs for one batch, pinned to a version (None: whatever it answers with).

        Raises `VerificationFailed` where the replica refuses the request.
        """
        subject = f"inference with model '{model_name}' version {version}"
        try:
            with self._talking(address, subject) as client:
                result = client.infer(
                    model_name,
                    [_as_input(name, array) for name, array in inputs.items()],
                    model_version=str(version) if version is not None else "",
                    outputs=[triton.InferRequestedOutput(name) for name in outputs],
                    client_timeout=self.call_timeout_s,
                )
        except InferenceServerException as error:
            raise VerificationFailed(f"Triton {address}: {subject} refused ({_reason(error)})") from error
        return {name: result.as_numpy(name) for name in outputs}

    def _expanded(self, replica: str) -> list[str]:
        if not replica.startswith(_DNS):
            return [replica]
        host, _, port = replica.removeprefix(_DNS).rpartition(":")
        try:
            answers = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except OSError as error:
            raise ServiceUnavailable(
                f"Triton fleet {replica}: the name does not resolve ({error}); expected the address of every replica: "
                "check the headless Service"
            ) from error
        hosts = sorted({str(answer[4][0]) for answer in answers})
        return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts]

    @contextmanager
    def _talking(
        self, address: str, subject: str, timeout_s: float | None = None
    ) -> Iterator[triton.InferenceServerClient]:
        client = triton.InferenceServerClient(address)
        try:
            yield client
        except InferenceServerException as error:
            if str(error.status()) not in _UNREACHABLE or "model" in str(error.message()).lower():
                raise
            raise ServiceUnavailable(
                f"Triton {address}: no answer to {subject} within {timeout_s or self.call_timeout_s:g} s "
                f"({_reason(error)}); check that replica and try again"
            ) from error
        finally:
            client.close()


def _as_input(name: str, array: np.ndarray) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def _reason(error: InferenceServerException) -> str:
    return str(error.message()).strip().replace("\n", " ")[:400]
