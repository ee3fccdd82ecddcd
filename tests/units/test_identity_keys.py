"""What stands for methods, similarities and initialisers in keys of units: as ever for ours, with code for the user's."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from networks import chain
from salsanity import registry
from salsanity.errors import UsageError
from salsanity.methods import (
    CallableMethod,
    Edge,
    Gradient,
    InputMagnitude,
    IntegratedGradients,
    Noise,
    NoiseXInput,
    SmoothGrad,
)
from salsanity.passes.request import Baseline
from salsanity.randomizers.brought import BroughtDraw
from salsanity.randomizers.draw import He
from salsanity.randomizers.fresh import Fresh, Keeping
from salsanity.records import digest
from salsanity.similarity import HOG, SSIM, Cosine, Pearson, Spearman
from salsanity.units.identity import (
    Prints,
    changed_since,
    draw_print,
    key_of,
    method_print,
    similarity_print,
)

ASSETS = Path(__file__).resolve().parent.parent / "assets"


@pytest.mark.parametrize("folder", ["check-format-1", "labels-format-1"])
def test_keys_of_folders_of_format_1_stay(folder: str) -> None:
    spec = json.loads((ASSETS / folder / "spec.json").read_text())
    settings = spec["method_settings"]["smoothgrad"]
    smooth = SmoothGrad(settings["samples"], settings["sd"])
    methods = [Gradient(), smooth, Edge(), InputMagnitude(), Noise(), NoiseXInput()]
    units = spec["settings"]["units"]
    assert {key_of(m.name, [method_print(m)]) for m in methods} == set(units["methods"])
    assert [key_of("spearman", similarity_print(Spearman()))] == units["similarities"]


OURS = [
    *(registry.method(name) for name in registry.BUILT_IN_METHODS),
    *(make() for make in registry.CONTROLS.values()),
    IntegratedGradients(baseline=Baseline("blur", 3.0)),
]


@pytest.mark.parametrize("method", OURS, ids=lambda method: method.name)
def test_methods_of_ours_are_told_as_ever(method: Any) -> None:
    assert method_print(method) == repr(method)
    assert key_of(method.name, [method_print(method), "pool"]) == (
        f"{method.name}#{digest([repr(method), 'pool'])[:12]}"
    )


@pytest.mark.parametrize(
    ("spec", "module"),
    [
        ("captum:Occlusion(sliding_window_shapes=(3, 16, 16))", "captum"),
        ("zennit:EpsilonPlus", "zennit"),
        ("grad_cam:GradCAMPlusPlus", "pytorch_grad_cam"),
    ],
)
def test_explainers_of_libraries_are_told_as_ever(spec: str, module: str) -> None:
    pytest.importorskip(module)
    method = registry.method(spec)
    assert method_print(method) == repr(method)
    assert " at 0x" not in method_print(method)


@pytest.mark.parametrize("similarity", [Spearman(), Pearson(), Cosine(), SSIM(window=5), HOG()])
def test_similarities_of_ours_are_told_as_ever(similarity: Any) -> None:
    assert key_of("x", similarity_print(similarity)) == f"x#{digest(repr(similarity))[:12]}"


def test_initialisers_of_ours_are_told_by_their_names() -> None:
    assert draw_print(He()) == "he"
    assert draw_print(Keeping(He(), ("*.bias",))) == "he"


def scaling(factor: float) -> Callable[..., Any]:
    return lambda model, x, targets: x * factor


@dataclass(frozen=True)
class Mine:
    """A method of the user's."""

    factor: float
    name: str = "mine"
    stochastic: bool = False

    def steps(self, inputs: Any) -> Any:
        yield ()
        return inputs.x * self.factor


class Alike:
    """A similarity without a repr."""

    name = "alike"

    def __init__(self, by: float = 1.0) -> None:
        self.by = by


class Subtle(Spearman):  # type: ignore[misc]
    """Ours with something on top."""

    by = 2


def is_told_by_code_and_state(
    print_: Callable[[Any], str], one: Any, same: Any, other: Any
) -> None:
    """Two of one kind are told apart by what they hold, and by nothing else."""
    assert print_(one) == print_(same) != print_(other)
    assert print_(one).startswith(one.name)
    assert " at 0x" not in print_(one)


def brought(factor: float) -> BroughtDraw:
    return BroughtDraw(scaling(factor), "e.py:draw")


def building(classes: int) -> Fresh:
    def make_model() -> nn.Module:
        return chain(classes=classes)

    return Fresh(make_model)


CASES = {
    "explainer": (method_print, lambda f: CallableMethod(scaling(f), "e.py:mine")),
    "method": (method_print, Mine),
    "similarity": (similarity_print, Alike),
    "draw": (draw_print, brought),
    "kept draw": (draw_print, lambda f: Keeping(brought(f), ("0",))),
    "make_model": (draw_print, building),
}


@pytest.mark.parametrize(("print_", "make"), CASES.values(), ids=CASES)
def test_what_users_bring_is_told_by_code_and_state(
    print_: Callable[[Any], str], make: Callable[[int], Any]
) -> None:
    is_told_by_code_and_state(print_, make(1), make(1), make(2))


@pytest.mark.parametrize("old", [repr, lambda thing: thing.name], ids=["repr", "name"])
def test_twin_a_name_or_a_repr_does_not_tell(old: Callable[[Any], str]) -> None:
    with pytest.raises(AssertionError):
        is_told_by_code_and_state(old, Alike(1.0), Alike(1.0), Alike(2.0))


def test_a_class_on_top_of_ours_is_the_users() -> None:
    assert similarity_print(Subtle()) != repr(Subtle())
    for inside, is_plain in ((1.0, True), (Spearman(), True), (Alike(), False), ([Mine], False)):
        method = SmoothGrad(sd=inside)  # type: ignore[arg-type]
        assert (method_print(method) == repr(method)) == is_plain


def test_whether_maps_are_noisy_counts() -> None:
    explain = scaling(1.0)
    both = [method_print(CallableMethod(explain, "mine", noisy)) for noisy in (True, False)]
    assert both[0] != both[1]


def test_what_cannot_be_identified_is_refused_or_new_every_time() -> None:
    lock = threading.Lock()
    living = CallableMethod(lambda model, x, targets: lock, "mine")
    with pytest.raises(UsageError, match="variable 'lock'"):
        Prints.of([Gradient(), living], [Spearman()])
    one, other = (
        Prints.of([Gradient(), living], [Spearman(), Alike()], rerun=True) for _ in range(2)
    )
    assert one.methods["mine"] != other.methods["mine"]
    assert one.methods["gradient"] == other.methods["gradient"] == repr(Gradient())
    assert one.similarities == other.similarities


def test_names_whose_digest_changed_are_named() -> None:
    before = ["a#1", "b#1", "c#1"]
    assert changed_since(before, ["a#1", "b#2", "d#1"]) == ("b",)
    assert changed_since([], before) == ()
    assert changed_since(before, before) == ()
