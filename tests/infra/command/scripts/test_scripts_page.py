"""docs/migrating/scripts.md: each of its command lines, as processes of their own in a folder of nobody's."""

import json
from pathlib import Path

import numpy as np

from blocks.environment import Environment
from infra.local.settings import LocalStack
from slipway.releases.journal import read_open
from slipway.releases.metadata import VersionMetadata
from slipway.releases.pointer import read_committed
from tests.apparatus.consistency import list_served
from tests.apparatus.models import FEATURES, linear_model, random_weights, register_directory, save
from tests.infra.command.scripts.conftest import Shell, read_commands


def test_the_seven_commands_are_one_safe_release(
    stack: LocalStack, environment: Environment, model_name: str, shell: Shell, triton_url: str, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    weights, inputs = random_weights(1), np.eye(FEATURES, dtype=np.float32)
    golden = {"input/input": inputs, "output/output": inputs @ weights}
    save(tmp_path / "model", linear_model(weights), golden, external=True)
    register_directory(environment.registry, model_name, tmp_path / "model")
    lines = read_commands("scripts.md", model_name, stack.mlflow_url, triton_url)
    *staging, reload, aliases, verification, dry_run = [line.replace("version=3", "version=1") for line in lines]

    staged = [shell.run(line) for line in staging]

    assert [ended.code for ended in staged] == [0, 0, 0, 0], staged
    assert read_committed(environment.repository, model_name) == ()
    assert read_open(environment.repository, model_name) is None

    reloaded = shell.run(reload)
    side_by_side = [shell.start(aliases), shell.start(verification)]
    ended = [reloaded, *map(shell.wait, side_by_side), shell.run(dry_run)]

    assert [(found.code, found.error) for found in ended] == [(0, "")] * 4
    assert environment.registry.get_aliases(model_name) == {"deploy": 1, "live": 1}
    served = set(list_served(environment, model_name))
    assert served == {(1,)} and read_open(environment.repository, model_name) is None
    names = ("triton_version.txt", "s3_uri.txt", "loaded_version.txt")
    texts = [shell.read(f"out/{name}") for name in names]
    assert texts == ["1", f"s3://triton-models/repository/{model_name}/1", "1"]
    fetched = json.loads(shell.read("out/mlflow_metadata.json"))
    assert (fetched["model_name"], fetched["version"], fetched["source"]) == (model_name, "1", "alias:deploy")
    assert {path.name for path in (tmp_path / "out" / "artifacts").iterdir()} == {
        "metadata.json",
        "model.onnx",
        "model.onnx.data",
    }
    stored = VersionMetadata.model_validate_json(environment.repository.read_metadata(model_name, 1) or "")
    assert stored == VersionMetadata.model_validate_json(shell.read("out/artifacts/metadata.json"))
    assert stored.mlflow is not None and stored.mlflow.alias_at_deploy == "alias:deploy"
    assert stored.triton is not None and stored.triton.deployed_by and stored.owner in stored.triton.deployed_by
    moved = json.loads(shell.read("out/alias_updates.json"))
    assert (moved["deployed_version"], moved["dry_run"], moved["changes"]) == ("1", True, {})
    verified = json.loads(shell.read("out/verification_result.json"))
    assert (verified["all_successful"], verified["successful_requests"]) == (True, 6)
