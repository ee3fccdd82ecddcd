"""`salsanity shortcut`: does the map show the mark that a network goes by?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from salsanity.cli.opening import Builder, Parts, Shelf, builder_of, check_parts, open_part
from salsanity.cli.parameters import Command, Given, Group
from salsanity.cli.showing import check_junit, show
from salsanity.cli.train import Lessons, settings_of
from salsanity.cli.wishes import Reading, Wanted, shared_groups, wanted
from salsanity.errors import SpecError

if TYPE_CHECKING:
    from salsanity.suite.running import Request

NAME: Final = "shortcut"


def shortcut(given: Given) -> int:
    """Plant a mark in images, train networks that go by it and networks that do not, and see whether the maps tell."""
    asked = wanted(given, checks=(NAME,))
    if asked.wishes.similarity:
        raise SpecError(
            f"'similarity' is no option of the check {NAME}, which measures how much of a map lies on the mark; leave it out"
        )
    check_junit(asked.wishes.junit)
    from salsanity.suite.running import run_checks
    from salsanity.suite.terminal import TerminalNarrator, terminal

    request, narrator = _request(given, asked), TerminalNarrator(terminal())
    result = run_checks(request, narrator=narrator, executor=asked.executor)
    return show(result, as_json=given.of(Reading).json, junit=asked.wishes.junit)


def groups() -> tuple[Group, ...]:
    """Return every option; those of other checks are read, so as to be refused."""
    return (
        Group("What is checked", Builder),
        Group("What is checked", Parts),
        Group("What is checked", Shelf),
        Group("How", Lessons),
        Group("How", Reading),
        *shared_groups(own=[NAME]),
    )


COMMAND = Command(shortcut, groups)


def _request(given: Given, asked: Wanted) -> Request:
    from salsanity.suite.running import Request

    data, shelf = given.of(Parts).data, given.of(Shelf)
    check_parts(data)
    test = open_part(data, shelf, "test")
    (check,) = asked.checks
    return Request(
        (replace(check, training=settings_of(None, given.of(Lessons))),),
        builder_of(given.of(Builder).model, test),
        test,
        asked.spec,
        methods=asked.wishes.method or None,
        out=asked.wishes.out,
        train=open_part(data, shelf, "train"),
    )
