"""Which images there are, and what each is called: `registry/slipway-name:tag`; a tag names one state of the code."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from infra.errors import ImageError
from infra.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = ROOT / "infra" / "docker"
IMAGES = tuple(sorted(path.name.removesuffix(".Dockerfile") for path in DOCKERFILES.glob("*.Dockerfile")))


class ImageSettings(Settings):
    """What images are built with and on, and whose they are."""

    model_config = SettingsConfigDict(env_ignore_empty=True)
    read_by: ClassVar[str] = "Images: `slipway images`"

    registry: str = Field("localhost", description="First part of every image's name.")
    builder: Literal["buildah", "podman", "docker"] | None = Field(None, description="The first that works, if unset.")
    build_flags: str = Field("", description="More options of the builder, say `--network host`.")
    python_image: str = Field(
        "docker.io/library/python:3.11-slim-bookworm",
        description="What every image is built on: a mirror's, or one whose digest you have looked up (name@sha256:…).",
    )
    load_image: str | None = Field(None, description="Command that takes an archive, say `kind load image-archive`.")


@dataclass(frozen=True)
class Image:
    """One of slipway's images."""

    name: str
    tag: str

    @property
    def repository(self) -> str:
        """The image's name within its registry."""
        return f"slipway-{self.name}"

    @property
    def dockerfile(self) -> Path:
        """The file it is built from."""
        return DOCKERFILES / f"{self.name}.Dockerfile"

    def reference(self, registry: str) -> str:
        """Return the full name it has in a registry."""
        return f"{registry}/{self.repository}:{self.tag}"


def select_images(names: tuple[str, ...], tag: str | None) -> list[Image]:
    """Return the named images, or all; the tag comes from git unless it is given."""
    unknown = sorted(set(names) - set(IMAGES))
    if unknown:
        raise ImageError(f"there is no image {', '.join(unknown)}; there are {', '.join(IMAGES)}")
    tag = tag or make_git_tag()
    return [Image(name, tag) for name in names or IMAGES]


def make_git_tag(root: Path = ROOT) -> str:
    """Return the commit's short name; changed or new files add `-dirty-` and a digest, so that no tag names two states.

    The digest is that of the tree git would commit, made through an index of its own: nothing is staged.
    """
    commit = _run_git(root, "rev-parse", "--short=12", "HEAD")
    with tempfile.TemporaryDirectory() as directory:
        index = {"GIT_INDEX_FILE": str(Path(directory, "index"))}
        _run_git(root, "read-tree", "HEAD", **index)
        _run_git(root, "add", "--all", **index)
        tree = _run_git(root, "write-tree", **index)
    return commit if tree == _run_git(root, "rev-parse", "HEAD^{tree}") else f"{commit}-dirty-{tree[:8]}"


def _run_git(root: Path, *arguments: str, **variables: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as exc:
        reason = exc.stderr.strip() if isinstance(exc, subprocess.CalledProcessError) else str(exc)
        raise ImageError(f"git names no tag for the images ({reason}); give one: TAG=...") from exc
    return answer.stdout.strip()
