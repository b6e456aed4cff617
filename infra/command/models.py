"""slipway at the prompt: `python -m flows status`, `explain-live`, `rollback` and `reconcile`."""

import logging
import sys
from typing import Annotated, Any

from cyclopts import App, Parameter
from prefect.client.schemas.objects import State
from prefect.exceptions import ParameterTypeError
from prefect.logging.handlers import PrefectConsoleHandler
from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from blocks.environment import load_environment, require_prefect
from blocks.errors import SlipwayError
from flows.reconciliation import reconcile_models
from flows.rollback import Rollback, rollback_model
from slipway.releases.explanation import Explanation
from slipway.releases.explanation import explain_live as explained
from slipway.releases.receipt import Receipt, listed
from slipway.releases.survey import Depth, Drift, ModelState, survey_models

app = App(name="python -m flows", help=__doc__)
# What is shown is other people's text: names, reasons, aliases. None of it is markup.
console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)


@app.command
def status(*models: str) -> None:
    """Show every model: aliases, versions in repository and archive, what each replica serves, drift.

    Parameters
    ----------
    models
        Only these models.
    """
    require_prefect()
    depth = Depth(ask_replicas=False, compare_files=False, keep_archived=sys.maxsize)
    states = survey_models.fn(models or None, depth, **load_environment()._asdict())
    console.print(model_table(states) if states else "no model is served, staged or live")


@app.command
def explain_live(model: str, *, json: bool = False) -> None:
    """Show what a model serves, since when, through which gates, and what a rollback would do.

    Parameters
    ----------
    model
        Name of the model in the MLflow registry.
    json
        Print it as JSON.
    """
    require_prefect()
    explanation = explained(model, **load_environment()._asdict())
    if json:
        console.print(explanation.model_dump_json(indent=2), soft_wrap=True)
    else:
        _print(explanation)


@app.command
def rollback(model: str, *, to: str = "alias:previous", reason: str = "") -> None:
    """Roll a model back, as the flow rollback-model.

    Parameters
    ----------
    model
        Name of the model in the MLflow registry.
    to
        alias:previous, or version:N for an older version.
    reason
        Why; kept with the version rolled back from.
    """
    require_prefect()
    state: State[Any] = rollback_model(model, to, reason, return_state=True)
    outcome: Rollback = state.result()
    if outcome.receipt is None:
        console.print(state.message)
    else:
        count, seconds = len(outcome.receipt.replicas), outcome.proven_s
        console.print(
            f"{model}: version {outcome.plan.registry_version} is live again, proven on {count} replicas in "
            f"{seconds:.2f} s; aliases {listed(outcome.plan.aliases_after)}"
        )


@app.command
def reconcile(*models: str, dry_run: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Repair what drifted and show what is left, as the flow reconcile-models; status 1 where something is.

    Parameters
    ----------
    models
        Only these models.
    dry_run
        Change nothing.
    """
    require_prefect()
    outcome = reconcile_models(list(models) or None, dry_run)
    console.print(f"models {outcome.models}, repaired {len(outcome.repaired)}, left {len(outcome.left)}")
    for label, findings in (("repaired", outcome.repaired), ("left", outcome.left)):
        for drift in findings:
            console.print(f"  {label}: {_line(drift)}")
    return 1 if outcome.left else 0


def model_table(states: tuple[ModelState, ...]) -> Table:
    """Return a table with one row a model; what is too long for its column goes on below, the longest first."""
    addresses = sorted({address for state in states for address in state.served})
    headers = ("model", "aliases", "policy", "repository", "archive", *addresses, "drift")
    table = Table(*(Column(header, overflow="fold") for header in headers), box=None, pad_edge=False)
    for state in states:
        served = [Text("silent", "red") if (v := state.served[a]) is None else _numbers(v) for a in addresses]
        table.add_row(
            state.name,
            listed(state.aliases),
            _numbers(state.policy),
            _numbers(state.repository),
            _numbers(state.archive),
            *served,
            _drift_cell(state),
        )
    return table


def _drift_cell(state: ModelState) -> Text:
    if state.foreign:
        return Text("foreign, not touched")
    drift = ", ".join(sorted({finding.kind for finding in state.drift}))
    return Text(drift, "red") if drift else Text("none", "green")


def _print(explanation: Explanation) -> None:
    state, receipt = explanation.state, explanation.receipt
    table = Table(Column(), Column(overflow="fold"), box=None, pad_edge=False, show_header=False)
    table.add_row("model", state.name)
    table.add_row("aliases", listed(state.aliases))
    table.add_row("served", f"{_numbers(state.policy)}; unversioned requests: {max(state.policy, default='nothing')}")
    for label, value in _receipt_rows(receipt) if receipt else [("receipt", "none: nothing was released by slipway")]:
        table.add_row(label, value)
    for address, served in state.served.items():
        table.add_row(f"now on {address}", "silent" if served is None else _numbers(served))
    table.add_row("drift", "; ".join(_line(drift) for drift in state.drift) or "none")
    table.add_row("rollback", explanation.rollback)
    console.print(table)


def _receipt_rows(receipt: Receipt) -> list[tuple[str, str]]:
    because = f", because: {receipt.reason}" if receipt.reason else ""
    proofs = [
        f"{replica.address}: {replica.comparison.samples} samples, largest difference "
        f"{replica.comparison.max_difference:.1e}"
        for replica in receipt.replicas
        if replica.comparison is not None
    ]
    return [
        ("live", f"MLflow version {receipt.registry_version}, Triton version {receipt.version}"),
        ("since", f"{receipt.live_since:%Y-%m-%d %H:%M:%S %Z}"),
        ("by", f"{receipt.kind}, flow run {receipt.flow_run_id}{because}"),
        ("training run", receipt.training_run_id or "not recorded"),
        *((gate, figures) for gate, figures in receipt.gates.items()),
        ("approval", receipt.approval or "not asked for"),
        *((f"SHA-256 of {name}", sha256) for name, sha256 in receipt.sha256.items()),
        *(("proven on", proof) for proof in proofs),
    ]


def _line(drift: Drift) -> str:
    where = f" on {drift.address}" if drift.address else ""
    return f"{drift.model_name}: {drift.kind}{where}, observed {drift.observed}, expected {drift.expected}"


def _numbers(versions: tuple[int, ...]) -> str:
    return ", ".join(map(str, versions)) or "-"


def _keep_log_off_the_screen() -> None:
    """Leave a flow's log to Prefect, where it is complete; the screen shows the outcome."""
    for name in (None, "prefect"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.setLevel(logging.CRITICAL + 1)


def main() -> None:
    """Run a command; an error is one line and status 1, bad input 2."""
    _keep_log_off_the_screen()
    errors = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True, style="red")
    try:
        code = app(sys.argv[1:], result_action="return_value")
    except SlipwayError as error:
        errors.print(f"{type(error).__name__}: {error}")
        sys.exit(1)
    except (ValidationError, ParameterTypeError) as error:
        errors.print(str(error))
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
