"""The cascade as a check: which weights each state holds, literally; what is asked, compared, shown and demanded."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salsanity.checks import cascade
from salsanity.checks.cascade import PICTURED, SELF, Cascade, pictured
from salsanity.checks.frame import CHANGED_STREAM, REFERENCE_STREAM, TRAINED, Chunk, Ground, Settled
from salsanity.checks.named import settled
from salsanity.data.examples import image_id
from salsanity.errors import ModelError, SpecError
from salsanity.models.blocks import Block
from salsanity.models.network import Network, prepare
from salsanity.models.slots import Weights
from salsanity.randomizers.draw import ModuleInit
from salsanity.randomizers.stages import Order, full_of, half_of, stages_of
from salsanity.records import Outcome
from salsanity.seeds import seed_for
from salsanity.units.job import ground_of
from salsanity.units.spec import RunSpec

SEED, DRAWS = 11, 3
LAYERS = ("0", "2", "5", "7", "9")
"""Layers with weights, from the input up."""


def model() -> nn.Sequential:
    torch.manual_seed(3)
    network = nn.Sequential(
        *(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(4 * 36, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4)),
    )  # fmt: skip
    return network.double().eval()


def images(count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.rand(count, 1, 6, 6, generator=generator, dtype=torch.float64)


def ground(network: nn.Module | None = None, **changes: Any) -> Ground:
    spec = RunSpec(seed=SEED, draws=DRAWS, **changes)
    return ground_of(prepare(network or model(), images(1), blocks="layer"), spec, images(), None)


def laid(on: Ground, **options: Any) -> Settled:
    return settled(Cascade(**{"init": "module", "blocks": "layer", **options}), on)


def chunk() -> Chunk:
    x = images()
    return Chunk(x, model()(x).argmax(1).detach(), tuple(image_id(i) for i in x))


def flat(weights: Weights) -> dict[str, Tensor]:
    return {f"{layer}.{name}": v for layer, own in weights.items() for name, v in own.items()}


def literal_stages(order: str) -> dict[str, tuple[str, ...]]:
    """The layers that each stage destroys, in order; the last destroys all."""
    down = LAYERS[::-1]
    match order:
        case "top_down":
            return {layer: down[: i + 1] for i, layer in enumerate(down)}
        case "bottom_up":
            return {layer: LAYERS[: i + 1] for i, layer in enumerate(LAYERS)}
    return {**{layer: (layer,) for layer in down}, "full": LAYERS}


def literal_weights(network: Network, draw: int, layers: tuple[str, ...]) -> dict[str, Tensor]:
    """A draw of the whole network under its own seed, of which the destroyed layers are taken."""
    drawn = flat(ModuleInit()(network, seed_for(SEED, "draw", draw)))
    return {key: value for key, value in drawn.items() if key.rpartition(".")[0] in layers}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("draw", range(DRAWS))
@pytest.mark.parametrize("order", ["top_down", "bottom_up", "independent"])
def test_states_hold_the_draw_of_the_layers_that_their_stage_destroys(
    order: str, draw: int
) -> None:
    on = ground()
    check = laid(on, order=order, stages="all").check
    stages = literal_stages(order)
    names = tuple(str(stage["name"]) for stage in check.stages)
    assert names == tuple(stages)
    assert [set(s["blocks"]) for s in check.stages] == [set(layers) for layers in stages.values()]
    states = check.changed(on, chunk(), draw, check.asked_stages(draw, is_shown=False))
    found = {state.name: state for state in states if state.weights}
    assert list(found) == [f"draw {draw}/{name}" for name in names]
    for name, layers in stages.items():
        wanted = literal_weights(on.network, draw, layers)
        assert same(flat(found[f"draw {draw}/{name}"].weights), wanted), name


def test_twin_another_draw_or_another_layer_is_noticed() -> None:
    network = ground().network
    right = literal_weights(network, 0, LAYERS)
    assert not same(literal_weights(network, 1, LAYERS), right)
    assert not same(literal_weights(network, 0, LAYERS[1:]), right)


def test_a_layer_keeps_its_draw_from_stage_to_stage() -> None:
    on = ground()
    check = laid(on, stages="all").check
    states = check.changed(on, chunk(), 1, check.asked_stages(1, is_shown=False))
    for before, after in pairwise(states):
        kept = flat(before.weights)
        assert same({k: v for k, v in flat(after.weights).items() if k in kept}, kept)


def test_draws_are_kept_or_made_again_with_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    on = ground()
    check = laid(on).check
    first = [flat(check.changed(on, chunk(), d, ("0",))[0].weights) for d in (0, 1)]
    (kept,) = on.memory.values()
    assert set(kept) == {0, 1}
    monkeypatch.setattr(cascade, "KEEP_BYTES", 1)
    small = ground()
    check = laid(small).check
    again = [flat(check.changed(small, chunk(), d, ("0",))[0].weights) for d in (0, 1)]
    (kept,) = small.memory.values()
    assert len(kept) == 1
    assert all(same(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("options", "draw", "is_shown", "asked"),
    [
        ({}, 0, False, ("5", "0")),
        ({}, 1, True, ("5", "0")),
        ({}, 0, True, ("9", "7", "5", "2", "0")),
        ({"stages": "all"}, 2, False, ("9", "7", "5", "2", "0")),
        ({"order": "bottom_up"}, 1, False, ("9",)),
        ({"order": "independent"}, 1, False, ("full",)),
        ({"order": "independent"}, 0, True, ("9", "7", "5", "2", "0", "full")),
    ],
)
def test_the_stages_that_decide_are_asked_and_all_for_the_figures(
    options: dict[str, Any], draw: int, is_shown: bool, asked: tuple[str, ...]
) -> None:
    assert laid(ground(), **options).check.asked_stages(draw, is_shown=is_shown) == asked


def test_pairs_compare_each_stage_with_the_trained_network() -> None:
    check = laid(ground()).check
    pairs = [(p.stage, p.index, p.draw, p.reference, p.changed) for p in check.pairs(1)]
    assert pairs == [(n, i, 1, TRAINED, f"draw 1/{n}") for i, n in enumerate("97520", 1)]
    first = check.pairs(0)
    assert (first[-1].stage, first[-1].index, first[-1].changed) == ("self", 0, SELF)
    assert [p.stage for p in first].count("self") == 1


def test_the_first_draw_asks_for_the_ceiling_and_is_shown() -> None:
    on = ground()
    check = laid(on).check
    (reference,) = check.references(on, chunk())
    assert (reference.stream, reference.shown) == (REFERENCE_STREAM, TRAINED)
    *states, again = check.changed(on, chunk(), 0, ("5", "0"))
    assert (again.name, again.asks, dict(again.weights)) == (SELF, "stochastic", {})
    assert [(s.shown, s.is_watched, s.stream) for s in states] == [
        ("5", True, CHANGED_STREAM),
        ("0", True, CHANGED_STREAM),
    ]
    assert [s.shown for s in check.changed(on, chunk(), 1, ("5", "0"))] == ["", ""]


def test_lines_of_every_order() -> None:
    full, half = laid(ground(), d_full=0.3, d_half=0.6).check.lines
    assert (full.name, full.stage, full.threshold, full.nothing) == ("full", "0", 0.3, True)
    assert (half.name, half.stage, half.threshold, half.nothing) == ("half", "5", 0.6, False)
    assert "down to 5" in half.words
    for order, last in (("bottom_up", "9"), ("independent", "full")):
        (only,) = laid(ground(), order=order).check.lines
        assert (only.name, only.stage) == ("full", last)
    two = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 4)).double().eval()
    (only,) = laid(ground(two)).check.lines
    assert only.stage == "1", "with two layers there is no top half"


def test_what_a_network_predicts_itself_is_explained_on_request() -> None:
    for target, wanted in (("trained", None), ("own", "own")):
        on = ground(target=target)
        states = laid(on).check.changed(on, chunk(), 1, ("5", "0"))
        assert [state.targets for state in states] == [wanted, wanted]


def test_too_few_randomised_values_never_pass_unless_the_user_named_them() -> None:
    on = ground()
    assert laid(on).never_pass == ""
    assert laid(on, keep=("0.*", "5.*")).never_pass == ""


def test_kept_parameters_stay_as_trained() -> None:
    on = ground()
    check = laid(on, keep=("5.*",)).check
    (state,) = check.changed(on, chunk(), 1, ("0",))
    assert {key.partition(".")[0] for key in flat(state.weights)} == {"0", "2", "7", "9"}


def test_a_continued_run_keeps_the_initialiser_it_began_with() -> None:
    from dataclasses import replace

    recorded = {"init": "he", "facts": {"Initialiser chosen": "the signal collapsed"}}
    found = laid(replace(ground(), recorded=recorded), init="auto")
    assert found.init == "he"
    assert found.facts["Initialiser chosen"] == "the signal collapsed"


def test_the_fingerprint_tells_apart_what_the_scores_depend_on_and_nothing_else() -> None:
    def told(**options: Any) -> str:
        return repr(laid(ground(), **options).check.fingerprint())

    usual = told()
    for same_scores in ({"stages": "all"}, {"d_full": 0.5}, {"d_half": 0.5}):
        assert told(**same_scores) == usual, same_scores
    for other in (
        {"order": "bottom_up"}, {"init": "he"}, {"batchnorm": "reset"}, {"keep": ("0.*",)}, {"blocks": ("5", "9")},
    ):  # fmt: skip
        assert told(**other) != usual, other  # type: ignore[arg-type]


def test_its_controls_and_its_words() -> None:
    found = laid(ground())
    assert found.check.controls == {"edge": Outcome.FAIL, "noise": Outcome.PASS}
    record = found.record(["spearman"])
    assert (record.name, record.init, record.is_course) == ("cascade", "module", True)
    assert record.states == (TRAINED, "9", "7", "5", "2", "0")
    assert record.draws == DRAWS
    assert record.facts["Parameters randomised"] == "100.0%"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"order": "sideways"}, SpecError, "order"),
        ({"init": "nonsense"}, SpecError, "init"),
        ({"d_full": 1.5}, SpecError, "d_full"),
        ({"blocks": ("no_such",)}, ModelError, "no_such"),
        ({"keep": ("no_such",)}, ModelError, "no_such"),
    ],
)
def test_what_makes_no_cascade_is_refused(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        laid(ground(), **options)


@pytest.mark.parametrize("blocks", range(1, 24))
@pytest.mark.parametrize("order", ["top_down", "independent"])
def test_figures_show_a_few_stages_from_end_to_end_with_those_that_decide(
    blocks: int, order: Order
) -> None:
    made = [Block(f"b{i}", (f"b{i}",)) for i in range(blocks)]
    course = stages_of(made, order)
    half = half_of(course) if order == "top_down" else None
    decisive = [stage.name for stage in (half, full_of(course)) if stage is not None]
    shown = pictured(course, decisive)
    names = [stage.name for stage in course]
    assert set(decisive) <= set(shown)
    assert len(shown) <= PICTURED
    assert list(shown) == [name for name in names if name in shown]
    assert shown[0] == names[0]
    gaps = [b - a for a, b in pairwise(map(names.index, shown))]
    assert max(gaps, default=0) <= -(-len(names) // (PICTURED - 2))
