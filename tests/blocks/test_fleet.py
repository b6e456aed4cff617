"""The fleet: every replica is asked by itself, and one that does not answer is named."""

import time

import numpy as np
import pytest

from blocks.environment import Environment
from blocks.errors import InvalidInput, LoadFailed, ReplicaLost, ServiceUnavailable
from blocks.fleet import TritonFleet
from tests.apparatus.faults import answering_server, silent_server
from tests.apparatus.ports import free_port


def test_addresses_are_as_listed_and_each_once() -> None:
    fleet = TritonFleet(replicas=["a:8001", "b:8001", "a:8001"])

    assert fleet.list_addresses() == ["a:8001", "b:8001"]


def test_a_dns_name_stands_for_every_address_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(2, 1, 6, "", (host, 8001)) for host in ("10.0.0.2", "10.0.0.1", "10.0.0.2")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **kwargs: answers)

    assert TritonFleet(replicas=["dns:///triton-headless:8001"]).list_addresses() == ["10.0.0.1:8001", "10.0.0.2:8001"]


def test_a_name_that_does_not_resolve_is_an_error_that_names_it() -> None:
    with pytest.raises(ServiceUnavailable, match=r"dns:///no-such-host.invalid:8001: the name does not resolve"):
        TritonFleet(replicas=["dns:///no-such-host.invalid:8001"]).list_addresses()


def test_every_replica_of_the_stack_answers(environment: Environment) -> None:
    assert len(environment.fleet.check()) == 2


def test_a_replica_that_is_down_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"

    with pytest.raises(ServiceUnavailable, match=f"Triton {address}: no answer to liveness"):
        TritonFleet(replicas=[address], call_timeout_s=2).check()


def test_who_loses_a_replica_is_told_which_and_for_which_model() -> None:
    address = f"127.0.0.1:{free_port()}"

    with pytest.raises(ReplicaLost) as lost:
        TritonFleet(replicas=[address], call_timeout_s=2).infer(address, "m", {"x": np.zeros(1)}, ["y"], version=3)

    assert (lost.value.address, lost.value.model_name, lost.value.version) == (address, "m", 3)


def test_a_replica_that_hangs_is_given_up_after_bounded_time() -> None:
    start = time.monotonic()

    with silent_server() as url:
        address = url.removeprefix("http://")
        with pytest.raises(ServiceUnavailable, match=f"Triton {address}: no answer"):
            TritonFleet(replicas=[address], call_timeout_s=1).check()

    assert time.monotonic() - start < 15


def test_a_load_that_is_refused_gives_tritons_reason(environment: Environment) -> None:
    with pytest.raises(LoadFailed, match=r"model 'no-such-model' on Triton .*: load refused \(.*no-such-model"):
        environment.fleet.load_model(environment.fleet.list_addresses()[0], "no-such-model")


def test_a_version_nobody_loaded_is_not_ready(environment: Environment) -> None:
    address = environment.fleet.list_addresses()[0]

    assert not environment.fleet.is_ready(address, "no-such-model", 1)
    assert environment.fleet.list_ready_versions(address, "no-such-model") == ()


METRICS = b"""\
# HELP nv_cpu_memory_used_bytes CPU used memory (RAM), in bytes
# TYPE nv_cpu_memory_used_bytes gauge
nv_cpu_memory_used_bytes 1024.0
# HELP nv_cpu_memory_total_bytes CPU total memory (RAM), in bytes
# TYPE nv_cpu_memory_total_bytes gauge
nv_cpu_memory_total_bytes 4096
# HELP nv_gpu_memory_used_bytes GPU used memory, in bytes
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{gpu_uuid="GPU-a"} 2e3
nv_gpu_memory_used_bytes{gpu_uuid="GPU-} b"} 3000
# HELP nv_inference_count Number of inferences performed
# TYPE nv_inference_count counter
nv_inference_count{model="nv_cpu_memory_used_bytes 7",version="1"} 7
"""


def measured_by(url: str) -> TritonFleet:
    return TritonFleet(replicas=["a:8001", "b:8001"], metrics=["elsewhere:8002", url.removeprefix("http://")])


def test_memory_in_use_is_that_of_the_host_and_all_gpus() -> None:
    with answering_server(METRICS) as url:
        assert measured_by(url).read_used_memory_bytes("b:8001") == 1024 + 2000 + 3000


@pytest.mark.parametrize("body", [b"<html>", b"nv_cpu_memory_used_bytes{ 3"])
def test_a_server_that_has_no_metrics_is_named_with_the_replica(body: bytes) -> None:
    with answering_server(body) as url, pytest.raises(ServiceUnavailable, match=r"Triton b:8001: no metrics \("):
        measured_by(url).read_used_memory_bytes("b:8001")


def test_memory_of_a_replica_without_a_metrics_address_is_not_guessed() -> None:
    with pytest.raises(InvalidInput, match=r"names no metrics address for Triton a:8001; set SLIPWAY_TRITON_METRICS"):
        TritonFleet(replicas=["a:8001"]).read_used_memory_bytes("a:8001")
