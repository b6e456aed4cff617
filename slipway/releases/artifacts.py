"""What a release writes beside the model's own files: metadata.json, the audit trail of a version, and config.pbtxt."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import InvalidInput, bounded
from blocks.labels import BATCH_SIZE_TAG, VALIDATION_PREFIX
from blocks.run import get_flow_run_name
from slipway.releases.fetched import FetchedModel
from slipway.releases.metadata import MlflowSection, ModelSection, TritonSection, VersionMetadata
from slipway.releases.plan import ReleasePlan
from slipway.releases.serving_config import generate_config, replace_config, takes_batches, update_config
from slipway.releases.serving_settings import MOST_ROWS
from slipway.releases.tuned_config import apply_settings, asks_for_batches


class PreparedArtifacts(BaseModel):
    """What a release writes beside the model's own files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metadata: str = Field(description="Content of metadata.json.")
    config: str = Field(description="Content of config.pbtxt.")
    without_batching: str | None = Field(
        default=None, description="The same for a model whose joined requests do not get their own answers."
    )


def prepare(fetched: FetchedModel, plan: ReleasePlan) -> PreparedArtifacts:
    """Return the metadata and the configuration of a version.

    Raises `InvalidInput` where the model takes or gives something else than the version it follows.
    """
    contents, name, serves = fetched.contents, plan.model_name, plan.serves
    plan.settings.check(fetched.subject)
    without_batching = None
    if plan.config_before is None:
        max_batch_size = _choose_batch_size(fetched, plan)
        config = generate_config(name, contents, serves, max_batch_size)
        is_open = max_batch_size is None and contents.config is None and not asks_for_batches(plan.settings)
        if is_open and takes_batches(config):
            without_batching = _tune(generate_config(name, contents, serves, 0), fetched, plan)
    elif contents.config is not None and (contents.depends_on or contents.config != plan.author_config_before):
        config = replace_config(plan.config_before, name, contents, serves)
    else:
        config = update_config(plan.config_before, name, contents, serves)
    metadata = _make_metadata(fetched, plan).model_dump_json(indent=2, exclude_unset=True)
    tuned = _tune(config, fetched, plan)
    return PreparedArtifacts(metadata=f"{metadata}\n", config=tuned, without_batching=without_batching)


def _tune(config: str, fetched: FetchedModel, plan: ReleasePlan) -> str:
    return apply_settings(config, plan.settings, plan.settings_before, fetched.contents.config, fetched.subject)


def _choose_batch_size(fetched: FetchedModel, plan: ReleasePlan) -> int | None:
    """Return how many rows Triton is to join by the model's settings, else by the version's tag."""
    said = plan.settings.max_batch_size
    if said is None:
        return _read_batch_size(fetched)
    if said > 0 and fetched.contents.config is None and not fetched.signature.may_batch:
        raise InvalidInput(
            f"{fetched.subject}: settings say max_batch_size {said}, and its tensors have no dynamic first axis in "
            "common; export it with a dynamic batch axis, or unset max_batch_size"
        )
    return said


def _read_batch_size(fetched: FetchedModel) -> int | None:
    """Return how many rows the version's author has Triton join, None where that is left to the proof."""
    tagged = fetched.registered.tags.get(BATCH_SIZE_TAG)
    if tagged is None:
        return None
    if not (tagged.isascii() and tagged.isdecimal() and int(tagged) <= MOST_ROWS):
        raise InvalidInput(
            f"{fetched.subject}: tag {BATCH_SIZE_TAG} is {bounded(repr(tagged), 100)}, expected a number from 0 to "
            f"{MOST_ROWS}; set it again"
        )
    if int(tagged) > 0 and not fetched.signature.may_batch:
        raise InvalidInput(
            f"{fetched.subject}: tag {BATCH_SIZE_TAG} is {tagged}, and its tensors have no dynamic first axis in "
            "common; export it with a dynamic batch axis, or set the tag to 0"
        )
    return int(tagged)


def _make_metadata(fetched: FetchedModel, plan: ReleasePlan) -> VersionMetadata:
    registered = fetched.registered
    return VersionMetadata(
        mlflow=MlflowSection(
            model_name=registered.model_name,
            version=registered.version,
            run_id=registered.run_id,
            run_name=registered.run_name,
            alias_at_deploy=fetched.source,
            params=registered.params,
            metrics=registered.metrics,
            tags=registered.tags,
        ),
        triton=TritonSection(
            version=plan.version,
            deployed_at=datetime.now(UTC).isoformat(),
            deployed_by=get_flow_run_name(),
            flow_run_id=plan.flow_run_id,
        ),
        model=ModelSection(
            file_size_mb=round(fetched.size_bytes / 1024**2, 2),
            sha256={file.name: file.sha256 for file in fetched.files},
            inputs=[spec.model_dump(mode="json") for spec in fetched.signature.inputs],
            outputs=[spec.model_dump(mode="json") for spec in fetched.signature.outputs],
            **fetched.contents.facts,
        ),
        validation={name: value for name, value in registered.metrics.items() if name.startswith(VALIDATION_PREFIX)},
    )
