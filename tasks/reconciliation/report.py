"""What drifted, as a table in Prefect and as an event for each model that people have to look at."""

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from blocks.events import Happened, tell
from slipway.releases.survey import Drift

ARTIFACT_KEY = "drift"


@task(name="report-drift", task_run_name="report-drift", cache_policy=NO_CACHE)
def report_drift(repaired: tuple[Drift, ...], left: tuple[Drift, ...], dry_run: bool = False) -> None:
    """Store a table artifact with one row a finding and emit one event a model; nothing where nothing drifted."""
    rows = [_row(drift, "repaired") for drift in repaired]
    rows += [_row(drift, "dry run" if dry_run else "left for people") for drift in left]
    if not rows:
        return
    create_table_artifact(
        key=ARTIFACT_KEY,
        table=rows,
        description=f"{len(repaired)} repaired, {len(left)} {'found in a dry run' if dry_run else 'left for people'}.",
    )
    for happened, findings in ((Happened.DRIFT_REPAIRED, repaired), (Happened.DRIFT_FOUND, left)):
        for name in sorted({drift.model_name for drift in findings}):
            tell(happened, name, findings=[d.model_dump(mode="json") for d in findings if d.model_name == name])


def _row(drift: Drift, outcome: str) -> dict[str, str]:
    return {
        "model": drift.model_name,
        "drift": drift.kind,
        "replica": drift.address or "",
        "observed": drift.observed,
        "expected": drift.expected,
        "outcome": outcome,
    }
