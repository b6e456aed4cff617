"""The deployments of prefect.yaml, applied. What people have switched or scheduled in Prefect's pages stays theirs.

`prefect deploy` makes everything as its file says: a paused deployment is resumed, a schedule or trigger that somebody
switched off is on again, a schedule that somebody added is gone. So it is given a file that says what is so now, and
nothing runs, however briefly, that people have stopped.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import DeploymentSchedule

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 600
WORLDS = {"local": ("local",), "kubernetes": ("kubernetes", "gpu")}
"""The names of the deployments of each world; every flow has its own of such a name."""


class Switches(NamedTuple):
    """What people set in Prefect's pages: whether a deployment is paused, its schedules, which triggers are on."""

    paused: bool
    schedules: tuple[dict[str, Any], ...]
    """As prefect.yaml would say them."""
    triggers: dict[str, bool]


Switched = dict[tuple[str, str], Switches]
"""How deployments are switched, by entrypoint and name."""


def apply_deployments(client: SyncPrefectClient, world: str) -> int:
    """Run `prefect deploy` for one world's deployments, each switched as it is now; return its status."""
    project = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "prefect.yaml"
        file.write_text(yaml.safe_dump(select_world(project, WORLDS[world], read_switches(client)), sort_keys=False))
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        return subprocess.run(command, cwd=ROOT, check=False, timeout=DEADLINE_S).returncode  # noqa: S603


def select_world(project: dict[str, Any], names: tuple[str, ...], switched: Switched) -> dict[str, Any]:
    """Return what prefect.yaml says of the deployments of these names alone, each switched as it is now."""
    deployments = [_keep_switches(found, switched) for found in project["deployments"] if found["name"] in names]
    return project | {"deployments": deployments}


def _keep_switches(deployment: dict[str, Any], switched: Switched) -> dict[str, Any]:
    was = switched.get((deployment["entrypoint"], deployment["name"]))
    if was is None:
        return deployment
    ours = {schedule["slug"]: schedule for schedule in deployment.get("schedules", ())}
    theirs = [schedule for schedule in was.schedules if schedule.get("slug") not in ours]
    active = {schedule.get("slug"): schedule["active"] for schedule in was.schedules}
    schedules = [schedule | {"active": active.get(slug, schedule["active"])} for slug, schedule in ours.items()]
    triggers = [
        trigger | {"enabled": was.triggers.get(_name_trigger(deployment, number), trigger["enabled"])}
        for number, trigger in enumerate(deployment.get("triggers", ()), start=1)
    ]
    return deployment | {"paused": was.paused, "schedules": [*schedules, *theirs], "triggers": triggers}


def _name_trigger(deployment: dict[str, Any], number: int) -> str:
    """Return the name Prefect gives a trigger that has none (3.8, prefect/cli/deploy/_triggers.py)."""
    return f"{deployment['name']}__automation_{number}"


def _describe(found: DeploymentSchedule) -> dict[str, Any]:
    """Return a schedule as prefect.yaml would say it."""
    said = found.model_dump(mode="json", include={"slug", "active", "parameters"}, exclude_none=True)
    return found.schedule.model_dump(mode="json", exclude_none=True) | said


def read_switches(client: SyncPrefectClient) -> Switched:
    """Return how each of slipway's deployments is switched now."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=["slipway"]))
    return {
        (str(found.entrypoint), found.name): Switches(
            paused=found.paused,
            schedules=tuple(_describe(schedule) for schedule in found.schedules),
            triggers={
                trigger.name: trigger.enabled
                for trigger in client.read_resource_related_automations(f"prefect.deployment.{found.id}")
            },
        )
        for found in client.read_deployments(deployment_filter=ours, limit=200)
    }
