"""`slipway images`: build the container images, and push them to Amazon's registry."""

import shlex
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cyclopts import App
from dotenv import load_dotenv

from infra.command.screen import console
from infra.errors import ImageError
from infra.images import ecr
from infra.images.engine import Engine, find_engine
from infra.images.names import ROOT, Image, ImageSettings, select_images

app = App(name="images", help="Build and push the container images.")
ENVIRONMENT_FILE = ROOT / ".env"


def read_environment_file() -> None:
    """Take what the repository's `.env` says, AWS_REGION and AWS_ACCOUNT_ID say; what is set already stays."""
    load_dotenv(ENVIRONMENT_FILE, override=False, interpolate=False)


@app.command
def build(*names: str, tag: str | None = None, archives: Path | None = None) -> None:
    """Build images, or all of them. Two archives at once are written and loaded while the next image is built.

    Parameters
    ----------
    names
        The images to build; all by default.
    tag
        Their tag; by default it comes from git.
    archives
        Directory for an archive of each; with SLIPWAY_LOAD_IMAGE, only until that command has loaded it.
    """
    read_environment_file()
    settings = ImageSettings()
    images = select_images(names, tag)
    engine = find_engine(settings.builder)
    with ThreadPoolExecutor(max_workers=2) as others:
        handed_over = []
        for image in images:
            reference = image.reference(settings.registry)
            start = time.monotonic()
            engine.build(image, reference, settings.python_image, settings.build_flags)
            console.print(f"built {reference}, {engine.read_size(reference)}, in {time.monotonic() - start:.0f} s")
            if archives:
                archive = archives / f"{image.repository}.tar"
                handed_over.append(others.submit(hand_over, engine, reference, archive, settings.load_image))
        for finished in handed_over:
            finished.result()


def hand_over(engine: Engine, reference: str, archive: Path, load: str | None) -> None:
    """Write an archive of an image; have it loaded where there is a command for that, and remove it then."""
    start = time.monotonic()
    archive.parent.mkdir(parents=True, exist_ok=True)
    engine.save(reference, archive)
    console.print(f"wrote {archive}, {archive.stat().st_size / 1e6:,.0f} MB, in {time.monotonic() - start:.0f} s")
    if load is None:
        return
    start = time.monotonic()
    try:
        command = [*shlex.split(load), str(archive)]
        status = subprocess.run(command, check=False).returncode  # noqa: S603
    finally:
        archive.unlink(missing_ok=True)
    if status != 0:
        raise ImageError(f"{shlex.join(command)} ended with status {status}; see its lines above")
    console.print(f"loaded {reference} in {time.monotonic() - start:.0f} s")


@app.command(name="check-env")
def check_env() -> None:
    """Check what pushing needs: a registry and credentials. Nothing is printed of the latter."""
    read_environment_file()
    console.print(f"images go to {ecr.check_environment().host}")


@app.command(name="create-ecr")
def create_ecr(*names: str) -> None:
    """Create each image's repository where it is missing: immutable tags, a scan on push."""
    read_environment_file()
    registry = ecr.check_environment()
    for image in select_images(names, tag="any"):
        created = registry.create_repository(image)
        console.print(f"{registry.host}/{image.repository} {'was created' if created else 'is there'}")


@app.command(name="login-ecr")
def login_ecr() -> None:
    """Log this machine's container engine in for twelve hours, to pull by hand; pushing does it by itself."""
    read_environment_file()
    registry = ecr.check_environment()
    find_engine(ImageSettings().builder).login(registry.host, *registry.login())


@app.command
def tag(*names: str, tag: str | None = None) -> None:
    """Give images that were built, or all of them, the names they have in ECR; `push` does it by itself.

    Parameters
    ----------
    names
        The images to name; all by default.
    tag
        Their tag; by default it comes from git.
    """
    read_environment_file()
    registry, settings = ecr.find_registry(), ImageSettings()
    images, engine = select_images(names, tag), find_engine(settings.builder)
    check_pushable(engine, images, settings.registry)
    for image in images:
        target = image.reference(registry.host)
        engine.tag(image.reference(settings.registry), target)
        console.print(f"{image.reference(settings.registry)} is {target}, too")


@app.command
def push(*names: str, tag: str | None = None) -> None:
    """Push images that were built, or all of them, with a login that is forgotten afterwards.

    Parameters
    ----------
    names
        The images to push; all by default.
    tag
        Their tag; by default it comes from git.
    """
    read_environment_file()
    registry = ecr.check_environment()
    settings = ImageSettings()
    images = select_images(names, tag)
    engine = find_engine(settings.builder)
    check_pushable(engine, images, settings.registry)
    for image in images:
        registry.create_repository(image)
    with engine.forget_logins() as session:
        session.login(registry.host, *registry.login())
        for image in images:
            push_once(session, image, settings.registry, registry)


def check_pushable(engine: Engine, images: list[Image], built_for: str) -> None:
    """Raise an ImageError unless every image was built, of a commit, before the first is pushed."""
    for image in images:
        if "-dirty" in image.tag:
            raise ImageError(f"the tag {image.tag} names no commit; commit, build again, or give TAG=...")
        if not engine.has(image.reference(built_for)):
            raise ImageError(f"{image.reference(built_for)} was not built; run make images first")


def push_once(engine: Engine, image: Image, built_for: str, registry: ecr.Registry) -> None:
    """Push an image unless its tag, which cannot be moved, is in the registry."""
    target = image.reference(registry.host)
    if registry.has(image):
        console.print(f"{target} is there")
        return
    engine.push(image.reference(built_for), target)
    console.print(f"pushed {target}")
