"""The size of the benchmarks, small by `make test-all ARGS="-m benchmark"`; what they release, they take away."""

from collections.abc import Iterator

import pytest
from rich.console import Console

from tests.benchmarks.pace import measure_pace
from tests.benchmarks.size import Size

OURS = "bench-"
"""What the names of models begin with that benchmarks release."""


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    if not request.config.getoption("--full-size"):
        return Size(full=False)
    pace = measure_pace()
    Console(highlight=False).print(f"\nlimits in seconds are {pace:.1f} times those of docs/performance.md's machine")
    return Size(full=True, pace=pace)


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the replicas, and the models that are looked after, as they were: in CI other tests go on with them."""
    environment = request.getfixturevalue("environment") if "environment" in request.fixturenames else None
    yield
    if environment is not None:
        from tests.apparatus.given import withdraw

        withdraw(environment, OURS)
        for prefix in ("journal", "archive", "records"):
            environment.repository.store.delete_all(list(environment.repository.store.list_keys(f"{prefix}/{OURS}")))
        for model in environment.registry.list_models():
            for alias in model.aliases if model.name.startswith(OURS) else ():
                environment.registry.remove_alias(model.name, alias)
