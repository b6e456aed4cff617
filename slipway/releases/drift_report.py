"""What drifted, as a table in Prefect and as an event for each model that people have to look at."""

from blocks.events import Happened, tell
from blocks.run import publish_table
from slipway.releases.drift import Drift

ARTIFACT_KEY = "drift"


def report(repaired: tuple[Drift, ...], left: tuple[Drift, ...], *, dry_run: bool) -> None:
    """Show a table with one row a finding and emit one event a model; nothing where nothing drifted."""
    rows = [_make_row(drift, "repaired") for drift in repaired]
    rows += [_make_row(drift, "dry run" if dry_run else "left for people") for drift in left]
    if not rows:
        return
    left_how = "found in a dry run" if dry_run else "left for people"
    publish_table(ARTIFACT_KEY, rows, f"{len(repaired)} repaired, {len(left)} {left_how}.")
    for happened, findings in ((Happened.DRIFT_REPAIRED, repaired), (Happened.DRIFT_FOUND, left)):
        for name in sorted({drift.model_name for drift in findings}):
            tell(happened, name, findings=[d.model_dump(mode="json") for d in findings if d.model_name == name])


def _make_row(drift: Drift, outcome: str) -> dict[str, str]:
    return {
        "model": drift.model_name,
        "drift": drift.kind,
        "replica": drift.address or "",
        "observed": drift.observed,
        "expected": drift.expected,
        "outcome": outcome,
    }
