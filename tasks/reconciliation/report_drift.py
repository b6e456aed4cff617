"""The last step of reconciling, report-drift: what was repaired and what is left for people."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from slipway.releases.drift import Drift
from slipway.releases.drift_report import report


@task(name="report-drift", task_run_name="report-drift", cache_policy=NO_CACHE)
def report_drift(repaired: tuple[Drift, ...], left: tuple[Drift, ...], dry_run: bool = False) -> None:
    """Show a table with one row a finding and emit one event a model; nothing where nothing drifted."""
    report(repaired, left, dry_run=dry_run)
