"""Models that other tools put into service become slipway's under load: nothing fails, and nothing is loaded again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from blocks.environment import Environment
from blocks.errors import ForeignModel, InvalidInput
from blocks.registry import ModelRegistry
from flows.adoption import AdoptedModel, adopt_model
from flows.deployment import Deployment, deploy_model
from flows.reconciliation import reconcile_models
from flows.rollback import Rollback, rollback_model
from slipway.releases.journal import read_open
from slipway.releases.proof import read_proof
from slipway.releases.receipt import read_receipt
from slipway.releases.serving_config import read_policy
from slipway.releases.survey import survey
from tests.apparatus.consistency import list_served
from tests.apparatus.foreign_models import Layouts, completing_replicas
from tests.apparatus.killing import Death
from tests.apparatus.killing import adopt as adopt_in_a_process
from tests.apparatus.locks import end_lease
from tests.apparatus.models import register_linear
from tests.apparatus.thinning import keep, keep_one_in
from tests.apparatus.traffic import Traffic, constant_load
from tests.apparatus.transports import Interference, Request, Send, interfering

CLIENTS_A_REPLICA = 4


@pytest.fixture(scope="module")
def completing(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """The stack with replicas that complete what a config.pbtxt leaves out, as NVIDIA's do by default."""
    with completing_replicas(environment, tmp_path_factory.mktemp("completing")) as completed:
        yield completed


@contextmanager
def under_load(environment: Environment, model_name: str) -> Iterator[Traffic]:
    """Have eight clients ask for a model, whatever version answers."""
    with constant_load(model_name, environment.fleet.list_addresses() * CLIENTS_A_REPLICA, []) as traffic:
        yield traffic


def noting(changes: list[tuple[str, str]]) -> Interference:
    """Return what notes each load and unload."""

    def interfere(request: Request, send: Send) -> Any:
        if request.method in {"load_model", "unload_model"}:
            changes.append((request.method, request.address))
        return send()

    return interfere


def adopted(model_name: str, **parameters: Any) -> AdoptedModel:
    outcome = adopt_model(model_name, **parameters)
    assert isinstance(outcome, AdoptedModel)
    return outcome


def adopt_under_load(environment: Environment, layouts: Layouts, **parameters: Any) -> AdoptedModel:
    """Adopt a model while it is asked, and prove that nothing failed and nothing was loaded, or stopped."""
    changes: list[tuple[str, str]] = []
    with under_load(environment, layouts.model_name) as traffic:
        before = layouts.count_answers()
        with interfering(noting(changes)):
            outcome = adopted(layouts.model_name, **parameters)
        after = layouts.count_answers()
    assert traffic.failures == [] and len(traffic.requests) > 50
    assert changes == []
    assert before.keys() == after.keys()
    live = str(max(int(version) for _, version in before))
    assert all(count > 0 for (_, version), count in before.items() if version == live)
    assert all(after[key] > before[key] for key in before), "a load would start at zero"
    return outcome


def aliases(registry: ModelRegistry, model_name: str) -> dict[str, int]:
    return {alias: number for alias, number in registry.get_aliases(model_name).items() if alias != "deploy"}


def served(environment: Environment, model_name: str) -> list[tuple[int, ...]]:
    return list_served(environment, model_name)


def assert_nothing_drifted(environment: Environment, model_name: str) -> None:
    outcome = reconcile_models([model_name])
    assert (outcome.found, outcome.left) == ((), ())
    assert read_open(environment.repository, model_name) is None


def release_over_and_go_back(environment: Environment, model_name: str, seed: int) -> tuple[Deployment, Rollback]:
    """Release another version over what was adopted, and go back, while clients ask."""
    with under_load(environment, model_name) as traffic:
        register_linear(environment.registry, model_name, seed)
        release = deploy_model(model_name)
        back = rollback_model(model_name, reason="a test")
    assert isinstance(release, Deployment) and isinstance(back, Rollback)
    assert traffic.failures == []
    return release, back


def test_what_the_scripts_deployed_is_adopted_released_over_and_rolled_back(
    completing: Environment, model_name: str, use: Any
) -> None:
    use(completing)
    layouts = Layouts(completing, model_name).by_scripts(3)
    assert served(completing, model_name) == [(3,), (3,)]

    outcome = adopt_under_load(completing, layouts)

    repository = completing.repository
    assert [match.registry_version for match in outcome.adoption.matches] == [1, 2, 3]  # type: ignore[union-attr]
    assert read_policy(repository.read_config(model_name)) == (3,)
    assert repository.list_archived(model_name) == (1, 2), "what is not served is out of Triton's sight"
    assert aliases(completing.registry, model_name) == {"live": 3, "previous": 2}
    tags = dict(completing.registry.list_versions(model_name))
    assert [tags[number]["triton_version"] for number in (1, 2, 3)] == ["1", "2", "3"]
    receipt = read_receipt(repository, model_name, 3)
    assert receipt is not None and receipt.kind == "adoption" and len(receipt.replicas) == 2
    assert receipt.gates["as served"].startswith("6 golden samples")
    assert all(replica.comparison for replica in receipt.replicas)
    assert_nothing_drifted(completing, model_name)

    release, back = release_over_and_go_back(completing, model_name, 4)

    assert (release.plan.version, release.plan.serves) == (4, (3, 4))
    assert (back.plan.version, back.plan.registry_version) == (3, 3)
    assert served(completing, model_name) == [(3,), (3,)]
    assert_nothing_drifted(completing, model_name)


@pytest.mark.exhaustive  # tests/slipway/releases/test_found_model.py reads what the plugin leaves
def test_what_the_official_plugin_deployed_is_adopted_and_its_predecessor_brought_back(
    completing: Environment, model_name: str, use: Any
) -> None:
    use(completing)
    layouts = Layouts(completing, model_name).by_plugin()

    outcome = adopt_under_load(completing, layouts)

    assert outcome.adoption is not None and outcome.adoption.matches[0].how.startswith("mlflow-meta.json says so")
    assert aliases(completing.registry, model_name) == {"live": 1}
    assert_nothing_drifted(completing, model_name)
    release, back = release_over_and_go_back(completing, model_name, 2)
    assert (release.plan.serves, back.plan.version) == ((1, 2), 1)


@pytest.mark.exhaustive  # one that is killed, below, was kept by hand, too
@pytest.mark.parametrize(
    ("policy", "serving"),
    keep(
        {
            "latest": ("latest { num_versions: 1 }", (3,)),
            "specific": ("specific { versions: [1, 3] }", (1, 3)),
        },
        {"specific"},
    ),
)
def test_what_is_kept_by_hand_is_adopted_as_it_is_served(
    environment: Environment, model_name: str, policy: str, serving: tuple[int, ...]
) -> None:
    layouts = Layouts(environment, model_name).by_hand(3, policy, registered=1)
    assert served(environment, model_name) == [serving, serving]

    adopt_under_load(environment, layouts)

    repository = environment.repository
    assert read_policy(repository.read_config(model_name)) == serving
    assert repository.list_stored(model_name) == serving
    assert aliases(environment.registry, model_name) == {"live": 1}
    for version in serving:
        assert read_proof(repository, model_name, version, batched=True) is not None
    assert_nothing_drifted(environment, model_name)
    before = layouts.count_answers()
    _, back = release_over_and_go_back(environment, model_name, 4)
    assert back.plan.version == 3
    assert all(after >= before[key] for key, after in layouts.count_answers().items()), "its author's config: no reload"
    assert_nothing_drifted(environment, model_name)


@pytest.mark.exhaustive  # the same on paper: tests/slipway/releases/test_adoption.py
def test_a_version_that_mlflow_does_not_know_is_what_a_rollback_goes_back_to(
    environment: Environment, model_name: str
) -> None:
    Layouts(environment, model_name).by_hand(3, "latest { num_versions: 2 }", registered=1)
    adopted(model_name)
    receipt = read_receipt(environment.repository, model_name, 2)
    assert receipt is not None and receipt.registry_version < 1 and "unknown to the registry" in str(receipt.reason)

    back = rollback_model(model_name, reason="nobody knows it, and it works")

    assert isinstance(back, Rollback) and back.plan.version == 2
    assert served(environment, model_name) == [(2,), (2,)]
    assert aliases(environment.registry, model_name) == {}
    assert_nothing_drifted(environment, model_name)


def test_what_mlflow_does_not_know_is_registered_from_the_bucket_where_asked_for(
    environment: Environment, model_name: str
) -> None:
    Layouts(environment, model_name).by_hand(2, "latest { num_versions: 2 }")

    outcome = adopted(model_name, register_unknown_versions=True)

    assert [match.how for match in outcome.adoption.matches] == ["registered from the bucket"] * 2  # type: ignore[union-attr]
    assert aliases(environment.registry, model_name) == {"live": 2, "previous": 1}
    assert_nothing_drifted(environment, model_name)
    rollback_model(model_name)
    assert aliases(environment.registry, model_name) == {"live": 1}


def test_a_dry_run_changes_nothing_and_a_second_adoption_neither(environment: Environment, model_name: str) -> None:
    Layouts(environment, model_name).by_hand(2, "latest { num_versions: 1 }", registered=2)
    before = environment.repository.store.list_keys(f"repository/{model_name}/")

    dry = adopt_model(model_name, dry_run=True, return_state=True)

    assert dry.name == "DryRun"
    assert environment.repository.store.list_keys(f"repository/{model_name}/") == before
    (state,) = survey((model_name,), environment)
    assert state.foreign
    assert adopted(model_name).receipt is not None
    assert adopt_model(model_name, return_state=True).name == "AlreadyAdopted"


def test_replicas_that_disagree_are_refused_and_nothing_is_touched(environment: Environment, model_name: str) -> None:
    Layouts(environment, model_name).by_hand(2, "latest { num_versions: 1 }")
    environment.fleet.unload_model(environment.fleet.list_addresses()[1], model_name)

    with pytest.raises(InvalidInput, match="its replicas serve different versions"):
        adopt_model(model_name)

    assert environment.repository.is_foreign(model_name)
    with pytest.raises(ForeignModel):
        register_linear(environment.registry, model_name, 9)
        deploy_model(model_name)


@pytest.mark.faults
@pytest.mark.parametrize(
    "death",
    keep_one_in(  # every point, on paper: tests/slipway/releases/test_adoption.py
        5,
        [
            Death("ObjectStore.replace journal/", nth=1),
            Death("ObjectStore.replace repository/"),
            Death("ObjectStore.write records/", nth=3),
            Death("ObjectStore.copy", nth=2),
            Death("ModelRegistry.set_alias", within=True),
        ],
    ),
    ids=str,
)
def test_one_whose_process_is_killed_leaves_it_foreign_or_adopted_and_served(
    environment: Environment, model_name: str, death: Death
) -> None:
    layouts = Layouts(environment, model_name).by_hand(3, "latest { num_versions: 1 }", registered=2)
    with under_load(environment, model_name) as traffic:
        ending = adopt_in_a_process(model_name, death)
        assert ending.was_killed, ending.log
        end_lease(environment.repository, model_name)
        reconcile_models([model_name])

        again = adopt_model(model_name, return_state=True)

    assert again.is_completed() and traffic.failures == []
    assert served(environment, model_name) == [(3,), (3,)]
    assert all(count > 50 for (_, version), count in layouts.count_answers().items() if version == "3")
    assert aliases(environment.registry, model_name) == {"live": 2, "previous": 1}
    assert_nothing_drifted(environment, model_name)
