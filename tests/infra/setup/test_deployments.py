"""The file that `prefect deploy` is given says of each deployment what people have made of it."""

from typing import Any

import yaml

from infra.setup.deployments import ROOT, WORLDS, Switches, select_world

PROJECT = yaml.safe_load((ROOT / "prefect.yaml").read_text())
RECONCILING = ("flows/reconciliation.py:reconcile_models", "local")
RELEASING = ("flows/deployment.py:deploy_model", "local")
OURS = {"slug": "every-5-minutes", "cron": "*/5 * * * *", "timezone": "UTC", "active": False}
THEIRS = {"cron": "0 3 * * 1", "timezone": "UTC", "active": True}


def find(project: dict[str, Any], key: tuple[str, str]) -> dict[str, Any]:
    (found,) = [one for one in project["deployments"] if (one["entrypoint"], one["name"]) == key]
    return dict(found)


def test_where_nothing_is_deployed_yet_the_file_is_the_projects_for_one_world() -> None:
    worlds = {world: select_world(PROJECT, names, {}) for world, names in WORLDS.items()}

    chosen = [deployment for project in worlds.values() for deployment in project["deployments"]]
    assert sorted(chosen, key=str) == sorted(PROJECT["deployments"], key=str)


def test_a_paused_deployment_stays_paused_its_schedules_stay_and_those_added_to_it_stay_too() -> None:
    was = Switches(paused=True, schedules=(OURS | {"cron": "* * * * *"}, THEIRS), triggers={})

    found = find(select_world(PROJECT, ("local",), {RECONCILING: was}), RECONCILING)

    assert found["paused"] is True
    assert found["schedules"] == [OURS, THEIRS]  # when ours runs is prefect.yaml's to say


def test_a_schedule_that_prefect_yaml_has_got_meanwhile_is_added_as_it_says() -> None:
    found = find(select_world(PROJECT, ("local",), {RECONCILING: Switches(False, (), {})}), RECONCILING)

    assert found["schedules"] == [OURS | {"active": True}]


def test_a_trigger_that_is_switched_off_is_never_on() -> None:
    was = Switches(paused=False, schedules=(), triggers={"local__automation_1": False})

    (trigger,) = find(select_world(PROJECT, ("local",), {RELEASING: was}), RELEASING)["triggers"]

    assert trigger["enabled"] is False
