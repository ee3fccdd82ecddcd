"""The run folder itself: held by one process, free of what a killed one left, closed to links that lead out.

Whoever made the folder (a colleague, a shared disk) is not trusted: nothing is written through a symbolic link. What a
system lacks for this is made up for as far as it can be, and named (`machine_notes`).
"""

from __future__ import annotations

import errno
import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

with warnings.catch_warnings():  # where a system has no locks `machine_notes` says so
    warnings.simplefilter("ignore")
    from filelock import FileLock, SoftFileLock, Timeout

from salsanity.errors import SalsanityError, StoreError, UsageError

LOG: Final = "errors.log"
HAS_MARKERS_ONLY: Final = issubclass(FileLock, SoftFileLock)
"""Whether this system locks no files, so that a file has to mark a folder as held."""

PARTS: Final = ("scores", "gallery", "figures", "networks")
"""Folders inside a run folder."""

_LEFTOVERS: Final = (".part-*", ".report-*.part", ".*.part")
"""Temporary files of a process that was killed while it wrote."""

_OF_THE_DISK: Final = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "EACCES"),
        *("EPERM", "ENOTDIR", "EISDIR", "ELOOP", "ESTALE", "ENAMETOOLONG"),
    )
    if hasattr(errno, name)  # not every system has quotas and network disks
)

_WITHOUT_LOCKS: Final = frozenset(
    getattr(errno, name)
    for name in ("ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "EINVAL")
    if hasattr(errno, name)
)


def machine_notes() -> tuple[str, ...]:
    """Say what this system lacks for locks, links and power cuts, and what is done instead; empty where nothing is."""
    found = []
    if HAS_MARKERS_ONLY:
        found.append(
            "This system does not lock files: a file marks a folder as held. Where a process was killed, or the machine crashed, "
            "it may stay; then delete the file .lock."
        )
    if not hasattr(os, "O_NOFOLLOW"):
        found.append(
            "This system cannot refuse links while it opens a file: they are looked for just before, so do not share a run "
            "folder with people whom you do not trust."
        )
    if not hasattr(os, "O_DIRECTORY"):
        found.append(
            "This system does not flush folders to disk: after a power cut the last finished units may be missing, and are "
            "computed again."
        )
    return tuple(found)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; a second process gets a `UsageError`.

    The lock is the operating system's, on `.lock` in the folder, so that it ends with the process however that ends.
    Whatever a killed process left half-written is removed. An unexpected error in the block is logged in the folder.
    """
    lock = _lock_in(folder)
    try:
        _check_closed(folder)
        _sweep(folder)
        with logged(folder):
            yield
    finally:
        lock.release()


def _lock_in(folder: Path) -> FileLock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # a ValueError: a null byte in the name
        raise _unusable(folder, error) from error
    try:
        return held(folder / ".lock", seconds=0)
    except Timeout as error:
        stays = ", or delete .lock there if none does" if HAS_MARKERS_ONLY else ""
        raise UsageError(
            f"expected to be alone in {folder}, but another salsanity process works there; wait for it, or give another "
            f"--out{stays}"
        ) from error


def held(path: Path, *, seconds: float = -1) -> FileLock:
    """Return a lock on the file `path` that this process holds, waiting at most `seconds` for it (-1: for ever).

    Raises filelock's `Timeout` where another holds it for longer, `UsageError` where it is a link or cannot be locked.
    """
    lock = FileLock(path, timeout=seconds, thread_local=False)
    try:
        if path.is_symlink():  # filelock refuses it too, where the system lets it
            raise OSError(errno.ELOOP, "its .lock is a link")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a marker took the lock's place
            lock.acquire()
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        raise _unusable(path.parent, error) from error
    if isinstance(lock, SoftFileLock) and not issubclass(FileLock, SoftFileLock):
        lock.release()
        raise _unusable(path.parent, NotImplementedError("it has no locks"))
    return lock


def _unusable(folder: Path, error: Exception) -> UsageError:
    without_locks = isinstance(error, NotImplementedError) or (
        isinstance(error, OSError) and error.errno in _WITHOUT_LOCKS
    )
    if without_locks:
        return UsageError(
            f"expected a disk that locks files, but {folder} cannot be locked ({_words(error)}); give an --out on another disk"
        )
    return UsageError(
        f"expected a folder to write to, but {folder} cannot be used ({_words(error)}); give another --out"
    )


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
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    if (folder / LOG).is_symlink():
        return False
    try:
        handle = os.open(folder / LOG, flags, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")
    except OSError:  # a full disk: the error itself is still told
        return False
    return True


def flush_folder(folder: Path) -> None:
    """Flush a folder's own entries to disk, so that a rename in it outlives a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
