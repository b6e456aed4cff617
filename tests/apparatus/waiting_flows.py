"""Flows that a worker executes for tests: they wait, work for others, and write down what happened to them."""

import time
from pathlib import Path
from typing import Any

from prefect import flow, runtime, task
from prefect.cache_policies import RUN_ID, TASK_SOURCE

from flows.running.elsewhere import end_children, run_elsewhere
from flows.running.waiting import LOCK, give_place_back, wake_parent


def note_hook(flow: Any, flow_run: Any, state: Any) -> None:
    """Write down that a hook ran."""
    note(flow_run.parameters["notes"], f"hook {state.name} of {flow_run.id}")


def note(notes: str, line: str) -> None:
    """Append a line to the notes of a test."""
    with (Path(notes) / "notes").open("a") as file:
        file.write(f"{line}\n")


@task(cache_policy=RUN_ID + TASK_SOURCE, persist_result=True)
def first_step(notes: str) -> str:
    """Do what is to be done once in a run."""
    note(notes, f"step of {runtime.flow_run.id}")
    return "done"


HOOKS: Any = {"on_failure": [note_hook], "on_crashed": [note_hook], "on_cancellation": [note_hook]}


@flow(name="waiter", persist_result=True, **HOOKS)
def waiter(model_name: str, notes: str) -> str:
    """Wait for a file, which stands for a lock."""
    first_step(notes)
    while not (Path(notes) / f"{model_name} is free").exists():
        give_place_back(LOCK, f"model '{model_name}': another run releases it")
        time.sleep(0.2)
    return "went on"


@flow(name="stumbler", retries=1, persist_result=True)
def stumbler(model_name: str, notes: str) -> str:
    """Wait for a lock, then fail the first time."""
    waiter.fn(model_name, notes)
    if not (stumbled := Path(notes) / f"{model_name} stumbled").exists():
        stumbled.touch()
        raise OSError("for a moment")
    return "went on"


@flow(name="other-model")
def other_model(model_name: str, notes: str) -> None:
    """Be a run that nobody has to wait for."""


WAKES: Any = {"on_completion": [wake_parent], "on_failure": [wake_parent], "on_cancellation": [wake_parent]}


@flow(name="child", **WAKES)
def child(model_name: str, notes: str) -> None:
    """Work until a file is there; fail where it says so."""
    while not (told := Path(notes) / f"{model_name} ends").exists():
        time.sleep(0.2)
    if told.read_text():
        raise OSError(told.read_text())


@flow(
    name="parent",
    on_failure=[note_hook, end_children],
    on_crashed=[note_hook, end_children],
    on_cancellation=[note_hook, end_children],
)
def parent(model_name: str, notes: str) -> str:
    """Have another deployment do a step."""
    first_step(notes)
    return str(run_elsewhere(f"child/{Path(notes).name}", {"model_name": model_name, "notes": notes}).name)
