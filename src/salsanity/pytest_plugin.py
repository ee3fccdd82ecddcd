"""The pytest plug-in: the fixture and the marker `salsanity_check` and `salsanity`; loads nothing before it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from salsanity.suite.result import Result

FIXTURE = "salsanity_check"
MARKER = "salsanity"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("salsanity", "sanity checks of saliency maps")
    group.addoption(
        "--salsanity-fresh",
        action="store_true",
        help="forget remembered verdicts of the tests that run, and check again",
    )
    parser.addini(
        "salsanity_out", "folder of the runs and reports", default="salsanity-runs/pytest"
    )
    parser.addini("salsanity_draws", "draws per check, such as randomised networks", default="")
    parser.addini("salsanity_max_images", "images at most per check", default="")
    parser.addini(
        "salsanity_allow",
        "outcomes that do not fail a test: INCONCLUSIVE, UNINFORMATIVE",
        type="args",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(**options): a sanity check of saliency maps; every test with the fixture {FIXTURE} has it. Its options are "
        "defaults for that fixture.",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the fixture, so that `-m "not salsanity"` leaves the slow ones out."""
    for item in items:
        if FIXTURE in getattr(item, "fixturenames", ()):
            item.add_marker(MARKER)


@pytest.fixture
def salsanity_check(request: pytest.FixtureRequest) -> Callable[..., Result]:
    """Check what maps depend on: `salsanity_check(model, images, explainer, ...)`.

    `explainer`: a method's name, a callable `(model, inputs, targets) -> maps`, or a list of them. `checks`: names as in
    `salsanity checks`, or checks; by default that of what the network learned. Further keyword arguments are those of
    `salsanity.run`, and `allow`: outcomes beside PASS that do not fail the test. Returns the `Result`. An answer is
    remembered until the network, the images, the explainer, the checks, their code or the options change.
    """

    def check(model: Any, images: Any, explainer: Any, **options: Any) -> Result:
        from salsanity.suite.guard import Question, allowed, answered, complaint

        given = {**_marked(request), **options}
        let_through = allowed(given.pop("allow", request.config.getini("salsanity_allow")))
        checks = {"checks": _listed(given.pop("checks"))} if "checks" in given else {}
        result = answered(
            Question(
                model, images, _listed(explainer), given, usual=_usual(request.config), **checks
            ),
            where=_folder(request.config),
            title=request.node.name,
            fresh=request.config.getoption("--salsanity-fresh"),
        )
        words = complaint(result, let_through=let_through)
        if words is not None:
            pytest.fail(words, pytrace=False)
        return result

    return check


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _usual(config: pytest.Config) -> dict[str, int]:
    """Return the sizes of a check that the configuration says."""
    given = {name: config.getini(f"salsanity_{name}") for name in ("draws", "max_images")}
    return {name: _whole(f"salsanity_{name}", value) for name, value in given.items() if value}


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the markers say, the closest last."""
    found: dict[str, Any] = {}
    for marker in reversed([*request.node.iter_markers(MARKER)]):
        found |= marker.kwargs
    return found


def _whole(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise pytest.UsageError(f"expected {name} as a whole number, got {value!r}") from None


def _folder(config: pytest.Config) -> Path:
    return Path(config.rootpath, config.getini("salsanity_out"))
