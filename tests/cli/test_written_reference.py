"""docs/reference.md and docs/spec.schema.json say what the metadata of options says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_type_hints

import pytest

import salsanity
from salsanity.checks.named import BUILT_IN
from salsanity.cli import reference
from salsanity.cli.wishes import Wishes
from salsanity.errors import UsageError
from salsanity.options import options_of
from salsanity.suite import keywords
from salsanity.suite.opening import PREPROCESSING
from salsanity.units.spec import RunSpec

AGAIN = ("out", "seed", "device", "train_images")
"""`salsanity train` has these too, or an option of the same name."""

ROOT = Path(__file__).resolve().parent.parent.parent


def test_what_is_written_from_metadata_is_not_stale() -> None:
    stale = [p.name for p, t in reference.written(ROOT).items() if p.read_text("utf-8") != t]
    assert not stale, "run scripts/reference"


def test_twin_a_page_with_another_default_is_stale(tmp_path: Path) -> None:
    for path in reference.written(ROOT):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text("utf-8"), "utf-8")
    page = tmp_path / "docs" / "reference.md"
    page.write_text(page.read_text("utf-8").replace("`32`", "`50`"), "utf-8")
    found = reference.written(tmp_path)
    assert found[page] != page.read_text("utf-8")
    assert reference.main(tmp_path) == 0
    assert page.read_text("utf-8") == (ROOT / "docs" / "reference.md").read_text("utf-8")


def test_every_option_stands_in_one_table() -> None:
    page = (ROOT / "docs" / "reference.md").read_text("utf-8")
    rows = re.findall(r"^\| `(?:--)?([a-z_-]+)` \|", page, re.M)
    for kind in (RunSpec, Wishes, *BUILT_IN.values()):
        for name, facts in options_of(kind).items():
            written = name.replace("_", "-") if facts.on_command_line else name
            owners = [k for k in (RunSpec, Wishes, *BUILT_IN.values()) if name in options_of(k)]
            assert rows.count(written) == len(owners) + (name in AGAIN), name


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(UsageError, match="end of options"):
        reference.with_tables("# Reference", "")


def test_text_around_the_marks_stays() -> None:
    page = f"before\n{reference.BEGIN}\nold\n{reference.END}\nafter\n"
    assert reference.with_tables(page, "new") == (
        f"before\n{reference.BEGIN}\n\nnew\n{reference.END}\nafter\n"
    )


def test_editors_complete_every_option_and_no_other() -> None:
    hints = get_type_hints(keywords.Options)
    own = {name for kind in (RunSpec, *BUILT_IN.values()) for name in options_of(kind)}
    assert set(hints) == own | set(PREPROCESSING)
    assert unpacked(salsanity.run, "options") is keywords.Options
    assert unpacked(salsanity.data_randomization_test, "options") is keywords.LabelsOptions
    assert unpacked(salsanity.shortcut_test, "options") is keywords.ShortcutOptions


def test_the_test_of_the_paper_completes_what_run_takes() -> None:
    assert unpacked(salsanity.model_randomization_test, "arguments") is keywords.CascadeArguments
    named = {
        name
        for name, parameter in inspect.signature(salsanity.run).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    own = keywords.CascadeArguments.__annotations__.keys() - keywords.CascadeOptions.__annotations__
    assert own == named


def unpacked(function: object, name: str) -> object:
    return eval(
        function.__annotations__[name].removeprefix("Unpack[").removesuffix("]"), vars(keywords)
    )


def test_types_of_options_are_those_that_are_taken() -> None:
    hints = get_type_hints(keywords.Options)
    assert hints["draws"] is int
    assert hints["samples"] == int | None
    assert hints["target"] == Literal["trained", "label", "own"]
    assert hints["keep"] == Sequence[str]
