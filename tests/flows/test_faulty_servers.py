"""Servers that fail while a release runs: it ends released, or as before with a message that names what failed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from blocks.environment import Environment
from blocks.errors import LoadFailed, ReplicaLost, ServiceUnavailable, SlipwayError, VerificationFailed
from flows.deployment import deploy_model
from infra.local.settings import LocalStack
from tasks.deployment.reload_triton import reload_triton
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.faults import Fault, FaultyProxy, faulty_proxy, through_mlflow_proxy, through_s3_proxy
from tests.apparatus.given import CUT_OFF_BYTES, Given, given
from tests.apparatus.replicas import Replica, around_first_load
from tests.apparatus.thinning import keep

pytestmark = pytest.mark.faults

UPLOAD, COMMIT, ALIAS = "/staging/", "/config.pbtxt", "registered-models/alias"
Using = Callable[[Environment], object]


@pytest.fixture
def s3(stack: LocalStack, environment: Environment, use: Using) -> Iterator[FaultyProxy]:
    """A proxy between the releases of this test and S3; Triton has its own way."""
    with faulty_proxy(stack.s3_url) as proxy:
        use(through_s3_proxy(environment, proxy))
        yield proxy


@pytest.fixture
def mlflow(stack: LocalStack, environment: Environment, use: Using) -> Iterator[FaultyProxy]:
    """A proxy between the releases of this test and MLflow."""
    with faulty_proxy(stack.mlflow_url) as proxy:
        use(through_mlflow_proxy(environment, proxy))
        yield proxy


@pytest.fixture
def second(stack: LocalStack) -> Replica:
    """The replica that is loaded last."""
    return Replica(stack, 1)


@pytest.fixture(params=keep({"first-replica": 0, "second-replica": 1}, {"second-replica"}))
def replica(stack: LocalStack, request: pytest.FixtureRequest) -> Replica:
    """Each replica in turn; when the second one fails, another one has to be undone, too."""
    return Replica(stack, request.param)


def assert_released(environment: Environment, third: Given) -> None:
    deploy_model(third.model_name)

    assert assert_consistent(environment, third.model_name) == third.next


def assert_as_before(
    environment: Environment,
    third: Given,
    error: type[SlipwayError] | tuple[type[SlipwayError], ...],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        deploy_model(third.model_name)

    assert assert_consistent(environment, third.model_name) == third.live


def assert_mended_by_the_next_run(
    environment: Environment, third: Given, message: str, mend: Callable[[], None]
) -> None:
    """Release, prove that it fails with a message, and that one more run finds the way once all is well again."""
    with pytest.raises(SlipwayError, match=message):
        deploy_model(third.model_name)
    mend()

    assert_released(environment, third)


PASSING_BY = {
    "refuses": Fault("PUT", UPLOAD, times=2),
    "answers 500": Fault("PUT", UPLOAD, times=2, status=500),
    "answers 503": Fault("PUT", UPLOAD, times=2, status=503),
    "is cut off in an upload": Fault("PUT", UPLOAD, times=2, cut_after_bytes=64 * 1024),
    "answers the commit with 503": Fault("PUT", COMMIT, times=2, status=503),
    "answers every fourth question with 503": Fault(status=503, every=4),
    "is slow": Fault("PUT", UPLOAD, bytes_per_s=128 * 1024),
}
OFTEN_PASSING_BY = {"answers every fourth question with 503"}


@pytest.mark.parametrize("fault", keep(PASSING_BY, OFTEN_PASSING_BY))
def test_a_release_lives_through_an_s3_that(
    environment: Environment, third: Given, s3: FaultyProxy, fault: Fault
) -> None:
    s3.faults = [replace(fault)]

    assert_released(environment, third)

    assert s3.faults[0].hits


LASTING = {
    "refuses uploads": Fault("PUT", UPLOAD),
    "answers uploads with 500": Fault("PUT", UPLOAD, status=500),
    "answers uploads with 503": Fault("PUT", UPLOAD, status=503),
    "cuts off every upload": Fault("PUT", UPLOAD, cut_after_bytes=64 * 1024),
}
OFTEN_LASTING = {"answers uploads with 503"}


@pytest.mark.parametrize("fault", keep(LASTING, OFTEN_LASTING))
def test_nothing_is_left_of_a_release_with_an_s3_that(
    environment: Environment, third: Given, s3: FaultyProxy, fault: Fault
) -> None:
    s3.faults = [replace(fault)]

    assert_as_before(environment, third, ServiceUnavailable, f"S3 bucket 'triton-models' at {s3.url}.*/model.onnx")

    assert s3.faults[0].hits


def test_nothing_is_changed_when_s3_refuses_from_the_beginning(
    environment: Environment, third: Given, s3: FaultyProxy
) -> None:
    s3.faults = [Fault()]

    assert_as_before(environment, third, ServiceUnavailable, f"S3 bucket 'triton-models' at {s3.url}")


@pytest.mark.parametrize("path", keep({"upload": UPLOAD, "commit": COMMIT}, {"commit"}))
def test_the_next_run_mends_a_release_that_s3_left_alone_with_its_undoing(
    environment: Environment, third: Given, s3: FaultyProxy, path: str
) -> None:
    down = Fault("PUT", path, then_all=True)
    s3.faults = [down]

    assert_mended_by_the_next_run(environment, third, f"S3 bucket 'triton-models' at {s3.url}", s3.faults.clear)

    assert down.hits


@pytest.mark.parametrize("status", keep({"refuses": None, "503": 503}, {"503"}))
def test_a_release_lives_through_an_mlflow_that_hesitates_when_aliases_move(
    environment: Environment, third: Given, mlflow: FaultyProxy, status: int | None
) -> None:
    mlflow.faults = [Fault("POST", ALIAS, times=2, status=status)]

    assert_released(environment, third)

    assert mlflow.faults[0].hits == 2


@pytest.mark.exhaustive  # the next test's second alias has more to undo
def test_nothing_is_left_of_a_release_whose_first_alias_cannot_move(
    environment: Environment, third: Given, mlflow: FaultyProxy
) -> None:
    mlflow.faults = [Fault("POST", ALIAS)]

    assert_as_before(environment, third, ServiceUnavailable, f"MLflow at {mlflow.url}: no usable answer for alias")


def test_nothing_is_left_of_a_release_whose_second_alias_cannot_move(
    environment: Environment, model_name: str, mlflow: FaultyProxy
) -> None:
    # its undoing only removes `previous`
    second_release = given(environment, model_name, CUT_OFF_BYTES).released().registered()
    mlflow.faults = [Fault("POST", ALIAS, skip=1)]
    message = f"MLflow at {mlflow.url}: no usable answer for alias 'live'"

    assert_as_before(environment, second_release, ServiceUnavailable, message)


@pytest.mark.exhaustive  # S3, above, leaves a release alone later still
@pytest.mark.parametrize("moved", keep({"none": 0, "one": 1}, {"one"}))
def test_the_next_run_mends_a_release_that_mlflow_left_between_reload_and_aliases(
    environment: Environment, third: Given, mlflow: FaultyProxy, moved: int
) -> None:
    mlflow.faults = [Fault("POST", ALIAS, skip=moved, then_all=True)]

    assert_mended_by_the_next_run(environment, third, f"MLflow at {mlflow.url}", mlflow.faults.clear)


def test_nothing_is_changed_while_a_replica_is_down(environment: Environment, third: Given, second: Replica) -> None:
    with second.stopped(), pytest.raises(ServiceUnavailable, match=f"Triton {second.address}: no answer"):
        deploy_model(third.model_name)

    assert assert_consistent(environment, third.model_name) == third.live


def test_the_next_run_mends_a_release_in_which_a_replica_goes_down(
    environment: Environment, third: Given, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_triton, "retry_delay_seconds", [0.1])
    try:
        with around_first_load(replica.address, before=replica.stop):
            assert_mended_by_the_next_run(environment, third, f"Triton {replica.address}", replica.start)
    finally:
        replica.start()


def test_the_next_run_mends_a_release_in_which_a_replica_hangs(
    environment: Environment, third: Given, use: Using, replica: Replica
) -> None:
    use(replace(environment, fleet=environment.fleet.model_copy(update={"call_timeout_s": 5, "load_timeout_s": 15})))
    server = replica.process

    def mend() -> None:
        server.resume()
        use(environment)

    try:
        with around_first_load(replica.address, before=server.suspend):
            assert_mended_by_the_next_run(environment, third, f"Triton {replica.address}", mend)
    finally:
        server.resume()


@pytest.mark.exhaustive  # others, around it, hang, stop and lose their disk
def test_a_release_lives_through_a_replica_that_dies_when_it_is_loaded(
    environment: Environment, third: Given, second: Replica
) -> None:
    died = second.process

    with around_first_load(second.address, before=died.kill):  # the supervisor starts it again
        assert_released(environment, third)

    assert second.process.pid != died.pid


def test_nothing_is_left_of_a_release_whose_candidate_ends_the_replica(
    environment: Environment, third: Given, stack: LocalStack
) -> None:
    prover = Replica(stack, 0)
    try:
        with (
            around_first_load(prover.address, before=prover.process.kill),
            pytest.raises(ReplicaLost, match=f"Triton {prover.address}: no answer to load of model '_candidate."),
        ):
            deploy_model(third.model_name)
    finally:
        prover.start()

    assert assert_consistent(environment, third.model_name) == third.live


@pytest.mark.exhaustive  # test_traffic.py restarts one under load
def test_a_release_in_which_a_replica_restarts_ends_released_or_as_before(
    environment: Environment, third: Given, replica: Replica
) -> None:
    with around_first_load(replica.address, before=replica.restart):
        state: Any = deploy_model(third.model_name, return_state=True)

    live = assert_consistent(environment, third.model_name)
    assert live == (third.next if state.is_completed() else third.live)
    assert state.is_completed() or f"Triton {replica.address}" in str(state.message)


def test_nothing_is_left_of_a_release_that_finds_a_full_disk(
    environment: Environment, third: Given, replica: Replica
) -> None:
    with replica.full_disk():
        assert_as_before(environment, third, LoadFailed, f"on Triton {replica.address}: load refused")

    assert_released(environment, third)


@pytest.mark.exhaustive  # a process dies before it is proven, below
def test_a_release_replaces_a_version_whose_process_died(
    environment: Environment, third: Given, replica: Replica
) -> None:
    replica.stub(third.model_name).kill()

    assert_released(environment, third)


def test_nothing_is_left_of_a_release_whose_process_dies_before_it_is_proven(
    environment: Environment, third: Given, replica: Replica
) -> None:
    with around_first_load(replica.address, after=lambda: replica.stub(third.model_name).kill()):
        assert_as_before(environment, third, VerificationFailed, replica.address)
