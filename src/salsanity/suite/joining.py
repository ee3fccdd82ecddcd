"""`merge`: several run folders become one, which is judged as one run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from salsanity.errors import UsageError
from salsanity.narrator import Narrator, Silent
from salsanity.store.directory import DirectoryStore
from salsanity.store.folder import locked
from salsanity.store.merging import BEFOREHAND, Source, merge, pooled_accuracy, sources_of
from salsanity.suite.judging import Facts, conclude
from salsanity.suite.result import Result


def merge_runs(
    folders: Sequence[str | Path], out: str | Path, *, narrator: Narrator | None = None
) -> Result:
    """Merge runs of the same question that hold other images, or other draws, into the new folder `out`, and judge them as one.

    Runs with one seed must hold disjoint images; runs of the same images must have a seed each, and their draws are numbered on.

    Raises:
        StoreError: a folder is not a finished run, or does not fit the first one.
        UsageError: `out` holds something already.
    """
    target = Path(out)
    if target.exists() and any(target.iterdir()):
        raise UsageError(f"expected a new folder to merge into, got {target}, which is not empty")
    sources = sources_of([Path(folder) for folder in folders])
    with locked(target):
        store = DirectoryStore(target)
        document = merge(sources, store)
        conclude(store, document, _facts(sources), narrator or Silent())
    return Result(target)


def _facts(sources: Sequence[Source]) -> Facts:
    known = [source.gates[BEFOREHAND] for source in sources]
    gates = {
        check: _once(reason for one in known for reason in one["gates"].get(check, ()))
        for check in sources[0].records
    }
    accuracies = [source.gates.get("accuracy") for source in sources]
    by_images = {frozenset(source.images): a for source, a in zip(sources, accuracies, strict=True)}
    unwatched = frozenset.union(*(frozenset(one["unwatched"]) for one in known))
    return Facts(gates, pooled_accuracy(list(by_images.values())), (), 0.0, unwatched)


def _once(reasons: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(reasons))
