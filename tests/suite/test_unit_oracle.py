"""Every score of a run, from the public interface, against a literal account of a unit in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import salsanity
from reference import unit_literal as unit
from reference.unit_literal import Asked, Row, Rows, Rules, disagreements
from salsanity.models.network import lay_out, prepare
from salsanity.randomizers.draw import draw_named
from salsanity.seeds import seed_for

PARTNERS = Rules(partners=3, only_alive=True)
"""How chance is made: the changed map of the next image of the group, alive or not."""

METHODS = (
    "gradient", "input_x_gradient", "smoothgrad", "smoothgrad_squared", "vargrad", "integrated_gradients",
    "integrated_gradients_smoothgrad", "guided_backprop", "gradcam", "guided_gradcam",
)  # fmt: skip
SAMPLES = STEPS = 3
FIXED: dict[str, Any] = {
    "samples": SAMPLES,
    "steps": STEPS,
    "batch_size": 4,
    "memory_format": "contiguous",
    "device": "cpu",
    "gallery": 0,
}
CASCADE: dict[str, Any] = {**FIXED, "blocks": "layer", "stages": "all", "init": "he"}


@pytest.fixture(autouse=True, scope="module")
def no_drawing() -> Any:
    """Figures have tests of their own; where this finds nothing to replace, they are drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("salsanity.suite.judging.draw_report", lambda *_: None, raising=False)
        yield


def network_of(seed: int, *, enlarged: bool = False) -> nn.Sequential:
    """Convolutions, a norm and ReLUs for 12 x 12 images in float64; GradCAM's maps are `enlarged` from 6 x 6 or not."""
    first: list[nn.Module] = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    second: list[nn.Module] = [nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
    pools: list[nn.Module] = [nn.MaxPool2d(2), nn.AvgPool2d(2)] if enlarged else [nn.MaxPool2d(4)]
    last: list[nn.Module] = [nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 4)]
    network = nn.Sequential(*first, *pools[:-1], *second, pools[-1], *last).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for name, values in network.state_dict().items():
        if values.is_floating_point():
            drawn = torch.randn(values.shape, generator=generator, dtype=torch.float64)
            values.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn / 2)
    return network


def pictures(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, 2, 12, 12, generator=generator, dtype=torch.float64)


def layer_of(network: nn.Sequential) -> int:
    """GradCAM's: the ReLU after the last convolution."""
    return max(i for i, m in enumerate(network) if isinstance(m, nn.Conv2d)) + 1


def drawn(
    network: nn.Sequential, seed: int, count: int, *, layout: Any = "contiguous"
) -> list[dict[str, Tensor]]:
    """What the initialiser draws, by name in the state_dict; draws have oracles of their own.

    `layout`: the memory format of the run, since some draws fill tensors in the order of their memory.
    """
    copied = prepare(network, torch.zeros(1, 2, 12, 12).to(network[0].weight.dtype), blocks="layer")
    lay_out(copied, layout)
    return [
        {
            f"{layer}.{name}": values
            for layer, tensors in draw_named("he")(copied, seed_for(seed, "draw", draw)).items()
            for name, values in tensors.items()
        }
        for draw in range(count)
    ]


def order_of(result: salsanity.Result, seed: int) -> list[int]:
    """Places of a run's images in what was given: in the order of a seed made from each name."""
    names = [image["name"] for image in result.spec["images"]]
    assert names == sorted(names, key=lambda name: seed_for(seed, "order", name))
    return [int(name.rpartition("/")[2]) for name in names]


@dataclass(frozen=True)
class Run:
    """A run and what the oracle needs to give the same: all of `cascade`'s or `label_test`'s arguments."""

    result: salsanity.Result
    scores: list[Any]
    networks: Sequence[nn.Sequential]
    asked: Asked
    targets: Sequence[int] | None
    draws: int = 0
    order: str = "top_down"
    own: bool = False
    layout: str = "contiguous"

    def rows(self, **changed: Any) -> Rows:
        """All rows of the cascade; `changed`: fields of `asked`, or arguments of `cascade`."""
        network = self.networks[0]
        layers = [str(i) for i, m in enumerate(network) if list(m.parameters())]
        fields = {k: changed.pop(k) for k in list(changed) if hasattr(self.asked, k)}
        asked = replace(self.asked, **fields)
        given = {
            "draws": drawn(network, self.asked.seed, self.draws, layout=self.layout),
            "blocks": {layer: [layer] for layer in layers},
            "order": self.order,
            "targets": self.targets,
            "own": self.own,
            **changed,
        }
        return unit.cascade(network, asked, **given)


def cascade_run(
    out: Path,
    network: nn.Sequential,
    images: Tensor,
    *,
    methods: Sequence[str],
    targets: list[int] | None = None,
    **options: Any,
) -> Run:
    result = salsanity.model_randomization_test(
        network, images, targets, methods=methods, max_images=len(images), out=out,
        **{**CASCADE, **options},
    )  # fmt: skip
    seed = options.get("seed", 0)
    places = order_of(result, seed)
    asked = Asked(
        images[places],
        (*methods, *unit.CONTROLS),
        layer_of(network),
        SAMPLES,
        STEPS,
        seed=seed,
        rules=PARTNERS,
    )
    return Run(
        result,
        list(result.scores.itertuples()),
        [network],
        asked,
        None if targets is None else [targets[i] for i in places],
        options["draws"],
        options.get("order", "top_down"),
        options.get("target") == "own",
        options.get("memory_format", "contiguous"),
    )


def exact(row: Row) -> float:
    """Both sides computed in float64."""
    return 1e-9


def check_same(run: Run, rows: Rows, tolerance: Callable[[Row], float] = exact) -> None:
    places = {Row(*(getattr(score, name) for name in Row._fields)) for score in run.scores}
    assert len(places) == len(run.scores)
    assert places == set(rows)
    assert disagreements(run.scores, rows, tolerance=tolerance) == []


def holes(rows: Rows, **where: Any) -> int:
    """How many values of the rows at a place are holes."""
    chosen = (s for r, s in rows.items() if all(getattr(r, k) == v for k, v in where.items()))
    return sum(math.isnan(score.value) for score in chosen)


# ------------------------------------------------------------------------------- the cascade


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Ten images (a group of eight, a group of two), two draws, every method."""
    out = tmp_path_factory.mktemp("cascade") / "run"
    return cascade_run(out, network_of(17), pictures(10), methods=METHODS, draws=2)


def test_the_cascade_is_what_the_oracle_says(whole: Run) -> None:
    rows = whole.rows()
    check_same(whole, rows)
    dead, changed = (holes(rows, method="gradcam", stage=stage, draw=0) for stage in ("self", "0"))
    assert 0 < dead < changed < sum(r.method == "gradcam" and r.stage == "self" for r in rows)


SOME = ("smoothgrad", "gradcam")


def other_rules(**changed: Any) -> dict[str, Any]:
    return {"rules": replace(PARTNERS, **changed)}


TWINS = {
    "the streams the other way round": other_rules(reference_stream=1, changed_stream=0),
    "one stream for all": other_rules(changed_stream=0),
    "the image before for chance": other_rules(step=-1),
    "one partner more": other_rules(partners=PARTNERS.partners + 1),
    "dead partners treated otherwise": other_rules(only_alive=not PARTNERS.only_alive),
    "groups of four": other_rules(group=4),
    "a ceiling of 1 for methods that draw noise": other_rules(measures=False),
    "noise that belongs to places": other_rules(noise_of=lambda image, place: str(place)),
    "0 for what has no similarity": other_rules(hole=0.0),
    "another seed of the noise": {"seed": 1},
    "more samples": {"samples": SAMPLES + 1},
    "the next layer for GradCAM": {"layer": 3},
    "each network's own class": {"own": True},
    "the class of one image for all": {"targets": [0] * 10},
}


@pytest.mark.parametrize("change", [{}, *TWINS.values()], ids=["nothing", *TWINS])
def test_another_account_of_the_cascade_is_not_what_the_product_does(
    whole: Run, change: dict[str, Any]
) -> None:
    few = {"methods": SOME, "similarities": ("spearman",), "draws": drawn(whole.networks[0], 0, 1)}
    rows = whole.rows(**{**few, **change})
    assert bool(disagreements(whole.scores, rows, tolerance=exact)) == bool(change)


def test_other_weights_are_not_what_the_product_puts_in(whole: Run) -> None:
    network = whole.networks[0]
    first, second = drawn(network, 0, 2)
    blocks = {layer: [layer] for layer in ("0", "1", "3", "7", "9")}
    twins = {
        "draws in another order": {"draws": [second, first]},
        "a layer that stays trained": {"blocks": {**blocks, "7": []}},
        "a stage for nothing": {"blocks": {**blocks, "7": ["7", "3"]}},
        "the norm's statistics": {
            "draws": [{**d, "1.running_mean": torch.zeros(4)} for d in (first, second)]
        },
    }
    for name, change in {"nothing": {"blocks": blocks}, **twins}.items():
        rows = whole.rows(methods=("gradient",), similarities=("spearman",), **change)
        found = disagreements(whole.scores, rows, tolerance=exact)
        assert bool(found) == (name != "nothing"), name


def test_no_change_of_a_score_is_overlooked(whole: Run) -> None:
    rows = whole.rows(methods=("gradcam",), similarities=("hog",))
    scores = [s for s in whole.scores if s.method == "gradcam" and s.similarity == "hog"]
    assert disagreements(scores, rows, tolerance=exact) == []
    at = next(
        i for i, s in enumerate(scores) if s.stage != "self" and not isinstance(s.reason, str)
    )
    hole = next(i for i, s in enumerate(scores) if math.isnan(s.value))
    changes = [
        (at, {"value": scores[at].value + 1e-6}),
        (at, {"value": math.nan}),
        (at, {"chance": scores[at].chance + 1e-6}),
        (at, {"reason": "why"}),
        (at, {"stage": "another"}),
        (hole, {"value": 0.0}),
        (hole, {"reason": None}),
    ]
    for place, change in changes:
        other = [*scores[:place], scores[place]._replace(**change), *scores[place + 1 :]]
        assert len(disagreements(other, rows, tolerance=exact)) == 1, change


@pytest.mark.parametrize(
    ("order", "options"),
    [
        ("independent", {"seed": 7, "targets": [i % 4 for i in range(17)], "gallery": 8}),
        ("bottom_up", {"target": "own", "replay": "on"}),
    ],
)
def test_the_other_orders_are_what_the_oracle_says(
    tmp_path: Path, order: str, options: dict[str, Any]
) -> None:
    """Seventeen images: a group of eight and one of nine, in two chunks or in one."""
    methods = ("gradient", "smoothgrad", "gradcam")
    run = cascade_run(
        tmp_path / "run", network_of(7), pictures(17), methods=methods, order=order, draws=1,
        similarities=("spearman",), **options,
    )  # fmt: skip
    check_same(run, run.rows(similarities=("spearman",)))
    other = {"independent": "top_down", "bottom_up": "independent"}[order]
    twin = run.rows(methods=("gradient",), similarities=("spearman",), order=other)
    assert disagreements(run.scores, twin, tolerance=exact)


def test_a_network_in_float32_with_enlarged_maps(tmp_path: Path) -> None:
    """float32 differs from float64 in the seventh digit; where it swaps two ranks of a map of 144 pixels, in the fourth."""
    run = cascade_run(
        tmp_path / "run", network_of(8, enlarged=True).float(), pictures(9).float(), draws=1,
        methods=METHODS, memory_format="channels_last", batch_size=3,
    )  # fmt: skip
    rows = run.rows()
    check_same(run, rows, lambda row: 5e-3)
    close = disagreements(run.scores, rows, tolerance=lambda row: 1e-5)
    assert len(close) < 0.03 * len(rows)


# ---------------------------------------------------------------------------- the label test

TRUE, PERMUTED = (17, 7, 6), (8, 1)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three networks on true and two on permuted labels, ten images."""
    images, labels = pictures(10), torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 3, 2])
    true, permuted = ([network_of(seed) for seed in seeds] for seeds in (TRUE, PERMUTED))
    result = salsanity.data_randomization_test(
        lambda: network_of(0), None, (images, labels), true=true, permuted=permuted,
        methods=METHODS, max_images=10, out=tmp_path_factory.mktemp("labels") / "run", **FIXED,
    )  # fmt: skip
    places = order_of(result, 0)
    asked = Asked(
        images[places],
        (*METHODS, *unit.CONTROLS),
        layer_of(true[0]),
        SAMPLES,
        STEPS,
        rules=PARTNERS,
    )
    targets = labels[places].tolist()
    return Run(result, list(result.scores.itertuples()), (*true, *permuted), asked, targets)


def label_rows(run: Run, **changed: Any) -> Rows:
    fields = {k: changed.pop(k) for k in list(changed) if hasattr(run.asked, k)}
    true, permuted = run.networks[: len(TRUE)], run.networks[len(TRUE) :]
    given = {"true": true, "permuted": permuted, "targets": run.targets, **changed}
    return unit.label_test(asked=replace(run.asked, **fields), **given)


def test_the_label_test_is_what_the_oracle_says(labelled: Run) -> None:
    rows = label_rows(labelled)
    check_same(labelled, rows)
    for stage in ("TT", "TP"):
        assert holes(rows, method="gradcam", stage=stage) > 0
    assert {r.draw for r in rows if r.stage == "TT"} == {0, 1, 2}
    assert {r.draw for r in rows if r.stage == "TP"} == set(range(6))


def descending(true: int, _: int) -> list[tuple[int, int]]:
    return [(j, i) for i, j in unit.ascending(true, true)]


def permuted_first(true: int, permuted: int) -> list[tuple[int, int]]:
    return [(i, j) for j in range(permuted) for i in range(true)]


RULES = (
    "the streams the other way round",
    "the image before for chance",
    "one partner more",
    "dead partners treated otherwise",
    "a ceiling of 1 for methods that draw noise",
    "0 for what has no similarity",
    "the class of one image for all",
)
LABEL_TWINS = {
    **{name: TWINS[name] for name in RULES},
    "the later true network as the reference": {"true_pairs": descending},
    "permuted networks counted first": {"mixed_pairs": permuted_first},
    "true networks in another order": {"true": [network_of(s) for s in reversed(TRUE)]},
    "permuted networks in another order": {"permuted": [network_of(s) for s in reversed(PERMUTED)]},
}


@pytest.mark.parametrize("change", [{}, *LABEL_TWINS.values()], ids=["nothing", *LABEL_TWINS])
def test_another_account_of_the_label_test_is_not_what_the_product_does(
    labelled: Run, change: dict[str, Any]
) -> None:
    rows = label_rows(labelled, **{"methods": SOME, "similarities": ("spearman",), **change})
    assert bool(disagreements(labelled.scores, rows, tolerance=exact)) == bool(change)
