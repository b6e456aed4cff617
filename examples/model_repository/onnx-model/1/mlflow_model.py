"""An ONNX model from the MLflow registry, by the standard library alone: kept in a cache, and checked by SHA-256.

Without an answer of MLflow's the version that was loaded last is taken from the cache, so that a server starts.
"""

import base64
import hashlib
import http.client
import json
import os
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

TIMEOUT_S = 20.0
_API = "api/2.0/mlflow"
_MANIFEST, _POINTERS = "manifest.json", "pointers"
_CHUNK_BYTES = 1024**2
_PROXIED = "mlflow-artifacts:"
_LOGGED = "models:/m-"


class Unreachable(Exception):
    """Raised when MLflow did not answer."""


class Refused(Exception):
    """Raised when MLflow has no such model, or its files are not what was expected."""


class Wanted(NamedTuple):
    """Which model is to be served, and where MLflow is."""

    tracking_uri: str
    name: str
    version: str  # goes before the alias
    alias: str
    cache: Path

    @property
    def pointer(self) -> Path:
        """The file that says which version this was when MLflow last answered."""
        asked = f"{self.tracking_uri}\n{self.name}\n{self.version}\n{self.alias}"
        return self.cache / _POINTERS / hashlib.sha256(asked.encode()).hexdigest()


class Pulled(NamedTuple):
    """A model on this machine."""

    path: Path  # of the ONNX file; its external data lies beside it
    version: str
    from_cache: bool  # MLflow did not answer


def read_wanted(parameters: dict[str, str]) -> Wanted:
    """Return which model is wanted, from a configuration's parameters and, where those are silent, the environment."""

    def read(name: str, default: str) -> str:
        return parameters.get(name) or os.environ.get(name.upper()) or default

    alias = read("mlflow_model_alias", "")
    return Wanted(
        tracking_uri=read("mlflow_tracking_uri", "http://localhost:5000").rstrip("/"),
        name=read("mlflow_model_name", "yolo11n-onnx"),
        version=read("mlflow_model_version", "" if alias else "1"),
        alias=alias,
        cache=Path(read("mlflow_model_cache", str(Path(tempfile.gettempdir(), "mlflow-models")))),
    )


def pull(wanted: Wanted) -> Pulled:
    """Return the wanted model on this machine, from MLflow or, where it does not answer, from the cache.

    Raises `Refused` where there is no such model, `Unreachable` where MLflow does not answer and nothing is cached.
    """
    try:
        version, directory = _pull_from_mlflow(wanted)
    except Unreachable as error:
        version = _read_pointer(wanted)
        directory = _place(wanted, version)
        if not version or not _is_whole(directory):
            raise Unreachable(f"{error}; nothing of '{wanted.name}' is cached in {wanted.cache}") from error
        return Pulled(_find_model(directory), version, from_cache=True)
    _write_pointer(wanted, version)
    return Pulled(_find_model(directory), version, from_cache=False)


def _pull_from_mlflow(wanted: Wanted) -> tuple[str, Path]:
    found = _find_version(wanted)
    version = str(found["version"])
    directory = _place(wanted, version)
    if _is_whole(directory):
        return version, directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{version}-"))
    try:
        _download(wanted, _find_artifacts(wanted, version, str(found["source"])), fresh, _read_digests(found))
        shutil.rmtree(directory, ignore_errors=True)
        try:
            fresh.rename(directory)  # whole or not at all
        except OSError:
            if not _is_whole(directory):  # else another instance was faster
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return version, directory


def _find_version(wanted: Wanted) -> dict[str, Any]:
    if wanted.version:
        question = f"{_API}/model-versions/get?{_encode(name=wanted.name, version=wanted.version)}"
    else:
        question = f"{_API}/registered-models/alias?{_encode(name=wanted.name, alias=wanted.alias)}"
    return dict(_ask(wanted, question)["model_version"])


def _find_artifacts(wanted: Wanted, version: str, source: str) -> str:
    """Return where a version's files are, by their path below MLflow's artifacts."""
    place = source
    if source.startswith(_LOGGED):
        logged = source.removeprefix("models:/").strip("/")
        place = str(_ask(wanted, f"{_API}/logged-models/{logged}")["model"]["info"]["artifact_uri"])
    elif not source.startswith(_PROXIED):
        question = f"{_API}/model-versions/get-download-uri?{_encode(name=wanted.name, version=version)}"
        place = str(_ask(wanted, question)["artifact_uri"])
    if not place.startswith(_PROXIED):
        raise Refused(
            f"model '{wanted.name}' version {version} is in {place}, expected artifacts that MLflow itself serves "
            "(mlflow-artifacts:/…); start MLflow with --serve-artifacts"
        )
    return urllib.parse.urlsplit(place).path.strip("/")


def _download(wanted: Wanted, root: str, directory: Path, digests: dict[str, str]) -> None:
    manifest = {}
    for name, size_bytes in _list_files(wanted, root, ""):
        if not (name.endswith((".onnx", ".data")) or name in digests or name == "MLmodel"):
            continue
        manifest[name] = _fetch(wanted, f"{root}/{name}", size_bytes, directory / name)
        if (stated := digests.get(name, manifest[name])) != manifest[name]:
            raise Refused(
                f"model '{wanted.name}': {name} has SHA-256 {manifest[name]}, the registry says {stated}; register it "
                "again"
            )
    _find_model(directory)
    (directory / _MANIFEST).write_text(json.dumps(manifest, indent=2))


def _list_files(wanted: Wanted, root: str, folder: str) -> list[tuple[str, int]]:
    """Return the files below a folder of artifacts, with their bytes; one whose name leads out of it is refused."""
    found: list[tuple[str, int]] = []
    path = "/".join(part for part in (root, folder) if part)
    for file in _ask(wanted, f"api/2.0/mlflow-artifacts/artifacts?{_encode(path=path)}").get("files", []):
        name = PurePosixPath(folder, str(file["path"]).rsplit("/", 1)[-1])
        if ".." in name.parts or name.is_absolute():
            raise Refused(f"model '{wanted.name}': has a file named {str(name)!r}; register it again")
        if file.get("is_dir"):
            found += _list_files(wanted, root, str(name))
        else:
            found.append((str(name), int(file["file_size"])))
    return found


def _fetch(wanted: Wanted, path: str, size_bytes: int, place: Path) -> str:
    """Write a file, streamed, and return its SHA-256; `Unreachable` where less of it comes."""
    place.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    address = f"api/2.0/mlflow-artifacts/artifacts/{urllib.parse.quote(path)}"
    try:
        with _open(wanted, address) as answer, place.open("wb") as file:
            while chunk := answer.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += file.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"MLflow at {wanted.tracking_uri} broke off {path} ({error})") from error
    if size != size_bytes:
        raise Unreachable(f"MLflow at {wanted.tracking_uri} broke off {path} after {size} of {size_bytes} bytes")
    return digest.hexdigest()


def _is_whole(directory: Path) -> bool:
    """Tell whether a cached model is what was downloaded, byte for byte."""
    try:
        manifest = json.loads((directory / _MANIFEST).read_text())
        return bool(manifest) and all(_hash(directory / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find_model(directory: Path) -> Path:
    found = sorted(directory.rglob("*.onnx"))
    if len(found) != 1:
        raise Refused(f"{directory.parent.name} version {directory.name}: has {len(found)} ONNX files, expected one")
    return found[0]


def _read_digests(found: dict[str, Any]) -> dict[str, str]:
    """Return what the registry says of files: tags `sha256/<file>`, as slipway sets them."""
    tags = {str(tag["key"]): str(tag.get("value", "")) for tag in found.get("tags", [])}
    return {key.removeprefix("sha256/"): value for key, value in tags.items() if key.startswith("sha256/")}


def _place(wanted: Wanted, version: str) -> Path:
    server = hashlib.sha256(wanted.tracking_uri.encode()).hexdigest()[:12]
    return wanted.cache / server / urllib.parse.quote(wanted.name, safe="") / (version or "none")


def _read_pointer(wanted: Wanted) -> str:
    try:
        return wanted.pointer.read_text().strip()
    except OSError:
        return ""


def _write_pointer(wanted: Wanted, version: str) -> None:
    wanted.pointer.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=wanted.pointer.parent, delete=False) as file:
        file.write(version)
    Path(file.name).rename(wanted.pointer)


def _ask(wanted: Wanted, question: str) -> dict[str, Any]:
    with _open(wanted, question) as answer:
        try:
            return dict(json.loads(answer.read()))
        except ValueError as error:
            raise Unreachable(f"MLflow at {wanted.tracking_uri} answered no JSON ({error})") from error


def _open(wanted: Wanted, question: str) -> Any:
    request = urllib.request.Request(f"{wanted.tracking_uri}/{question}", headers=_authorize())  # noqa: S310
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        said = error.read(500).decode(errors="replace")
        if error.code >= 500:
            raise Unreachable(f"MLflow at {wanted.tracking_uri} answered {error.code}: {said}") from error
        which = f"version {wanted.version}" if wanted.version else f"alias {wanted.alias}"
        raise Refused(
            f"model '{wanted.name}' {which}: MLflow at {wanted.tracking_uri} answered {error.code}: {said}; set "
            "MLFLOW_MODEL_NAME and MLFLOW_MODEL_VERSION or MLFLOW_MODEL_ALIAS"
        ) from error
    except (OSError, urllib.error.URLError) as error:
        raise Unreachable(f"MLflow at {wanted.tracking_uri} does not answer ({error})") from error


def _authorize() -> dict[str, str]:
    """Return the header of whoever MLFLOW_TRACKING_TOKEN, or …_USERNAME and …_PASSWORD, say we are."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    return {}


def _encode(**values: str) -> str:
    return urllib.parse.urlencode(values)
