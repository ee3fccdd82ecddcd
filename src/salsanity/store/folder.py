"""The run folder itself: held by one process, free of what a killed one left, closed to links that lead out.

Whoever made the folder (a colleague, a shared disk) is not trusted: nothing is written through a symbolic link.
"""

from __future__ import annotations

import errno
import fcntl
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from salsanity.errors import SalsanityError, StoreError, UsageError

LOG: Final = "errors.log"
PARTS: Final = ("scores", "gallery", "figures", "networks")
"""Folders inside a run folder."""

_LEFTOVERS: Final = (".part-*", ".report-*.part", ".*.part")
"""Temporary files of a process that was killed while it wrote."""

_OF_THE_DISK: Final = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES),
        *(errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ESTALE, errno.ENAMETOOLONG),
    }
)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; a second process gets a `UsageError`.

    The lock is the operating system's, on `.lock` in the folder, so that it ends with the process however that ends.
    Whatever a killed process left half-written is removed. An unexpected error in the block is logged in the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o644)
    except (OSError, ValueError) as error:  # a ValueError: a null byte in the name
        raise UsageError(
            f"expected a folder to write to, but {folder} cannot be used ({_words(error)}); give another --out"
        ) from error
    try:
        _hold(handle, folder)
        _check_closed(folder)
        _sweep(folder)
        with logged(folder):
            yield
    finally:
        os.close(handle)


def _hold(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"expected to be alone in {folder}, but another salsanity process works there; wait for it, or give another --out"
        ) from error
    except OSError as error:
        raise UsageError(
            f"expected a disk that locks files, but {folder} cannot be locked ({_words(error)}); give an --out on another disk"
        ) from error


def _check_closed(folder: Path) -> None:
    """Refuse links that lead out of the folder: writing would follow them."""
    for name in PARTS:
        inside(folder, folder / name)


def inside(folder: Path, path: Path) -> Path:
    """Return `path` if it lies in `folder` once links are followed; `StoreError` where it leads elsewhere."""
    try:
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links is a RuntimeError before Python 3.13
        is_inside = False
    if not is_inside:
        raise StoreError(
            f"expected a file inside {folder}, got a link that leads out of it: {path.name!r}; "
            "replace the link by the file"
        )
    return path


def _sweep(folder: Path) -> None:
    """Remove temporary files: their writer is gone, since this process holds the folder."""
    for place in (folder, *(folder / name for name in PARTS)):
        for pattern in _LEFTOVERS:
            for path in place.glob(pattern):
                with suppress(OSError):
                    path.unlink()


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Log an unexpected error of the block in the folder, and say so in a note on the error.

    An error of the disk becomes a `StoreError`: what is finished is kept, so that the same command continues.
    """
    try:
        yield
    except SalsanityError:
        raise
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            _note(folder, error)
            raise
        raise unwritable(folder, error) from error
    except Exception as error:
        _note(folder, error)
        raise


def unwritable(path: Path, error: OSError) -> StoreError:
    """Return the error that says that a disk is full or may not be written to."""
    where = error.filename or path
    return StoreError(
        f"expected to read and write {where}, but: {_words(error)}; what is finished is kept: free space or mend the "
        "permissions, and give the same command again"
    )


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _note(folder: Path, error: Exception) -> None:
    if append_log(folder, "".join(traceback.format_exception(error))):
        error.add_note(f"The traceback is in {folder / LOG}")


def append_log(folder: Path, text: str) -> bool:
    """Add to the folder's log, never through a link; return whether that was possible."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
    try:
        handle = os.open(folder / LOG, flags, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")
    except OSError:  # a full disk: the error itself is still told
        return False
    return True


def flush_folder(folder: Path) -> None:
    """Flush a folder's own entries to disk, so that a rename in it outlives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
