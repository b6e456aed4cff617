"""The lines of a YOLO label file: `class centre_x centre_y width height`, the last four as shares of the picture."""

import math

_COLUMNS = 5


def find_faults(text: str, classes: int) -> list[str]:
    """Return what is wrong with the lines of a label file, each with the line's number; blank lines are none."""
    faults, seen = [], dict[tuple[float, ...], int]()
    for number, line in list_lines(text):
        values = _read_numbers(line)
        fault = _find_fault(values, classes) if values else f"{line[:80]!r} is not {_COLUMNS} finite numbers"
        if not fault and (first := seen.setdefault(tuple(values), number)) != number:
            fault = f"says what line {first} says"
        if fault:
            faults.append(f"line {number}: {fault}")
    return faults


def list_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines that say something, each with its number, from 1."""
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _read_numbers(line: str) -> list[float]:
    """Return the numbers of a line, none where it holds anything else."""
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        return []
    return values if len(values) == _COLUMNS and all(math.isfinite(value) for value in values) else []


def _find_fault(values: list[float], classes: int) -> str:
    label, x, y, width, height = values
    if not label.is_integer() or not 0 <= label < classes:
        return f"class {label:g}, expected a whole number from 0 to {classes - 1}"
    if not (0 <= x <= 1 and 0 <= y <= 1):
        return f"centre {x:g}, {y:g}, expected shares from 0 to 1"
    if not (0 < width <= 1 and 0 < height <= 1):
        return f"size {width:g} by {height:g}, expected shares above 0 and up to 1"
    return ""
