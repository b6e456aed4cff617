"""Publication of a champion: what a run logged and a gate passed becomes a version, and asks for its release."""

import tempfile
from pathlib import Path

import mlflow

from blocks.checksums import FileDigest
from blocks.errors import IntegrityError, VersionConflict
from blocks.labels import CHAMPION, DEPLOY, RELEASED_BY_TAG
from blocks.registry import ModelRegistry
from slipway.releases.publication import Given, Publication, publish


def publish_champion(
    model_name: str,
    *,
    run_id: str,
    folder: str,
    sha256: dict[str, str],
    replaces: int | None,
    tags: dict[str, str],
    registry: ModelRegistry,
) -> Publication:
    """Register a folder of a run as a version, which is then `champion`, and last `deploy`.

    Args:
        model_name: the model it becomes a version of.
        run_id: the MLflow run.
        folder: where in the run's artifacts the model lies, with its golden samples.
        sha256: of each file, by name, as it was judged.
        replaces: the version that it was judged against, None for none.
        tags: of the version.
        registry: where it is registered.

    Raises:
        IntegrityError: a file is not the one that was judged; nothing is registered.
        VersionConflict: another version became champion meanwhile; nothing is registered.
        UnusableModel: a release would refuse it; nothing is registered.
    """
    champion = registry.find_at_alias(model_name, CHAMPION)
    if (champion and champion.version) != replaces:
        raise VersionConflict(
            f"model '{model_name}': champion is version {champion and champion.version}, and the candidate of MLflow "
            f"run {run_id} was judged against {replaces or 'none'}; judge it again"
        )
    registry.connect()
    with tempfile.TemporaryDirectory(prefix="slipway-champion-") as directory:
        with registry.transferring(f"folder {folder} of run {run_id}"):
            found = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=folder, dst_path=directory)
        for name, expected in sha256.items():
            if FileDigest.of(Path(found) / name).sha256 != expected:
                raise IntegrityError(f"file {folder}/{name} of MLflow run {run_id} is not the one that was judged")
        published = publish(Path(found), model_name, Given(), registry=registry, tags=tags)
    registry.set_alias(model_name, CHAMPION, published.version)
    registry.tag_model(model_name, {RELEASED_BY_TAG: DEPLOY})
    registry.set_alias(model_name, DEPLOY, published.version)
    return published.model_copy(update={"deploys": True})
