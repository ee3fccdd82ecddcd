"""Several hundred bad inputs for `check`: each must end in one sentence (exit code 2), or in a run that finishes without it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from attempts import Case, attempt, fault, fresh_folder
from bad_archives import bad_data_sets
from bad_files import bad_images, bad_names, bad_places, bad_weights
from bad_words import (
    bad_explainers,
    bad_files_of_options,
    bad_methods,
    bad_models,
    bad_networks,
    bad_options,
)
from ledger import Ledger


def groups(top: Path) -> dict[str, Iterator[Case]]:
    """Return the cases by what is bad about them; files are made in `top` when a group is begun."""
    makers = {
        "images": bad_images,
        "names of images and classes": bad_names,
        "links, pipes, folders and labels": bad_places,
        "weights": bad_weights,
        "idx files and archives": bad_data_sets,
        "files of options": bad_files_of_options,
    }
    made = {name: _in_folder(make, top / name.replace(" ", "-")) for name, make in makers.items()}
    return {
        **made,
        "options": bad_options(),
        "names of methods": bad_methods(),
        "models and data": bad_models(),
        "networks": bad_networks(),
        "explainers": bad_explainers(),
    }


def _in_folder(make, folder: Path) -> Iterator[Case]:  # type: ignore[no-untyped-def]
    folder.mkdir(parents=True)
    yield from make(folder)


def stress(ledger: Ledger, *, every: int = 1, only: str = "") -> None:
    """Try every `every`-th case of each group."""
    top = fresh_folder()
    for name, cases in groups(top).items():
        if only not in name:
            continue
        with ledger.entry(f"bad input: {name}") as entry:
            codes: dict[int, int] = {}
            for number, case in enumerate(cases):
                if number % every:
                    continue
                out = top / "runs" / str(number)
                answer = attempt(case, out)
                wrong = fault(case, answer)
                codes[answer.code] = codes.get(answer.code, 0) + 1
                entry.attempt(wrong is None, f"{case.name}: {wrong}")
                shutil.rmtree(out, ignore_errors=True)
            entry.remarks.append(
                "exit codes " + ", ".join(f"{c}: {n}" for c, n in sorted(codes.items()))
            )
            exploded = [p.name for p in top.rglob("exploded")] + [
                p.name for p in Path().glob("hacked")
            ]
            entry.attempt(not exploded, f"code was run: {exploded}")
    shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    import sys

    found = Ledger()
    stress(found, only=sys.argv[1] if len(sys.argv) > 1 else "")
    print(found.table())
    sys.exit(bool(found.lost))
