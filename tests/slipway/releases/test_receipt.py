"""Receipts: what a version's proof left, read whoever wrote it, and each gate named only where it left a trace."""

import json
from typing import Any

import pytest

from blocks.errors import IntegrityError
from blocks.registry import RegisteredVersion
from blocks.repository import ModelRepository
from slipway.formats.contents import Contents
from slipway.formats.signature import Signature
from slipway.releases.agreement import Comparison
from slipway.releases.fetched import FetchedModel
from slipway.releases.proven_candidate import ProvenCandidate
from slipway.releases.receipt import (
    ReplicaReceipt,
    format_aliases,
    list_gates,
    make_receipt,
    read_receipt,
    record_receipt,
    renew_receipt,
)
from slipway.releases.replicas import LoadedReplica
from slipway.releases.service_level import Latency, MeasuredServiceLevel
from slipway.releases.verification import VerifiedReplica
from tests.apparatus.paper import ADDRESSES, THEN, make_plan

# as releases wrote it from 21 November 2026 on: nothing proven_s, and gate 3's memory in a field of another name
OF_NOVEMBER: dict[str, Any] = {
    "model_name": "m-onnx",
    "kind": "release",
    "reason": None,
    "registry_version": 4,
    "version": 3,
    "flow_run_id": "0192f7b0-0000-7000-8000-000000000001",
    "training_run_id": "85f60b2e526d4c5987795354e7335be6",
    "live_since": "2026-11-21T09:00:00Z",
    "sha256": {"model.onnx": "5e" * 32},
    "aliases_before": {"deploy": 4, "live": 3},
    "aliases_after": {"deploy": 4, "live": 4, "previous": 3},
    "gates": {"gate 1": "m version 2 promoted"},
    "candidate": {
        "address": "a:8001",
        "load_s": 0.4,
        "comparison": {"samples": 6, "top1_agreement": 1.0, "max_difference": 1e-7, "max_difference_onnxruntime": None},
        "latency": {"requests": 20, "p50_ms": 1.0, "p99_ms": 2.0},
        "live_before_load": None,
        "live_during_load": None,
        "service_level": {
            "candidate": {"requests": 100, "p50_ms": 1.0, "p99_ms": 2.0},
            "live": None,
            "candidate_throughput_per_s": 900.0,
            "live_throughput_per_s": None,
            "memory_mb": 12.0,
        },
    },
    "approval": None,
    "replicas": [
        {
            "address": "a:8001",
            "version": 3,
            "load_s": 0.4,
            "comparison": None,
            "latency_p50_ms": 1.0,
            "latency_p95_ms": 1.5,
            "latency_p99_ms": 2.0,
        }
    ],
    "left_to_reconcile": [],
}
LATENCY = Latency(requests=20, p50_ms=1, p99_ms=2)
COMPARISON = Comparison(samples=6, top1_agreement=1, max_difference=2e-7)


def fetched(model_name: str = "m-onnx", **tags: str) -> FetchedModel:
    registered = RegisteredVersion(
        model_name=model_name,
        version=3,
        source_uri="models:/m-1",
        created_at=THEN,
        tags=tags,
    )
    contents = Contents(
        backend="onnxruntime",
        model_file="model.onnx",
        files=("model.onnx",),
        signature=Signature(inputs=(), outputs=(), opset=20),
    )
    return FetchedModel(registered=registered, source="alias:deploy", contents=contents, files=(), golden=None)


def candidate(**measured: Any) -> ProvenCandidate:
    fields = {"comparison": None, "live_before_load": None, "live_during_load": None, "service_level": None}
    return ProvenCandidate(address="a:8001", load_s=0.4, latency=LATENCY, **fields | measured)


def test_a_receipt_of_an_earlier_slipway_is_read(repository: ModelRepository, model_name: str) -> None:
    repository.write_record(model_name, 3, "receipt.json", json.dumps(OF_NOVEMBER).encode())

    found = read_receipt(repository, model_name, 3)

    assert found is not None and found.candidate is not None and found.candidate.service_level is not None
    assert (found.registry_version, found.replicas[0].proven_s) == (4, None)
    assert found.candidate.service_level.memory_mib is None, "what was in another unit is not taken for this one"


def test_fields_of_a_later_slipway_are_passed_over_wherever_they_are(
    repository: ModelRepository, model_name: str
) -> None:
    later = json.loads(json.dumps(OF_NOVEMBER))
    later["signature"] = later["candidate"]["signature"] = later["replicas"][0]["signature"] = "later"
    later["candidate"]["latency"]["p90_ms"] = later["candidate"]["comparison"]["ties"] = 1
    repository.write_record(model_name, 3, "receipt.json", json.dumps(later).encode())

    found = read_receipt(repository, model_name, 3)

    assert found is not None and found.version == 3


def test_a_version_that_was_never_released_has_none(repository: ModelRepository, model_name: str) -> None:
    assert read_receipt(repository, model_name, 1) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"model_name": "m"}'])
def test_a_receipt_that_cannot_be_read_is_said_with_what_to_do(
    repository: ModelRepository, model_name: str, content: bytes
) -> None:
    repository.write_record(model_name, 3, "receipt.json", content)

    with pytest.raises(IntegrityError, match=r"version 3: its record receipt.json cannot be read .*; delete it, or"):
        read_receipt(repository, model_name, 3)


def test_a_receipt_has_what_each_replica_proved_and_its_own_load() -> None:
    loaded = tuple(LoadedReplica(address=address, versions=(3,), load_s=n) for n, address in enumerate(ADDRESSES, 1))
    verified = tuple(
        VerifiedReplica(
            address=address, version=3, comparison=COMPARISON, latency_p50_ms=1, latency_p95_ms=2, latency_p99_ms=3
        )
        for address in ADDRESSES
    )

    receipt = make_receipt(
        make_plan(aliases_after={"live": 3}),
        fetched(parent_training_run_id="85f6"),
        candidate(),
        loaded,
        verified,
        approval="Ada: fine",
    )

    assert [(replica.address, replica.load_s) for replica in receipt.replicas] == list(
        zip(ADDRESSES, (1, 2), strict=True)
    )
    assert (receipt.kind, receipt.training_run_id, receipt.approval) == ("release", "85f6", "Ada: fine")
    assert receipt.aliases_after == {"live": 3} and receipt.replicas[0].comparison == COMPARISON


def test_a_rollback_s_receipt_keeps_what_the_first_one_proved_and_names_who_was_silent(
    repository: ModelRepository, model_name: str
) -> None:
    repository.write_record(
        model_name, 3, "receipt.json", json.dumps(OF_NOVEMBER | {"model_name": model_name}).encode()
    )
    proven = (ReplicaReceipt(address=ADDRESSES[0], version=3, load_s=0),)
    plan = make_plan(model_name, kind="rollback", reason="too many cats")

    renewed = renew_receipt(plan, proven, list(ADDRESSES), repository)

    assert renewed.sha256 == OF_NOVEMBER["sha256"] and renewed.gates == OF_NOVEMBER["gates"]
    assert (renewed.kind, renewed.reason, renewed.left_to_reconcile) == ("rollback", "too many cats", ADDRESSES[1:])
    record_receipt(renewed, repository)
    assert read_receipt(repository, model_name, 3) == renewed


def test_a_gate_is_named_with_its_figures_where_it_left_a_trace() -> None:
    tags = {
        "parent_pytorch_model": "m",
        "parent_pytorch_version": "2",
        "validation_passed": "true",
        "validation_max_diff": "1.4e-06",
    }
    measured = MeasuredServiceLevel(
        candidate=LATENCY, live=None, candidate_throughput_per_s=900, live_throughput_per_s=None, memory_mib=None
    )

    gates = list_gates(fetched(**tags), candidate(comparison=COMPARISON, service_level=measured))

    assert gates == {
        "gate 1": "m version 2 promoted",
        "gate 2": "ONNX against PyTorch, largest difference 1.4e-06",
        "candidate": "6 golden samples on a:8001, numeric difference 2.0e-07, 1e-04 allowed (FP32)",
        "gate 3": "p99 2.0 ms, 900 requests/s",
    }


def test_a_variant_is_told_from_fp32_with_its_own_figures() -> None:
    tags = {
        "parent_pytorch_model": "m",
        "parent_pytorch_version": "2",
        "validation_passed": "true",
        "validation_max_diff": "3.8e-02",
        "slipway.precision": "int8",
        "variant_gate_1": "best_val_accuracy 0.9667 >= 0.9 is met; there is no champion yet",
        "variant_changed_classes": "0.28%",
    }

    assert list_gates(fetched(**tags), None) == {
        "gate 1": "m version 2 promoted; int8: best_val_accuracy 0.9667 >= 0.9 is met; there is no champion yet",
        "gate 2": "int8 against fp32, 0.28% of the classes changed, largest difference 3.8e-02",
    }


@pytest.mark.parametrize("tags", [{}, {"validation_passed": "false"}])
def test_a_gate_that_left_no_trace_is_not_named(tags: dict[str, str]) -> None:
    assert list_gates(fetched(**tags), None) == list_gates(fetched(**tags), candidate()) == {}


def test_aliases_are_said_in_order_and_none_as_none() -> None:
    assert format_aliases({"previous": 2, "live": 3}) == "live = 3, previous = 2"
    assert format_aliases({}) == "none"


def test_a_receipt_that_is_recorded_again_is_the_same(repository: ModelRepository, model_name: str) -> None:
    plan = make_plan(model_name)
    receipt = renew_receipt(plan, (), list(ADDRESSES), repository).model_copy(update={"live_since": THEN})
    for _ in range(2):
        record_receipt(receipt, repository)

        assert read_receipt(repository, model_name, 3) == receipt
