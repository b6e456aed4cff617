"""The deploying flow where Git is the record: a version is committed to a branch, and proven on what follows it.

plan-commit -> fetch-model -> commit-to-git (commit, wait until every replica answers with it, or revert)
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.states import Completed
from pydantic import Field

from blocks.environment import RESULT_STORAGE, load_environment
from blocks.events import Happened, tell
from blocks.names import ModelName, Source
from flows.running.forms import with_form
from flows.running.hooks import tell_failure
from flows.running.termination import ending_when_told
from slipway.releases.git_pointer import GitRecord
from slipway.releases.git_release import GitRelease, take_back_commit_of
from slipway.releases.workspace import private_workspace, remove_leftovers
from tasks.deployment.fetch_model import fetch_model
from tasks.git.commit_to_git import commit_to_git
from tasks.git.plan_commit import plan_commit


def take_back_what_was_committed(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Revert what a cancelled or crashed run committed and did not prove."""
    remove_leftovers()
    record = GitRecord.model_validate(flow_run.parameters["record"])
    with record.open_pointer(flow_run.parameters["model_name"]) as pointer:
        take_back_commit_of(str(flow_run.id), pointer, f"its run ended as {state.name}")


@flow(
    name="deploy-by-git",
    flow_run_name="deploy {model_name} {source} by Git",
    result_storage=RESULT_STORAGE,
    result_serializer="json",
    persist_result=True,
    on_failure=[tell_failure],
    on_cancellation=[take_back_what_was_committed],
    on_crashed=[take_back_what_was_committed],
)
@with_form()
def deploy_by_git(
    model_name: ModelName,
    record: Annotated[GitRecord, Field(description="The file on a branch that says which version is served.")],
    source: Source = "alias:deploy",
    served_as: Annotated[
        str | None, Field(description="The model's name in Triton; what the file says where left out.")
    ] = None,
    timeout_s: Annotated[float, Field(gt=0, le=7200, description="Seconds until every replica answers with it.")] = 900,
    dry_run: Annotated[bool, Field(description="Say what would be committed, change nothing.")] = False,
) -> GitRelease | State[GitRelease]:
    """Commit the version of a model that is to be served, and prove that every replica serves it; else revert.

    Every byte of the file but the number stays, and so does what others push meanwhile. An outage commits nothing.
    """
    environment = load_environment()
    with private_workspace(), ending_when_told():
        plan = plan_commit(
            model_name=model_name,
            source=source,
            record=record,
            served_as=served_as,
            registry=environment.registry,
        )
        if dry_run:
            message = f"{plan.subject}: says version {plan.before}, {plan.version} would be committed"
            return Completed(name="DryRun", message=message)
        fetched = fetch_model(
            model_name=plan.registered.model_name,
            source=f"version:{plan.version}",
            registered=plan.registered,
            registry=environment.registry,
        )
        released = commit_to_git(
            plan=plan, fetched=fetched, record=record, timeout_s=timeout_s, environment=environment
        )
    tell(Happened.RELEASE_FINISHED, model_name, version=released.version, commit=released.commit)
    return released
