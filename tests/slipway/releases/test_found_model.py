"""What a foreign model is found to be, and when it is left alone."""

import json

import pytest

from blocks.environment import Environment
from blocks.errors import InvalidInput, ServiceUnavailable, UnusableModel
from slipway.releases.found_model import complete_config, find_model, read_notes
from slipway.releases.serving_config import parse_config, read_policy, takes_batches
from tests.apparatus.paper import ADDRESSES, PAPER_CONFIG, PaperReplicas

WHOLE = """
platform: "onnxruntime_onnx"
max_batch_size: 4
input { name: "input" data_type: TYPE_FP32 dims: 4 }
output { name: "output" data_type: TYPE_FP32 dims: 3 }
version_policy { latest { num_versions: 1 } }
"""


def test_a_whole_configuration_stays_its_authors_but_for_its_policy() -> None:
    config = complete_config("m", WHOLE, PAPER_CONFIG, (3,))

    before, after = parse_config(WHOLE), parse_config(config)
    assert read_policy(config) == (3,)
    before.ClearField("version_policy"), after.ClearField("version_policy")
    assert after == before


@pytest.mark.parametrize(
    "written",
    [
        None,
        'backend: "onnxruntime"',
        'platform: "onnxruntime_onnx" input { name: "input" data_type: TYPE_FP32 dims: 4 }',
        WHOLE.replace("max_batch_size: 4", ""),
    ],
)
def test_what_is_left_out_is_taken_from_the_server(written: str | None) -> None:
    config = complete_config("m", written, PAPER_CONFIG, (2, 3))

    message = parse_config(config)
    assert (message.name, message.backend, message.max_batch_size) == ("m", "onnxruntime", 4)
    assert takes_batches(config) and [tensor.name for tensor in message.input] == ["input"]
    assert message.runtime == "", "that is the server's own"
    assert read_policy(config) == (2, 3)


def test_a_configuration_of_another_model_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is of model 'other', expected 'm'"):
        complete_config("m", 'name: "other"', PAPER_CONFIG, (1,))


METADATA = {"mlflow": {"model_name": "m", "version": "4"}}


@pytest.mark.parametrize(
    ("metadata", "plugin", "expected"),
    [
        (METADATA, None, (4, "7/metadata.json")),
        ({"mlflow": {"version": 4}}, None, (4, "7/metadata.json")),
        ({"mlflow": {"model_name": "other", "version": "4"}}, None, (None, "")),
        ({"mlflow": {"model_name": "m", "version": "latest"}}, None, (None, "")),
        (None, {"mlflow_model_uri": "models:/m/5"}, (5, "mlflow-meta.json")),
        (None, {"mlflow_model_uri": "models:/other/5"}, (None, "")),
        (None, {"mlflow_model_uri": "models:/m@champion"}, (None, "")),
        (None, {"mlflow_model_uri": "runs:/abc/model"}, (None, "")),
        (None, ["a list"], (None, "")),
        (METADATA, {"mlflow_model_uri": "models:/m/5"}, (4, "7/metadata.json")),
        (None, None, (None, "")),
    ],
)
def test_what_others_wrote_down_is_read(metadata: object, plugin: object, expected: tuple[int | None, str]) -> None:
    first, second = (None if note is None else json.dumps(note).encode() for note in (metadata, plugin))

    assert read_notes(7, first, second, "m") == expected


def test_what_cannot_be_read_says_nothing() -> None:
    assert read_notes(7, b"{", b"\xff", "m") == (None, "")


@pytest.fixture
def kept(paper: tuple[Environment, PaperReplicas], model_name: str) -> str:
    """A model on paper that somebody keeps by hand: three folders, the last one served."""
    for version in (1, 2, 3):
        put(paper[0], model_name, f"{version}/model.onnx", f"weights {version}".encode())
    paper[1].serve(model_name, (3,))
    return model_name


def put(environment: Environment, model_name: str, name: str, content: bytes) -> None:
    environment.repository.store.write(f"repository/{model_name}/{name}", content)


def test_folders_are_found_with_what_was_written_down_beside_them(on_paper: Environment, kept: str) -> None:
    put(on_paper, kept, "2/metadata.json", json.dumps({"mlflow": {"model_name": kept, "version": "8"}}).encode())
    put(on_paper, kept, "mlflow-meta.json", json.dumps({"mlflow_model_uri": f"models:/{kept}/9"}).encode())

    found = find_model(kept, on_paper)

    assert (found.served, found.live, found.replicas, found.config_before) == ((3,), 3, ADDRESSES, None)
    assert [(each.version, list(each.sha256), each.recorded) for each in found.versions] == [
        (1, ["model.onnx"], None),
        (2, ["model.onnx"], 8),
        (3, ["model.onnx"], 9),
    ]


def test_replicas_that_serve_different_versions_are_refused(
    paper: tuple[Environment, PaperReplicas], kept: str
) -> None:
    paper[1].serve(kept, (2, 3), ADDRESSES[:1])

    with pytest.raises(InvalidInput, match=r"paper-0:8001 \[2, 3\], Triton paper-1:8001 \[3\]"):
        find_model(kept, paper[0])


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("3.uploading/model.onnx", r"has folders \['3.uploading'\]"),
        ("config.pbtxt", "is of model 'another'"),
    ],
)
def test_what_triton_would_take_for_something_else_is_refused(
    on_paper: Environment, kept: str, file: str, message: str
) -> None:
    put(on_paper, kept, file, b'name: "another"')

    with pytest.raises(InvalidInput, match=message):
        find_model(kept, on_paper)


def test_what_is_served_without_files_or_not_at_all_is_refused(
    paper: tuple[Environment, PaperReplicas], kept: str
) -> None:
    paper[1].serve(kept, (3, 5))
    with pytest.raises(InvalidInput, match=r"versions \[5\] are served, and there are no files of them"):
        find_model(kept, paper[0])

    paper[1].serve(kept, ())
    with pytest.raises(InvalidInput, match="no replica serves it"):
        find_model(kept, paper[0])


def test_what_cannot_be_released_is_not_taken_over(on_paper: Environment, kept: str) -> None:
    put(on_paper, kept, "config.pbtxt", f"{WHOLE} model_transaction_policy {{ decoupled: true }}".encode())
    with pytest.raises(UnusableModel, match="is decoupled"):
        find_model(kept, on_paper)

    put(on_paper, kept, "config.pbtxt", WHOLE.replace("onnxruntime_onnx", "ensemble").encode())
    with pytest.raises(InvalidInput, match="is an ensemble"):
        find_model(kept, on_paper)


def test_a_replica_that_does_not_answer_is_waited_for(paper: tuple[Environment, PaperReplicas], kept: str) -> None:
    paper[1].silent = {ADDRESSES[1]}

    with pytest.raises(ServiceUnavailable):
        find_model(kept, paper[0])


def test_a_name_that_slipway_does_not_take_is_refused(on_paper: Environment) -> None:
    with pytest.raises(InvalidInput, match="expected 1 to 120 letters"):
        find_model("a model", on_paper)
