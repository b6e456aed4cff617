"""What is drift, given what is committed, stored, registered and served; and what of it is safe to put right."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from blocks.environment import Environment
from blocks.errors import NotRegistered
from blocks.repository import ModelRepository
from blocks.repository_layout import name_candidate
from slipway.releases.drift import Kind
from slipway.releases.journal import open_journal
from slipway.releases.serving_config import apply_policy
from slipway.releases.survey import Depth, ModelState, survey
from slipway.releases.version_files import record_files
from tests.apparatus.locks import commit_by_hand
from tests.apparatus.paper import ADDRESSES, PaperReplicas, Shelf, make_plan

DEPTH = Depth(ask_replicas=False)


@pytest.fixture
def repository(request: pytest.FixtureRequest, repository: ModelRepository) -> ModelRepository:
    """A repository in a directory; for tests `in_a_bucket` in one, whose listings tell what files are like."""
    found: ModelRepository = request.getfixturevalue("bucket_repository") if hasattr(request, "param") else repository
    return found


in_a_bucket = pytest.mark.parametrize("repository", ["bucket"], indirect=True)


@pytest.fixture
def three(shelf: Shelf) -> Shelf:
    """A model on paper: 3 live, 2 previous, 1 in the archive."""
    return shelf.released(3)


def look(shelf: Shelf, depth: Depth = DEPTH) -> ModelState:
    (state,) = survey((shelf.model_name,), shelf.environment, depth)
    return state


def write(shelf: Shelf, key: str, content: bytes = b"") -> None:
    shelf.environment.repository.store.write(key.format(shelf.model_name), content)


def commit(shelf: Shelf, *versions: int) -> None:
    config = shelf.environment.repository.read_config(shelf.model_name) or ""
    commit_by_hand(shelf.environment.repository, shelf.model_name, apply_policy(config, versions))


def unload(shelf: Shelf) -> None:
    shelf.environment.fleet.unload_model(ADDRESSES[1], shelf.model_name)


def load_other(shelf: Shelf) -> None:
    """Have a replica serve what is committed no more."""
    commit(shelf, 3)
    shelf.environment.fleet.load_model(ADDRESSES[1], shelf.model_name)
    commit(shelf, 2, 3)


def load_candidate(shelf: Shelf) -> None:
    """Leave a candidate on a replica, and nothing of it in the repository."""
    repository, name = shelf.environment.repository, name_candidate(shelf.model_name, 7)
    repository.store.write(f"repository/{name}/config.pbtxt", b"version_policy { specific { versions: 3 } }")
    shelf.environment.fleet.load_model(ADDRESSES[0], name)
    repository.store.delete(f"repository/{name}/config.pbtxt")


class Case(NamedTuple):
    """What happens to a model, and the drift it is."""

    happens: Callable[[Shelf], object]
    kind: Kind
    observed: str
    expected: str


SAFE = {
    "a replica lost it": Case(unload, Kind.REPLICA_BEHIND, "[]", "[2, 3]"),
    "a replica serves another policy": Case(load_other, Kind.REPLICA_BEHIND, "[3]", "[2, 3]"),
    "a release was begun": Case(
        lambda shelf: open_journal(shelf.environment.repository, make_plan(shelf.model_name, 4)),
        Kind.UNFINISHED_RELEASE,
        "an open journal",
        "none between releases",
    ),
    "an upload was left": Case(
        lambda shelf: write(shelf, "staging/{}/4/model.onnx", b"half"),
        Kind.STAGING_LEFT,
        "files in staging",
        "none between releases",
    ),
    "a candidate was left in the repository": Case(
        lambda shelf: write(shelf, f"repository/{name_candidate(shelf.model_name, 7)}/4/model.onnx", b"half"),
        Kind.CANDIDATE_LEFT,
        "a candidate, loaded on no replica",
        "none",
    ),
    "a candidate was left on a replica": Case(
        load_candidate, Kind.CANDIDATE_LEFT, f"a candidate, loaded on ['{ADDRESSES[0]}']", "none"
    ),
}
FOR_PEOPLE = {
    "live was moved": Case(
        lambda shelf: shelf.environment.registry.set_alias(shelf.model_name, "live", 1),
        Kind.ALIAS_ELSEWHERE,
        "live is 1",
        "3",
    ),
    "previous was moved": Case(
        lambda shelf: shelf.environment.registry.set_alias(shelf.model_name, "previous", 1),
        Kind.ALIAS_ELSEWHERE,
        "previous is 1",
        "2",
    ),
    "live was removed": Case(
        lambda shelf: shelf.environment.registry.remove_alias(shelf.model_name, "live"),
        Kind.ALIAS_ELSEWHERE,
        "live is not set",
        "3",
    ),
    "the live version was deleted": Case(
        lambda shelf: shelf.environment.registry.connect().delete_model_version(shelf.model_name, "3"),
        Kind.VERSION_UNREGISTERED,
        "no version 3, which is served",
        "'live' on it",
    ),
    "the registered model was deleted": Case(
        lambda shelf: shelf.environment.registry.connect().delete_registered_model(shelf.model_name),
        Kind.MODEL_UNREGISTERED,
        "no such model in the registry",
        "one named '{}'",
    ),
    "somebody's folder lies beside": Case(
        lambda shelf: write(shelf, "repository/{}/7/model.onnx", b"somebody's own"),
        Kind.VERSION_FOREIGN,
        "[7] where Triton reads",
        "versions that slipway released",
    ),
    "its alias asks for what is refused": Case(
        lambda shelf: shelf.environment.registry.tag_model(shelf.model_name, {"deploy_refused": "its tag is damaged"}),
        Kind.UPDATE_REFUSED,
        "its tag is damaged",
        "an alias 'deploy' that can be answered",
    ),
    "its policy names no version": Case(
        lambda shelf: commit_by_hand(shelf.environment.repository, shelf.model_name, "max_batch_size: 8"),
        Kind.CONFIG_UNREADABLE,
        "no specific versions",
        "a policy as slipway committed it",
    ),
}


@in_a_bucket
def test_a_model_that_is_as_it_ought_to_be_has_no_drift(three: Shelf) -> None:
    state = look(three)

    assert (state.policy, state.repository, state.archive, state.drift) == ((2, 3), (2, 3), (1,), ())
    assert state.served == dict.fromkeys(ADDRESSES, (2, 3))
    assert not state.foreign and not state.is_repairable


@pytest.mark.parametrize("case", SAFE.values(), ids=SAFE)
def test_what_takes_nothing_from_anyone_is_drift_that_is_safe_to_put_right(three: Shelf, case: Case) -> None:
    case.happens(three)

    state = look(three)

    assert [(drift.kind, drift.observed, drift.expected) for drift in state.drift] == [case[1:]]
    assert state.is_repairable


@pytest.mark.parametrize("case", FOR_PEOPLE.values(), ids=FOR_PEOPLE)
def test_what_somebody_may_have_meant_is_drift_that_is_left_to_people(three: Shelf, case: Case) -> None:
    case.happens(three)

    state = look(three)

    expected = case.expected.format(three.model_name)
    assert [(drift.kind, drift.observed, drift.expected) for drift in state.drift] == [(*case[1:3], expected)]
    assert not state.is_repairable


def test_a_version_that_is_not_served_any_more_is_idle(three: Shelf) -> None:
    commit(three, 3)
    for address in ADDRESSES:
        three.environment.fleet.load_model(address, three.model_name)

    (found,) = look(three).drift

    assert (found.kind, found.observed, found.expected) == (Kind.VERSION_IDLE, "[2] where Triton reads", "[3] alone")


def test_a_replica_that_does_not_answer_is_silent_and_every_other_one_is_looked_at(
    paper: tuple[Environment, PaperReplicas], model_name: str
) -> None:
    environment, replicas = paper
    three = Shelf(environment, model_name).released(3)
    replicas.silent = {ADDRESSES[0]}

    state = look(three)

    assert state.served == {ADDRESSES[0]: None, ADDRESSES[1]: (2, 3)}
    assert [(drift.kind, drift.address) for drift in state.drift] == [(Kind.REPLICA_SILENT, ADDRESSES[0])]


@in_a_bucket
def test_files_that_are_not_what_was_committed_are_told_file_by_file(three: Shelf, repository: ModelRepository) -> None:
    record_files(repository, three.model_name, 3)
    assert look(three).drift == ()
    write(three, "repository/{}/3/model.onnx", b"not the model")

    (found,) = look(three).drift

    assert found.kind is Kind.FILES_CHANGED and "model.onnx has SHA-256" in found.observed
    assert look(three, DEPTH._replace(compare_files=False)).drift == ()
    repository.store.delete(f"repository/{three.model_name}/3/model.onnx")
    assert [drift.observed for drift in look(three).drift] == [f"repository/{three.model_name}/3/model.onnx is gone"]


@in_a_bucket
def test_what_is_released_after_all_was_listed_is_listed_anew(three: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = three.environment.repository
    before = repository.list_all()
    three.released(1)
    list_all = ModelRepository.list_all
    monkeypatch.setattr(
        ModelRepository, "list_all", lambda self, names=None: list_all(self, names) if names else before
    )

    states = survey(None, three.environment, DEPTH)

    (state,) = (state for state in states if state.name == three.model_name)
    assert (state.policy, state.repository, state.drift) == ((3, 4), (3, 4), ())


def test_a_served_version_without_files_is_missing(three: Shelf, repository: ModelRepository) -> None:
    repository.store.delete_below(f"repository/{three.model_name}/2/")

    kinds = [drift.kind for drift in look(three).drift]

    assert Kind.VERSION_MISSING in kinds and not set(kinds) & {Kind.VERSION_IDLE, Kind.REPLICA_BEHIND}


@pytest.mark.parametrize(("keep", "superfluous"), [(None, None), (1, None), (0, "[1] in the archive")])
def test_an_archive_is_full_beyond_what_is_to_be_kept(three: Shelf, keep: int | None, superfluous: str | None) -> None:
    found = [drift.observed for drift in look(three, DEPTH._replace(keep_archived=keep)).drift]

    assert found == ([superfluous] if superfluous else [])


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("records/{}/3/proof.npz", b"no archive"),
        ("records/{}/3/proof.npz", b""),
        ("records/{}/3/files.json", b"[{"),
        ("records/{}/3/files.json", b'{"of another": "shape"}'),
        ("repository/{}/3/metadata.json", b"{broken"),
        ("repository/{}/3/metadata.json", b'["a", "list"]'),
        ("journal/{}.json", b'{"plan": {"of": "another schema"}}'),
        ("journal/{}.json", b"\xff"),
        ("repository/{}/config.pbtxt", b"no configuration"),
        ("repository/{}/config.pbtxt", "max_batch_size: 8 # größer".encode("latin-1")),
    ],
)
def test_what_cannot_be_read_is_a_finding_and_the_rest_is_shown(three: Shelf, key: str, content: bytes) -> None:
    write(three, key, content)

    state = look(three, Depth())  # nothing recorded proves a version on paper: no replica is asked

    unreadable = Kind.CONFIG_UNREADABLE if "config" in key else Kind.RECORD_UNREADABLE
    assert [drift.kind for drift in state.drift] == [unreadable]
    assert (state.repository, set(state.served.values())) == ((2, 3), {(2, 3)})


def test_a_model_without_a_record_is_foreign_and_nothing_of_it_is_drift(on_paper: Environment, model_name: str) -> None:
    on_paper.repository.store.write(f"repository/{model_name}/1/model.onnx", b"somebody's own")
    on_paper.repository.store.write(f"staging/{model_name}/1/model.onnx", b"somebody's own")

    (state,) = survey((model_name,), on_paper, DEPTH)

    assert (state.foreign, state.repository, state.drift) == (True, (1,), ())


def test_a_model_that_only_served_once_is_found_by_its_alias(shelf: Shelf) -> None:
    shelf.registered()
    shelf.environment.registry.set_alias(shelf.model_name, "live", 1)

    found = {state.name: state for state in survey(None, shelf.environment, DEPTH)}[shelf.model_name]

    assert [(drift.kind, drift.observed, drift.expected) for drift in found.drift] == [
        (Kind.ALIAS_ELSEWHERE, "live is 1", "none")
    ]


def test_a_model_nobody_knows_is_refused(on_paper: Environment) -> None:
    with pytest.raises(NotRegistered, match="no-such-model"):
        survey(("no-such-model",), on_paper, DEPTH)
