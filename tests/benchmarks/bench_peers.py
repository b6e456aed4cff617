"""How slipway and others get one registered model served: seconds, failed requests, and what they leave behind.

All use one MLflow, one S3 and, where they serve on Triton, the same two of them, which ask for no key and complete what
a configuration leaves out, as NVIDIA's image starts them. What cannot be had here has a row that says why.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from rich.console import Console

from blocks.environment import Environment
from blocks.fleet import TritonFleet
from infra.local.settings import LocalStack
from tests.apparatus.foreign_models import completing_replica
from tests.benchmarks.peers import course, moving, ours, theirs
from tests.benchmarks.peers.contender import WHOLE_BUCKET, Contender, Ground, Unavailable

CONTENDERS: tuple[type[Contender], ...] = (
    ours.Flows,
    ours.OurPlugin,
    ours.OurScripts,
    theirs.OfficialPlugin,
    theirs.ReferenceScripts,
    theirs.MlflowServe,
    theirs.MLServer,
)
pytestmark = pytest.mark.peers
ASKED = os.environ.get("PEERS", "").split()  # some of them, by their slugs


@pytest.fixture(scope="module")
def ground(stack: LocalStack, environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The servers of this run."""
    directory, store = tmp_path_factory.mktemp("peers"), environment.repository.store
    if WHOLE_BUCKET not in {bucket["Name"] for bucket in store.client.list_buckets()["Buckets"]}:
        store.client.create_bucket(Bucket=WHOLE_BUCKET)
    with ExitStack() as running:
        replicas = [
            running.enter_context(completing_replica(environment, directory / f"triton-{number}", WHOLE_BUCKET))
            for number in range(2)
        ]
        yield Ground(
            replace(environment, fleet=TritonFleet(replicas=[replica.grpc for replica in replicas])),
            stack.environment() | stack.s3_variables(),
            stack.s3_url,
            [replica.http for replica in replicas],
            [replica.grpc for replica in replicas],
            directory,
        )


@pytest.mark.timeout(3600)
def test_a_model_is_created_updated_taken_back_broken_and_deleted_by_each(ground: Ground) -> None:
    busy = [os.getloadavg()[0]]
    rows = []
    for kind in CONTENDERS:
        if not ASKED or kind.slug in ASKED:
            rows.append(_run(kind, ground))
            busy.append(os.getloadavg()[0])

    _show(rows, busy)
    slipways = [row for row in rows if row.title.startswith("slipway")]
    assert all(len(row.cells) == len(course.HEAD) for row in slipways), slipways
    assert all(row.cells[3].startswith("0 of") and row.cells[5].startswith("0 of") for row in slipways), slipways


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", [theirs.OfficialPlugin, theirs.ReferenceScripts])
def test_what_another_deployed_is_adopted_released_over_and_rolled_back_and_no_request_fails(
    ground: Ground, kind: type[Contender]
) -> None:
    try:
        contender = kind(ground)
    except Unavailable as reason:
        pytest.skip(f"{kind.title}: {reason}")

    Console(highlight=False, markup=False).print("\n" + moving.adopt(contender), soft_wrap=True)


@pytest.mark.timeout(600)
def test_what_triton_control_registered_is_released(ground: Ground) -> None:
    try:
        seen = moving.release_logged(ours.Flows(ground))
    except Unavailable as reason:
        pytest.skip(f"mlflow-triton-control: {reason}")

    Console(highlight=False, markup=False).print("\n" + seen, soft_wrap=True)


def _run(kind: type[Contender], ground: Ground) -> course.Row:
    try:
        return course.run(kind(ground))
    except Unavailable as reason:
        return course.Row(kind.title, (str(reason),))


def _show(rows: list[course.Row], busy: list[float]) -> None:
    """Print the table as docs/peers.md has it, and what else the machine did."""
    lines = [f"| | {' | '.join(course.HEAD)} |", "|---" * (len(course.HEAD) + 1) + "|"]
    lines += [f"| {' | '.join((row.title, *row.cells))} |" for row in rows]
    said = f"{os.cpu_count()} cores, load average {min(busy):.0f} to {max(busy):.0f}"
    Console(width=2000, highlight=False, markup=False).print("\n".join(["", *lines, said]), soft_wrap=True)
