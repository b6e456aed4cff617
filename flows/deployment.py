"""The deployment flow: from a version in the MLflow registry to a proven prediction on every Triton replica.

fetch-model -> determine-version -> prepare-artifacts -> upload-to-s3 -> prove-candidate [-> approval]
    -> commit-version -> reload-triton -+-> update-aliases
                                        +-> verify-deployment -> finish-release
"""

from typing import Annotated, Any, Literal, cast

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import RESULT_STORAGE, Environment, load_environment
from blocks.errors import ReleaseTakenOver
from blocks.events import Happened, tell
from blocks.moments import Moment
from blocks.names import ModelName, Source
from flows.running.approval import ApprovalTimeout, ask_for_approval
from flows.running.defaults import load_defaults
from flows.running.forms import described
from flows.running.turns import turn_of
from slipway.releases.alias_update import mark_answered, outdated
from slipway.releases.aliases import AliasChange, update_aliases
from slipway.releases.artifacts import PreparedArtifacts, Shape, prepare_artifacts
from slipway.releases.candidate import prove_candidate
from slipway.releases.completion import finish_release
from slipway.releases.fetching import FetchedModel, fetch_model
from slipway.releases.journal import open_entry, require_open
from slipway.releases.lock import model_lock
from slipway.releases.plan import ReleasePlan
from slipway.releases.planning import ForcedVersion, KeepArchived, determine_version
from slipway.releases.receipt import Receipt, show_receipt
from slipway.releases.replicas import LoadedReplica, reload_triton
from slipway.releases.service_level import ServiceLevel
from slipway.releases.settlement import settle_release
from slipway.releases.verification import VerifiedReplica, verify_deployment
from slipway.releases.workspace import private_workspace, remove_leftovers
from tasks.deployment.commit_version import commit_version
from tasks.deployment.upload_to_s3 import upload_to_s3

DEFAULTS = load_defaults().deploy_model

ExpectedShape = Annotated[
    Shape | None,
    Field(description="Shape to expect, batch axis included, say [1, 3, 224, 224]; left out: the model's."),
]
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


class Release(BaseModel):
    """What a deployment did, and the proof of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: ReleasePlan
    aliases: AliasChange
    loaded: tuple[LoadedReplica, ...] = ()
    verified: tuple[VerifiedReplica, ...] = ()
    receipt: Receipt | None = None


class Options(BaseModel):
    """How a release is to be proven."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_shape: Shape | None = None
    output_shape: Shape | None = None
    tolerance: float = DEFAULTS.tolerance
    service_level: ServiceLevel | None = None
    approval_timeout_s: int | None = None
    leave_silent: bool = False


def settle_what_was_begun(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Undo, or finish, what a cancelled or crashed run began; Prefect asks for exactly these argument names."""
    remove_leftovers()
    model_name, environment = flow_run.parameters.get("model_name", DEFAULTS.model_name), load_environment()
    begun = open_entry(environment.repository, model_name)
    if begun is not None and begun.plan.flow_run_id == str(flow_run.id):
        with model_lock(model_name, environment.repository, owner=str(flow_run.id)) as fence:
            settle_release.fn(
                model_name, only_flow_run_id=begun.plan.flow_run_id, **fence.around(environment)._asdict()
            )


def tell_failure(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Emit that a release failed; Prefect asks for exactly these argument names."""
    tell(Happened.RELEASE_FAILED, flow_run.parameters.get("model_name", DEFAULTS.model_name), reason=state.message)


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
@described
def deploy_model(
    model_name: ModelName = DEFAULTS.model_name,
    source: Source = DEFAULTS.source,
    force_version: ForcedVersion = None,
    expected_input_shape: ExpectedShape = None,
    expected_output_shape: ExpectedShape = None,
    dry_run: Annotated[bool, Field(description="Work everything out and check it, change nothing.")] = False,
    service_level: Annotated[
        ServiceLevel | None, Field(description="Gate 3: limits the candidate has to keep on the serving replica.")
    ] = None,
    approval: Annotated[bool, Field(description="Suspend before traffic, until a person says yes.")] = False,
    approval_timeout_s: ApprovalTimeout = 86_400,
    silent_replicas: SilentReplicas = "refuse",
    keep_archived: KeepArchived = 5,
    alias_set_at: AliasSetAt = None,
) -> Release | State[Release]:
    """Release a registered ONNX model: served by every replica, proven on each, `live` and `previous` moved.

    Whatever goes wrong, the aliases and the served version are afterwards what they were before.
    """
    environment = load_environment()
    options = Options(
        input_shape=expected_input_shape,
        output_shape=expected_output_shape,
        service_level=service_level,
        approval_timeout_s=approval_timeout_s if approval else None,
        leave_silent=silent_replicas == "leave",
    )
    with private_workspace(), turn_of(model_name, environment.repository) as fence:
        environment = fence.around(environment)
        registered = environment.registry.resolve(model_name, source)
        reason = outdated(registered, alias_set_at) if alias_set_at else None
        if not (dry_run or reason):
            mark_answered(
                registered, alias_set_at, environment.registry
            )  # before anything can fail: nobody tries it again
            settle_what_another_run_left(model_name, environment)
            # a rollback that was only to be finished has now been recorded
            reason = outdated(environment.registry.resolve(model_name, source), alias_set_at) if alias_set_at else None
        if reason:
            return Completed(name="Superseded", message=reason)
        fetched = fetch_model(model_name, source, registry=environment.registry)
        plan = determine_version(
            fetched, force_version, keep_archived, options.leave_silent, fence.epoch, **environment._asdict()
        )
        artifacts = prepare_artifacts(fetched, plan, expected_input_shape, expected_output_shape)
        if plan.already_live or dry_run:
            return _nothing_to_change(
                plan,
                update_aliases(
                    model_name,
                    plan.registry_version,
                    True,
                    plan.aliases_after,
                    registry=environment.registry,
                    repository=environment.repository,
                ),
            )
        return release(fetched, plan, artifacts, options, environment)


def release(
    fetched: FetchedModel, plan: ReleasePlan, artifacts: PreparedArtifacts, options: Options, environment: Environment
) -> Release:
    """Carry out a plan: proven as a candidate, committed, proven on every replica; undone when anything fails."""
    try:
        return _release(fetched, plan, artifacts, options, environment)
    except ReleaseTakenOver:
        raise
    except Exception:
        settle_release(plan.model_name, only_flow_run_id=plan.flow_run_id, **environment._asdict())
        raise


def settle_what_another_run_left(model_name: str, environment: Environment) -> None:
    """Undo, or finish, a model's open release, unless it is this run's own and still to be proven."""
    left = open_entry(environment.repository, model_name)
    if left is not None and (left.receipt is not None or left.plan.flow_run_id != runtime.flow_run.id):
        settle_release(model_name, **environment._asdict())


def _release(
    fetched: FetchedModel, plan: ReleasePlan, artifacts: PreparedArtifacts, options: Options, environment: Environment
) -> Release:
    registry, repository, fleet = environment
    shapes, leave = (options.input_shape, options.output_shape), options.leave_silent
    uploaded = upload_to_s3(fetched, plan, artifacts, registry=registry, repository=repository)
    candidate = prove_candidate(
        fetched, plan, artifacts, *shapes, options.tolerance, options.service_level, leave, **environment._asdict()
    )
    approval = ask_for_approval(plan, candidate, options.approval_timeout_s, repository)
    committed = commit_version(plan, artifacts, repository=repository, wait_for=[uploaded])
    loaded = reload_triton(
        plan.model_name,
        plan.serves,
        options.tolerance,
        leave,
        repository=repository,
        fleet=fleet,
        wait_for=[committed],
    )
    require_open(repository, plan)
    after: Any = {"wait_for": [loaded]}
    moving = update_aliases.submit(
        plan.model_name,
        plan.registry_version,
        after=plan.aliases_after,
        registry=registry,
        repository=repository,
        **after,
    )
    verifying = verify_deployment.submit(
        fetched, plan.version, *shapes, options.tolerance, leave_silent=leave, **environment._asdict(), **after
    )
    wait([moving, verifying])
    verified, aliases = verifying.result(), moving.result()
    left = tuple(address for address in fleet.addresses() if address not in {replica.address for replica in verified})
    if left:
        get_run_logger().warning("left to reconcile-models, since they do not answer: %s", ", ".join(left))
    receipt = finish_release(
        plan, fetched, candidate, loaded, verified, approval, left, registry=registry, repository=repository
    )
    show_receipt(receipt)
    return Release(plan=plan, aliases=aliases, loaded=loaded, verified=verified, receipt=receipt)


def _nothing_to_change(plan: ReleasePlan, aliases: AliasChange) -> State[Release]:
    if plan.already_live:
        name, message = "AlreadyLive", f"version {plan.registry_version} is live on every replica as {plan.version}"
    else:
        name, message = "DryRun", f"would serve {list(plan.serves)}, aliases {aliases.before} -> {aliases.after}"
    return Completed(
        name=name, message=f"model '{plan.model_name}': {message}", data=Release(plan=plan, aliases=aliases)
    )
