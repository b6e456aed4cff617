"""The command `slipway`: what people, make, the charts and CI call. A command is imported when it is called."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App

from blocks.imports import keep_what_is_made
from infra.command.exit_codes import ExitCode
from infra.command.scripts.app import choose_form

COMMANDS = {
    "status": ("infra.command.models:show_status", "Show every model: aliases, versions, what each replica serves."),
    "explain-live": ("infra.command.models:show_live", "Show what a model serves, since when, and why."),
    "compare": ("infra.command.models:compare", "Compare versions of a model that are served side by side."),
    "rollback": ("infra.command.models:roll_back", "Roll a model back, as the flow rollback-model."),
    "reconcile": ("infra.command.models:reconcile", "Repair what drifted and show what is left."),
    "adopt": ("infra.command.takeover:adopt", "Take over a model that is served; nothing is loaded for it."),
    "withdraw": ("infra.command.takeover:withdraw", "Take a model out of service; its versions go to the archive."),
    "config": ("infra.command.config:app", "Show or set how a model is served: batching, instances and the rest."),
    "tune": ("infra.command.tuning:tune", "Find how a model is served fastest within a latency limit, under load."),
    "publish": ("infra.command.publication:publish", "Register a model on this machine, checked as a release would."),
    "predict": ("infra.command.prediction:predict", "Ask a served model about pictures or a request."),
    "generate-input": ("infra.command.prediction:generate_input", "Write a request that a served model takes."),
    "loadtest": ("infra.command.loadtest:loadtest", "Ask a served model from many clients at once; its latencies."),
    "step": ("infra.command.steps:app", "Run one step of a flow; its result is JSON."),
    "script": ("infra.command.scripts.app:app", "Run one step of a release alone, files between; no Prefect server."),
    "stack": ("infra.command.stack:app", "The local stack: real servers on this machine."),
    "setup": ("infra.command.setup:set_up", "Put into Prefect what the flows need."),
    "images": ("infra.command.images:app", "Build and push the container images."),
    "cluster": ("infra.command.cluster:app", "Triton on the cluster that KUBECONFIG names."),
    "events": ("infra.command.events:serve", "Run the event service that MLflow's webhook calls."),
    "settings": ("infra.command.settings:show_settings", "Show every variable SLIPWAY_…, as docs/settings.md does."),
}

app = App(
    name="slipway",
    help="Carries a model from training to a proven prediction on NVIDIA Triton, and back again when it must.",
    help_format="plaintext",
    version_flags=(),
    suppress_keyboard_interrupt=False,
)
for position, (name, (place, summary)) in enumerate(COMMANDS.items()):
    app.command(place, name=name, help=summary, sort_key=position)


def main() -> NoReturn:
    """Run the command that the program was called with, and end with its exit code."""
    signal.signal(signal.SIGTERM, _end_terminated)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; an error that is foreseen is shown in a line."""
    try:
        with keep_what_is_made():
            chosen = choose_form(arguments, os.environ)
            command, given, _ = app.parse_args(chosen, exit_on_error=False, print_error=False)
        outcome = command(*given.args, **given.kwargs)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except _list_foreseen() as error:
        from infra.command.errors import report

        return report(error)
    return outcome if isinstance(outcome, int) else ExitCode.DONE


def _list_foreseen() -> tuple[type[Exception], ...]:
    """Return the errors to show in a line; Python asks for them once there is an error, and only then."""
    from infra.command.errors import list_bad_input, list_failures

    return (*list_failures(), *list_bad_input())


def _end_terminated(*_: object) -> NoReturn:
    sys.exit(ExitCode.TERMINATED)
