"""What taking a model over comes to, and that whoever dies half way leaves it foreign or adopted, served as ever."""

import numpy as np
import pytest

from blocks.environment import Environment
from blocks.errors import InvalidInput, NoRollbackTarget
from slipway.releases.adoption import Adoption, ProvenVersion, derive_aliases, make_rows, plan_adoption, write_down
from slipway.releases.agreement_terms import AgreementTerms
from slipway.releases.journal import read_open
from slipway.releases.metadata import read_metadata
from slipway.releases.proof import Proof
from slipway.releases.receipt import ReplicaReceipt, read_receipt
from slipway.releases.retention import find_superfluous
from slipway.releases.rollback_plan import plan_rollback
from slipway.releases.samples import Exchange
from slipway.releases.serving_config import read_policy
from slipway.releases.settlement import settle
from slipway.releases.survey import Depth, ModelState, survey
from slipway.releases.withdrawal import withdraw
from tests.apparatus.paper import ADDRESSES, Died, PaperReplicas, Shelf, dying_at

DEPTH = Depth(ask_replicas=False)
PROOF = Proof([Exchange({"input": np.zeros((1, 4))}, {"output": np.zeros((1, 3))})], AgreementTerms())


@pytest.mark.parametrize(
    ("before", "served", "known", "after"),
    [
        ({}, (3,), {3: 30, 2: 20}, {"live": 30, "previous": 20}),
        ({"live": 30, "previous": 10}, (3,), {3: 30, 2: 20, 1: 10}, {"live": 30, "previous": 10}),
        ({"previous": 10}, (2, 3), {3: 30, 2: 20, 1: 10}, {"live": 30, "previous": 20}),
        ({"previous": 10}, (2, 3), {3: 30, 1: 10}, {"live": 30}),
        ({"live": 20, "previous": 30}, (3,), {3: 30}, {"live": 30}),
        ({"live": 20, "champion": 20}, (3,), {2: 20}, {"champion": 20, "previous": 20}),
        ({"live": 5}, (3,), {}, {}),
        ({"deploy": 30}, (2, 3), {3: 30, 2: 30}, {"live": 30, "deploy": 30}),
    ],
)
def test_aliases_name_what_is_served_and_what_a_rollback_goes_back_to(
    before: dict[str, int], served: tuple[int, ...], known: dict[int, int], after: dict[str, int]
) -> None:
    assert derive_aliases(before, served, known) == after


@pytest.fixture
def foreign(shelf: Shelf, paper: tuple[Environment, PaperReplicas]) -> Shelf:
    """A model on paper without a config.pbtxt: four folders, 3 and 4 served, 2 and 4 known to MLflow by their tags."""
    registry, repository, name = shelf.environment.registry, shelf.environment.repository, shelf.model_name
    shelf.registered(2)
    for version in (1, 2, 3, 4):
        repository.store.write(f"repository/{name}/{version}/model.onnx", f"weights {version}".encode())
        digest = repository.store.get_sha256(f"repository/{name}/{version}/model.onnx")
        if version % 2 == 0:
            registry.tag_version(name, version // 2, {"sha256/model.onnx": digest})
    registry.remove_alias(name, "deploy")
    paper[1].serve(name, (3, 4))
    return shelf


def planned(shelf: Shelf) -> Adoption:
    adoption = plan_adoption(shelf.model_name, shelf.environment)
    assert adoption is not None
    plan = adoption.plan.model_copy(update={"flow_run_id": "a run that died"})
    return adoption.model_copy(update={"plan": plan})


def prove(adoption: Adoption) -> dict[int, ProvenVersion]:
    def receipts(version: int) -> tuple[ReplicaReceipt, ...]:
        return tuple(ReplicaReceipt(address=address, version=version, load_s=0) for address in ADDRESSES)

    return {version: ProvenVersion(PROOF, "paper", receipts(version)) for version in adoption.found.served}


def look(shelf: Shelf) -> ModelState:
    (state,) = survey((shelf.model_name,), shelf.environment, DEPTH)
    return state


def test_an_adopted_model_is_slipways_in_every_respect(foreign: Shelf) -> None:
    adoption, repository, name = planned(foreign), foreign.environment.repository, foreign.model_name

    write_down(adoption, prove(adoption), foreign.environment)

    state = look(foreign)
    assert (state.foreign, state.drift) == (False, ())
    assert (state.policy, state.repository, state.archive) == ((3, 4), (3, 4), (1, 2))
    assert state.aliases == {"live": 2}
    assert plan_adoption(name, foreign.environment) is None
    receipts = {version: read_receipt(repository, name, version) for version in (1, 2, 3, 4)}
    assert [found.registry_version if found else None for found in receipts.values()] == [None, None, -3, 2]
    assert read_metadata(name, 2, repository).registry_version == 1
    assert list(repository.list_files(name, 4)) == ["model.onnx"], "nothing is written where something is served"
    assert repository.store.read(f"archive/{name}/1/metadata.json") is not None
    tags = dict(foreign.environment.registry.list_versions(name))
    assert [tags[number]["triton_version"] for number in (1, 2)] == ["2", "4"] and "receipt" in tags[2]
    assert read_open(repository, name) is None


def test_whoever_dies_anywhere_leaves_it_foreign_or_adopted_and_served_as_ever(foreign: Shelf) -> None:
    environment, name = foreign.environment, foreign.model_name
    before = environment.repository.store.list_keys(f"repository/{name}/")
    ends, change, done = [], 0, False
    while not done:
        adoption = planned(foreign)
        try:
            write_down(adoption, prove(adoption), dying_at(environment, change))
            done = True
        except Died:
            change += 1

        settle(name, environment)

        assert [environment.fleet.list_ready_versions(address, name) for address in ADDRESSES] == [(3, 4), (3, 4)]
        state = look(foreign)
        assert state.drift == () and read_open(environment.repository, name) is None
        ends.append("foreign" if state.foreign else "adopted")
        if state.foreign:
            assert environment.repository.store.list_keys(f"repository/{name}/") == before
            assert environment.repository.list_recorded(name) == ()
        else:
            assert (state.policy, state.repository, state.archive) == ((3, 4), (3, 4), (1, 2))
            done = True
    assert len(ends) > 20 and ends == ["foreign"] * (len(ends) - 1) + ["adopted"]


def test_one_that_was_proven_is_finished_wherever_it_dies(foreign: Shelf) -> None:
    adoption, change = planned(foreign), 0
    with pytest.raises(Died):
        write_down(adoption, prove(adoption), dying_at(foreign.environment, 30))
    assert look(foreign).drift != ()
    while True:
        try:
            settle(foreign.model_name, dying_at(foreign.environment, change))
            break
        except Died:
            change += 1

    assert look(foreign).drift == () and look(foreign).archive == (1, 2)


def test_a_dry_run_shows_what_is_served_and_what_becomes_of_it(foreign: Shelf) -> None:
    rows = make_rows(planned(foreign))

    assert [(row["Triton version"], row["MLflow version"], row["alias"]) for row in rows] == [
        (4, 2, "live"),
        (3, "unknown", "-"),
        (2, 1, "-"),
        (1, "unknown", "-"),
    ]
    assert rows[0]["served on"] == ", ".join(ADDRESSES) and rows[3]["written"] == "record; moved to the archive"


def test_a_rollback_goes_to_what_is_served_still_though_mlflow_does_not_know_it(foreign: Shelf) -> None:
    adoption = planned(foreign)
    write_down(adoption, prove(adoption), foreign.environment)

    plan = plan_rollback(foreign.model_name, environment=foreign.environment)

    assert (plan.version, plan.serves, plan.aliases_after) == (3, (3,), {"previous": 1})
    assert "Triton version 3, which the registry does not know" in plan.subject


def test_what_is_archived_and_unknown_to_mlflow_is_never_deleted_nor_gone_back_to(foreign: Shelf) -> None:
    adoption, environment = planned(foreign), foreign.environment
    write_down(adoption, prove(adoption), environment)

    assert find_superfluous(foreign.model_name, 0, environment.registry, environment.repository) == (2,)
    with pytest.raises(NoRollbackTarget):
        plan_rollback(foreign.model_name, "version:9", environment=environment)


def test_an_adopted_model_can_be_withdrawn(foreign: Shelf) -> None:
    adoption = planned(foreign)
    write_down(adoption, prove(adoption), foreign.environment)

    assert withdraw(foreign.model_name, foreign.environment, force=True) is not None

    state = look(foreign)
    assert (state.policy, state.repository, state.archive, state.drift) == ((), (), (1, 2, 3, 4), ())


def test_a_name_that_nobody_serves_is_said_to_be_one(on_paper: Environment, model_name: str) -> None:
    with pytest.raises(InvalidInput, match="no replica serves it"):
        plan_adoption(model_name, on_paper)


def test_where_mlflow_knows_no_such_model_it_is_adopted_without_aliases(
    paper: tuple[Environment, PaperReplicas], model_name: str
) -> None:
    shelf = Shelf(paper[0], model_name)
    shelf.environment.repository.store.write(f"repository/{model_name}/1/model.onnx", b"weights")
    paper[1].serve(model_name, (1,))
    adoption = planned(shelf)

    write_down(adoption, prove(adoption), shelf.environment)

    assert read_policy(shelf.environment.repository.read_config(model_name)) == (1,)
    assert look(shelf).drift == ()
