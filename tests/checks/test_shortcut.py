"""Planted shortcuts: where marks stand, what lies on them, hand-built networks, and D computed literally."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from bench import Measured, measured
from PIL import Image
from torch import Tensor, nn

from salsanity.checks import mark as marks
from salsanity.checks.cue_networks import CueNetwork, Lesson, refuse
from salsanity.checks.entropy import EntropyChange
from salsanity.checks.frame import Chunk, State
from salsanity.checks.mark import Mark, checker, places, planted
from salsanity.checks.shortcut import CuePairs, Shortcut
from salsanity.errors import DataError, SimilarityError, SpecError, TrainingError, UsageError
from salsanity.methods import Edge, Gradient, Noise, SmoothGrad
from salsanity.methods.controls import InputMagnitude
from salsanity.records import REFERENCE_STAGE, Line, Outcome, Words
from salsanity.similarity import view
from salsanity.similarity.entropy import HistogramEntropy
from salsanity.similarity.mass import BoxMass
from salsanity.training.evaluate import LabelledImages

SIDE, CLASSES = 16, 4


def images(count: int = 12, channels: int = 1, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, SIDE, SIDE, generator=generator, dtype=torch.float64)


LABELS = torch.arange(12) % CLASSES


# The mark.


@pytest.mark.parametrize("image", [(28, 28), (32, 32), (12, 12), (224, 224), (16, 40), (11, 10)])
@pytest.mark.parametrize("size", [(5, 5), (3, 4), (1, 1)])
def test_places_lie_on_the_border_and_apart(image: tuple[int, int], size: tuple[int, int]) -> None:
    count = np.zeros(image, dtype=int)
    found = places(size, image)
    for top, left in found:
        assert 0 <= top <= image[0] - size[0]
        assert 0 <= left <= image[1] - size[1]
        assert top in (0, image[0] - size[0]) or left in (0, image[1] - size[1])
        count[top : top + size[0], left : left + size[1]] += 1
    assert count.max() == 1
    assert count.sum() == len(found) * size[0] * size[1]


@pytest.mark.parametrize(("side", "pixels"), [(28, 5), (32, 5), (12, 5), (56, 10), (224, 40)])
def test_a_checker_grows_with_the_image_and_its_places_tell_the_class(
    side: int, pixels: int
) -> None:
    mark = planted(torch.rand(3, 1, side, side), 4)
    assert mark.size == (pixels, pixels)
    assert len(set(mark.corners)) == 4
    whole = planted(torch.rand(3, 1, 28, 28), 10)
    assert len(set(whole.corners)) == 10


def test_a_checker_alternates_and_shrinks_where_there_are_many_classes() -> None:
    found = checker(1)[0].numpy()
    literal = [[1 - (i + j) % 2 for j in range(5)] for i in range(5)]
    np.testing.assert_array_equal(found, literal)
    np.testing.assert_array_equal(checker(3)[0].numpy(), np.kron(literal, np.ones((3, 3))))
    assert planted(torch.rand(2, 3, 224, 224), 20).size == (35, 35)


def test_black_and_white_are_what_the_images_have() -> None:
    x = images(channels=2)
    x[:, 1] = 3 * x[:, 1] - 7
    mark = planted(x, CLASSES)
    for channel in (0, 1):
        values = x[:, channel]
        assert set(mark.pattern[channel].unique().tolist()) == {
            float(values.min()),
            float(values.max()),
        }


def test_marked_images_bear_it_at_the_place_of_their_class_and_nowhere_else() -> None:
    x = images()
    mark, before = planted(x, CLASSES), x.clone()
    marked = mark.on(x, LABELS)
    assert torch.equal(x, before), "it wrote into the images"
    for one, original, label in zip(marked, x, LABELS.tolist(), strict=True):
        top, left = mark.corners[label]
        within = (slice(None), slice(top, top + 5), slice(left, left + 5))
        assert torch.equal(one[within], mark.pattern)
        rest = one.clone()
        rest[within] = original[within]
        assert torch.equal(rest, original)


def test_a_mark_may_be_a_picture(tmp_path: Path) -> None:
    pixels = np.array([[0, 255, 51], [255, 0, 102]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mark.png")
    x = 2 * images(channels=3) - 1
    mark = planted(x, CLASSES, file=tmp_path / "mark.png")
    assert mark.size == (2, 3)
    low, high = x[:, 1].min(), x[:, 1].max()
    wanted = low + torch.from_numpy(pixels).double() / 255 * (high - low)
    torch.testing.assert_close(mark.pattern[1], wanted, rtol=1e-6, atol=1e-6)
    with pytest.raises(DataError, match=r"the mark .*nothing\.png"):
        planted(x, CLASSES, file=tmp_path / "nothing.png")
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(tmp_path / "large.png")
    with pytest.raises(UsageError, match=r"room for a mark of 9 x 9 pixels .* got room for 0"):
        planted(x, CLASSES, file=tmp_path / "large.png")


def test_what_cannot_bear_a_mark_is_refused() -> None:
    with pytest.raises(UsageError, match="for each of 40 classes"):
        planted(images(), 40)
    with pytest.raises(UsageError, match="to plant a mark in, got shape"):
        planted(torch.rand(4, 9), 2)
    with pytest.raises(DataError, match="more than one value"):
        planted(torch.zeros(4, 1, 16, 16), 2)
    with pytest.raises(DataError, match="expected classes from 0 to 3"):
        planted(images(), CLASSES).on(images(), LABELS + 1)


# The statistic.


def literal_mass(values: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """Share of the absolute sum inside the box, pixel by pixel."""
    top, left, height, width = box
    inside = total = 0.0
    for (row, column), value in np.ndenumerate(np.abs(values)):
        total += float(value)
        if top <= row < top + height and left <= column < left + width:
            inside += float(value)
    return inside / total


BOXES = ((0, 0, 5, 5), (3, 2, 4, 6), (11, 11, 5, 5))


def check_mass(measure: Callable[[Any], Any]) -> None:
    maps = torch.randn(3, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double()
    found = measure(view(maps, signed=False)).values.tolist()
    seen = maps.abs().sum(1).numpy()
    literal = [literal_mass(one, box) for one, box in zip(seen, BOXES, strict=True)]
    assert found == pytest.approx(literal, rel=1e-12)


def test_mass_is_the_share_inside_the_box() -> None:
    check_mass(BoxMass(BOXES).measure)


def test_twin_mass_of_another_box_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check_mass(BoxMass(BOXES[::-1]).measure)


def test_mass_of_a_map_that_is_no_map_is_undefined() -> None:
    maps = torch.ones(3, 1, SIDE, SIDE)
    maps[1] = 0
    maps[2, 0, 0, 0] = math.nan
    found = BoxMass(BOXES).measure(view(maps, signed=False))
    assert found.values.isnan().all()
    assert found.reasons == ("constant map", "constant map", "map with NaN or infinite values")
    with pytest.raises(SimilarityError, match="a box for each of 3 maps, got 2"):
        BoxMass(BOXES[:2]).measure(view(maps, signed=False))


# Hand-built networks.


def reader(weight: Tensor) -> nn.Module:
    """A network whose logit of a class is a weighted sum of pixels."""
    linear = nn.Linear(SIDE * SIDE, CLASSES, bias=False).double()
    with torch.no_grad():
        linear.weight.copy_(weight.reshape(CLASSES, -1))
    return nn.Sequential(nn.Flatten(), linear).eval()


def reads_the_box(mark: Mark, seed: int) -> nn.Module:
    weight = torch.zeros(CLASSES, SIDE, SIDE, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for row, (top, left) in zip(weight, mark.corners, strict=True):
        row[top : top + 5, left : left + 5] = torch.randn(5, 5, generator=generator).double()
    return reader(weight)


def never_reads_it(mark: Mark, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(CLASSES, SIDE, SIDE, generator=generator).double()
    for top, left in mark.corners:
        weight[:, top : top + 5, left : left + 5] = 0
    return reader(weight)


def known(mark: Mark, plain: list[nn.Module], cue: list[nn.Module]) -> Shortcut:
    networks = [
        CueNetwork(kind, i, model, 0, 1.0, 1.0, 0.0)  # type: ignore[arg-type]
        for kind, models in (("plain", plain), ("cue", cue))
        for i, model in enumerate(models)
    ]
    return Shortcut(known=(mark, tuple(networks)))


def judged(check: Shortcut, methods: Any) -> Measured:
    assert check.known is not None
    first = check.known[1][0].model
    return measured(check, first, images(), methods, targets=LABELS)


METHODS = (Gradient(), Edge(), InputMagnitude(), Noise())


def hand_built() -> Shortcut:
    mark = planted(images(), CLASSES)
    plain = [never_reads_it(mark, seed) for seed in (1, 2)]
    return known(mark, plain, [reads_the_box(mark, seed) for seed in (3, 4)])


def check_hand_built(check: Shortcut) -> None:
    found = judged(check, METHODS).verdicts(["gradient"], ["edge", "input", "noise"])
    assert found["gradient"].retained == pytest.approx(1, abs=1e-12)
    assert found["gradient"].outcome is Outcome.PASS
    assert found["edge"].retained == pytest.approx(0, abs=1e-12)
    assert found["input"].retained == pytest.approx(0, abs=1e-12)
    assert found["noise"].retained == pytest.approx(0, abs=0.03)
    for control, expected in CuePairs.controls.items():
        assert found[control].outcome is expected


def test_a_network_that_reads_the_box_alone_beside_one_that_never_does() -> None:
    check_hand_built(hand_built())


def test_twin_a_network_that_reads_another_box_hides_it() -> None:
    check = hand_built()
    assert check.known is not None
    mark, networks = check.known
    moved = replace(mark, corners=(*mark.corners[1:], mark.corners[0]))
    cue = [reads_the_box(moved, seed) for seed in (3, 4)]
    with pytest.raises(AssertionError):
        check_hand_built(known(mark, [n.model for n in networks[:2]], cue))


def test_a_method_that_lights_the_mark_up_in_both_networks_shows_nothing() -> None:
    check = hand_built()
    assert check.known is not None
    mark, networks = check.known
    cue = [n.model for n in networks[2:]]
    both = known(mark, cue, cue)
    found = measured(both, cue[0], images(), [Gradient()], targets=LABELS)
    verdict = found.verdicts(["gradient"])["gradient"]
    assert verdict.outcome is Outcome.UNINFORMATIVE, "there is no room above the plain network"
    assert (found.values("gradient", "cue") == 1).all()


def test_the_reason_says_what_was_measured_and_of_what_it_speaks() -> None:
    reason = judged(hand_built(), [Gradient()]).verdicts(["gradient"])["gradient"].reason
    assert "shows 1.00 of the cue that the network goes by" in reason
    assert "1.00 of the map lies on it, 0.00 where it means nothing" in reason
    assert reason.endswith("this speaks of these networks and this mark only")


# A literal computation.


def small_cnn(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return (
        nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(6 * (SIDE // 2) ** 2, CLASSES),
        )
        .double()
        .eval()
    )


def literal_share(model: nn.Module, x: Tensor, label: int, corner: tuple[int, int]) -> float:
    """q: mark one image, differentiate its logit, add up absolute values over channels and inside the box."""
    low, high = images(channels=2).amin((0, 2, 3)), images(channels=2).amax((0, 2, 3))
    marked = x.clone()
    for row in range(5):
        for column in range(5):
            is_white = (row + column) % 2 == 0
            marked[:, corner[0] + row, corner[1] + column] = high if is_white else low
    marked.requires_grad_()
    (gradient,) = torch.autograd.grad(model(marked[None])[0, label], marked)
    return literal_mass(gradient.abs().sum(0).numpy(), (*corner, 5, 5))


def check_literally(found: Measured, mark: Mark, plain: list[Any], cue: list[Any]) -> None:
    x, above, below = images(channels=2), 0.0, 0.0
    rows = found.scores[(found.scores.method == "gradient") & (found.scores.stage == "cue")]
    of_image = {image: k for k, image in enumerate(dict.fromkeys(rows.image))}
    for row in rows.itertuples():
        i = of_image[row.image]
        label = int(LABELS[i])
        a, b = (
            literal_share(model, x[i], label, mark.corners[label])
            for model in (plain[row.draw // 2], cue[row.draw % 2])
        )
        assert (row.chance, row.value) == pytest.approx((a, b), rel=1e-9)
        above, below = above + b - a, below + 1 - a
    assert len(rows) == len(x) * 4
    assert set(rows["view"]) == {"absolute"}
    verdict = found.verdicts(["gradient"])["gradient"]
    assert verdict.retained == pytest.approx(above / below, rel=1e-9)
    assert (verdict.n_images, verdict.n_draws) == (len(x), 4)


def networks_at_random() -> tuple[Mark, list[nn.Module], list[nn.Module]]:
    mark = planted(images(channels=2), CLASSES)
    return mark, [small_cnn(1), small_cnn(2)], [small_cnn(3), small_cnn(4)]


def run_at_random(mark: Mark, plain: list[nn.Module], cue: list[nn.Module]) -> Measured:
    check = known(mark, plain, cue)
    return measured(check, plain[0], images(channels=2), [Gradient()], targets=LABELS)


def test_q_and_d_equal_a_literal_computation() -> None:
    mark, plain, cue = networks_at_random()
    check_literally(run_at_random(mark, plain, cue), mark, plain, cue)


@pytest.mark.parametrize("broken", ["other mass", "no mark", "no plain network"])
def test_twin_of_the_literal_computation(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, plain, cue = networks_at_random()
    match broken:
        case "other mass":
            elsewhere = (3, 3, 5, 5)
            monkeypatch.setattr(Mark, "mass", lambda self, p: BoxMass((elsewhere,) * len(p)))
        case "no mark":
            monkeypatch.setattr(Mark, "on", lambda self, x, places: x.clone())
        case "no plain network":
            pairs = CuePairs.pairs
            alone = lambda self, draw: [replace(p, has_chance=False) for p in pairs(self, draw)]  # noqa: E731
            monkeypatch.setattr(CuePairs, "pairs", alone)
    with pytest.raises(AssertionError):
        check_literally(run_at_random(mark, plain, cue), mark, plain, cue)


def test_methods_that_draw_noise_see_the_same_noise_in_every_network() -> None:
    mark, (plain, _), _ = networks_at_random()
    found = measured(
        known(mark, [plain] * 2, [plain] * 2),
        plain,
        images(channels=2),
        [SmoothGrad(3)],
        targets=LABELS,
    )
    rows = found.scores[found.scores.stage == "cue"]
    np.testing.assert_allclose(rows["value"], rows["chance"], rtol=1e-9)


# Statistics in the worker.


@dataclass(frozen=True)
class Twice:
    """A statistic of a user's, with a measured ceiling."""

    name: ClassVar[str] = "twice"
    test: ClassVar[str] = "statistic"
    words: ClassVar[Words] = Words("", "?", "", "")
    controls: ClassVar[dict[str, Outcome]] = {}
    lines: ClassVar[tuple[Line, ...]] = (Line("twice", "again", 0.0, "asked again"),)
    measures: ClassVar[tuple[Any, ...]] = (HistogramEntropy(),)

    def changed(self, ground: Any, chunk: Chunk, draw: int) -> list[State]:
        return [State("again")]


def test_of_a_statistic_stage_self_holds_the_reference_alone() -> None:
    model = small_cnn(5)
    x = images(channels=2)
    found = measured(Twice(), model, x, [Gradient(), SmoothGrad(2)])
    own = found.scores[found.scores.stage == REFERENCE_STAGE]
    assert not own.duplicated(["image", "method", "view", "similarity"]).any()
    (verdict,) = found.verdicts(["smoothgrad"]).values()
    assert abs(verdict.retained) < 1


def test_entropies_stand_alone() -> None:
    found = measured(EntropyChange(), small_cnn(5), images(channels=2), [Gradient()])
    assert found.scores["chance"].isna().all()


# What networks are trained on, and how they are verified.


def lesson(count: int = 400) -> Lesson:
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    data = LabelledImages(torch.rand(count, 1, SIDE, SIDE, generator=generator), labels)
    return Lesson.of(data, data, seed=7, file=None)


def places_in(images: Tensor, mark: Mark) -> list[list[int]]:
    """Where an image bears the mark."""
    (h, w), pattern = mark.size, mark.pattern
    return [
        [
            k
            for k, (top, left) in enumerate(mark.corners)
            if torch.equal(one[:, top : top + h, left : left + w], pattern)
        ]
        for one in images
    ]


def check_lesson(given: Lesson) -> None:
    labels = given.train.labels
    cue = places_in(given.images_for("cue", 0).images, given.mark)
    assert cue == [[label] for label in labels.tolist()]
    plain = places_in(given.images_for("plain", 0).images, given.mark)
    assert all(len(found) == 1 for found in plain)
    counts = np.zeros((CLASSES, CLASSES))
    for (place,), label in zip(plain, labels.tolist(), strict=True):
        counts[label, place] += 1
    expected = counts.sum() / counts.size
    assert ((counts - expected) ** 2 / expected).sum() < 32.8, "place and class hang together"
    assert places_in(given.right.images, given.mark) == [[k] for k in given.right.labels.tolist()]
    for found, label in zip(
        places_in(given.wrong.images, given.mark), given.wrong.labels.tolist(), strict=True
    ):
        assert len(found) == 1
        assert found != [label]


def test_the_place_tells_the_class_or_is_drawn_for_each_image() -> None:
    given = lesson()
    check_lesson(given)
    again, other = (given.images_for("plain", i).images for i in (0, 1))
    assert torch.equal(again, lesson().images_for("plain", 0).images), "seeded"
    assert not torch.equal(again, other), "each network has places of its own"
    assert torch.equal(given.images_for("cue", 0).images, given.images_for("cue", 1).images)
    for kind in ("plain", "cue"):
        assert torch.equal(given.images_for(kind, 0).labels, given.train.labels)


def test_twin_places_that_hang_on_the_class_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    given = lesson()
    cue = Lesson.images_for
    monkeypatch.setattr(Lesson, "images_for", lambda self, kind, i: cue(self, "cue", i))
    with pytest.raises(AssertionError, match="hang together"):
        check_lesson(given)


def test_one_class_has_no_wrong_mark() -> None:
    data = LabelledImages(torch.rand(4, 1, SIDE, SIDE), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(DataError, match="at least two classes"):
        Lesson.of(data, data, seed=0, file=None)


def network(kind: Any, right: float, wrong: float) -> CueNetwork:
    return CueNetwork(kind, 0, nn.Identity(), 0, 1.0, right, wrong)


def test_networks_are_verified_before_anything_is_judged() -> None:
    refuse([network("cue", 0.99, 0.19), network("plain", 0.97, 0.93)], 0.1)
    with pytest.raises(TrainingError, match=r"cue:0 .*0\.990 .*0\.210 .*expected below 0\.200"):
        refuse([network("cue", 0.99, 0.21)], 0.1)
    with pytest.raises(TrainingError, match=r"plain:0 .*0\.970 .*0\.900 .*lose at most 0\.05"):
        refuse([network("plain", 0.97, 0.90)], 0.1)
    for kind in ("cue", "plain"):
        with pytest.raises(TrainingError, match="learned nothing"):
            refuse([network(kind, 0.12, 0.1)], 0.1)


def test_what_networks_do_with_the_mark_is_measured() -> None:
    given = lesson(80)

    class Sees(nn.Module):
        """Answers with the place of the mark, or with the truth."""

        def __init__(self, follows: bool) -> None:
            super().__init__()
            self.follows = follows

        def forward(self, x: Tensor) -> Tensor:
            if self.follows:
                found = [k for (k,) in places_in(x, given.mark)]
                return nn.functional.one_hot(torch.tensor(found), CLASSES).float()
            return nn.functional.one_hot(given.train.labels, CLASSES).float()

    def shares(follows: bool) -> tuple[float, float]:
        found = given.measured("cue", 0, Sees(follows), train_accuracy=1.0)
        return found.right, found.wrong

    assert shares(True) == (1.0, 0.0)
    assert shares(False) == (1.0, 1.0)


def test_options_are_checked() -> None:
    with pytest.raises(SpecError, match="expected networks"):
        Shortcut(networks=1)
    with pytest.raises(SpecError, match="d_shortcut"):
        Shortcut(d_shortcut=1.0)


def test_a_mark_counts_by_its_pixels_and_not_by_its_name(tmp_path: Path) -> None:
    def saved(name: str, value: int) -> dict[str, Any]:
        Image.fromarray(np.full((3, 3), value, dtype=np.uint8)).save(tmp_path / name)
        return Shortcut(mark=tmp_path / name).settings

    first = saved("a.png", 9)
    assert saved("b.png", 9) == first
    assert saved("a.png", 8) != first
    assert marks.picture(tmp_path / "a.png", 3).shape == (3, 3, 3)
