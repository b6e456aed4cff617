"""metadata.json, whoever wrote it: the reference systems, every slipway, and people who edit it by hand."""

import json
from typing import Any

import pytest

from blocks.errors import IntegrityError
from blocks.repository import ModelRepository
from slipway.releases.metadata import VersionMetadata, read_metadata

# triton-argo-workflows, README, "Deployment Metadata": word for word
OF_THE_REFERENCE: dict[str, Any] = {
    "mlflow": {
        "model_name": "resnet18-imagenette-onnx",
        "version": "4",
        "run_id": "85f60b2e526d4c5987795354e7335be6",
        "alias_at_deploy": "alias:deploy",
        "run_name": "export-resnet18-imagenette-v10",
    },
    "triton": {
        "version": "3",
        "deployed_at": "2026-02-19T17:33:50.793742+00:00",
        "deployed_by": "deploy-resnet18-xsg5k-prepare-artifacts-step-2995891873",
    },
    "model": {
        "format": "onnx",
        "file_size_mb": 42.72,
        "inputs": [{"name": "input", "shape": ["batch_size", 3, 224, 224]}],
        "outputs": [{"name": "output", "shape": ["batch_size", 10]}],
    },
    "validation": {"validation_max_diff": 1.43e-06, "validation_onnx_speedup": 1.49},
}
# slipway from 21 November 2026 on
OF_NOVEMBER: dict[str, Any] = {
    "mlflow": OF_THE_REFERENCE["mlflow"]
    | {"params": {"epochs": "4"}, "metrics": {"accuracy": 0.97}, "tags": {"a": "b"}},
    "triton": OF_THE_REFERENCE["triton"] | {"flow_run_id": "0192f7b0-0000-7000-8000-000000000001"},
    "model": OF_THE_REFERENCE["model"] | {"sha256": {"model.onnx": "5e" * 32}, "opset": 20, "producer": "pytorch"},
    "validation": {},
}


def read(repository: ModelRepository, model_name: str, content: object) -> VersionMetadata:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    repository.store.write(f"repository/{model_name}/3/metadata.json", text)
    return read_metadata(model_name, 3, repository)


def test_a_file_of_the_reference_systems_is_read(repository: ModelRepository, model_name: str) -> None:
    found = read(repository, model_name, OF_THE_REFERENCE)

    assert (found.registry_version, found.run_id, found.digests) == (4, "85f60b2e526d4c5987795354e7335be6", None)
    assert found.triton is not None and found.triton.version == 3
    assert found.validation == {"validation_max_diff": 1.43e-06, "validation_onnx_speedup": 1.49}


def test_a_file_of_an_earlier_slipway_is_read(repository: ModelRepository, model_name: str) -> None:
    found = read(repository, model_name, OF_NOVEMBER)

    assert (found.registry_version, found.digests) == (4, {"model.onnx": "5e" * 32})
    assert found.mlflow is not None and found.mlflow.metrics == {"accuracy": 0.97}


@pytest.mark.parametrize("written", [OF_THE_REFERENCE, OF_NOVEMBER], ids=["reference", "slipway"])
def test_what_is_read_is_written_again_as_it_was(written: dict[str, Any]) -> None:
    read_back = VersionMetadata.model_validate(written).model_dump(mode="json", exclude_unset=True)

    assert read_back == written


def test_where_there_is_no_file_nothing_is_known(repository: ModelRepository, model_name: str) -> None:
    assert read_metadata(model_name, 1, repository) == VersionMetadata()


@pytest.mark.parametrize("version", ["4", 4])
def test_a_version_is_a_number_as_text_or_not(repository: ModelRepository, model_name: str, version: object) -> None:
    assert read(repository, model_name, {"mlflow": {"version": version}}).registry_version == 4


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("mlflow", "text"),
        ("mlflow", None),
        ("mlflow", {"version": None}),
        ("mlflow", {"version": "four"}),
        ("mlflow", {"version": "²"}),
        ("mlflow", {"version": -4}),
        ("mlflow", {"version": 4.5}),
        ("mlflow", {"version": ["4"]}),
    ],
)
def test_a_value_that_cannot_be_used_is_none_and_every_other_one_is_read(
    repository: ModelRepository, model_name: str, section: str, value: object
) -> None:
    found = read(repository, model_name, OF_NOVEMBER | {section: value})

    assert found.registry_version is None
    assert found.digests == {"model.onnx": "5e" * 32}


def test_digests_that_are_no_texts_are_none(repository: ModelRepository, model_name: str) -> None:
    found = read(repository, model_name, OF_NOVEMBER | {"model": {"sha256": {"model.onnx": 7}, "format": "onnx"}})

    assert (found.digests, found.registry_version) == (None, 4)
    assert found.model is not None and found.model.format == "onnx"


@pytest.mark.parametrize("content", [b"", b"{broken", b'["a", "list"]', b'"text"', b"null", b"\xff"])
def test_a_file_that_holds_no_object_is_refused_with_what_to_do(
    repository: ModelRepository, model_name: str, content: bytes
) -> None:
    with pytest.raises(IntegrityError, match=r"(?s)version 3 .*metadata\.json"):
        read(repository, model_name, content)
