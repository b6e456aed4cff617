"""A stored version's metadata.json: where it came from, in the four sections of the reference systems.

Whoever wrote a file, and whatever is wrong with a value in it, the other values are read; only a file that holds no
object is refused.
"""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from blocks.errors import IntegrityError, bounded
from blocks.labels import METADATA_FILE
from blocks.repository import ModelRepository


def _read_number(value: object) -> int | None:
    """Return a version number, which the reference systems write as text; None for whatever else stands there."""
    return int(text) if (text := str(value)).isdecimal() and text.isascii() else None


def _pass_over(value: object, read: ValidatorFunctionWrapHandler) -> Any:
    """Take a value that cannot be used for none."""
    try:
        return read(value)
    except ValidationError:
        return None


Number = Annotated[int | None, BeforeValidator(_read_number), PlainSerializer(lambda number: str(number))]
Text = Annotated[str | None, WrapValidator(_pass_over)]
Texts = Annotated[dict[str, str] | None, WrapValidator(_pass_over)]
Figures = Annotated[dict[str, float] | None, WrapValidator(_pass_over)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class MlflowSection(_Section):
    """The registered version it was released from."""

    model_name: Text = None
    version: Number = None
    run_id: Text = None
    run_name: Text = None
    alias_at_deploy: Text = None
    params: Texts = None
    metrics: Figures = None
    tags: Texts = None


class TritonSection(_Section):
    """The version in Triton's repository, and who put it there."""

    version: Number = None
    deployed_at: Text = None
    deployed_by: Text = None
    flow_run_id: Text = None


class ModelSection(_Section):
    """The files: their format, their size and the SHA-256 of each."""

    format: Text = None
    file_size_mb: Annotated[float | None, WrapValidator(_pass_over)] = None
    sha256: Texts = None


class VersionMetadata(BaseModel):
    """A whole metadata.json; what is unknown in it is kept."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    mlflow: Annotated[MlflowSection | None, WrapValidator(_pass_over)] = None
    triton: Annotated[TritonSection | None, WrapValidator(_pass_over)] = None
    model: Annotated[ModelSection | None, WrapValidator(_pass_over)] = None
    validation: Figures = None

    @property
    def registry_version(self) -> int | None:
        """The MLflow version it was released from, None where that is not said."""
        return self.mlflow.version if self.mlflow else None

    @property
    def run_id(self) -> str | None:
        """The MLflow run it was registered from, None where that is not said."""
        return self.mlflow.run_id if self.mlflow else None

    @property
    def digests(self) -> dict[str, str] | None:
        """The SHA-256 of each of its files, None where that is not said."""
        return self.model.sha256 if self.model else None


def read_metadata(model_name: str, version: int, repository: ModelRepository) -> VersionMetadata:
    """Return what a version's metadata.json says, nothing where there is no such file.

    Of an adopted version it is in its record, beside which what its folder says, without checksums, does not count.
    Raises `IntegrityError` where it is no JSON object.
    """
    content = repository.read_metadata(model_name, version)
    found = _parse(content) if content is not None else VersionMetadata()
    if isinstance(found, VersionMetadata) and found.digests is not None:
        return found
    recorded = repository.read_record(model_name, version, METADATA_FILE)
    found = _parse(recorded) if recorded is not None else found
    if isinstance(found, VersionMetadata):
        return found
    raise IntegrityError(
        f"model '{model_name}' version {version} in {repository.store.address}: its {METADATA_FILE} cannot be read "
        f"({bounded(found.errors()[0]['msg'])}), expected the sections mlflow, triton and model; restore it, or "
        "release the version again"
    ) from found


def _parse(content: str | bytes) -> VersionMetadata | ValidationError:
    try:
        return VersionMetadata.model_validate_json(content)
    except ValidationError as error:
        return error
