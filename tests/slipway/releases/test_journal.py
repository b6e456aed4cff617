"""The journal: what is begun is to be undone, what is proven to be finished, what is closed is neither."""

import json
from typing import Any

import pytest

from blocks.errors import IntegrityError, ReleaseTakenOver
from blocks.repository import ModelRepository
from slipway.releases.journal import (
    Begun,
    Proven,
    close_journal,
    ensure_open,
    mark_proven,
    open_journal,
    read_open,
    require_open,
)
from tests.apparatus.paper import make_plan, make_receipt

# as releases wrote it from 21 November 2026 on: no epoch, and a receipt that is null until there is one
OF_NOVEMBER: dict[str, Any] = {
    "plan": {
        "model_name": "m-onnx",
        "kind": "release",
        "registry_version": 4,
        "version": 3,
        "creates_version": True,
        "already_live": False,
        "flow_run_id": "0192f7b0-0000-7000-8000-000000000001",
        "reason": None,
        "keep_archived": 5,
        "config_before": None,
        "served_before": [],
        "aliases_before": {"deploy": 4},
        "aliases_after": {"deploy": 4, "live": 4},
    },
    "receipt": None,
}
CLOSED = {"closed_at": "2026-11-26T06:45:06Z", "flow_run_id": "run 3", "epoch": 7, "id": "c0ffee"}


def written(repository: ModelRepository, model_name: str, entry: object) -> None:
    """Put an entry there, as whoever wrote it did."""
    repository.store.write(f"journal/{model_name}.json", json.dumps(entry).encode())


def test_a_release_is_open_from_its_beginning_to_its_end(repository: ModelRepository, model_name: str) -> None:
    plan = make_plan(model_name)
    assert read_open(repository, model_name) is None

    open_journal(repository, plan)

    assert read_open(repository, model_name) == Begun(plan=plan)
    require_open(repository, plan)
    close_journal(repository, plan)
    assert read_open(repository, model_name) is None


def test_a_proven_release_is_known_by_its_receipt(repository: ModelRepository, model_name: str) -> None:
    plan, receipt = make_plan(model_name), make_receipt(model_name, 3, {}, {"live": 3})
    open_journal(repository, plan)

    mark_proven(repository, plan, receipt)

    assert read_open(repository, model_name) == Proven(plan=plan, receipt=receipt)


def test_no_release_opens_proves_or_closes_the_journal_of_another(repository: ModelRepository, model_name: str) -> None:
    ours, theirs = make_plan(model_name), make_plan(model_name, flow_run_id="run b")
    open_journal(repository, theirs)

    for change in (
        lambda: open_journal(repository, ours),
        lambda: ensure_open(repository, ours),
        lambda: require_open(repository, ours),
        lambda: mark_proven(repository, ours, make_receipt(model_name, 3, {}, {})),
    ):
        with pytest.raises(ReleaseTakenOver, match=r"version 3: the journal of run 3 is run b's, expected it open"):
            change()
    close_journal(repository, ours)

    assert read_open(repository, model_name) == Begun(plan=theirs)


def test_a_closed_journal_stays_and_goes_on_by_its_content(repository: ModelRepository, model_name: str) -> None:
    plan = make_plan(model_name)
    contents = []
    for _ in range(2):
        open_journal(repository, plan)
        close_journal(repository, plan)
        found = repository.read_journal(model_name)
        contents.append(found.content if found else b"")

    assert contents[0] != contents[1], "who was paused in between takes no closing for another"
    with pytest.raises(ReleaseTakenOver, match="the journal of run 3 is closed"):
        require_open(repository, plan)


def test_a_journal_that_is_open_for_just_this_plan_is_left_as_it_is(
    repository: ModelRepository, model_name: str
) -> None:
    plan = make_plan(model_name)
    open_journal(repository, plan)
    before = repository.read_journal(model_name)

    ensure_open(repository, plan)
    after = repository.read_journal(model_name)
    assert before is not None and after is not None and after.etag == before.etag
    ensure_open(repository, plan.model_copy(update={"epoch": 2}))

    begun = read_open(repository, model_name)
    assert begun is not None and begun.plan.epoch == 2


@pytest.mark.parametrize("receipt", [{}, {"receipt": None}])
def test_an_entry_of_every_slipway_that_wrote_one_is_read(
    repository: ModelRepository, model_name: str, receipt: dict[str, None]
) -> None:
    written(repository, model_name, {"plan": OF_NOVEMBER["plan"], **receipt})

    found = read_open(repository, model_name)

    assert isinstance(found, Begun)
    assert (found.plan.registry_version, found.plan.epoch, found.plan.serves) == (4, 0, (3,))


def test_fields_of_a_later_slipway_are_passed_over(repository: ModelRepository, model_name: str) -> None:
    written(repository, model_name, OF_NOVEMBER | {"signed_by": "later", "plan": OF_NOVEMBER["plan"] | {"fleets": 2}})

    assert isinstance(read_open(repository, model_name), Begun)


def test_a_closed_entry_opens_nothing(repository: ModelRepository, model_name: str) -> None:
    written(repository, model_name, CLOSED)

    assert read_open(repository, model_name) is None


@pytest.mark.parametrize(
    "entry",
    [OF_NOVEMBER["plan"], {"plan": {"of": "another schema"}}, {}, [], OF_NOVEMBER | {"receipt": {"model_name": "m"}}],
    ids=["the bare plan of one day", "another plan", "nothing", "a list", "half a receipt"],
)
def test_an_entry_that_cannot_be_read_is_said_with_what_to_mend(
    repository: ModelRepository, model_name: str, entry: object
) -> None:
    written(repository, model_name, entry)

    with pytest.raises(IntegrityError, match=rf"its journal cannot be read .*: mend journal/{model_name}.json, or"):
        read_open(repository, model_name)
