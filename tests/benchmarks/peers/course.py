"""The course every contender runs: create, update under load, go back under load, a broken update, delete."""

import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from tests.benchmarks.peers.asking import Endpoint, asked
from tests.benchmarks.peers.contender import Contender, Failed, Unavailable
from tests.benchmarks.peers.models import BROKEN, GOOD, register, write_version

HEAD = (
    "create, s",
    "serves it",
    "update, s",
    "failed meanwhile",
    "undo, s",
    "failed meanwhile",
    "broken update",
    "after delete",
)


class Row(NamedTuple):
    """One contender's row of the table."""

    title: str
    cells: tuple[str, ...]


def run(contender: Contender) -> Row:
    """Take a contender round the course; what it leaves is removed."""
    for version in (*GOOD, BROKEN):
        register(contender.ground.variables["MLFLOW_TRACKING_URI"], contender.model_name, write_version(version))
    try:
        cells = [f"{timed(lambda: contender.deploy(1)):.1f}"]
        serving = [each for each in contender.endpoints if each.ask() == "version 1"]
        cells.append(f"{len(serving)} of {len(contender.endpoints)}")
        for change, version in ((lambda: contender.update(2), 2), (contender.undo, 1)):
            cells += _change(change, version, serving)
        cells.append(_break(contender, serving))
        cells.append(_delete(contender))
    except Failed as failure:
        return Row(contender.title, (f"{failure}",))
    finally:
        contender.clean_up()
    return Row(contender.title, tuple(cells))


def _change(change: Callable[[], None], version: int, serving: list[Endpoint]) -> list[str]:
    """Return how long a change took, and how many requests failed; `Failed` where it is not what answers then."""
    with asked(serving) as answers:
        seconds = timed(change)
    found = _answers(serving)
    if set(found) != {f"version {version}"} or answers.by_version["other"]:
        raise Failed(f"it says version {version} is served; answers: {dict(found)}, {answers.by_version}")
    return [f"{seconds:.1f}", str(answers)]


def _break(contender: Contender, serving: list[Endpoint]) -> str:
    before, begins = contender.list_files(), time.perf_counter()
    with asked(serving) as answers:
        try:
            contender.update(BROKEN)
            said = "accepted"
        except Failed:
            said = "refused"
        seconds = time.perf_counter() - begins
    then, lying = _tell(serving), contender.list_files()
    changed = [name for name, content in sorted(lying.items()) if before.get(name) != content]
    left = f"new or changed: {', '.join(changed)}" if changed else "no file changed"
    return (
        f"{said} after {seconds:.1f} s, {answers} requests failed; then {then}; {left}; "
        f"a server that starts then: {_name(contender.restart())}"
    )


def _delete(contender: Contender) -> str:
    try:
        seconds = timed(contender.delete)
    except (Unavailable, Failed) as reason:
        return str(reason)
    files = contender.list_files()
    return f"{seconds:.1f} s; {_tell(contender.endpoints)}; {', '.join(sorted(files)) if files else 'no files'}"


def _tell(endpoints: list[Endpoint]) -> str:
    return ", ".join(f"{answer} on {count}" for answer, count in sorted(_answers(endpoints).items()))


def _answers(endpoints: list[Endpoint]) -> Counter[str]:
    """Return how many endpoints give which answer, errors being one."""
    return Counter(_name(each.ask()) for each in endpoints)


def _name(answer: str) -> str:
    return "an error" if answer.startswith("error") else answer


def timed(call: Callable[[], object]) -> float:
    """Call it; return the seconds that took."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
