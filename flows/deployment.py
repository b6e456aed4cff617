"""The deployment flow: from a version in the MLflow registry to a proven prediction on every Triton replica.

fetch-model -> determine-version -> prepare-artifacts -> upload-to-s3 -> reload-triton -+-> update-aliases
                                                                                        +-> verify-deployment
"""

from typing import Annotated, Any, cast

from prefect import flow, runtime
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict, Field

from blocks.names import ModelName, Source
from blocks.wiring import RESULT_STORAGE, Blocks, load_blocks
from flows.defaults import load_defaults
from flows.forms import described
from flows.one_at_a_time import one_release_at_a_time
from tasks.deployment.determine_version import ForcedVersion, determine_version
from tasks.deployment.fetch_model import FetchedModel, fetch_model
from tasks.deployment.finish_release import finish_release
from tasks.deployment.plan import ReleasePlan, unfinished_release
from tasks.deployment.prepare_artifacts import PreparedArtifacts, Shape, prepare_artifacts
from tasks.deployment.receipt import write_receipt
from tasks.deployment.reload_triton import LoadedReplica, reload_triton
from tasks.deployment.undo_release import undo_release
from tasks.deployment.update_aliases import AliasChange, update_aliases
from tasks.deployment.upload_to_s3 import upload_to_s3
from tasks.deployment.verify_deployment import VerifiedReplica, verify_deployment

DEFAULTS = load_defaults().deploy_model

ExpectedShape = Annotated[
    Shape | None,
    Field(description="Shape to expect, batch axis included, say [1, 3, 224, 224]; left out: the model's."),
]


class Release(BaseModel):
    """What a deployment did, and the proof of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: ReleasePlan
    aliases: AliasChange
    loaded: tuple[LoadedReplica, ...] = ()
    verified: tuple[VerifiedReplica, ...] = ()


def undo_what_was_begun(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Undo what a cancelled or crashed run began; Prefect asks for exactly these argument names."""
    model_name, blocks = flow_run.parameters.get("model_name", DEFAULTS.model_name), load_blocks()
    begun = unfinished_release(blocks.repository, model_name)
    if begun is not None and begun.flow_run_id == str(flow_run.id):
        with one_release_at_a_time(model_name):
            undo_release.fn(model_name, only_flow_run_id=begun.flow_run_id, **blocks._asdict())


@flow(
    name="deploy-model",
    flow_run_name="deploy {model_name} {source}",
    task_runner=cast(TaskRunner[PrefectFuture[Any]], ThreadPoolTaskRunner(max_workers=2)),
    result_storage=RESULT_STORAGE,
    result_serializer="json",
    persist_result=True,
    on_cancellation=[undo_what_was_begun],
    on_crashed=[undo_what_was_begun],
)
@described
def deploy_model(
    model_name: ModelName = DEFAULTS.model_name,
    source: Source = DEFAULTS.source,
    force_version: ForcedVersion = None,
    expected_input_shape: ExpectedShape = None,
    expected_output_shape: ExpectedShape = None,
    dry_run: Annotated[bool, Field(description="Work everything out and check it, change nothing.")] = False,
) -> Release | State[Release]:
    """Release a registered ONNX model: served by every replica, proven on each, `live` and `previous` moved.

    Whatever goes wrong, the aliases and the served version are afterwards what they were before.
    """
    blocks = load_blocks()
    with one_release_at_a_time(model_name):
        if not dry_run:
            _undo_what_another_run_left(model_name, blocks)
        fetched = fetch_model(model_name, source, registry=blocks.registry)
        plan = determine_version(fetched, force_version, **blocks._asdict())
        artifacts = prepare_artifacts(fetched, plan, expected_input_shape, expected_output_shape)
        if plan.already_live or dry_run:
            return _nothing_to_change(
                plan, update_aliases(model_name, plan.registry_version, True, registry=blocks.registry)
            )
        try:
            return _release(fetched, plan, artifacts, expected_input_shape, expected_output_shape, blocks)
        except Exception:
            undo_release(model_name, only_flow_run_id=plan.flow_run_id, **blocks._asdict())
            raise


def _undo_what_another_run_left(model_name: str, blocks: Blocks) -> None:
    left = unfinished_release(blocks.repository, model_name)
    if left is not None and left.flow_run_id != runtime.flow_run.id:
        undo_release(model_name, **blocks._asdict())


def _release(
    fetched: FetchedModel,
    plan: ReleasePlan,
    artifacts: PreparedArtifacts,
    input_shape: Shape | None,
    output_shape: Shape | None,
    blocks: Blocks,
) -> Release:
    registry, repository, fleet = blocks
    uploaded = upload_to_s3(fetched, plan, artifacts, registry=registry, repository=repository)
    loaded = reload_triton(plan.model_name, plan.serves, fleet=fleet, wait_for=[uploaded])
    after: Any = {"wait_for": [loaded]}
    moving = update_aliases.submit(plan.model_name, plan.registry_version, registry=registry, **after)
    verifying = verify_deployment.submit(
        fetched, plan.version, input_shape, output_shape, DEFAULTS.tolerance, registry=registry, fleet=fleet, **after
    )
    wait([moving, verifying])
    verified, aliases = verifying.result(), moving.result()
    finish_release(fetched, plan, registry=registry, repository=repository, wait_for=[verified, aliases])
    write_receipt(fetched, plan, loaded, aliases, verified)
    return Release(plan=plan, aliases=aliases, loaded=loaded, verified=verified)


def _nothing_to_change(plan: ReleasePlan, aliases: AliasChange) -> State[Release]:
    if plan.already_live:
        name, message = "AlreadyLive", f"version {plan.registry_version} is live on every replica as {plan.version}"
    else:
        name, message = "DryRun", f"would serve {list(plan.serves)}, aliases {aliases.before} -> {aliases.after}"
    return Completed(
        name=name, message=f"model '{plan.model_name}': {message}", data=Release(plan=plan, aliases=aliases)
    )
