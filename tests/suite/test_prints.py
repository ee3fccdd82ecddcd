"""A print changes with everything that a verdict depends on, and with nothing else."""

from __future__ import annotations

import copy
import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from networks import chain
from salsanity.suite.prints import print_of, source_of_module


class Explainer:
    """Holds a network and a number."""

    def __init__(self, model: nn.Module, scale: float = 1.0) -> None:
        self.model = model
        self.scale = scale

    def explain(self, model: nn.Module, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return x * self.scale

    __call__ = explain


class Slotted:
    """Holds a number in a slot."""

    __slots__ = ("scale",)

    def __init__(self, scale: float) -> None:
        self.scale = scale


def with_weight(change: float) -> nn.Module:
    model = chain()
    model[0].weight.data[0, 0, 0, 0] += change
    return model


def scaled(factor: float) -> Callable[..., Any]:
    return lambda model, x, targets: x * factor


def attributed(value: float) -> nn.Module:
    model = chain()
    model.temperature = value
    return model


def hooked() -> nn.Module:
    model = chain()
    model.register_forward_hook(lambda *_: None)
    return model


PAIRS = [
    (lambda: with_weight(0), lambda: with_weight(1e-12)),
    (lambda: chain(), lambda: nn.Sequential(*chain()[:-1], nn.Identity(), chain()[-1])),
    (lambda: chain(), lambda: chain().train()),
    (lambda: attributed(1.0), lambda: attributed(2.0)),
    (lambda: chain(), hooked),
    (lambda: scaled(1.0), lambda: scaled(2.0)),
    (lambda: functools.partial(scaled, 1.0), lambda: functools.partial(scaled, 2.0)),
    (lambda: Explainer(chain()), lambda: Explainer(chain(), 2.0)),
    (lambda: Explainer(chain()).explain, lambda: Explainer(with_weight(1)).explain),
    (lambda: Slotted(1.0), lambda: Slotted(2.0)),
    (lambda: {"draws": 5}, lambda: {"draws": 6}),
    (lambda: [1, "1"], lambda: ["1", 1]),
    (lambda: torch.zeros(2), lambda: torch.zeros(2, 1)),
    (lambda: torch.zeros(2).numpy(), lambda: torch.ones(2).numpy()),
    (lambda: {1, 2}, lambda: {1, 3}),
    (lambda: lambda x: x + 1, lambda: lambda x: x + 2),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_equal_things_have_equal_prints_and_others_do_not(
    pair: tuple[Callable[[], Any], ...],
) -> None:
    one, other = pair
    assert print_of(one()) == print_of(one())
    assert print_of(one()) != print_of(other())


def test_a_copy_has_the_same_print() -> None:
    model = chain()
    assert print_of(model) == print_of(copy.deepcopy(model))


def test_what_refers_to_itself_has_a_print() -> None:
    one = Explainer(chain())
    one.model.owner = one  # type: ignore[assignment]
    assert print_of(one) == print_of(one)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose explainer calls another of its modules."""
    folder = tmp_path / "explaining_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from explaining_package.maps import explain\n")
    (folder / "maps.py").write_text(
        "from explaining_package import scale\ndef explain(m, x, t): return scale.by(x)\n"
    )
    (folder / "scale.py").write_text("def by(x): return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("explaining_package")]:
        sys.modules.pop(name)


def test_a_change_anywhere_in_the_explainers_package_is_seen(package: Path) -> None:
    explain = importlib.import_module("explaining_package").explain
    before = print_of(explain)
    source_of_module.cache_clear()
    assert print_of(explain) == before
    (package / "scale.py").write_text("def by(x): return 2 * x\n")
    source_of_module.cache_clear()
    assert print_of(explain) != before


def test_installed_packages_are_told_by_their_version() -> None:
    assert source_of_module("torch.nn.modules.conv") == f"torch {torch.__version__}"
    assert source_of_module("collections") == "collections"
