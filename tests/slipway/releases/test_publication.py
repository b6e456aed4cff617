"""What is published is checked as a release would check it; what a release would refuse is never registered."""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from blocks.errors import UnusableModel
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.formats.model_config import parse_config
from slipway.releases.fetched import FetchedModel
from slipway.releases.fetching import fetch
from slipway.releases.publication import Given, Publication, publish
from slipway.releases.serving_config import generate_config
from tests.apparatus.models import linear_model, random_weights, save
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

FIL = 'backend: "fil" parameters { key: "model_type" value { string_value: "%s" } }'
PLAN_CONFIG = f'backend: "tensorrt"\nmax_batch_size: 8\n{TENSORS}'


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    """MLflow's registry in a file, without a server, and with files of its own."""
    place = tmp_path_factory.mktemp("mlflow")
    registry = ModelRegistry(tracking_uri=f"sqlite:///{place}/mlflow.db")
    for name in ("published-models", "sources"):
        registry.connect().create_experiment(name, artifact_location=(place / name).as_uri())
    return registry


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_WORKSPACE", str(tmp_path / "workspace"))


def fetched(registry: ModelRegistry, model_name: str, version: int = 1) -> FetchedModel:
    return fetch(registry.get_version(model_name, version), f"version:{version}", registry)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_golden(path: Path, features: int = 4) -> Path:
    inputs = np.ones((2, features), np.float32)
    arrays: dict[str, Any] = {"input/input": inputs, "output/output": np.ones((2, 3), np.float32)}
    np.savez(path, **arrays)
    return path


def published(path: Path, registry: ModelRegistry, model_name: str, **given: Path) -> Publication:
    return publish(path, model_name, Given(**given), registry=registry)


def test_a_bare_onnx_file_is_fetched_as_it_was_published(
    registry: ModelRegistry, model_name: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "classifier.onnx", linear_bytes())

    publication = publish(path, model_name, Given(), registry=registry, tags={"team": "cats"}, deploy=True)

    sha256 = hashlib.sha256(linear_bytes()).hexdigest()
    assert publication == Publication(
        model_name=model_name,
        version=1,
        format="onnx",
        backend="onnxruntime",
        sha256={"model.onnx": sha256},
        deploys=True,
    )
    found = fetched(registry, model_name)
    assert found.registered.tags == {"team": "cats", "sha256/model.onnx": sha256}
    assert found.registered.aliases == ("deploy",)
    assert [file.sha256 for file in found.files] == [sha256]


def test_publishing_again_is_the_next_version(registry: ModelRegistry, model_name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", linear_bytes())

    versions = [published(path, registry, model_name).version for _ in range(2)]

    assert versions == [1, 2]


@pytest.mark.parametrize("logged", [False, True])
def test_external_data_and_golden_samples_come_with_a_directory(
    registry: ModelRegistry, model_name: str, tmp_path: Path, logged: bool
) -> None:
    save(tmp_path, linear_model(random_weights(1)), {}, external=True)
    write_golden(tmp_path / "golden.npz")
    if not logged:
        (tmp_path / "MLmodel").unlink()

    publication = published(tmp_path, registry, model_name)

    assert publication.sha256.keys() == {"golden.npz", "model.onnx", "model.onnx.data"}
    assert fetched(registry, model_name).golden is not None


@pytest.mark.parametrize("logged", [False, True])
def test_a_triton_directory_is_registered_with_its_layout(
    registry: ModelRegistry, model_name: str, tmp_path: Path, logged: bool
) -> None:
    directory = write_python_model(write_logged(tmp_path / "m") if logged else tmp_path / "m")
    write(directory / "tokenizer" / "vocab.json", "{}")
    write(directory / "0.txt", "no version")

    publication = published(tmp_path / "m", registry, model_name)

    assert (publication.format, publication.backend) == ("triton", "python")
    found = fetched(registry, model_name)
    assert found.contents.config == PYTHON_CONFIG
    assert [file.name for file in found.files] == ["model.py", "shared/0.txt", "shared/tokenizer/vocab.json"]
    assert "sha256/config.pbtxt" in found.registered.tags


def test_an_onnx_file_beside_versions_is_not_taken_for_the_model(
    registry: ModelRegistry, model_name: str, tmp_path: Path
) -> None:
    write(write_onnx_model(tmp_path / "m") / "exported.onnx", "kept")

    assert published(tmp_path / "m", registry, model_name).sha256.keys() == {"model.onnx", "shared/exported.onnx"}


def test_an_ensemble_says_whom_it_calls(registry: ModelRegistry, model_name: str, tmp_path: Path) -> None:
    write_directory(tmp_path / "m" / "1", None, {})
    write_directory(tmp_path / "m", ENSEMBLE_CONFIG, {})

    publication = published(tmp_path / "m", registry, model_name)

    assert publication.depends_on == ("first", "second")
    assert fetched(registry, model_name).files == ()


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (PLAN_CONFIG, "model.plan"),
        (
            f'backend: "fil" parameters {{ key: "model_type" value {{ string_value: "xgboost_json" }} }} {TENSORS}',
            "xgboost.json",
        ),
    ],
    ids=["tensorrt", "fil"],
)
def test_a_file_of_another_backend_gets_the_name_that_it_opens(
    registry: ModelRegistry, model_name: str, tmp_path: Path, config: str, name: str
) -> None:
    path, config_path = write(tmp_path / "engine.bin", "weights"), write(tmp_path / "c.pbtxt", config)

    published(path, registry, model_name, config=config_path)

    assert [file.name for file in fetched(registry, model_name).files] == [name]


@pytest.mark.parametrize("config", [None, LINEAR_CONFIG])
def test_labels_are_named_by_the_configuration(
    registry: ModelRegistry, model_name: str, tmp_path: Path, config: str | None
) -> None:
    path, labels = write(tmp_path / "m.onnx", linear_bytes()), write(tmp_path / "names", "cat\ndog\nfish\n")
    given = {"config": write(tmp_path / "c.pbtxt", config)} if config else {}

    published(path, registry, model_name, labels=labels, **given)

    contents = fetched(registry, model_name).contents
    found = parse_config(generate_config(model_name, contents, (1,)), "config")
    assert found.output[0].label_filename == "labels.txt"
    assert contents.files == ("model.onnx", "shared/labels.txt")


def test_what_is_published_is_not_changed(registry: ModelRegistry, model_name: str, tmp_path: Path) -> None:
    directory, labels = write_python_model(tmp_path / "m"), write(tmp_path / "labels", "cat")

    published(directory, registry, model_name, labels=labels)

    assert (directory / "config.pbtxt").read_text() == PYTHON_CONFIG
    assert sorted(path.name for path in directory.iterdir()) == ["1", "config.pbtxt"]


def test_a_config_that_changed_after_publication_is_found(
    registry: ModelRegistry, model_name: str, tmp_path: Path
) -> None:
    published(write_python_model(tmp_path / "m"), registry, model_name)
    registry.tag_version(model_name, 1, {"sha256/config.pbtxt": "0" * 64})

    with pytest.raises(Exception, match=r"config.pbtxt has SHA-256"):
        fetched(registry, model_name)


def sourced(registry: ModelRegistry, model_name: str, path: Path, artifact: str) -> RegisteredVersion:
    """Register a version whose source is an artifact of a run, `runs:/…`."""
    client = registry.connect()
    with mlflow.start_run(experiment_id=mlflow.set_experiment("sources").experiment_id) as run:
        client.log_artifacts(run.info.run_id, str(path), "files")
    client.create_registered_model(model_name)
    created = client.create_model_version(model_name, f"runs:/{run.info.run_id}/{artifact}", run.info.run_id)
    return registry.get_version(model_name, int(created.version))


@pytest.mark.parametrize("artifact", ["files", "files/m.onnx"])
def test_a_version_whose_source_is_a_run_s_file_or_folder_is_fetched(
    registry: ModelRegistry, model_name: str, tmp_path: Path, artifact: str
) -> None:
    write(tmp_path / "logged" / "m.onnx", linear_bytes())

    found = fetch(sourced(registry, model_name, tmp_path / "logged", artifact), "version:1", registry)

    assert (found.contents.backend, [file.name for file in found.files]) == ("onnxruntime", ["model.onnx"])


def test_a_version_that_was_copied_from_another_model_is_fetched(
    registry: ModelRegistry, model_name: str, tmp_path: Path
) -> None:
    published(write(tmp_path / "m.onnx", linear_bytes()), registry, model_name)

    registry.connect().copy_model_version(f"models:/{model_name}/1", f"copy-of-{model_name}")

    assert [file.name for file in fetched(registry, f"copy-of-{model_name}").files] == ["model.onnx"]


def python(files: dict[str, str | bytes] | None = None, config: str | None = PYTHON_CONFIG) -> Callable[[Path], None]:
    """Return what writes a directory of files and a configuration."""

    def lay_out(directory: Path) -> None:
        write_directory(directory, config, {"1/model.py": DOUBLING} if files is None else files)

    return lay_out


def linked(name: str, target: str) -> Callable[[Path], None]:
    """Return what writes a directory with a link."""

    def lay_out(directory: Path) -> None:
        write_python_model(directory)
        (directory / name).symlink_to(target)

    return lay_out


def with_pipe(directory: Path) -> None:
    write_python_model(directory)
    os.mkfifo(directory / "1" / "pipe")


def with_folder_as_model(directory: Path) -> None:
    write_directory(directory, LINEAR_CONFIG, {"1/model.onnx/model.onnx": linear_bytes()})


def with_config_folder(directory: Path) -> None:
    write_directory(directory, None, {"1/model.py": DOUBLING, "config.pbtxt/x": "y"})


def with_binary_config(directory: Path) -> None:
    write_directory(directory, None, {"1/model.py": DOUBLING, "config.pbtxt": b"\xff\xfe\x00"})


def with_unreadable_name(directory: Path) -> None:
    write_python_model(directory)
    (directory / "1" / os.fsdecode(b"\xff.bin")).write_bytes(b"x")


def with_empty_version(directory: Path) -> None:
    write_directory(directory, PYTHON_CONFIG, {})
    (directory / "1").mkdir()


def with_bomb(directory: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("input/input.npy", "w") as entry:
        for _ in range(600):
            entry.write(bytes(1024**2))
    write_directory(directory, PYTHON_CONFIG, {"1/model.py": DOUBLING, "golden.npz": packed.getvalue()})


def with_misfitting_golden(directory: Path) -> None:
    write_onnx_model(directory, LINEAR_CONFIG)
    write_golden(directory / "golden.npz", features=5)


def zipmapped(directory: Path) -> None:
    model = linear_model(random_weights(1))
    maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    model.graph.output[0].type.CopyFrom(helper.make_sequence_type_proto(maps))
    write(directory / "m.onnx", bytes(model.SerializeToString()))


def with_fixed_batch(directory: Path) -> None:
    model: onnx.ModelProto = linear_model(random_weights(1), batch=1)
    write_directory(directory, LINEAR_CONFIG, {"1/model.onnx": bytes(model.SerializeToString())})


def changed(before: str, after: str, config: str = PYTHON_CONFIG) -> Callable[[Path], None]:
    """Return what writes a Python model with another configuration."""
    assert before in config
    return python(config=config.replace(before, after, 1))


def onnx_changed(before: str, after: str) -> Callable[[Path], None]:
    """Return what writes an ONNX model with a configuration that does not fit it."""
    return lambda directory: void(write_onnx_model(directory, LINEAR_CONFIG.replace(before, after, 1)))


def void(_: object) -> None:
    return None


LABELLED = PYTHON_CONFIG.replace('name: "output"', 'name: "output" label_filename: "names.txt"')
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "nothing": (lambda directory: directory.mkdir(), "has no folder of a version.* put the model's files into it"),
    "no config": (python(config=None), "has no config.pbtxt.* write one with backend, input and output"),
    "no versions": (python({"labels.txt": "cat"}), "has no folder of a version"),
    "empty version": (with_empty_version, "folder of version 1 is empty.* put it there"),
    "version 0": (python({"0/model.py": DOUBLING}), "'0' for a version.* rename or remove it"),
    "version 2-old": (python({"1/model.py": DOUBLING, "2-old/model.py": DOUBLING}), "'2-old' for a version"),
    "version 2.uploading": (python({"1/model.py": "", "2.uploading/x": ""}), "'2.uploading' for a version"),
    "leading zero": (python({"01/model.py": DOUBLING}), "'01' for a version"),
    "20 digits": (python({f"{'1' * 20}/model.py": DOUBLING}), f"'{'1' * 20}' for a version.* 18 digits"),
    "negative version": (python({"-1/model.py": DOUBLING}), "'-1' for a version"),
    "policy without version": (
        python(config=f"{PYTHON_CONFIG} version_policy {{ specific {{ versions: 3 }} }}"),
        r"serves the versions \[3\], there are \[1\]; correct",
    ),
    "another name": (changed('backend: "python"', 'backend: "python" name: "other"'), "is of model 'other', expected"),
    "no config text": (python(config="backend: python"), "is not a Triton model configuration.* correct that line"),
    "unknown type": (changed("TYPE_FP32", "TYPE_FP8"), "is not a Triton model configuration.*TYPE_FP8"),
    "no type": (changed("data_type: TYPE_FP32", ""), "no data_type of input 'input', expected one such as"),
    "huge config": (python(config=f"{PYTHON_CONFIG}#{'x' * 1024**2}"), "no file of 1048576 bytes at most"),
    "binary config": (with_binary_config, "config.pbtxt is not text in UTF-8.* write it again"),
    "config is a folder": (with_config_folder, "config.pbtxt is no file of"),
    "no backend": (python({"1/weights": "x"}, TENSORS), "names no backend.* add"),
    "model missing": (python({"1/other.py": DOUBLING}), "opens the file 'model.py' .* is missing; put it there"),
    "model empty": (python({"1/model.py": ""}), "'model.py' is empty; put the model there again"),
    "model is a folder": (with_folder_as_model, "opens the file 'model.onnx' .* is a folder; put it there"),
    "model elsewhere": (
        changed("max_batch_size: 8", 'default_model_filename: "../m.py"'),
        "'../m.py', expected one in",
    ),
    "link leaves": (linked("1/more", "../../../outside"), "link '1/more' lea.* put the file itself there"),
    "link is absolute": (linked("labels", "/etc/passwd"), "link 'labels' leads to '/etc/passwd', which no other"),
    "link to the directory above": (linked("1/up", "../.."), "link '1/up' leaves the directory"),
    "link loop": (linked("loop", "loop"), "link 'loop' leads nowhere"),
    "link into itself": (linked("1/again", "../1"), "link '1/again' leads to a folder that it is in"),
    "link to nothing": (linked("1/weights", "gone"), "link '1/weights' leads nowhere"),
    "pipe": (with_pipe, "'1/pipe' is neither a file nor a folder.* remove it"),
    "unreadable name": (with_unreadable_name, "cannot be a key in S3.* rename it"),
    "newline in a name": (python({"1/model.py": DOUBLING, "1/a\nb": "x"}), "cannot be a key in S3"),
    "backslash in a name": (python({"1/model.py": DOUBLING, "1/a\\b": "x"}), "cannot be a key in S3"),
    "our names": (python({"1/model.py": DOUBLING, "1/metadata.json": "{}"}), "file 'metadata.json', a name that"),
    "our folder": (python({"1/model.py": DOUBLING, "1/shared/x": "{}"}), "file 'shared/x', a name that .* rename"),
    "decoupled": (
        changed("max_", "model_transaction_policy { decoupled: true } max_"),
        "is decoupled, expected one an.* have execute return it; else serve it without",
    ),
    "sequences": (changed("max_", "sequence_batching {} max_"), "asks for sequence batching.* without slipway for now"),
    "negative batches": (changed("max_batch_size: 8", "max_batch_size: -2"), "max_batch_size -2, expected 0"),
    "no inputs": (
        python(config='backend: "python"'),
        "declares no inputs, expected each with name, data_type and dims",
    ),
    "duplicate tensors": (python(config=f"{PYTHON_CONFIG}{TENSORS}"), "input 'input' more than once"),
    "no dims": (changed("dims: [ 4 ]", ""), "input 'input' without dims, expected 1, with reshape"),
    "steps without names": (changed('model_name: "first"', "", ENSEMBLE_CONFIG), "names no model in step 0"),
    "ensemble without steps": (python(config=f'platform: "ensemble" {TENSORS}'), "ensemble without steps"),
    "labels missing": (python(config=LABELLED), "names 'names.txt', which is not beside it; put it there"),
    "environment missing": (
        python(
            config=f'{PYTHON_CONFIG} parameters {{ key: "EXECUTION_ENV_PATH" value '
            '{ string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }'
        ),
        "names 'env.tar.gz', which is not beside it",
    ),
    "zip bomb": (with_bomb, "golden.npz: 600 MiB unpacked, 512 MiB are allowed; keep fewer"),
    "misfitting golden": (with_misfitting_golden, r"golden.npz: .*; write them again"),
    "other input name": (onnx_changed('"input"', '"x"'), r"declares no input \['input'\]"),
    "other output name": (onnx_changed('name: "output"', 'name: "y"'), "declares output 'y', the model file has"),
    "other type": (onnx_changed("TYPE_FP32", "TYPE_FP64"), "'input' as FP64 .* has it as FP32"),
    "other shape": (onnx_changed("dims: [ 4 ]", "dims: [ 7 ]"), r"'input' as FP32 \[-1, 7\].* \[-1, 4\]"),
    "fixed batch": (with_fixed_batch, "the model file has it as FP32"),
    "two bare files": (
        lambda directory: void(write_directory(directory, None, {"a.onnx": "x", "b.onnx": "y"})),
        r"\['a.onnx', 'b.onnx'\], expected exactly one",
    ),
    "zipmap": (zipmapped, "a sequence of maps, expected a tensor; export with zipmap=False"),
    "no protobuf": (lambda directory: void(write_directory(directory, None, {"a.onnx": "x"})), "is no ONNX protobuf"),
}


@pytest.mark.parametrize(("lay_out", "said"), BAD.values(), ids=BAD)
def test_what_a_release_would_refuse_is_not_registered(
    registry: ModelRegistry, model_name: str, tmp_path: Path, lay_out: Callable[[Path], None], said: str
) -> None:
    lay_out(tmp_path / "m")

    with pytest.raises(UnusableModel, match=f"model '{model_name}'.*{said}") as refused:
        published(tmp_path / "m", registry, model_name)

    assert "\n" not in str(refused.value) and len(str(refused.value)) <= 2000
    assert registry.connect().search_registered_models(filter_string=f"name = '{model_name}'") == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "is no .onnx file, expected a config.pbtxt .* give it with --config"),
        ({"config": "gone"}, "there is no configuration .*gone'; correct the path"),
        ({"config": "unnamed"}, "add default_model_filename, or publish a directory"),
        ({"config": "good", "golden": "gone"}, "there are no golden samples at .*gone'.* correct the path"),
        ({"config": "good", "labels": "gone"}, "there are no labels at .*gone'"),
        ({"config": "good", "labels": "empty"}, "the labels are no text in UTF-8"),
        ({"config": "good", "labels": "binary"}, "the labels are no text in UTF-8.* write one name a line"),
        ({"config": "good", "golden": "binary"}, "golden.npz: no archive of plain numpy arrays"),
    ],
)
def test_what_is_given_beside_a_model_is_checked_too(
    registry: ModelRegistry, model_name: str, tmp_path: Path, given: dict[str, str], said: str
) -> None:
    write(tmp_path / "good", PLAN_CONFIG)
    write(tmp_path / "unnamed", f'backend: "our_own" {TENSORS}')
    write(tmp_path / "empty", "")
    write(tmp_path / "binary", b"\xff\xfe\x00")
    path = write(tmp_path / "engine.plan", "weights")

    with pytest.raises(UnusableModel, match=said):
        published(path, registry, model_name, **{option: tmp_path / name for option, name in given.items()})


@pytest.mark.parametrize(
    ("file", "config", "name"),
    [
        ("xgb.json", FIL % "xgboost_json", "xgboost.json"),
        ("lgbm.txt", FIL % "lightgbm", "model.txt"),
        ("engine.plan", 'platform: "tensorrt_plan"', "model.plan"),
        ("any.bin2", 'backend: "our_own" default_model_filename: "net.bin2"', "net.bin2"),
    ],
)
def test_a_model_file_of_another_backend_gets_the_name_that_the_backend_opens(
    registry: ModelRegistry, model_name: str, tmp_path: Path, file: str, config: str, name: str
) -> None:
    path, text = write(tmp_path / file, "weights"), write(tmp_path / "config.pbtxt", f"{config} {TENSORS}")

    assert published(path, registry, model_name, config=text).sha256.keys() == {"config.pbtxt", name}
    with pytest.raises(UnusableModel, match=r"is no .onnx file, expected a config.pbtxt .* give it with --config"):
        published(path, registry, model_name)


def test_torchscript_is_published_with_a_config_and_a_pickle_never(
    registry: ModelRegistry, model_name: str, tmp_path: Path
) -> None:
    config = write(tmp_path / "config.pbtxt", f'platform: "pytorch_libtorch" max_batch_size: 8 {TENSORS}')
    traced = torch.jit.trace(torch.nn.Linear(4, 4), torch.ones(1, 4))  # type: ignore[no-untyped-call]
    torch.jit.save(traced, str(tmp_path / "net.pt"))
    torch.save(torch.nn.Linear(4, 4).state_dict(), tmp_path / "weights.pt")

    assert published(tmp_path / "net.pt", registry, model_name, config=config).sha256.keys() == {
        "config.pbtxt",
        "model.pt",
    }
    with pytest.raises(UnusableModel, match="is a Python pickle"):
        published(tmp_path / "weights.pt", registry, model_name, config=config)
    directory = write_directory(
        tmp_path / "m", config.read_text(), {"1/model.pt": (tmp_path / "weights.pt").read_bytes()}
    )
    with pytest.raises(
        UnusableModel, match=r"model.pt is a Python pickle.* backend 'pytorch' opens what torch.jit.save"
    ):
        published(directory, registry, model_name)


def test_a_path_that_is_not_there_and_an_ensemble_that_calls_itself_are_refused(
    registry: ModelRegistry, model_name: str, tmp_path: Path
) -> None:
    python({}, ENSEMBLE_CONFIG.replace("first", model_name))(tmp_path / "m")

    with pytest.raises(UnusableModel, match=r"no such file or directory; correct the path"):
        published(tmp_path / "gone", registry, model_name)
    with pytest.raises(UnusableModel, match=r"it calls itself; name another model"):
        published(tmp_path / "m", registry, model_name)
