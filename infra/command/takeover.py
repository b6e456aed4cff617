"""`slipway adopt` and `withdraw`: a model that is served becomes slipway's, or is taken out of service."""

from typing import Annotated, Any

from cyclopts import Parameter
from prefect.client.schemas.objects import State
from rich.table import Column, Table

from blocks.environment import require_prefect
from infra.command.models import keep_log_off_the_screen
from infra.command.screen import console, show_table
from slipway.releases.receipt import format_aliases


def adopt(
    model: str,
    *,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    register: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Take over a model that is served and that slipway has no record of, as the flow adopt-model.

    Parameters
    ----------
    model
        Name of the model, in Triton and in the MLflow registry.
    dry_run
        Show what would be matched and written, change nothing.
    register
        Register the versions that MLflow does not know, from the bucket.
    """
    from flows.adoption import AdoptedModel, adopt_model

    require_prefect()
    keep_log_off_the_screen()
    state: State[Any] = adopt_model(model, dry_run, register, return_state=True)
    outcome: AdoptedModel = state.result()
    if outcome.versions:
        table = Table(*(Column(name, overflow="fold") for name in outcome.versions[0]), box=None, pad_edge=False)
        for row in outcome.versions:
            table.add_row(*map(str, row.values()))
        show_table(table)
    if outcome.receipt is None:
        console.print(state.message)
        return
    console.print(
        f"{model}: adopted, Triton version {outcome.receipt.version} proven on {len(outcome.receipt.replicas)} "
        f"replicas; aliases {format_aliases(outcome.receipt.aliases_after)}"
    )


def withdraw(
    model: str,
    *,
    force: Annotated[bool, Parameter(negative=())] = False,
    reason: str = "",
    dry_run: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Take a model out of service on every replica, as the flow withdraw-model; its versions go to the archive.

    Parameters
    ----------
    model
        Name of the model in the MLflow registry.
    force
        Though it is live: its clients get errors from then on.
    reason
        Why; kept with the model.
    dry_run
        Change nothing.
    """
    from flows.withdrawal import Withdrawal, withdraw_model

    require_prefect()
    keep_log_off_the_screen()
    state: State[Any] = withdraw_model(model, force, reason, dry_run, return_state=True)
    outcome: Withdrawal = state.result()
    if outcome.withdrawn is None:
        console.print(state.message)
        return
    found = outcome.withdrawn
    served = ", ".join(map(str, found.served)) or "none"
    console.print(
        f"{model}: out of service on every replica, versions served until now: {served}; aliases removed: "
        f"{format_aliases(found.aliases)}"
    )
    for address in found.left_to_reconcile:
        console.print(f"  left to reconcile: {address}, which did not answer")
