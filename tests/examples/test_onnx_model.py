"""The model repository of the examples: a Triton model that pulls its ONNX file from MLflow when it is loaded."""

import importlib.util
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton

from blocks.environment import Environment
from infra.local.readiness import make_s3_client
from infra.local.settings import MODELS_BUCKET, REPOSITORY_PREFIX, ROOT, LocalStack
from infra.prediction.endpoint import connect
from infra.prediction.objects import find_objects
from slipway.releases.publication import Given, publish
from tests.apparatus.detectors import SIDE, detector_model, draw_squares
from tests.apparatus.faults import Fault, FaultyProxy, faulty_proxy

EXAMPLE = ROOT / "examples" / "model_repository" / "onnx-model"
AWAY = Fault()  # every request is dropped


@pytest.fixture(scope="module")
def puller() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mlflow_model", EXAMPLE / "1" / "mlflow_model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def registered(environment: Environment, model_name: str, tmp_path: Path) -> str:
    """Register a detector, and one that sees the colours the other way round, with alias `live` on the first."""
    for version, turned in ((1, False), (2, True)):
        model = detector_model()
        if turned:
            mix = next(i for i in model.graph.initializer if i.name == "mix")
            turned_round = np.frombuffer(mix.raw_data, np.float32).reshape(3, 3, 1, 1)[::-1]
            mix.raw_data = np.ascontiguousarray(turned_round).tobytes()
        onnx.save(model, str(tmp_path / f"{version}.onnx"))
        publish(tmp_path / f"{version}.onnx", model_name, Given(), registry=environment.registry)
    environment.registry.set_alias(model_name, "live", 1)
    return model_name


@pytest.fixture
def mlflow(stack: LocalStack) -> Iterator[FaultyProxy]:
    with faulty_proxy(stack.mlflow_url) as proxy:
        yield proxy


def wanted(puller: ModuleType, proxy: FaultyProxy, name: str, cache: Path, **given: str) -> Any:
    asked = {f"mlflow_model_{key}": value for key, value in given.items()}
    return puller.read_wanted(
        {"mlflow_tracking_uri": proxy.url, "mlflow_model_name": name, "mlflow_model_cache": str(cache), **asked}
    )


def test_a_version_or_an_alias_is_pulled_once_and_found_while_mlflow_is_away(
    puller: ModuleType, mlflow: FaultyProxy, registered: str, tmp_path: Path
) -> None:
    by_alias = wanted(puller, mlflow, registered, tmp_path, alias="live")
    second = wanted(puller, mlflow, registered, tmp_path, version="2")

    first = puller.pull(by_alias)
    before = first.path.stat().st_mtime_ns
    again = puller.pull(by_alias)
    other = puller.pull(second)
    mlflow.faults = [AWAY]
    away = puller.pull(by_alias)

    assert [p.version for p in (first, again, other, away)] == ["1", "1", "2", "1"]
    assert [p.from_cache for p in (first, again, other, away)] == [False, False, False, True]
    assert away.path == first.path and away.path.stat().st_mtime_ns == before
    onnx.checker.check_model(str(away.path))


def test_a_cached_file_that_was_changed_is_pulled_again_and_never_served(
    puller: ModuleType, mlflow: FaultyProxy, registered: str, tmp_path: Path
) -> None:
    asked = wanted(puller, mlflow, registered, tmp_path, alias="live")
    path = puller.pull(asked).path
    right = path.read_bytes()

    path.write_bytes(right[:-1] + b"x")
    mlflow.faults = [AWAY]
    with pytest.raises(puller.Unreachable, match=r"does not answer.*nothing of .* is cached"):
        puller.pull(asked)
    mlflow.faults = []

    assert puller.pull(asked).path.read_bytes() == right


def test_a_download_that_is_cut_off_leaves_nothing(
    puller: ModuleType, mlflow: FaultyProxy, registered: str, tmp_path: Path
) -> None:
    asked = wanted(puller, mlflow, registered, tmp_path, alias="live")
    mlflow.faults = [Fault(path="mlflow-artifacts/artifacts/", answered_bytes=100)]

    with pytest.raises(puller.Unreachable, match=r"broke off .* after 100 of"):
        puller.pull(asked)
    mlflow.faults = []

    assert puller.pull(asked).version == "1"


@pytest.mark.parametrize("given", [{"version": "77"}, {"alias": "nobody"}])
def test_what_is_not_registered_says_what_to_set(
    puller: ModuleType, mlflow: FaultyProxy, registered: str, tmp_path: Path, given: dict[str, str]
) -> None:
    with pytest.raises(puller.Refused, match="set MLFLOW_MODEL_NAME and MLFLOW_MODEL_VERSION or MLFLOW_MODEL_ALIAS"):
        puller.pull(wanted(puller, mlflow, registered, tmp_path, **given))


def test_the_environment_says_which_where_the_configuration_does_not(
    puller: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_MODEL_NAME", "of-the-environment")
    monkeypatch.setenv("MLFLOW_MODEL_ALIAS", "live")

    assert puller.read_wanted({})[1:4] == ("of-the-environment", "", "live")
    assert puller.read_wanted({"mlflow_model_name": "given"}).name == "given"


def test_triton_serves_what_it_pulled_each_client_its_own_answer_and_another_version_after_a_load(
    stack: LocalStack, environment: Environment, registered: str, tmp_path: Path
) -> None:
    address = stack.triton_addresses[0]
    put(stack, registered, tmp_path / "cache")
    environment.fleet.load_model(address, registered)
    try:
        before = ask_in_parallel(f"grpc://{address}", registered)
        environment.registry.set_alias(registered, "live", 2)
        environment.fleet.unload_model(address, registered)
        environment.fleet.load_model(address, registered)
        after = ask_in_parallel(f"grpc://{address}", registered)
    finally:
        environment.fleet.unload_model(address, registered)
        environment.repository.store.delete_below(f"{REPOSITORY_PREFIX}/{registered}/")

    assert before == [[number % 3] for number in range(24)]
    assert after == [[2 - number % 3] for number in range(24)]


def put(stack: LocalStack, name: str, cache: Path) -> None:
    """Put the example into Triton's repository, its configuration made the detector's."""
    config = (EXAMPLE / "config.pbtxt").read_text()
    config = config.replace("[ 3, 640, 640 ]", f"[ 3, {SIDE}, {SIDE} ]").replace("[ -1, 6 ]", "[ 7, 16 ]")
    given = {
        "mlflow_tracking_uri": stack.mlflow_url,
        "mlflow_model_name": name,
        "mlflow_model_alias": "live",
        "mlflow_model_cache": str(cache),
    }
    for key, value in given.items():
        config += f'parameters: {{ key: "{key}" value: {{ string_value: {json.dumps(value)} }} }}\n'
    files = {"config.pbtxt": config.encode()}
    files |= {f"1/{path.name}": path.read_bytes() for path in (EXAMPLE / "1").glob("*.py")}
    s3 = make_s3_client(stack)
    for path, content in files.items():
        s3.put_object(Bucket=MODELS_BUCKET, Key=f"{REPOSITORY_PREFIX}/{name}/{path}", Body=content)


def ask_in_parallel(url: str, name: str) -> list[list[int]]:
    """Ask for a square of each colour in turn, eight at a time; return the classes that each answer says."""
    colours = ("red", "green", "blue")
    endpoint = connect(url)
    served = endpoint.describe(name)

    def ask(number: int) -> list[int]:
        picture = np.asarray(draw_squares(SIDE, SIDE, (colours[number % 3], (0, 0, 15, 15))), np.float32) / 255
        answer = endpoint.infer(served, {"images": np.ascontiguousarray(picture.transpose(2, 0, 1)[None])})
        classes: list[int] = find_objects(answer.outputs["output0"]).classes.tolist()
        return classes

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(ask, range(24)))


def test_a_request_of_another_size_is_that_request_s_error(
    stack: LocalStack, environment: Environment, registered: str, tmp_path: Path
) -> None:
    address = stack.triton_addresses[0]
    put(stack, registered, tmp_path / "cache")
    environment.fleet.load_model(address, registered)
    try:
        tensor = triton.InferInput("images", [1, 3, 2, 2], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 3, 2, 2), np.float32))
        with triton.InferenceServerClient(address) as client, pytest.raises(Exception, match="unexpected shape"):
            client.infer(registered, [tensor], client_timeout=20)

        assert ask_in_parallel(f"grpc://{address}", registered)[0] == [0]
    finally:
        environment.fleet.unload_model(address, registered)
        environment.repository.store.delete_below(f"{REPOSITORY_PREFIX}/{registered}/")
