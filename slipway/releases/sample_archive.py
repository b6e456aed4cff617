"""Arrays in an npz of unknown origin: no pickles, no size that is not there, nothing that does not fit in memory."""

import math
import zipfile
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from blocks.errors import UnusableModel, bounded

ARCHIVE_BYTES = 512 * 1024**2
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_BROKEN = (ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError, MemoryError, zipfile.BadZipFile)


def read_arrays(content: Path | BytesIO, subject: str) -> dict[str, np.ndarray]:
    """Return the arrays of an npz by their names; `UnusableModel` where it is none, is too large or holds pickles."""
    try:
        with zipfile.ZipFile(content) as archive:
            entries = archive.infolist()
            _check_size(sum(entry.file_size for entry in entries), subject)
            return {entry.filename.removesuffix(".npy"): _array(archive, entry) for entry in entries}
    except _BROKEN as error:
        reason = bounded(error) or type(error).__name__
        raise UnusableModel(
            f"{subject}: no archive of plain numpy arrays ({reason}); expected what numpy.savez writes without "
            "pickles: write it again"
        ) from error


def _check_size(size_bytes: int, subject: str) -> None:
    if size_bytes > ARCHIVE_BYTES:
        raise UnusableModel(
            f"{subject}: {size_bytes / 1024**2:.0f} MiB unpacked, {ARCHIVE_BYTES // 1024**2} MiB are allowed; "
            "keep fewer samples"
        )


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as file:
        _check_header(file, entry)
    with archive.open(entry) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _check_header(file: IO[bytes], entry: zipfile.ZipInfo) -> None:
    """Raise a ValueError where an array is not of the size that its entry has: numpy would reserve it all the same."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"'{entry.filename}' is of npy format {version}, expected one of {list(_HEADERS)}")
    shape, _, dtype = _HEADERS[version](file)
    size_bytes, observed = math.prod(shape) * dtype.itemsize, entry.file_size - file.tell()
    if dtype.hasobject or min(shape, default=0) < 0 or size_bytes != observed:
        raise ValueError(f"'{entry.filename}' is {dtype} {list(shape)} in {observed} bytes")
