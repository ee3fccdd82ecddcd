"""`salsanity labels`: the data randomisation test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from salsanity.cli.opening import (
    Builder,
    Parts,
    Shelf,
    builder_of,
    builder_options,
    check_parts,
    open_part,
)
from salsanity.cli.parameters import Command, Given, Group
from salsanity.cli.showing import check_junit, show
from salsanity.cli.train import Lessons, settings_of
from salsanity.cli.values import listed
from salsanity.cli.wishes import (
    PAPER_LABELS,
    PAPER_SIMILARITIES,
    Preset,
    Reading,
    Wanted,
    shared_groups,
    wanted,
)
from salsanity.options import option

if TYPE_CHECKING:
    from salsanity.data.examples import ImageSource
    from salsanity.models.load import LoadedModel
    from salsanity.suite.running import Request

NAME: Final = "labels"


@final
@dataclass(frozen=True)
class Brought:
    """Networks that were trained elsewhere."""

    true: tuple[str, ...] = option(
        (), "Weights of a network trained on true labels; repeat it or use commas."
    )
    permuted: tuple[str, ...] = option(
        (), "Weights of a network trained on permuted labels; repeat it or use commas."
    )
    weights_key: str | None = option(
        None, "Where in those files they lie: a key, such as model_ema, or several with dots."
    )


def labels(given: Given) -> int:
    """Run the data randomisation test: train on true and on permuted labels, compare the maps, judge."""
    preset = given.of(Preset).preset
    asked = wanted(given, checks=(NAME,), preset=PAPER_LABELS if preset else None)
    check_junit(asked.wishes.junit)
    from salsanity.suite.running import run_checks
    from salsanity.suite.terminal import TerminalNarrator, terminal

    request = _request(given, asked, preset)
    narrator = TerminalNarrator(terminal())
    result = run_checks(request, narrator=narrator, executor=asked.executor)
    return show(result, as_json=given.of(Reading).json, junit=asked.wishes.junit)


def groups() -> tuple[Group, ...]:
    """Return every option; those of other checks are read, so as to be refused."""
    return (
        Group("What is checked", Builder),
        Group("What is checked", Parts),
        Group("What is checked", Shelf),
        Group("What is checked", Brought),
        Group("How", Lessons),
        Group("How", Preset),
        Group("How", Reading),
        *shared_groups(own=[NAME]),
    )


COMMAND = Command(labels, groups)


def _request(given: Given, asked: Wanted, preset: str | None) -> Request:
    from salsanity.data.sources import oddities
    from salsanity.registry import BUILT_IN_METHODS, DEFAULT_SIMILARITIES
    from salsanity.suite.running import Request

    usual = PAPER_SIMILARITIES if preset else DEFAULT_SIMILARITIES

    model, brought = given.of(Builder).model, given.of(Brought)
    data, shelf = given.of(Parts).data, given.of(Shelf)
    if not brought.true:
        check_parts(data, ", or bring networks with --true and --permuted")
    test = open_part(data, shelf, "test")
    train = None if brought.true else open_part(data, shelf, "train")
    true, permuted = (_networks(model, f, brought, test) for f in (brought.true, brought.permuted))
    (check,) = asked.checks
    check = replace(
        check,
        true=tuple(loaded.model for loaded in true),
        permuted=tuple(loaded.model for loaded in permuted),
        training=settings_of(preset, given.of(Lessons), model=model),
    )
    return Request(
        (check,),
        builder_of(model, test, preset=preset),
        test,
        asked.spec,
        methods=asked.wishes.method or (list(BUILT_IN_METHODS) if preset else None),
        similarities=asked.wishes.similarity or usual,
        out=asked.wishes.out,
        train=train,
        odd=(
            *(note for loaded in (*true, *permuted) for note in loaded.notes),
            *oddities(test),
            *(() if train is None else oddities(train)),
        ),
    )


def _networks(
    model: str, files: tuple[str, ...], brought: Brought, test: ImageSource
) -> list[LoadedModel]:
    from salsanity.models.load import load_model

    options, key = builder_options(model, test), brought.weights_key
    return [
        load_model(model, weights=Path(f), weights_key=key, options=options) for f in listed(files)
    ]
