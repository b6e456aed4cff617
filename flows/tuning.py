"""The tuning flow: how a model is served fastest within a latency limit, found on a candidate under load.

choose-ground -> measure-trial (one way to serve it after the other) -> measure-trial (the challenger beside what is
    served, in turns) -> report-tuning [-> keep-best]
"""

import time
from collections.abc import Iterator
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from blocks.environment import RESULT_STORAGE, load_environment
from blocks.names import ModelName
from flows.running.forms import with_form
from flows.running.hooks import settle_what_was_begun
from flows.running.turns import short_turn_of, turn_of
from slipway.releases.settlement import is_left_to_settle
from slipway.tuning.ground import Ground
from slipway.tuning.knobs import Knobs
from slipway.tuning.measuring import require_measured
from slipway.tuning.search import propose_knobs
from slipway.tuning.terms import TuningTerms
from slipway.tuning.trial import Trial, choose
from slipway.tuning.tuning import Tuning
from tasks.deployment.settle_release import settle_release
from tasks.policies import FLAT
from tasks.tuning.choose_ground import choose_ground
from tasks.tuning.keep_best import keep_best
from tasks.tuning.measure_trial import measure_trial
from tasks.tuning.report_tuning import report_tuning


@flow(
    name="tune-model",
    flow_run_name="tune {model_name}",
    result_storage=RESULT_STORAGE,
    result_serializer="json",
    on_cancellation=[settle_what_was_begun],
    on_crashed=[settle_what_was_begun],
)
@with_form(TuningTerms())
def tune_model(
    model_name: ModelName,
    terms: Annotated[TuningTerms, FLAT],
    dry_run: Annotated[bool, Field(description="Measure and show, keep nothing in the model's settings.")] = False,
) -> Tuning | State[Tuning]:
    """Find out how a model is served fastest within a latency limit, and keep that in its settings.

    What is served stays as it is until a release. The model's lock is held for one trial at a time: a release, or a
    rollback, goes in between.
    """
    with turn_of(model_name) as environment:
        if is_left_to_settle(model_name, environment):
            settle_release(model_name=model_name, environment=environment)
        ground = choose_ground(model_name=model_name, terms=terms, environment=environment)
    trials = tuple(search(ground, terms))
    tuning = Tuning(ground=ground, latency_ms=terms.latency_ms, trials=trials)
    if tuning.challenger is not None:
        tuning = tuning.model_copy(update={"rounds": tuple(compare(tuning.start, tuning.challenger, ground, terms))})
    environment = load_environment()
    tuning = report_tuning(tuning=tuning, environment=environment)
    if dry_run or not tuning.verdict.is_better:
        name = "DryRun" if tuning.verdict.is_better else "LeftAsItIs"
        return Completed(name=name, message=f"{ground.subject}: {tuning.verdict.reason}", data=tuning)
    return keep_best(tuning=tuning, environment=environment)


def search(ground: Ground, terms: TuningTerms) -> Iterator[Trial]:
    """Yield one trial after the other, what is served first, until nothing near the best is left, or the time is up."""
    begun, trials = time.monotonic(), list[Trial]()
    knobs: Knobs | None = ground.start
    while knobs is not None and (not trials or time.monotonic() - begun < terms.budget_s):
        best = choose(trials, terms.latency_ms).find_best(terms.latency_ms) if trials else None
        trials.append(measure_in_turn(ground, knobs, terms, best.clients if best else 1))
        require_measured(trials[0], ground)
        yield trials[-1]
        knobs = propose_knobs(trials, ground.ranges, terms.latency_ms)


def compare(served: Trial, challenger: Trial, ground: Ground, terms: TuningTerms) -> Iterator[tuple[Trial, Trial]]:
    """Yield rounds of measuring both again, one after the other, each from the clients that were its best."""
    for _ in range(terms.rounds):
        yield measure_again(served, ground, terms), measure_again(challenger, ground, terms)


def measure_again(trial: Trial, ground: Ground, terms: TuningTerms) -> Trial:
    """Return a trial of the same knobs, from the clients that were its best."""
    best = trial.find_best(terms.latency_ms)
    return measure_in_turn(ground, trial.knobs, terms, best.clients if best else 1)


def measure_in_turn(ground: Ground, knobs: Knobs, terms: TuningTerms, clients: int) -> Trial:
    """Return one trial, for which the model's lock is held."""
    with short_turn_of(ground.model_name) as environment:
        return measure_trial(ground=ground, knobs=knobs, terms=terms, clients=clients, environment=environment)
