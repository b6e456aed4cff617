"""Fetching a registered model: its files are streamed to disk and checked, nothing of it is run."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blocks.checksums import FileDigest
from blocks.labels import CHECKSUM_TAG, CONFIG_FILE, GOLDEN_FILE
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.formats.catalogue import open_model
from slipway.releases.fetched import FetchedModel, compare_digests, digest, download, name_version
from slipway.releases.golden import check_golden


def fetch(registered: RegisteredVersion, source: str, registry: ModelRegistry) -> FetchedModel:
    """Download a registered version and check it.

    Raises:
        UnusableModel: the files are corrupt, incomplete, hold NaN or point outside their directory, or the golden
            samples are not such of this model.
        IntegrityError: a file is not the one that was registered, by the SHA-256 in the version's tags.
    """
    subject, directory = name_version(registered), download(registered, registry)
    contents = open_model(directory, subject)
    with ThreadPoolExecutor(1) as beside:
        digests = beside.map(lambda name: digest(directory, name), contents.files)
        check_golden(directory, contents.signature, subject)
    fetched = FetchedModel(
        source=source,
        registered=registered,
        contents=contents,
        files=tuple(digests),
        golden=_digest_golden(directory),
    )
    author = [digest(directory, CONFIG_FILE)] if contents.config is not None else []
    _compare_with_registration(registered, (*fetched.files, *([fetched.golden] if fetched.golden else []), *author))
    return fetched


def _digest_golden(directory: Path) -> FileDigest | None:
    return digest(directory, GOLDEN_FILE) if (directory / GOLDEN_FILE).exists() else None


def _compare_with_registration(registered: RegisteredVersion, files: tuple[FileDigest, ...]) -> None:
    for file in files:
        if recorded := registered.tags.get(f"{CHECKSUM_TAG}{file.name}"):
            compare_digests(file, file.model_copy(update={"sha256": recorded}), registered)
