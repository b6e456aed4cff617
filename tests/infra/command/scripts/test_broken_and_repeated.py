"""What goes wrong between the scripts, and what is done twice or at once."""

import json
import time

import pytest

from blocks.environment import Environment
from slipway.releases.journal import read_open
from slipway.releases.pointer import read_committed
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.given import given
from tests.infra.command.scripts.conftest import BUCKET, Call, Shell


def stage(call: Call, model_name: str, version: int, folder: str = "out") -> None:
    """Run the steps up to upload-to-s3."""
    for line in (
        f"fetch-model --model-name={model_name} --output-dir={folder}",
        f"determine-version --model-name={model_name} --bucket={BUCKET} --output-dir={folder}",
        f"prepare-artifacts --mlflow-metadata={folder}/mlflow_metadata.json --model-file={folder}/model.onnx "
        f"--triton-version={folder}/triton_version.txt --output-dir={folder}",
        f"upload-to-s3 --model-name={model_name} --triton-version={version} --bucket={BUCKET} "
        f"--artifacts-dir={folder} --output-dir={folder}",
    ):
        ended = call(line)
        assert ended.code == 0, ended


def test_a_broken_model_is_undone_and_a_way_back_is_a_command(
    environment: Environment, model_name: str, shell: Shell, call: Call, triton_url: str
) -> None:
    models = given(environment, model_name).released(2).registered(lie=1.0)
    reload = f"reload-triton --model-name={model_name} --triton-url={triton_url} --output-dir=out --expected-version"
    aliases = f"update-aliases --model-name={model_name} --output-dir=out --mlflow-version"
    before = environment.registry.get_aliases(model_name)
    stage(call, model_name, 3)

    failed = call(f"{reload}=3")

    assert (failed.code, failed.out, failed.error.count("\n")) == (1, "", 1)
    assert failed.error.startswith("VerificationFailed: ")
    assert environment.registry.get_aliases(model_name) == before
    assert read_open(environment.repository, model_name) is None
    assert assert_consistent(environment, model_name) == 2
    refused = call(f"{aliases}={models.next}")
    assert (refused.code, "registry version 2 is served, as 2" in refused.error) == (1, True)
    gone = call(f"{reload}=3")
    assert (gone.code, "run upload-to-s3 for it first" in gone.error) == (1, True)

    verify = f"verify-deployment --model-name={model_name} --triton-url={triton_url} --output-dir=out"
    wrong = call(f"{verify} --expected-output-shape=[1,7]")

    assert (wrong.code, "reload-triton --expected-version=1" in wrong.error) == (1, True)
    assert json.loads(shell.read("out/verification_result.json"))["all_successful"] is False

    back = call(f"{reload}=1")

    assert back.code == 0, back
    assert read_committed(environment.repository, model_name) == (1,)
    assert environment.registry.get_aliases(model_name)["live"] == 1
    assert call(f"{aliases}=1").code == 0
    assert json.loads(shell.read("out/alias_updates.json"))["changes"] == {}


@pytest.mark.exhaustive  # test_concurrent_releases.py releases at once by the flow
def test_of_two_at_once_one_releases_and_the_other_finds_it_done_or_its_number_taken(
    environment: Environment, model_name: str, shell: Shell, call: Call, triton_url: str
) -> None:
    given(environment, model_name).registered()
    stage(call, model_name, 1)
    metadata = json.loads(shell.read("out/metadata.json"))
    metadata["triton"]["flow_run_id"] = "shell-of-somebody-else"
    (shell.folder / "out" / "metadata.json").write_text(json.dumps(metadata))

    second = call(
        f"upload-to-s3 --model-name={model_name} --triton-version=1 --bucket={BUCKET} --artifacts-dir=out "
        "--output-dir=out"
    )
    reload = f"reload-triton --model-name={model_name} --triton-url={triton_url} --expected-version=1 --output-dir=out"
    ended = [shell.wait(process) for process in [shell.start(f"python -m tasks {reload}") for _ in range(2)]]

    assert (second.code, second.error.startswith("VersionConflict: ")) == (1, True)
    assert [found.code for found in ended] == [0, 0], ended
    assert read_committed(environment.repository, model_name) == (1,)
    assert read_open(environment.repository, model_name) is None


@pytest.mark.faults
def test_a_reload_that_was_killed_is_undone_by_the_next_one_which_says_where_to_begin_again(
    environment: Environment, model_name: str, shell: Shell, call: Call, triton_url: str
) -> None:
    given(environment, model_name).released().registered()
    stage(call, model_name, 2)
    reload = f"reload-triton --model-name={model_name} --triton-url={triton_url} --expected-version=2 --output-dir=out"
    upload = f"upload-to-s3 --model-name={model_name} --triton-version=2 --artifacts-dir=out --output-dir=out"

    killed = shell.start(f"python -m tasks {reload}")
    while read_open(environment.repository, model_name) is None:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.02)
    killed.kill()
    killed.wait()

    again = [call(line) for line in (reload, upload, reload)]

    assert [ended.code for ended in again] == [1, 0, 0], again
    assert "run upload-to-s3 for it first" in again[0].error
    assert read_committed(environment.repository, model_name) == (1, 2)
    assert read_open(environment.repository, model_name) is None
