"""A power cut in the middle of a write: every file of a run cut at every length is recognised, and made again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from attempts import command, fresh_folder
from ledger import Entry, Ledger
from runs import CHECK, LABELS, Outcome, warm


def lengths(size: int, most: int) -> Iterator[int]:
    """Yield every length below `size`, or `most` of them with the first and last hundred among them."""
    if size <= most:
        yield from range(size)
        return
    step = max(1, size // most)
    yield from sorted({*range(100), *range(100, size - 100, step), *range(size - 100, size)})


def recognised(entry: Entry, path: Path, is_absent: Callable[[Path], bool], most: int) -> None:
    """Cut a file at every length, and also blank its end with zeros, and ask whether its reader takes it."""
    whole = path.read_bytes()
    for length in lengths(len(whole), most):
        path.write_bytes(whole[:length])
        entry.attempt(
            is_absent(path), f"{path.name} cut at {length} of {len(whole)} is taken for whole"
        )
    for length in lengths(len(whole) - 1, most // 4):
        if any(whole[length:]):
            path.write_bytes(whole[:length] + bytes(len(whole) - length))
            entry.attempt(
                is_absent(path) or is_harmless(path),
                f"{path.name} blank from {length} is taken for whole",
            )
    path.write_bytes(whole)


def is_harmless(path: Path) -> bool:
    """Whether a file that is blank at its end is a picture of the gallery: it carries no checksum, and decides nothing."""
    return path.parent.name == "gallery"


def readers(folder: Path) -> dict[Path, Callable[[Path], bool]]:
    """Return the files of a finished run, and how to ask whether each counts as absent."""
    from salsanity.store.directory import DirectoryStore
    from salsanity.store.gallery import is_damaged

    store = DirectoryStore(folder)

    def no_object(path: Path) -> bool:
        text = path.read_bytes()
        found = DirectoryStore(path.parent).read_object(path.name)
        path.with_name(f"{path.name}.damaged").unlink(missing_ok=True)
        path.write_bytes(text)
        return found is None or text.rstrip().endswith(b"\n}")  # only the last newline is missing

    found: dict[Path, Callable[[Path], bool]] = {
        folder / "spec.json": no_object,
        folder / "gates.json": no_object,
    }
    for path in sorted((folder / "scores").glob("*.parquet"))[:3]:
        found[path] = lambda p: store.get(p) is None
    for path in sorted((folder / "gallery").glob("*"))[:1]:
        found[path] = is_damaged
    for path in sorted((folder / "networks").glob("*.safetensors"))[:1]:
        found[path] = partial(_is_other_network, identity_of(path))
    return found


def _is_other_network(identity: str, path: Path) -> bool:
    from salsanity.training.kept import read_facts
    from salsanity.training.settings import TrainingSettings

    endless = TrainingSettings(epochs=1_000_000, stop_at=1e-9, wanted=None)
    return read_facts(path, identity, endless) is None


def identity_of(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return str((file.metadata() or {})["identity"])


def checkpoints(entry: Entry, top: Path, most: int) -> None:
    """Cut a training's checkpoint at every length."""
    from subject import trainable

    from salsanity.training.checkpoint import load_checkpoint, save_checkpoint

    model = trainable()
    optimiser = torch.optim.Adam(model.parameters())
    path = top / "x.checkpoint"
    save_checkpoint(path, identity="a", epochs=(), model=model, optimiser=optimiser)
    logger = logging.getLogger("salsanity")
    level = logger.level
    logger.setLevel(logging.ERROR)  # each cut would be told
    try:
        recognised(
            entry, path, lambda p: load_checkpoint(p, device=torch.device("cpu")) is None, most
        )
    finally:
        logger.setLevel(level)


def redone(entry: Entry, arguments: Sequence[str], folder: Path, per_file: int) -> None:
    """Cut each kind of file of a finished run at some lengths; the same command makes it again, equal to before."""
    wanted = Outcome.of(folder)
    files = [
        *(folder / name for name in ("spec.json", "verdicts.json", "gates.json", "coverage.json")),
        *sorted((folder / "scores").glob("*"))[:2],
        *sorted((folder / "gallery").glob("*"))[:2],
        *sorted((folder / "networks").glob("*"))[:2],
    ]
    for path in files:
        size = path.stat().st_size
        for k in range(per_file):
            path.write_bytes(path.read_bytes()[: size * k // per_file])
            answer = command([*arguments, "--out", str(folder)], folder, {})
            difference = (
                Outcome.of(folder).difference(wanted)
                if answer.code in (0, 1, 3, 4)
                else answer.err[-200:]
            )
            entry.attempt(difference is None, f"{path.name} cut at {k}/{per_file}: {difference}")
            (folder / "spec.json.damaged").unlink(missing_ok=True)


def stress(ledger: Ledger, *, most: int = 20_000, per_file: int = 6) -> None:
    """Cut the files of a run of each check."""
    top = fresh_folder()
    for name, arguments in (("check", CHECK), ("labels", LABELS)):
        folder = top / name
        warm(arguments, folder)
        with ledger.entry(
            f"files of `{name}` cut at every length, or blank from there: recognised"
        ) as entry:
            for path, is_absent in readers(folder).items():
                recognised(entry, path, is_absent, most)
        with ledger.entry(f"files of `{name}` cut: made again by the same command, equal") as entry:
            redone(entry, arguments, folder, per_file)
    with ledger.entry("a training's checkpoint cut at every length: recognised") as entry:
        checkpoints(entry, top, most)
    shutil.rmtree(top)


if __name__ == "__main__":
    import sys

    found = Ledger()
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    stress(found, most=most, per_file=6 if most >= 20_000 else 2)
    print(found.table())
    sys.exit(bool(found.lost))
