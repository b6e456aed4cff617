"""A flow whose record is a branch: what replicas answer as is committed, what they do not is reverted."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment
from prefect.events import AutomationCore
from prefect.events.actions import RunDeployment
from prefect.states import Cancelling

from blocks.environment import Environment
from blocks.errors import VerificationFailed
from flows.git_deployment import deploy_by_git
from infra.local.settings import ROOT
from slipway.releases.git_pointer import GitRecord
from slipway.releases.git_release import GitRelease
from tests.apparatus.given import Given, given

PATH = "charts/triton/values.yaml"
VALUES = """# what is served
servers:
  - name: {name}
    env: {{MLFLOW_MODEL_VERSION: "1"}}  # the version
"""
WITHIN_S = 90


PAGE = (ROOT / "docs" / "migrating" / "git.md").read_text()


class Record:
    """A bare repository with a file that says version 1 of a model, as whoever follows its branch reads it."""

    def __init__(self, directory: Path, model_name: str) -> None:
        self.bare, work = directory / "record.git", directory / "work"
        self._git("init", "-q", "--bare", "-b", "main", str(self.bare))
        self._git("init", "-q", "-b", "main", str(work))
        (work / PATH).parent.mkdir(parents=True)
        (work / PATH).write_text(VALUES.format(name=model_name))
        somebody = ("-C", str(work), "-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
        self._git(*somebody, "add", "-A")
        self._git(*somebody, "commit", "-q", "-m", "Serve version 1")
        self._git(*somebody, "push", "-q", str(self.bare), "main")
        self.said = GitRecord(url=f"file://{self.bare}", path=PATH)

    @property
    def version(self) -> int:
        """The version that the file says."""
        (line,) = [line for line in self._git("show", f"main:{PATH}").splitlines() if "VERSION" in line]
        return int(line.split('"')[1])

    @property
    def commits(self) -> int:
        """How many commits the branch has."""
        return int(self._git("rev-list", "--count", "main"))

    def _git(self, *arguments: str) -> str:
        place = self.bare if self.bare.exists() else self.bare.parent
        return subprocess.run(["git", *arguments], cwd=place, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def model(environment: Environment, model_name: str) -> Given:
    """Version 2 is what every replica serves, 3 is registered; nobody brings a replica to what the branch says."""
    return given(environment, model_name).released(2).registered()


@pytest.fixture
def record(model: Given, tmp_path: Path) -> Record:
    return Record(tmp_path, model.model_name)


def test_what_replicas_answer_as_is_committed_and_what_they_do_not_is_reverted(model: Given, record: Record) -> None:
    dry: Any = deploy_by_git(model.model_name, record.said, source="version:2", dry_run=True, return_state=True)
    assert (dry.name, record.version, record.commits) == ("DryRun", 1, 1)

    done = deploy_by_git(model.model_name, record.said, source="version:2")

    assert isinstance(done, GitRelease)
    assert (done.before, done.version, done.told_apart, len(done.replicas)) == (1, 2, True, 2)
    assert (record.version, record.commits) == (2, 2)

    with pytest.raises(VerificationFailed, match=r"did not answer as version 3 does .* reverted to version 2"):
        deploy_by_git(model.model_name, record.said, source="version:3", timeout_s=1)

    assert (record.version, record.commits) == (2, 4)


@pytest.mark.exhaustive  # what replicas do not answer is reverted, above, in the same way
@pytest.mark.timeout(300)
def test_what_a_run_committed_that_was_cancelled_while_it_waited_is_taken_back(model: Given, record: Record) -> None:
    parameters = {"model_name": model.model_name, "record": record.said.model_dump(), "source": "version:3"}
    run: Any = run_deployment("deploy-by-git/local", parameters=parameters, timeout=0)
    await_that(lambda: record.version == 3)

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())
        await_that(lambda: client.read_flow_run(run.id).state_type is StateType.CANCELLED)

    await_that(lambda: record.version == 1)


def test_the_page_s_command_and_automation_give_the_flow_what_it_takes() -> None:
    (command,) = re.findall(r"-p record='({.*?})' --watch", PAGE)
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    described = yaml.safe_load(text.replace("deployment_id: ID", f"deployment_id: {uuid4()}"))
    automation = AutomationCore.model_validate(described)
    (action,) = automation.actions

    assert isinstance(action, RunDeployment) and action.parameters is not None
    assert action.parameters["record"] == json.loads(command)
    asked = action.parameters | {"source": action.parameters["source"].replace("{{ event.payload.version }}", "2")}
    assert deploy_by_git.validate_parameters(asked)["record"].token_block == "git"


def await_that(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not seen():
        assert time.monotonic() < end, "was not seen in time"
        time.sleep(0.3)
