"""A dataset as YOLO has it, checked: it is refused with everything that is wrong with it, never warned about.

<root>/data.yaml               names: the classes, a list, or a mapping from 0 on
<root>/images/**/<name>.<jpg…>
<root>/labels/**/<name>.txt    one object a line, see `label_lines.py`
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

import yaml

from blocks.checksums import FileDigest
from blocks.errors import InvalidInput, bounded
from blocks.run import say
from slipway.learning.yolo.label_lines import find_faults, list_lines
from slipway.learning.yolo.pictures import SUFFIXES, find_picture_fault
from slipway.learning.yolo.results import CheckedDataset

DESCRIPTION, IMAGES, LABELS, LABEL_SUFFIX = "data.yaml", "images", "labels", ".txt"
LEAST_PICTURES = 10  # each part of 0.7, 0.2 and 0.1 gets one
_CLASS_LIST = "classes.txt"  # which labelling programs leave among the labels
_SHOWN = 10
_AT_ONCE = 8


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind, for the count, and its place."""

    kind: str
    text: str


@dataclass(frozen=True)
class _Files:
    """The paths below images/ and labels/, by the name that a picture and its label share."""

    pictures: dict[str, list[str]]
    labels: set[str]


def check_dataset(root: Path, *, backgrounds: bool = False) -> CheckedDataset:
    """Return what a dataset holds; `InvalidInput` with the first findings, and how many of each kind, else.

    Args:
        root: the directory with data.yaml, images/ and labels/.
        backgrounds: whether a label file may be empty, which says that nothing is on the picture.
    """
    root = root.absolute()
    classes = read_classes(root)
    files = _Files(_list_pictures(root), _list_labels(root))
    counts: Counter[int] = Counter()
    empty: list[str] = []
    findings = [
        *_find_unpaired(files),
        *_find_label_faults(root, files, len(classes), counts, empty),
        *([] if backgrounds else [Finding("empty label files", f"{LABELS}/{name} is empty") for name in empty]),
        *_find_picture_faults(root, files),
    ]
    if findings:
        raise InvalidInput(describe(root, findings, len(files.pictures)))
    pictures = tuple(sorted(names[0] for names in files.pictures.values()))
    if len(pictures) < LEAST_PICTURES:
        raise InvalidInput(f"dataset {root}: {len(pictures)} pictures, expected {LEAST_PICTURES} or more; label more")
    if not counts:
        raise InvalidInput(f"dataset {root}: no object is labelled in {len(pictures)} pictures; label some")
    objects = {name: counts[number] for number, name in enumerate(classes)}
    say(f"dataset {root}: {len(pictures)} pictures, {counts.total()} objects of {len(classes)} classes, no finding")
    return CheckedDataset(
        root=str(root),
        classes=classes,
        pictures=pictures,
        objects=objects,
        backgrounds=len(empty),
        digest=compute_digest(root, pictures, classes),
    )


def read_classes(root: Path) -> tuple[str, ...]:
    """Return the names in data.yaml, by number; `InvalidInput` where it says none, or leaves a number out."""
    path = root / DESCRIPTION
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInput(f"dataset {root}: {DESCRIPTION} cannot be read ({bounded(error)}); write it") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or set(names) != set(range(len(names))):
        raise InvalidInput(
            f"dataset {root}: {DESCRIPTION} has the names {bounded(names, 200)}, expected a list of the classes, or a "
            "mapping of the numbers from 0 on"
        )
    classes = tuple(str(names[number]) for number in range(len(names)))
    if len(set(classes)) < len(classes):
        raise InvalidInput(f"dataset {root}: {DESCRIPTION} names a class twice, {bounded(classes, 200)}; rename one")
    return classes


def name_label(picture: str) -> str:
    """Return the path below labels/ of the label of a picture, given that below images/."""
    return str(PurePosixPath(picture).with_suffix(LABEL_SUFFIX))


def compute_digest(root: Path, pictures: tuple[str, ...], classes: tuple[str, ...]) -> str:
    """Return the SHA-256 of classes, names and contents; `InvalidInput` where a file is gone."""
    paths = [f"{IMAGES}/{name}" for name in pictures] + [f"{LABELS}/{name_label(name)}" for name in pictures]
    digest = sha256(repr(classes).encode())
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for path, content in zip(
                paths, pool.map(lambda path: FileDigest.of(root / path).sha256, paths), strict=True
            ):
                digest.update(f"{path}\0{content}\n".encode())
    except OSError as error:
        raise InvalidInput(f"dataset {root}: {bounded(error)}; check it again") from error
    return digest.hexdigest()


def describe(root: Path, findings: list[Finding], pictures: int) -> str:
    """Return the findings in one sentence: how many of each kind, and the first ones."""
    counts = Counter(finding.kind for finding in findings)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    first = "; ".join(finding.text for finding in findings[:_SHOWN])
    more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
    return f"dataset {root}: {kinds} (of {pictures} pictures), expected none; {first}{more}; mend or remove them"


def _list_pictures(root: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in _list_files(root, IMAGES):
        if PurePosixPath(name).suffix.lower() in SUFFIXES:
            found.setdefault(name_label(name), []).append(name)
    return found


def _list_labels(root: Path) -> set[str]:
    return {
        name for name in _list_files(root, LABELS) if PurePosixPath(name).suffix == LABEL_SUFFIX and name != _CLASS_LIST
    }


def _list_files(root: Path, folder: str) -> list[str]:
    if not (root / folder).is_dir():
        raise InvalidInput(f"dataset {root}: there is no folder {folder}/; expected {IMAGES}/ and {LABELS}/")
    found = sorted(path.relative_to(root / folder) for path in (root / folder).rglob("*") if path.is_file())
    return [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]


def _find_unpaired(files: _Files) -> Iterator[Finding]:
    for label, names in files.pictures.items():
        if label not in files.labels:
            yield Finding("pictures without a label file", f"{IMAGES}/{names[0]} has no {LABELS}/{label}")
        if len(names) > 1:
            yield Finding("label files of several pictures", f"{LABELS}/{label} is that of {' and '.join(names)}")
    for label in sorted(files.labels - files.pictures.keys()):
        yield Finding("label files without a picture", f"{LABELS}/{label} has no picture in {IMAGES}/")


def _find_label_faults(
    root: Path, files: _Files, classes: int, counts: Counter[int], empty: list[str]
) -> Iterator[Finding]:
    """Yield what is wrong in label files; count sound objects by class, and list the files that say nothing."""
    for name in sorted(files.labels):
        try:
            text = (root / LABELS / name).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            yield Finding("label files that cannot be read", f"{LABELS}/{name}: {bounded(error, 200)}")
            continue
        faults = find_faults(text, classes)
        yield from (Finding("wrong label lines", f"{LABELS}/{name} {fault}") for fault in faults)
        lines = list_lines(text)
        if not lines:
            empty.append(name)
        if not faults:
            counts.update(int(float(line.split()[0])) for _, line in lines)


def _find_picture_faults(root: Path, files: _Files) -> Iterator[Finding]:
    names = sorted(name for several in files.pictures.values() for name in several)
    seen: dict[str, str] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name, (fault, content) in zip(names, pool.map(lambda name: _inspect(root, name), names), strict=True):
            if fault:
                yield Finding("pictures that cannot be used", f"{IMAGES}/{name} {fault}")
            elif (first := seen.setdefault(content, name)) != name:
                yield Finding("pictures that are there twice", f"{IMAGES}/{name} is {IMAGES}/{first}")


def _inspect(root: Path, name: str) -> tuple[str, str]:
    """Return what is wrong with a picture, or nothing, and the SHA-256 of its file."""
    path = root / IMAGES / name
    fault = find_picture_fault(path)
    return fault, "" if fault else FileDigest.of(path).sha256
