"""The deployments of prefect.yaml, applied. What people have switched on or off meanwhile stays as they left it."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 600
# Names alone, without a pattern: Prefect deploys all of a name once for each deployment that a pattern such as
# */local matches, which were 144 instead of 12 (3.8, prefect/cli/deploy/_config.py).
WORLDS = {"local": ("local",), "kubernetes": ("kubernetes", "gpu")}


class Switches(NamedTuple):
    """What people switch in Prefect's pages: a deployment, its schedules by their slugs, its triggers by name."""

    paused: bool
    schedules: dict[str | None, bool]
    triggers: dict[str, bool]


def apply_deployments(client: SyncPrefectClient, world: str) -> int:
    """Run `prefect deploy` for one world's deployments, which switches all to what prefect.yaml says, and back again.

    Returns its status.
    """
    names = [option for name in WORLDS[world] for option in ("--name", name)]
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *names]
    before = read_switches(client)
    try:
        return subprocess.run(command, cwd=ROOT, check=False, timeout=DEADLINE_S).returncode  # noqa: S603
    finally:
        for deployment_id, was in before.items():
            _put_back(client, deployment_id, was)


def read_switches(client: SyncPrefectClient) -> dict[UUID, Switches]:
    """Return how each of slipway's deployments is switched now."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=["slipway"]))
    return {
        found.id: Switches(
            paused=found.paused,
            schedules={schedule.slug: schedule.active for schedule in found.schedules},
            triggers={
                trigger.name: trigger.enabled
                for trigger in client.read_resource_related_automations(f"prefect.deployment.{found.id}")
            },
        )
        for found in client.read_deployments(deployment_filter=ours, limit=200)
    }


def _put_back(client: SyncPrefectClient, deployment_id: UUID, was: Switches) -> None:
    if was.paused:
        client.pause_deployment(deployment_id)
    for schedule in client.read_deployment_schedules(deployment_id):
        if (active := was.schedules.get(schedule.slug, schedule.active)) != schedule.active:
            client.update_deployment_schedule(deployment_id, schedule.id, active=active)
    for trigger in client.read_resource_related_automations(f"prefect.deployment.{deployment_id}"):
        if not was.triggers.get(trigger.name, True):
            client.pause_automation(trigger.id)
