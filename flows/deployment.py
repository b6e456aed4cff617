"""The deployment flow: from a version in the MLflow registry to a proven prediction on every Triton replica.

answer-update -> fetch-model -> determine-version -> prepare-artifacts -> upload-to-s3 -> prove-candidate [-> approval]
    -> commit-version -> reload-triton -+-> update-aliases    -+-> finish-release
                                        +-> verify-deployment -+
"""

from typing import Annotated, Any, Literal, cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import RESULT_STORAGE, Environment
from blocks.labels import DEPLOY
from blocks.moments import Moment
from blocks.names import ModelName, Source
from flows.running.approval import ApprovalTimeout, ask_for_approval
from flows.running.defaults import load_defaults
from flows.running.forms import with_form
from flows.running.hooks import settle_what_was_begun, tell_failure
from flows.running.turns import journaled, turn_of
from slipway.releases.aliases import AliasChange
from slipway.releases.plan import AlsoServe, ForcedVersion, KeepArchived, KeepServed, ReleasePlan
from slipway.releases.receipt import Receipt
from slipway.releases.release import ExpectedShape, ExpectedTolerance, InputShapes, Release, Terms
from slipway.releases.replicas import LoadedReplica
from slipway.releases.service_level import ServiceLevel
from slipway.releases.verification import VerifiedReplica
from tasks.deployment.answer_update import answer_update
from tasks.deployment.commit_version import commit_version
from tasks.deployment.determine_version import determine_version
from tasks.deployment.fetch_model import fetch_model
from tasks.deployment.finish_release import finish_release
from tasks.deployment.prepare_artifacts import prepare_artifacts
from tasks.deployment.prove_candidate import prove_candidate
from tasks.deployment.reload_triton import reload_triton
from tasks.deployment.update_aliases import update_aliases
from tasks.deployment.upload_to_s3 import upload_to_s3
from tasks.deployment.verify_deployment import verify_deployment

DEFAULTS = load_defaults().deploy_model

SilentReplicas = Annotated[
    Literal["refuse", "leave"],
    Field(description="With a replica that does not answer: refuse the release, or leave it to reconcile-models."),
]
AliasSetAt = Annotated[
    Moment | None,
    Field(
        description="When the alias 'deploy' was set on the version, where that is what the run answers: nothing is "
        "changed if it was answered, moved on or rolled back since."
    ),
]


class Deployment(BaseModel):
    """What a deployment did, and the proof of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: ReleasePlan
    aliases: AliasChange
    loaded: tuple[LoadedReplica, ...] = ()
    verified: tuple[VerifiedReplica, ...] = ()
    receipt: Receipt | None = None


@flow(
    name="deploy-model",
    flow_run_name="deploy {model_name} {source}",
    task_runner=cast(TaskRunner[PrefectFuture[Any]], ThreadPoolTaskRunner(max_workers=2)),
    result_storage=RESULT_STORAGE,
    result_serializer="json",
    persist_result=True,
    on_failure=[tell_failure],
    on_cancellation=[settle_what_was_begun],
    on_crashed=[settle_what_was_begun],
)
@with_form()
def deploy_model(
    model_name: ModelName = DEFAULTS.model_name,
    source: Source = DEFAULTS.source,
    force_version: ForcedVersion = None,
    expected_input_shape: ExpectedShape = None,
    expected_output_shape: ExpectedShape = None,
    input_shapes: InputShapes = {},  # noqa: B006, Prefect copies it
    tolerance: ExpectedTolerance = DEFAULTS.tolerance,
    dry_run: Annotated[bool, Field(description="Work everything out and check it, change nothing.")] = False,
    service_level: Annotated[
        ServiceLevel | None, Field(description="Gate 3: limits the candidate has to keep on the serving replica.")
    ] = None,
    approval: Annotated[bool, Field(description="Suspend before traffic, until a person says yes.")] = False,
    approval_timeout_s: ApprovalTimeout = 86_400,
    silent_replicas: SilentReplicas = "refuse",
    keep_archived: KeepArchived = 5,
    alias_set_at: AliasSetAt = None,
    keep_served: KeepServed = 2,
    also_serve: AlsoServe = (),
) -> Deployment | State[Deployment]:
    """Release a registered model: served by every replica, proven on each, `live` and `previous` moved.

    Whatever goes wrong, the aliases and the served version are afterwards what they were before.
    """
    terms = Terms(
        expected_input_shape=expected_input_shape,
        expected_output_shape=expected_output_shape,
        input_shapes=input_shapes,
        tolerance=tolerance,
        service_level=service_level,
        leave_silent=silent_replicas == "leave",
    )
    with turn_of(model_name) as environment:
        update = answer_update(
            model_name=model_name, source=source, alias_set_at=alias_set_at, dry_run=dry_run, environment=environment
        )
        if update.superseded:
            return Completed(name="Superseded", message=update.superseded)
        fetched = fetch_model(
            model_name=model_name,
            source=f"alias:{DEPLOY}" if alias_set_at else source,  # what caused it, whichever version that is
            registered=update.registered,
            registry=environment.registry,
        )
        plan = determine_version(
            fetched=fetched,
            force_version=force_version,
            keep_archived=keep_archived,
            leave_silent=terms.leave_silent,
            keep_served=keep_served,
            also_serve=also_serve,
            environment=environment,
        )
        artifacts = prepare_artifacts(fetched=fetched, plan=plan, terms=terms)
        if plan.already_live or dry_run:
            aliases = update_aliases(
                model_name=model_name,
                registry_version=plan.registry_version,
                plan=plan,
                dry_run=True,
                environment=environment,
            )
            return _say_that_nothing_changes(plan, aliases)
        release = Release(fetched=fetched, plan=plan, artifacts=artifacts)
        return carry_out(release, terms, environment, approval_timeout_s=approval_timeout_s if approval else None)


def carry_out(
    release: Release, terms: Terms, environment: Environment, *, approval_timeout_s: int | None = None
) -> Deployment:
    """Carry out a release: proven as a candidate, committed, proven on every replica; undone when anything fails."""
    fetched, plan = release.fetched, release.plan
    with journaled(plan, environment):
        upload_to_s3(release=release, environment=environment)
        candidate = prove_candidate(release=release, terms=terms, environment=environment)
        approval = ask_for_approval(plan, candidate, approval_timeout_s, environment)
        commit_version(plan=plan, environment=environment)
        loaded = reload_triton(model_name=plan.model_name, serves=plan.serves, terms=terms, environment=environment)
        moving: Any = update_aliases.submit(
            model_name=plan.model_name, registry_version=plan.registry_version, plan=plan, environment=environment
        )
        verifying: Any = verify_deployment.submit(
            fetched=fetched, version=plan.version, terms=terms, environment=environment
        )
        wait([moving, verifying])
        aliases, verified = moving.result(), verifying.result()
        receipt = finish_release(
            plan=plan,
            fetched=fetched,
            candidate=candidate,
            loaded=loaded,
            verified=verified,
            approval=approval,
            environment=environment,
        )
    return Deployment(plan=plan, aliases=aliases, loaded=loaded, verified=verified, receipt=receipt)


def _say_that_nothing_changes(plan: ReleasePlan, aliases: AliasChange) -> State[Deployment]:
    if plan.already_live:
        name, message = "AlreadyLive", f"version {plan.registry_version} is live on every replica as {plan.version}"
    else:
        name, message = "DryRun", f"would serve {list(plan.serves)}, aliases {aliases.before} -> {aliases.after}"
    data = Deployment(plan=plan, aliases=aliases)
    return Completed(name=name, message=f"model '{plan.model_name}': {message}", data=data)
