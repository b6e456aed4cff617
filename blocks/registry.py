"""The MLflow model registry: which version is which, where its files are, and who carries which alias.

MLflow, and pandas with it, takes seconds to import: that is left to the first question that a registry is asked.
"""

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.blocks.core import Block
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from blocks.errors import NotRegistered
from blocks.fence import Fenced
from blocks.imports import keep_what_is_made
from blocks.originals import find_bucket_uri
from blocks.registry_errors import explain_silence, is_absent
from blocks.registry_limits import allow_transfers, limit_requests

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

    from blocks.model_client import ModelClient

_PAGE = 200
_PUBLISHED = "published-models"  # the experiment that holds what was not trained here


class RegisteredVersion(BaseModel):
    """One version of a registered model, with what its run recorded."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    version: int
    source_uri: str = Field(description="Where the version's files are, as MLflow names it (models:/m-…).")
    run_id: str | None = None
    run_name: str | None = None
    created_at: datetime
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    metrics: dict[str, float] = {}
    params: dict[str, str] = {}

    @property
    def uri(self) -> str:
        """The URI of exactly this version, never of an alias."""
        return f"models:/{self.model_name}/{self.version}"


class RegisteredModel(BaseModel):
    """A registered model, apart from its versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    aliases: dict[str, int] = {}
    tags: dict[str, str] = {}


class ModelRegistry(Fenced, Block):
    """A typed client of the MLflow tracking server and its model registry.

    Every call is bounded by `request_timeout_s`, or `transfer_timeout_s` a file, and `max_retries`. A server that
    cannot be reached raises `ServiceUnavailable`, which is never confused with a model or alias that does not exist.
    """

    _block_type_name = "MLflow Model Registry"
    _block_type_slug = "mlflow-model-registry"
    _documentation_url = HttpUrl("https://mlflow.org/docs/latest/ml/model-registry/")

    tracking_uri: str = Field(description="Address of the MLflow server, say http://mlflow.ai-platform:80.")
    username: str | None = Field(default=None, description="User, where the server asks for basic authentication.")
    password: SecretStr | None = Field(default=None, description="Password of that user.")
    token: SecretStr | None = Field(default=None, description="Bearer token, where the server asks for one instead.")
    request_timeout_s: int = Field(default=20, ge=1, description="Seconds one HTTP request may take.")
    transfer_timeout_s: int = Field(
        default=600,
        ge=1,
        description="Seconds the server may take to move one file to its store, or from there: it answers afterwards.",
    )
    max_retries: int = Field(
        default=2, ge=0, description="Repetitions of a request that failed in transit or with 5xx."
    )
    artifacts_destination: str | None = Field(
        default=None,
        description="The server's --artifacts-destination, say s3://mlflow, where it hands artifacts on itself: large "
        "files are copied from there, if the model repository is in the same store and its credentials may read them.",
    )
    presigned_downloads: bool = Field(
        default=True,
        description="Download straight from S3 by presigned URLs; switch off where clients reach only MLflow.",
    )

    def connect(self) -> "MlflowClient":
        """Return a client, with MLflow's own functions, which know only one server, pointed at this one as well."""
        with keep_what_is_made():
            import mlflow
            from mlflow.tracking import MlflowClient

        mlflow.set_tracking_uri(self.tracking_uri)
        mlflow.set_registry_uri(self.tracking_uri)
        self._prepare()
        return MlflowClient(self.tracking_uri, self.tracking_uri)

    def _make_client(self) -> "ModelClient":
        """Return a client of this server alone, whatever else the process speaks to meanwhile."""
        self._prepare()
        with keep_what_is_made():
            from blocks.model_client import ModelClient

        return ModelClient(self.tracking_uri, self.tracking_uri)

    def _prepare(self) -> None:
        """Set what MLflow asks the environment for.

        It reads its limits from the environment with each request, those of the registry asked last then; whom a
        request is made for is decided by its address.
        """
        from blocks.registry_access import identify_at

        limit_requests(self.request_timeout_s)
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(self.max_retries)
        os.environ["MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"] = "1"
        os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] = str(self.presigned_downloads).lower()
        os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
        identify_at(self.tracking_uri, self._make_authorization())

    def _make_authorization(self) -> str | None:
        if self.token is not None:
            return f"Bearer {self.token.get_secret_value()}"
        if self.username and self.password:
            pair = f"{self.username}:{self.password.get_secret_value()}".encode()
            return f"Basic {base64.b64encode(pair).decode()}"
        return None

    @contextmanager
    def reaching(self, subject: str) -> Iterator[None]:
        """Translate what MLflow raises while `subject` is asked for."""
        with self._explaining(subject, self.request_timeout_s):
            yield

    @contextmanager
    def transferring(self, subject: str) -> Iterator[None]:
        """Translate what MLflow raises while files are moved to or from its server, which takes longer than to ask."""
        limits = allow_transfers(self.transfer_timeout_s, self.request_timeout_s)
        with self._explaining(subject, self.transfer_timeout_s), limits:
            yield

    @contextmanager
    def _explaining(self, subject: str, timeout_s: int) -> Iterator[None]:
        with keep_what_is_made():
            from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            patience = f"{self.max_retries} retries of {timeout_s} s"
            raise explain_silence(error, self.tracking_uri, subject, patience) from error

    def get_version(self, model_name: str, version: int) -> RegisteredVersion:
        """Return version `version` of a model; `NotRegistered` where there is none."""
        with self.reaching(f"model '{model_name}' version {version}"):
            return self._describe(self._make_client().get_model_version(model_name, str(version)))

    def require_version(self, model_name: str, version: int) -> None:
        """Raise `NotRegistered` where a model has no such version; what its run recorded is not asked for."""
        with self.reaching(f"model '{model_name}' version {version}"):
            self._make_client().get_model_version(model_name, str(version))

    def find_at_alias(self, model_name: str, alias: str) -> RegisteredVersion | None:
        """Return the version an alias points to, None where the registry knows no such model or alias."""
        try:
            with self.reaching(f"model '{model_name}' alias '{alias}'"):
                return self._describe(self._make_client().get_model_version_by_alias(model_name, alias))
        except NotRegistered:
            return None

    def resolve(self, model_name: str, source: str) -> RegisteredVersion:
        """Resolve `alias:NAME` or `version:N`, once, to a version; `NotRegistered` where there is none."""
        kind, _, value = source.partition(":")
        if kind == "version":
            return self.get_version(model_name, int(value))
        with self.reaching(f"model '{model_name}' alias '{value}'"):
            return self._describe(self._make_client().get_model_version_by_alias(model_name, value))

    def get_aliases(self, model_name: str) -> dict[str, int]:
        """Return every alias of a model with its version."""
        return self.get_model(model_name).aliases

    def get_model(self, model_name: str) -> RegisteredModel:
        """Return a model's aliases and tags; `NotRegistered` where there is no such model."""
        with self.reaching(f"model '{model_name}'"):
            return _describe_model(self._make_client().read_model(model_name))

    def list_models(self) -> Iterator[RegisteredModel]:
        """Yield every registered model, a page at a time."""
        yield from map(_describe_model, self._read_pages("all models", self._make_client().search_registered_models))

    def list_versions(self, model_name: str) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield every version of a model with its tags, the newest first, a page at a time."""
        search = partial(
            self._make_client().search_model_versions,
            filter_string=f"name = '{model_name}'",
            order_by=["version_number DESC"],
        )
        for found in self._read_pages(f"versions of model '{model_name}'", search):
            yield int(found.version), dict(found.tags)

    def set_alias(self, model_name: str, alias: str, version: int) -> None:
        """Point an alias at a version, wherever it pointed before."""
        self.require_fence()
        with self.reaching(f"alias '{alias}' of model '{model_name}'"):
            self._make_client().set_registered_model_alias(model_name, alias, str(version))

    def remove_alias(self, model_name: str, alias: str) -> None:
        """Remove an alias; one that does not exist is no error."""
        self.require_fence()
        with self.reaching(f"alias '{alias}' of model '{model_name}'"):
            self._make_client().delete_registered_model_alias(model_name, alias)

    def tag_version(self, model_name: str, version: int, tags: dict[str, str]) -> None:
        """Set tags on a version."""
        client = self._make_client()
        with self.reaching(f"tags of model '{model_name}' version {version}"):
            for key, value in tags.items():
                self.require_fence()
                client.set_model_version_tag(model_name, str(version), key, value)

    def untag_version(self, model_name: str, version: int, tags: tuple[str, ...]) -> None:
        """Remove tags of a version; one that is not there is no error."""
        client = self._make_client()
        with self.reaching(f"tags of model '{model_name}' version {version}"):
            present = client.get_model_version(model_name, str(version)).tags
            for key in present.keys() & set(tags):
                self.require_fence()
                client.delete_model_version_tag(model_name, str(version), key)

    def tag_model(self, model_name: str, tags: dict[str, str]) -> None:
        """Set tags on a registered model."""
        client = self._make_client()
        with self.reaching(f"tags of model '{model_name}'"):
            for key, value in tags.items():
                self.require_fence()
                client.set_registered_model_tag(model_name, key, value)

    def untag_model(self, model_name: str, tag: str) -> None:
        """Remove a tag of a registered model; one that is not there is no error."""
        self.require_fence()
        with self.reaching(f"tags of model '{model_name}'"):
            self._make_client().delete_registered_model_tag(model_name, tag)

    def register(self, model_name: str, directory: Path, tags: dict[str, str]) -> RegisteredVersion:
        """Upload a directory, whose MLmodel says what it holds, as a new version of a model, created where missing."""
        client = self.connect()
        with self.transferring(f"registration of model '{model_name}'"):
            experiment = client.get_experiment_by_name(_PUBLISHED)
            experiment_id = experiment.experiment_id if experiment else client.create_experiment(_PUBLISHED)
            logged = client.create_logged_model(experiment_id, name="model")
            client.log_model_artifacts(logged.model_id, str(directory))
            client.finalize_logged_model(logged.model_id, "READY")
            if not client.search_registered_models(filter_string=f"name = '{model_name}'"):
                client.create_registered_model(model_name)
            source = f"models:/{logged.model_id}"
            created = client.create_model_version(model_name, source, tags=tags, model_id=logged.model_id)
        return self.get_version(model_name, int(created.version))

    def download(self, version: RegisteredVersion, into: Path) -> Path:
        """Stream a version's files into a directory, which is created, and return the folder in it that holds them."""
        from mlflow.artifacts import download_artifacts

        from blocks.registry_access import choose_chunk_bytes

        client = self._make_client()
        os.environ.setdefault("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(choose_chunk_bytes()))
        into.mkdir(parents=True, exist_ok=True)
        with self.transferring(f"files of model '{version.model_name}' version {version.version}"):
            # of models:/… MLflow asks the server that the process names, or a database of its own, whatever it is told
            stored = client.get_model_version_download_uri(version.model_name, str(version.version))
            found = download_artifacts(artifact_uri=stored, dst_path=str(into), tracking_uri=self.tracking_uri)
            return Path(found)

    def locate(self, version: RegisteredVersion) -> str | None:
        """Return the S3 URI that a version's files are below, None where they are elsewhere, or nothing says where."""
        with self.reaching(f"files of model '{version.model_name}' version {version.version}"):
            stored = self._make_client().get_model_version_download_uri(version.model_name, str(version.version))
        return find_bucket_uri(stored, self.artifacts_destination)

    def _read_pages(self, subject: str, search: Callable[..., Any]) -> Iterator[Any]:
        token: str | None = None
        while True:
            with self.reaching(subject):
                page = search(max_results=_PAGE, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _describe(self, found: "ModelVersion") -> RegisteredVersion:
        run = self._find_run(found.run_id) if found.run_id else None
        return RegisteredVersion(
            model_name=found.name,
            version=int(found.version),
            source_uri=found.source,
            run_id=found.run_id or None,
            run_name=run.info.run_name if run else None,
            created_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
            aliases=tuple(found.aliases),
            tags=dict(found.tags),
            metrics=dict(run.data.metrics) if run else {},
            params=dict(run.data.params) if run else {},
        )

    def _find_run(self, run_id: str) -> "Run | None":
        """Return a run, None where it is gone: `mlflow gc` removes runs, and versions outlive them."""
        from mlflow.exceptions import MlflowException

        try:
            return self._make_client().get_run(run_id)
        except MlflowException as error:
            if is_absent(error):
                return None
            raise


def _describe_model(found: Any) -> RegisteredModel:
    aliases = {alias: int(version) for alias, version in sorted(found.aliases.items())}
    return RegisteredModel(name=found.name, aliases=aliases, tags=dict(found.tags))
