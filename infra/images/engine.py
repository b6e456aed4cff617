"""Builds, stores and pushes images with whichever of buildah, podman and docker works on this machine."""

import json
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import ImageError
from infra.images.names import ROOT, Image

ENGINES = ("buildah", "podman", "docker")


@dataclass(frozen=True)
class Engine:
    """One of the three programs, which take nearly the same options."""

    program: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def build(self, image: Image, reference: str, base: str, flags: str = "") -> None:
        """Build an image on a base image, layer by layer, each taken from the last build where nothing changed."""
        # docker's own format keeps HEALTHCHECK, which OCI's has no place for; docker knows no other
        options = [] if self.program == "docker" else ["--layers", "--format=docker"]
        described = {"version": image.tag, "base.name": base}
        options += [f"--label=org.opencontainers.image.{name}={value}" for name, value in described.items()]
        options.append(f"--build-arg=PYTHON_IMAGE={base}")
        names = [f"--tag={reference}", f"--file={image.dockerfile}"]
        self.run("build", *options, *shlex.split(flags), *names, str(ROOT))

    def has(self, reference: str) -> bool:
        """Return whether the engine's store has an image of this name."""
        return bool(self.ask("images", "--quiet", "--filter", f"reference={reference}").strip())

    def read_size(self, reference: str) -> str:
        """Return an image's size, in words."""
        return self.ask("images", "--format", "{{.Size}}", "--filter", f"reference={reference}").partition("\n")[0]

    def save(self, reference: str, archive: Path) -> None:
        """Write an image as an archive that `kind load image-archive` or `ctr images import` take.

        buildah's is an OCI layout with layers compressed by zstd: half of what docker's archive takes, and loaded
        sooner. OCI's format has no place for HEALTHCHECK, which clusters don't read.
        """
        archive.unlink(missing_ok=True)
        if self.program != "buildah":
            self.run("save", f"--output={archive}", reference)
            return
        with tempfile.TemporaryDirectory(prefix=f".{archive.stem}-", dir=archive.parent) as layout:
            compressed = ["--format=oci", "--compression-format=zstd", "--compression-level=1"]
            self.run("push", "--quiet", *compressed, reference, f"oci:{layout}:{reference}")
            _name_for_containerd(Path(layout), reference)
            with tarfile.open(archive, "w") as packed:
                packed.add(layout, arcname=".")

    def tag(self, reference: str, target: str) -> None:
        """Give an image another name."""
        self.run("tag", reference, target)

    def push(self, reference: str, target: str) -> None:
        """Push an image under the name it has in a registry."""
        self.tag(reference, target)
        self.run("push", target)

    def login(self, registry: str, user: str, password: str) -> None:
        """Log in to a registry; the password goes through standard input, so no other process sees it."""
        self.run("login", "--username", user, "--password-stdin", registry, text=password)

    @contextmanager
    def forget_logins(self) -> Iterator["Engine"]:
        """Yield this engine with a store of logins that is gone afterwards."""
        with tempfile.TemporaryDirectory() as directory:
            if self.program != "docker":
                yield Engine(self.program, {"REGISTRY_AUTH_FILE": str(Path(directory, "auth.json"))})
                return
            # another configuration directory hides the context that says where the daemon is
            host = self.ask("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
            yield Engine(self.program, {"DOCKER_CONFIG": directory, "DOCKER_HOST": host})

    def run(self, *arguments: str, text: str | None = None) -> None:
        """Run the program, its output going where ours goes; raise an ImageError if it fails."""
        command = [self.program, *arguments]
        answer = subprocess.run(command, input=text, text=True, env=os.environ | self.variables, check=False)  # noqa: S603
        if answer.returncode != 0:
            raise ImageError(f"{shlex.join(command[:2])} ended with status {answer.returncode}; see its lines above")

    def ask(self, *arguments: str) -> str:
        """Return what the program prints; raise an ImageError if it fails."""
        command = [self.program, *arguments]
        answer = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, env=os.environ | self.variables, check=False
        )
        if answer.returncode != 0:
            raise ImageError(f"{shlex.join(command)} ended with status {answer.returncode}: {answer.stderr.strip()}")
        return answer.stdout


def _name_for_containerd(layout: Path, reference: str) -> None:
    """Write an image's whole name where containerd looks for it; OCI's own annotation is for what follows the colon."""
    index = layout / "index.json"
    content = json.loads(index.read_text())
    (manifest,) = content["manifests"]
    manifest.setdefault("annotations", {})["io.containerd.image.name"] = reference
    index.write_text(json.dumps(content))


def find_engine(chosen: str | None = None) -> Engine:
    """Return the chosen engine, or the first that works; docker does where its daemon answers."""
    for program in [chosen] if chosen else ENGINES:
        if shutil.which(program):
            command = [program, "info"]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:  # noqa: S603
                return Engine(program)
    wanted = chosen or "none of " + ", ".join(ENGINES)
    raise ImageError(f"{wanted} works here; install one, start docker's daemon, or set SLIPWAY_BUILDER")
