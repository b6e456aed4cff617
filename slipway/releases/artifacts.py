"""What a release writes beside the model's own files: metadata.json, the audit trail of a version, and config.pbtxt."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from blocks.labels import VALIDATION_PREFIX
from blocks.run import get_flow_run_name
from slipway.releases.fetched import FetchedModel
from slipway.releases.metadata import MlflowSection, ModelSection, TritonSection, VersionMetadata
from slipway.releases.plan import ReleasePlan
from slipway.releases.serving_config import generate_config, update_config


class PreparedArtifacts(BaseModel):
    """What a release writes beside the model's own files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metadata: str = Field(description="Content of metadata.json.")
    config: str = Field(description="Content of config.pbtxt.")


def prepare(fetched: FetchedModel, plan: ReleasePlan) -> PreparedArtifacts:
    """Return the metadata and the configuration of a version.

    Raises `InvalidInput` where the model takes or gives something else than the version it follows.
    """
    if plan.config_before is None:
        config = generate_config(plan.model_name, fetched.contents, plan.serves)
    else:
        config = update_config(plan.config_before, plan.model_name, fetched.contents, plan.serves)
    metadata = _make_metadata(fetched, plan).model_dump_json(indent=2, exclude_unset=True)
    return PreparedArtifacts(metadata=f"{metadata}\n", config=config)


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
