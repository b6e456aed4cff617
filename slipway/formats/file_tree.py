"""The files below a directory of unknown origin: links are followed as long as they stay inside, nothing else is."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blocks.errors import UnusableModel, bounded

MOST_FILES = 10_000
_PASSED_OVER = {"__pycache__", ".ipynb_checkpoints", ".DS_Store"}


class Tree(NamedTuple):
    """What is below a directory, by its path there with `/` between."""

    files: dict[str, Path]  # each with the file itself, where it is reached through a link
    folders: tuple[str, ...]


def read_tree(directory: Path, subject: str) -> Tree:
    """Return the files and folders below a directory.

    Raises `UnusableModel` where a link leaves it, goes round or leads nowhere, where something is no plain file, or
    where a name cannot be a key in S3.
    """
    files: dict[str, Path] = {}
    folders: list[str] = []
    try:
        root = directory.resolve(strict=True)
        for name, real in _visit(root, root, "", (root,), subject):
            if real.is_dir():
                folders.append(name)
            else:
                files[name] = real
            if len(files) + len(folders) > MOST_FILES:
                raise UnusableModel(
                    f"{subject}: holds more than {MOST_FILES} files; pack what belongs together into one archive"
                )
    except OSError as error:
        raise UnusableModel(f"{subject}: its files cannot be read ({bounded(error)}); make them readable") from error
    return Tree(files, tuple(folders))


def put_file(source: Path, target: Path) -> None:
    """Put a file at another place as well, without a copy where the file system can do that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def copy_file(source: Path, target: Path) -> None:
    """Put a copy of a file at another place; onnx trusts no external data that has several names."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def move_files(files: dict[str, Path], directory: Path) -> None:
    """Move files into a directory, by their paths there; one that has several paths is copied to the others."""
    moved: dict[Path, Path] = {}
    for name, source in files.items():
        target = directory / name
        if source in moved:
            copy_file(moved[source], target)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        moved[source] = source.rename(target)


def _visit(root: Path, folder: Path, prefix: str, above: tuple[Path, ...], subject: str) -> Iterator[tuple[str, Path]]:
    for entry in sorted(folder.iterdir()):
        if entry.name in _PASSED_OVER:
            continue
        name = f"{prefix}{entry.name}"
        _check_name(name, entry.name, subject)
        real = _follow(entry, name, root, subject) if entry.is_symlink() else entry
        if real.is_dir():
            if real in above:
                raise _refuse_link(subject, name, "leads to a folder that it is in")
            yield name, real
            yield from _visit(root, real, f"{name}/", (*above, real), subject)
        elif real.is_file():
            yield name, real
        else:
            raise UnusableModel(
                f"{subject}: {bounded(repr(name), 200)} is neither a file nor a folder (a pipe, a socket or a device); "
                "remove it"
            )


def _check_name(name: str, last: str, subject: str) -> None:
    if not last.isprintable() or "\\" in last or len(name.encode("utf-8", "replace")) > 500:
        raise UnusableModel(
            f"{subject}: the name {bounded(repr(name), 300)} cannot be a key in S3; expected printable text of 500 "
            "bytes at most without a backslash: rename it"
        )


def _follow(link: Path, name: str, root: Path, subject: str) -> Path:
    target = link.readlink()
    if target.is_absolute():
        raise _refuse_link(subject, name, f"leads to {bounded(repr(str(target)), 200)}, which no other machine has")
    try:
        real = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # Python 3.11 raises the latter where links go round
        raise _refuse_link(subject, name, f"leads nowhere ({bounded(repr(str(target)), 200)})") from error
    if not real.is_relative_to(root):
        raise _refuse_link(subject, name, f"leaves the directory ({bounded(repr(str(target)), 200)})")
    return real


def _refuse_link(subject: str, name: str, what: str) -> UnusableModel:
    return UnusableModel(
        f"{subject}: the link {bounded(repr(name), 200)} {what}; expected links inside the directory only: put the "
        "file itself there"
    )
