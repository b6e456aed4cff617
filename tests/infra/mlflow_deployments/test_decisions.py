"""What the target triton decides by itself: where things are, what they are called, what tensors are meant."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from blocks.errors import InvalidInput
from blocks.repository import ModelRepository
from infra.mlflow_deployments.names import check_name
from infra.mlflow_deployments.places import Bucket, Replicas, parse_repository, parse_urls
from infra.mlflow_deployments.registration import ModelUri, parse_model_uri
from infra.mlflow_deployments.releasing import read_options
from infra.mlflow_deployments.tensors import make_frame, make_tensors
from tests.apparatus.stores import repository_in_memory

TWO_INPUTS = {"INPUT0": "FP32", "INPUT1": "INT32"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:8000", Replicas(("localhost:8000",), "http", False)),
        ("http://triton:8000", Replicas(("triton:8000",), "http", False)),
        ("http://triton", Replicas(("triton:80",), "http", False)),
        ("https://triton.example/", Replicas(("triton.example:443",), "http", True)),
        ("one:8000, two:8000", Replicas(("one:8000", "two:8000"), "http", False)),
        ("grpc://one:8001,grpc://two:8001", Replicas(("one:8001", "two:8001"), "grpc", False)),
        ("grpcs://one:8001", Replicas(("one:8001",), "grpc", True)),
        ("dns:///triton:8001", Replicas(("dns:///triton:8001",), "grpc", False)),
        ("dns:///triton:8001,grpc://other:8001", Replicas(("dns:///triton:8001", "other:8001"), "grpc", False)),
    ],
)
def test_replicas_are_read_from_a_url(text: str, expected: Replicas) -> None:
    assert parse_urls(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", ",", "ftp://x:1", "grpc://one", "dns:///one", "http://u:p@x:8000", "http://x:8000/path", "a:1,grpc://b:2"],
)
def test_what_names_no_replicas_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="TRITON_URL"):
        parse_urls(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket", Bucket("bucket", "", None)),
        ("s3://bucket/", Bucket("bucket", "", None)),
        ("s3://bucket/models", Bucket("bucket", "models", None)),
        ("s3:///bucket//a///b/", Bucket("bucket", "a/b", None)),
        ("s3://http://host:9000/bucket/models", Bucket("bucket", "models", "http://host:9000")),
        ("s3://https://s3.example:443/bucket", Bucket("bucket", "", "https://s3.example:443")),
        ("s3://host:9000/bucket/models", Bucket("bucket", "models", "http://host:9000")),
        ("/opt/triton_models", Path("/opt/triton_models")),
        ("models", Path("models").absolute()),
    ],
)
def test_the_model_repository_is_read_as_nvidias_plugin_reads_it(text: str, expected: Bucket | Path) -> None:
    assert parse_repository(text) == expected


@pytest.mark.parametrize("text", ["", " ", "s3://", "s3:////", "s3://http://host:9000", "s3://host:9000"])
def test_what_names_no_repository_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="TRITON_MODEL_REPO"):
        parse_repository(text)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("", ".slipway/"), ("repository", ""), ("a/repository", "a/"), ("a/models", "a/models.slipway/")],
)
def test_records_lie_beside_what_triton_reads(prefix: str, expected: str) -> None:
    records = Bucket("bucket", prefix, None).records_prefix

    assert records == expected
    assert not prefix or not f"{records}records/model/1/claim".startswith(f"{prefix}/")


@pytest.mark.parametrize("name", ["model123", "model.version1", "...", "..my_model", "model..1", "model....1", "a b"])
def test_whatever_can_be_a_folder_is_a_name(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "     ", " ", "\n", "\t", "\r", "\v", "\f"])
def test_an_empty_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"Model name cannot be empty\. Please enter a valid name to deploy\."):
        check_name(name)


@pytest.mark.parametrize("name", ["/opt/sys/", "../../etc/passwd", "../outside/repo", "a/../b", "..", "."])
def test_a_name_that_leaves_the_repository_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_name(name)
    assert str(refused.value) == f"Path traversal is not allowed in model's name: {name}"


@pytest.mark.parametrize("name", ["a\\b", "it's", 'say "x"', "a\nb", "x" * 201, "_candidate.3.model"])
def test_a_name_that_means_something_else_somewhere_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="choose another"):
        check_name(name)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("models:/m/3", ModelUri("m", "version", "3")),
        ("models:/.../1", ModelUri("...", "version", "1")),
        ("models:/m@champion", ModelUri("m", "alias", "champion")),
        ("models:/m/Production", ModelUri("m", "stage", "Production")),
        ("models:/m/latest", ModelUri("m", "latest", "latest")),
        (f"models:/m-{'0' * 32}", None),
        ("runs:/abc/model", None),
        ("/tmp/model", None),
        ("s3://bucket/model", None),
    ],
)
def test_a_model_uri_says_which_version(uri: str, expected: ModelUri | None) -> None:
    assert parse_model_uri(uri) == expected


def test_a_model_uri_that_names_no_version_is_refused() -> None:
    with pytest.raises(InvalidInput, match="models:/NAME/VERSION"):
        parse_model_uri("models:/m")


def test_options_are_read_from_text() -> None:
    terms, version = read_options({"version": "3", "tolerance": "1e-3"})

    assert (terms.tolerance, version) == (1e-3, 3)
    assert read_options({})[1] is None


@pytest.mark.parametrize(
    "config", [{"version": "x"}, {"version": "0"}, {"version": "-1"}, {"tolerance": "x"}, {"a": "1"}]
)
def test_options_that_say_nothing_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        read_options(config)


NAMED = {"INPUT0": [[1.0, 2.0]], "INPUT1": [[3, 4]]}
KSERVE = {
    "inputs": [
        {"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]},
        {"name": "INPUT1", "shape": [1, 2], "datatype": "INT32", "data": [[3, 4]]},
    ]
}


@pytest.mark.parametrize(
    "given",
    [
        NAMED,
        {"inputs": NAMED},
        KSERVE,
        pd.DataFrame({"inputs": NAMED}),
        pd.DataFrame(KSERVE),
        pd.DataFrame({"INPUT0": [[1.0, 2.0]], "INPUT1": [[3, 4]]}),
        {name: np.array(value, np.float32 if name == "INPUT0" else np.int32) for name, value in NAMED.items()},
    ],
    ids=["by tensor", "inputs", "kserve", "row a tensor", "kserve frame", "column a tensor", "arrays"],
)
def test_tensors_are_read_from_whatever_names_them(given: Any) -> None:
    tensors = make_tensors(given, TWO_INPUTS, "m")

    assert {name: (str(array.dtype), array.tolist()) for name, array in tensors.items()} == {
        "INPUT0": ("float32", [[1.0, 2.0]]),
        "INPUT1": ("int32", [[3, 4]]),
    }


@pytest.mark.parametrize(
    "given",
    [
        [[1, 2], [3, 4]],
        np.array([[1, 2], [3, 4]]),
        pd.DataFrame({"a": [1, 3], "b": [2, 4]}),
        pd.DataFrame([[1, 2], [3, 4]]),
    ],
    ids=["list", "array", "column a feature", "numbered columns"],
)
def test_what_has_no_name_is_the_only_input(given: Any) -> None:
    tensors = make_tensors(given, {"x": "FP32"}, "m")

    assert (str(tensors["x"].dtype), tensors["x"].tolist()) == ("float32", [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("given", "inputs", "message"),
    [
        (np.ones(3), TWO_INPUTS, "does not say which is which"),
        ({"other": [1]}, TWO_INPUTS, "was given other, and takes INPUT0, INPUT1"),
        ({"x": np.array([1.5])}, {"x": "INT32"}, "input 'x': takes INT32"),
        ({"x": [[1, 2], [3]]}, {"x": "FP32"}, "input 'x': takes FP32"),
    ],
)
def test_what_does_not_fit_is_refused(given: Any, inputs: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make_tensors(given, inputs, "m")


def test_text_is_sent_as_it_is() -> None:
    assert make_tensors({"x": [["a"]]}, {"x": "BYTES"}, "m")["x"].tolist() == [["a"]]


def test_outputs_are_a_frame_with_a_row_a_tensor_that_becomes_the_documented_file() -> None:
    frame = make_frame({"OUTPUT0": np.array([[2, 4]]), "OUTPUT1": np.array([[0]])})

    assert frame["outputs"]["OUTPUT0"].tolist() == [[2, 4]]
    assert json.loads(frame.to_json()) == {"outputs": {"OUTPUT0": [[2, 4]], "OUTPUT1": [[0]]}}


def test_what_mlflow_loads_for_a_target_brings_neither_prefect_nor_torch() -> None:
    code = """
import sys
import infra.mlflow_deployments.triton, infra.mlflow_deployments.slipway
print(sorted({"prefect", "torch", "onnx", "tritonclient", "boto3"} & set(sys.modules)))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert told.strip() == "[]"


def test_where_triton_reads_a_whole_bucket_the_records_are_no_model(repository: ModelRepository) -> None:
    prefix = Bucket("bucket", "", None).records_prefix
    names = ("staging", "archive", "records", "journal", "locks")
    whole = repository.model_copy(
        update={"repository_prefix": "", **{f"{name}_prefix": f"{prefix}{name}" for name in names}}
    )

    whole.write_record("m", 1, "claim", b"me")
    whole.commit("m", 'name: "m"', after=None)

    assert "m" in whole.list_contents().served & whole.list_contents().recorded
    assert ".slipway" not in whole.list_contents().served
    assert whole.directory("m", 1) == "m/1/"
    assert whole.store.exists("m/config.pbtxt") and whole.store.exists(".slipway/records/m/1/claim")


@pytest.fixture
def repository() -> Iterator[ModelRepository]:
    with repository_in_memory() as found:
        yield found
