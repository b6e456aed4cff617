"""A release where Git is the record, as a script: the version is committed, waited for, proven, or reverted."""

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number as Limits

from infra.command.screen import console
from infra.command.scripts.options import ModelName, Source, TrackingUri, TritonUrl
from infra.command.scripts.places import find_fleet, find_registry
from slipway.releases.fetching import fetch
from slipway.releases.git_planning import GitPlan, carry_out, plan_commit
from slipway.releases.git_pointer import GitRecord
from slipway.releases.git_release import GitRelease, Patience

Switch = Literal["true", "false", "True", "False"]


def update_triton_config(
    *,
    model_name: ModelName,
    repo_url: Annotated[str, Parameter(help="The repository; credentials are the credential helper's, or GIT_TOKEN.")],
    branch: Annotated[str, Parameter(help="The branch that Argo CD or git-sync follows.")] = "main",
    values_path: Annotated[
        str, Parameter(help="The values file, or a config.pbtxt, that says the version; from the repository's root.")
    ],
    configure_git: Annotated[
        Switch, Parameter(help="Commit as GIT_USERNAME and GIT_EMAIL, or slipway; false: as git is configured.")
    ] = "true",
    is_registered: Annotated[Switch, Parameter(help="False: no version was registered, nothing is done.")] = "true",
    source: Source | None = None,
    served_as: Annotated[
        str | None, Parameter(help="The model's name in Triton; the server's or the folder's where left out.")
    ] = None,
    timeout: Annotated[float, Parameter(validator=Limits(gt=0), help="Seconds until every replica answers.")] = 900.0,
    triton_url: TritonUrl = None,
    mlflow_tracking_uri: TrackingUri = None,
    dry_run: Annotated[bool, Parameter(negative=(), help="Say what would be committed; change nothing.")] = False,
) -> None:
    """Commit the version of a model that is to be served, and prove that every replica serves it; else revert.

    Every byte but the number stays. What others push meanwhile stays. An outage commits nothing.
    """
    if is_registered.lower() == "false":
        console.print(f"{model_name}: no version was registered, nothing is done")
        return
    fleet, registry = find_fleet(triton_url), find_registry(mlflow_tracking_uri)
    record = GitRecord(url=repo_url, branch=branch, path=values_path, configure_author=configure_git.lower() == "true")
    with record.open_pointer(model_name) as pointer:
        plan = plan_commit(pointer, registry, source=source, served_as=served_as)
        if dry_run:
            console.print(
                f"{model_name}: says version {plan.before}, {plan.version} would be committed to {record.path}"
            )
            return
        fetched = fetch(plan.registered, f"version:{plan.version}", registry)
        _report(plan, carry_out(plan, fetched, pointer, fleet, registry, patience=Patience(timeout)))


def _report(plan: GitPlan, outcome: GitRelease) -> None:
    done = f"commit {outcome.commit}" if outcome.commit else "was committed already"
    differences = max(replica.comparison.max_difference for replica in outcome.replicas)
    console.print(
        f"{plan.model_name}: version {plan.version} ({done}) answers on {len(outcome.replicas)} replicas, largest "
        f"difference {differences:.1e}"
    )
    if not outcome.told_apart and plan.before != plan.version:
        console.print(f"  version {plan.before} is not known to answer otherwise: answers do not tell which it is")
