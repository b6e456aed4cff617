"""A trial: the live version's copy is loaded as a candidate, asked by more and more clients, and removed."""

from blocks.environment import Environment
from blocks.errors import InvalidInput, LoadFailed, bounded
from blocks.load_generator import Asked, LoadGenerator, loading
from blocks.run import say
from slipway.releases.candidate import remove_candidate
from slipway.tuning.ground import Ground, beside, read_requests
from slipway.tuning.knobs import Knobs
from slipway.tuning.search import propose_clients
from slipway.tuning.terms import TuningTerms
from slipway.tuning.trial import Point, Trial


def measure(ground: Ground, knobs: Knobs, terms: TuningTerms, clients: int, environment: Environment) -> Trial:
    """Return what one way to serve a model gives, beginning with so many clients; the model's lock has to be held.

    Whatever happens, the candidate is removed afterwards. A way that the replica refuses is a trial with a refusal.
    """
    wider = beside(ground.address, environment)
    try:
        name, config = ground.make_config(knobs, environment.epoch)
    except InvalidInput as error:
        return Trial(knobs=knobs, refusal=bounded(error))
    try:
        wider.repository.place_candidate(ground.model_name, ground.version, name, config)
        wider.fleet.load_model(ground.address, name)
        inputs, outputs = read_requests(ground, terms.rows, environment)
        asked = Asked(ground.address, name, ground.version, inputs, outputs)
        with loading(wider.fleet, asked) as load:
            trial = climb(load, knobs, terms, clients)
    except LoadFailed as error:
        trial = Trial(knobs=knobs, refusal=bounded(error))
    finally:
        remove_candidate(name, wider)
    say(f"{knobs.describe()}: {describe(trial, terms.latency_ms)}")
    return trial


def climb(load: LoadGenerator, knobs: Knobs, terms: TuningTerms, clients: int) -> Trial:
    """Ask with more clients, or fewer, until the highest throughput within the limit is known."""
    points: list[Point] = []
    while (number := propose_clients(points, terms.latency_ms, clients, terms.clients)) is not None:
        found = load.ask(number, terms.seconds)
        if found["failures"]:
            reason = f"with {number} clients {found['failures']} requests failed: {found['reason']}"
            return Trial(knobs=knobs, points=tuple(points), refusal=bounded(reason))
        points.append(Point.model_validate(found))
    return Trial(knobs=knobs, points=tuple(points))


def require_measured(trial: Trial, ground: Ground) -> None:
    """Raise `LoadFailed` where the replica does not even serve the model as it is served."""
    if trial.refusal:
        raise LoadFailed(
            f"{ground.subject} on Triton {ground.address}: cannot be measured as it is served ({trial.refusal}), "
            "expected a replica that serves it; choose another one",
            model_name=ground.model_name,
            version=ground.version,
            address=ground.address,
        )


def describe(trial: Trial, latency_ms: float) -> str:
    """Return a trial in a line."""
    best = trial.find_best(latency_ms)
    if trial.refusal:
        return f"refused, {trial.refusal}"
    if best is None:
        return f"p99 {trial.fastest_p99_ms:.1f} ms at least, {latency_ms:g} ms are allowed"
    return f"{best.per_second:.1f}/s with {best.clients} clients, p99 {best.p99_ms:.1f} ms"
