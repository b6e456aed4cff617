"""The registry: what is not there is told apart from a registry that cannot be asked."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from blocks.environment import Environment
from blocks.errors import NotRegistered, ServiceUnavailable
from blocks.registry import ModelRegistry
from infra.local.settings import ROOT
from tests.apparatus.faults import Fault, failing_server, faulty_proxy, silent_server
from tests.apparatus.models import register_linear
from tests.apparatus.ports import free_port

DOWNLOAD = """
import sys
from pathlib import Path
from blocks.registry import ModelRegistry
registry = ModelRegistry(tracking_uri=sys.argv[1])
print(registry.download(registry.get_version(sys.argv[2], 1), Path(sys.argv[3])))
"""


def impatient(url: str) -> ModelRegistry:
    return ModelRegistry(tracking_uri=url, request_timeout_s=1, max_retries=1)


def test_a_version_is_resolved_by_alias_and_by_number(environment: Environment) -> None:
    registered = register_linear(environment.registry, "registry-resolve-onnx", seed=1)

    by_alias = environment.registry.resolve("registry-resolve-onnx", "alias:deploy")
    by_number = environment.registry.resolve("registry-resolve-onnx", f"version:{registered.version}")

    assert by_alias == by_number == registered
    assert by_alias.metrics["validation_max_diff"] == 0.0


def test_files_are_downloaded_where_no_variable_names_the_server_and_nothing_can_be_written(
    environment: Environment, tmp_path: Path
) -> None:
    register_linear(environment.registry, "registry-download-onnx", seed=1)
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    elsewhere, into = tmp_path / "elsewhere", tmp_path / "files"
    elsewhere.mkdir()
    arguments = [sys.executable, "-c", DOWNLOAD, environment.registry.tracking_uri, "registry-download-onnx", str(into)]

    downloading = subprocess.run(
        arguments, env=bare | {"PYTHONPATH": str(ROOT)}, cwd=elsewhere, capture_output=True, text=True, timeout=120
    )

    assert downloading.returncode == 0, downloading.stderr
    files = Path(downloading.stdout.strip())
    assert files.is_relative_to(into)
    assert {path.name for path in files.iterdir()} == {"MLmodel", "golden.npz", "model.onnx"}
    assert list(elsewhere.iterdir()) == [], "MLflow has made a database of its own"


def test_a_file_may_take_longer_to_store_than_a_question_to_answer(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {}")
    slow = Fault("PUT", "/mlflow-artifacts/", delay_s=11)
    with faulty_proxy(environment.registry.tracking_uri, slow) as proxy:
        registry = ModelRegistry(tracking_uri=proxy.url, request_timeout_s=10, max_retries=0)

        registered = registry.register("registry-slow-store-onnx", tmp_path, {})

    assert registered.version == 1
    assert slow.hits == 1


def test_a_version_whose_run_was_removed_for_good_is_still_found(environment: Environment) -> None:
    registered = register_linear(environment.registry, "registry-orphan-onnx", seed=1)
    client, name = environment.registry.connect(), "registry-orphan-onnx"
    gone, model_id = "0" * 32, registered.source_uri.removeprefix("models:/")
    # as `mlflow gc` leaves it
    orphan = client.create_model_version(name, registered.source_uri, gone, model_id=model_id)

    found = environment.registry.get_version(name, int(orphan.version))

    assert (found.run_id, found.run_name, found.metrics) == (gone, None, {})


@pytest.mark.parametrize("source", ["alias:deploy", "version:1"])
def test_an_unknown_model_is_not_registered(environment: Environment, source: str) -> None:
    with pytest.raises(NotRegistered, match=r"model 'no-such-model' .*not in the MLflow registry at http"):
        environment.registry.resolve("no-such-model", source)


@pytest.mark.parametrize("source", ["alias:nope", "version:999"])
def test_an_unknown_alias_or_version_of_a_known_model_is_not_registered(environment: Environment, source: str) -> None:
    register_linear(environment.registry, "registry-known-onnx", seed=1)

    with pytest.raises(NotRegistered, match=r"model 'registry-known-onnx' (alias 'nope'|version 999)"):
        environment.registry.resolve("registry-known-onnx", source)


def test_an_alias_nobody_carries_is_none(environment: Environment) -> None:
    register_linear(environment.registry, "registry-none-onnx", seed=1)

    assert environment.registry.find_at_alias("registry-none-onnx", "champion") is None
    assert environment.registry.find_at_alias("no-such-model", "champion") is None


def test_what_others_change_meanwhile_is_seen_and_what_they_remove_is_refused(environment: Environment) -> None:
    registry, name = environment.registry, "registry-shared-onnx"
    register_linear(registry, name, seed=1)
    somebody = MlflowClient(registry.tracking_uri, registry.tracking_uri)

    somebody.set_registered_model_alias(name, "theirs", "1")
    assert registry.get_aliases(name)["theirs"] == 1

    somebody.delete_registered_model(name)
    with pytest.raises(NotRegistered):
        registry.set_alias(name, "ours", 1)
    with pytest.raises(NotRegistered):
        registry.tag_version(name, 1, {"ours": "1"})


def test_a_prompt_is_no_model(environment: Environment) -> None:
    registry, name = environment.registry, "registry-prompt"
    registry.connect().register_prompt(name, template="Say {{ what }}.")

    with pytest.raises(NotRegistered):
        registry.get_version(name, 1)


def test_removing_an_alias_twice_is_no_error(environment: Environment) -> None:
    register_linear(environment.registry, "registry-remove-onnx", seed=1)

    environment.registry.remove_alias("registry-remove-onnx", "deploy")
    environment.registry.remove_alias("registry-remove-onnx", "deploy")

    assert environment.registry.get_aliases("registry-remove-onnx") == {}


def test_a_registry_that_is_down_is_never_no_alias(environment: Environment) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(ServiceUnavailable, match=f"MLflow at {url}"):
        impatient(url).find_at_alias("model", "champion")


def test_a_registry_that_answers_500_is_never_no_alias(environment: Environment) -> None:
    with failing_server(500) as url, pytest.raises(ServiceUnavailable, match=f"MLflow at {url}"):
        impatient(url).find_at_alias("model", "champion")


def test_a_registry_that_does_not_answer_is_given_up_after_bounded_time(environment: Environment) -> None:
    start = time.monotonic()

    with silent_server() as url, pytest.raises(ServiceUnavailable, match=f"MLflow at {url}"):
        impatient(url).get_aliases("model")

    assert time.monotonic() - start < 30
