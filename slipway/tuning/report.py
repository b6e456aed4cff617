"""A tuning for people: a table and a picture in MLflow and Prefect; and its result in the model's settings."""

import csv
import io

from blocks.environment import Environment
from blocks.errors import VersionConflict
from blocks.labels import TRITON_VERSION_TAG
from blocks.recorded_runs import record_run
from blocks.run import get_flow_run_id, make_artifact_key, publish_table, say
from slipway.releases.kept_settings import keep_settings, read_kept
from slipway.tuning.tuning import Tuning

EXPERIMENT = "tuning"
PICTURE, TABLE = "throughput-over-p99.png", "trials.csv"


def record(tuning: Tuning, environment: Environment) -> Tuning:
    """Return a tuning with the MLflow run that holds its table and its picture; Prefect shows the table, too."""
    from slipway.tuning.picture import draw  # matplotlib, which the set-up of a cluster imports every flow without

    ground, best, verdict = tuning.ground, tuning.best, tuning.verdict
    figures = {"latency_ms": tuning.latency_ms, "served_per_second": tuning.start.get_throughput(tuning.latency_ms)}
    figures["best_per_second"] = best.get_throughput(tuning.latency_ms)
    if verdict.ratio is not None:
        figures["ratio"] = verdict.ratio
    run_id = record_run(
        environment.registry,
        EXPERIMENT,
        f"tune {ground.model_name}",
        tags={"model": ground.model_name, TRITON_VERSION_TAG: str(ground.version), "verdict": verdict.reason},
        params={"replica": ground.address, **{f"best.{key}": value for key, value in best.knobs.model_dump().items()}},
        metrics=figures,
        texts={TABLE: write_table(tuning)},
        figures={PICTURE: draw(tuning)},
    )
    description = f"{ground.subject} on {ground.address}: {verdict.reason}; MLflow run {run_id} has the picture"
    publish_table(make_artifact_key("tuning", ground.model_name), tuning.rows, description)
    say(description)
    return tuning.model_copy(update={"run_id": run_id})


def write_table(tuning: Tuning) -> str:
    """Return the trials as CSV, every number of clients of each."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["knobs", "clients", "requests", "per_second", "p50_ms", "p99_ms", "load_cpu", "refusal"])
    rounds = [trial for pair in tuning.rounds for trial in pair]
    for trial in (*tuning.trials, *rounds):
        for point in trial.points:
            figures = (point.per_second, point.p50_ms, point.p99_ms, point.load_cpu)
            writer.writerow([trial.knobs.describe(), point.clients, point.requests, *(f"{f:.3f}" for f in figures), ""])
        if trial.refusal:
            writer.writerow([trial.knobs.describe(), "", "", "", "", "", "", trial.refusal])
    return text.getvalue()


def keep(tuning: Tuning, environment: Environment) -> Tuning:
    """Return a tuning whose best the model's settings say from now on; what is served stays as it is.

    Raises `VersionConflict` where somebody changed the settings since the tuning began.
    """
    ground = tuning.ground
    before = read_kept(environment.repository, ground.model_name)
    if before.now != ground.kept:
        raise VersionConflict(
            f"{ground.subject}: its settings were changed by somebody else since the tuning began, expected those it "
            f"began with; nothing was overwritten: the best is {tuning.best.knobs.describe()}, see MLflow run "
            f"{tuning.run_id}, and set it with `slipway config set`"
        )
    keep_settings(
        ground.model_name,
        ground.kept.change(tuning.changes),
        after=before,
        by=f"flow run {get_flow_run_id()}",
        reason=f"tuned: {tuning.verdict.reason}; MLflow run {tuning.run_id}",
        environment=environment,
    )
    return tuning.model_copy(update={"kept": True})
