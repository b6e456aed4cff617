"""`slipway tune`: how a model is served fastest within a latency limit, measured on a candidate under load."""

import inspect
from typing import Annotated, Any, cast

from cyclopts import Parameter
from prefect.client.schemas.objects import State
from rich.table import Table

from blocks.environment import require_prefect
from infra.command.models import keep_log_off_the_screen
from infra.command.screen import console, show_table
from slipway.tuning.terms import TuningTerms


def tune(model: str, *, dry_run: Annotated[bool, Parameter(negative=())] = False, **given: str | bool | None) -> None:
    """Find how a model is served fastest within a latency limit, as the flow tune-model; its settings say it then.

    Parameters
    ----------
    model
        Name of the model in the MLflow registry.
    dry_run
        Measure and show, keep nothing.
    """
    from flows.tuning import tune_model
    from slipway.tuning.tuning import Tuning

    require_prefect()
    terms = TuningTerms.model_validate({name: value for name, value in given.items() if value is not None})
    keep_log_off_the_screen()
    state = cast(State[Any], tune_model(model, **dict(terms), dry_run=dry_run, return_state=True))
    outcome: Tuning = state.result()
    table = Table(*(str(name) for name in outcome.rows[0]), box=None, pad_edge=False)
    for row in outcome.rows:
        table.add_row(*map(str, row.values()))
    show_table(table)
    console.print(f"{model} on {outcome.ground.address}: {outcome.verdict.reason}")
    console.print(f"MLflow run {outcome.run_id} has the picture")
    if outcome.kept:
        said = " ".join(f"{name} {value}" for name, value in outcome.changes.items())
        console.print(f"its settings say {said} now: `slipway config set {model} --release` serves it so, proven first")


def _add_terms(signature: inspect.Signature) -> inspect.Signature:
    """Return the options of the command: its own, and one for each of the terms, whose text the field itself reads."""
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    terms = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_make_option(name))
        for name in TuningTerms.model_fields
    ]
    return inspect.Signature([*own, *terms])


def _make_option(name: str) -> Any:
    field = TuningTerms.model_fields[name]
    if field.annotation is bool:
        return Annotated[bool | None, Parameter(help=field.description, negative=())]
    return Annotated[str | None, Parameter(help=field.description)]


tune.__signature__ = _add_terms(inspect.signature(tune))  # type: ignore[attr-defined]
