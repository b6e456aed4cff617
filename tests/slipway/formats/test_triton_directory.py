"""A Triton model directory becomes a version: the files of the one that would answer, and what all versions use."""

import io
import zipfile
from pathlib import Path

import pytest

from blocks.errors import UnusableModel
from slipway.formats.catalogue import arrange_model, open_model
from slipway.formats.contents import Contents
from tests.apparatus.triton_directories import (
    DOUBLING,
    ENSEMBLE_CONFIG,
    LINEAR_CONFIG,
    PYTHON_CONFIG,
    TENSORS,
    linear_bytes,
    write_directory,
    write_logged,
    write_onnx_model,
    write_python_model,
)

SUBJECT = "model 'm' version 1"
FIL = 'backend: "fil" parameters { key: "model_type" value { string_value: "%s" } }'


def opened(artifact: Path) -> Contents:
    arrange_model(artifact, SUBJECT)
    return open_model(artifact, SUBJECT)


@pytest.mark.parametrize("data", ["model", "my-model", "model/my-model", "1"])
def test_a_directory_is_found_wherever_its_mlmodel_says_it_is(tmp_path: Path, data: str) -> None:
    write_python_model(write_logged(tmp_path, data))

    contents = opened(tmp_path)

    assert (contents.backend, contents.model_file, contents.files) == ("python", "model.py", ("model.py",))
    assert (tmp_path / "model.py").read_text() == DOUBLING
    assert contents.config == PYTHON_CONFIG
    assert contents.signature.inputs[0].model_dump() == {"name": "input", "dtype": "FP32", "shape": ("batch", 4)}


@pytest.mark.parametrize("data", ["..", ".", "/etc", "model/..", "gone", "''", "[1]"])
def test_a_directory_elsewhere_is_refused(tmp_path: Path, data: str) -> None:
    write_logged(tmp_path / "artifact", data if data != "/etc" else "x")
    (tmp_path / "artifact" / "MLmodel").write_text(f"flavors: {{triton: {{data: {data}}}}}")

    with pytest.raises(UnusableModel, match=f"{SUBJECT}: MLmodel says that its Triton model directory is"):
        arrange_model(tmp_path / "artifact", SUBJECT)


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("", "10"),
        ("version_policy { latest { num_versions: 2 } }", "10"),
        ("version_policy { all {} }", "10"),
        ("version_policy { specific { versions: [ 1, 2 ] } }", "2"),
    ],
)
def test_the_version_that_would_answer_is_taken(tmp_path: Path, policy: str, chosen: str) -> None:
    files: dict[str, str | bytes] = {f"{version}/model.py": f"# {version}" for version in ("1", "2", "10")}
    write_directory(write_logged(tmp_path), f"{PYTHON_CONFIG}{policy}", files)

    assert opened(tmp_path).files == ("model.py",)
    assert (tmp_path / "model.py").read_text() == f"# {chosen}"


def test_what_every_version_uses_becomes_shared_and_folders_stay_folders(tmp_path: Path) -> None:
    config = PYTHON_CONFIG.replace('name: "output"', 'name: "output" label_filename: "labels.txt"')
    files: dict[str, str | bytes] = {
        "1/model.py": DOUBLING,
        "1/weights/part.bin": "w",
        "labels.txt": "cat",
        "tokenizer/vocab.json": "{}",
        "golden.npz": "samples",
        "1/__pycache__/model.pyc": "x",
    }
    write_directory(write_logged(tmp_path), config, files)

    contents = opened(tmp_path)

    assert contents.files == ("model.py", "shared/labels.txt", "shared/tokenizer/vocab.json", "weights/part.bin")
    assert all((tmp_path / name).is_file() for name in contents.files)
    assert (tmp_path / "golden.npz").read_text() == "samples"


def test_what_is_logged_beside_the_directory_is_no_file_of_the_version(tmp_path: Path) -> None:
    write_python_model(write_logged(tmp_path))
    for name in ("golden.npz", "requirements.txt", "conda.yaml", "input_example.json"):
        (tmp_path / name).write_text("{}")

    assert opened(tmp_path).files == ("model.py",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MLmodel", "config.pbtxt", "golden.npz", "model.py"]


def test_an_onnx_model_needs_no_config(tmp_path: Path) -> None:
    write_onnx_model(write_logged(tmp_path))

    contents = opened(tmp_path)

    assert (contents.config, contents.backend, contents.signature.opset) == (None, "onnxruntime", 20)
    assert contents.signature.inputs[0].shape == ("batch_size", 4)


def test_an_onnx_model_s_config_is_compared_with_the_file(tmp_path: Path) -> None:
    write_onnx_model(write_logged(tmp_path), LINEAR_CONFIG)

    contents = opened(tmp_path)

    assert (contents.backend, contents.signature.opset, contents.precision) == ("onnxruntime", 20, "FP32")
    assert contents.signature.outputs[0].shape == ("batch", 3)


@pytest.mark.parametrize("files", [{}, {"1/kept.txt": "so that a store keeps the folder"}])
def test_an_ensemble_has_no_files_of_its_own_and_says_whom_it_calls(
    tmp_path: Path, files: dict[str, str | bytes]
) -> None:
    write_directory(write_logged(tmp_path), ENSEMBLE_CONFIG, files)

    contents = opened(tmp_path)

    assert contents.depends_on == ("first", "second")
    assert (contents.backend, contents.model_file) == ("ensemble", "")
    assert contents.files == (("kept.txt",) if files else ())


def test_an_ensemble_s_empty_version_is_one(tmp_path: Path) -> None:
    write_directory(write_logged(tmp_path), ENSEMBLE_CONFIG, {})
    (tmp_path / "model" / "1").mkdir()

    assert opened(tmp_path).files == ()


def test_links_inside_the_directory_are_followed(tmp_path: Path) -> None:
    model = write_directory(write_logged(tmp_path), LINEAR_CONFIG, {"blobs/weights": linear_bytes()})
    (model / "1").mkdir()
    (model / "1" / "model.onnx").symlink_to("../blobs/weights")

    assert opened(tmp_path).files == ("model.onnx", "shared/blobs/weights")
    assert not (tmp_path / "model.onnx").is_symlink()


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ('platform: "tensorrt_plan"', "model.plan"),
        ('backend: "tensorrt"', "model.plan"),
        ('backend: "pytorch"', "model.pt"),
        ('backend: "pytorch" runtime: "model.py"', "model.py"),
        ('backend: "fil"', "xgboost.model"),
        (FIL % "xgboost_json", "xgboost.json"),
        (FIL % "lightgbm", "model.txt"),
        (
            'backend: "fil" parameters { key: "model_type" value { string_value: "treelite_checkpoint" } }',
            "checkpoint.tl",
        ),
        ('backend: "tensorrt" default_model_filename: "fp16.plan"', "fp16.plan"),
        ('backend: "python"', "model.py"),
        ("", "model.plan"),
    ],
)
def test_the_file_that_the_backend_opens_is_known(tmp_path: Path, config: str, name: str) -> None:
    content = torchscript() if name == "model.pt" else b"weights"
    write_directory(write_logged(tmp_path), f"{config}\n{TENSORS}", {f"1/{name}": content})

    assert opened(tmp_path).model_file == name


def test_a_backend_that_slipway_does_not_know_may_open_what_it_likes(tmp_path: Path) -> None:
    write_directory(write_logged(tmp_path), f'backend: "our_own"\n{TENSORS}', {"1/anything.bin": "weights"})

    contents = opened(tmp_path)

    assert (contents.backend, contents.model_file) == ("our_own", "")


def torchscript() -> bytes:
    """Return an archive with the names that one of TorchScript has at least."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("net/data.pkl", "")
        archive.writestr("net/code/__torch__.py", "")
    return content.getvalue()
