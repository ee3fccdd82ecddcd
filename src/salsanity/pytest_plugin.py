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
    parser.addini("salsanity_draws", "randomised networks per check", default="")
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
    """Check that maps depend on what the network learned: `salsanity_check(model, images, explainer, ...)`.

    `explainer`: a method's name, a callable `(model, inputs, targets) -> maps`, or a list of them. Further keyword arguments
    are those of `salsanity.model_randomization_test`, and `allow`: outcomes beside PASS that do not fail the test. Returns
    the `Result`. An answer is remembered until the network, the images, the explainer, their code or the options change.
    """

    def check(model: Any, images: Any, explainer: Any, **options: Any) -> Result:
        from salsanity.suite.guard import Question, allowed, answered, complaint

        given = {**_defaults(request), **options}
        let_through = allowed(given.pop("allow", ()))
        explainers = explainer if isinstance(explainer, list | tuple) else [explainer]
        result = answered(
            Question(model, images, explainers, given),
            where=_folder(request.config),
            title=request.node.name,
            fresh=request.config.getoption("--salsanity-fresh"),
        )
        words = complaint(result, let_through=let_through)
        if words is not None:
            pytest.fail(words, pytrace=False)
        return result

    return check


def _defaults(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the configuration says, under what the markers say, the closest last."""
    config = request.config
    found: dict[str, Any] = {"allow": config.getini("salsanity_allow")}
    for name in ("draws", "max_images"):
        value = config.getini(f"salsanity_{name}")
        if value:
            found[name] = _whole(f"salsanity_{name}", value)
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
