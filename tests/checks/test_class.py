"""Another class explained: which one, and what analysis says must come out of methods that see the class or do not."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench import Measured, measured
from scipy.stats import chisquare, spearmanr
from torch import Tensor, nn

import salsanity
from salsanity.checks import class_
from salsanity.checks.class_ import STAGE, ClassChange
from salsanity.checks.frame import Chunk, Ground
from salsanity.checks.named import lacking, settled
from salsanity.data.examples import image_id
from salsanity.errors import ModelError, SimilarityError
from salsanity.methods import CallableMethod, Edge, Gradient, Method, Noise
from salsanity.models.network import prepare
from salsanity.records import Outcome
from salsanity.similarity import HOG, SSIM, Spearman
from salsanity.units.identity import print_of
from salsanity.units.job import ground_of
from salsanity.units.spec import RunSpec

CLASSES, DRAWS, PARTNERS = 6, 3, 3


def linear(classes: int = CLASSES, pixels: int = 2 * 7 * 7) -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes)).double().eval()


def convolutional() -> nn.Sequential:
    torch.manual_seed(5)
    features = (nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(8 * 49, CLASSES)).double().eval()


def images(count: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    return torch.randn(count, 2, 7, 7, generator=generator, dtype=torch.float64)


def ground(model: nn.Module, x: Tensor, seed: int = 0, draws: int = DRAWS) -> Ground:
    return ground_of(prepare(model, x[:1]), RunSpec(seed=seed, draws=draws), x, None)


def chunk_of(model: nn.Module, x: Tensor) -> Chunk:
    return Chunk(x, model(x).argmax(1).detach(), tuple(image_id(image) for image in x))


def others(check: ClassChange, model: nn.Module, x: Tensor, draw: int, **facts: Any) -> Tensor:
    """The classes that a draw explains in place of the predicted ones."""
    (state,) = check.changed(ground(model, x, **facts), chunk_of(model, x), draw)
    assert isinstance(state.targets, Tensor)
    return state.targets


# Which class.


def drawn(count: int, draw: int = 0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Explained and other classes of many images, of which nothing but their ids matters."""
    model, explained = linear(), torch.arange(count) % CLASSES
    ids = tuple(hashlib.sha256(str(i).encode()).hexdigest() for i in range(count))
    chunk = Chunk(torch.zeros(count, 2, 7, 7).double(), explained, ids)
    (state,) = ClassChange().changed(ground(model, images(1), seed), chunk, draw)
    assert isinstance(state.targets, Tensor)
    return explained, state.targets


@pytest.mark.parametrize("draw", range(3))
def test_the_other_class_is_another_one_and_every_other_is_as_likely(draw: int) -> None:
    explained, other = drawn(3000, draw)
    steps = (other - explained) % CLASSES
    assert int(steps.min()) > 0
    counts = Counter(steps.tolist())
    assert chisquare([counts[k] for k in range(1, CLASSES)]).pvalue > 1e-3
    pairs = Counter(zip(explained.tolist(), other.tolist(), strict=True))
    assert len(pairs) == CLASSES * (CLASSES - 1)
    assert chisquare(list(pairs.values())).pvalue > 1e-3


def test_draws_and_seeds_choose_for_themselves() -> None:
    """Two draws agree as often as chance has it: 1 in 5."""
    first = drawn(3000)[1]
    for _, other in (drawn(3000, draw=1), drawn(3000, seed=1)):
        assert float((first == other).double().mean()) == pytest.approx(1 / 5, abs=0.03)


def test_an_image_s_other_class_does_not_depend_on_its_batch() -> None:
    model, x = linear(), images()
    whole = others(ClassChange(), model, x, 1)
    order = [6, 2, 3]
    assert torch.equal(others(ClassChange(), model, x[order], 1), whole[order])


def spoiled(what: str) -> Any:
    def chosen(ground: Ground, chunk: Chunk, draw: int) -> Tensor:
        seeds = range(len(chunk.ids)) if what == "by place" else chunk.ids
        least = 0 if what == "perhaps the same" else 1
        steps = [least + class_.seed_for(draw, i) % (CLASSES - least) for i in seeds]
        if what == "not uniform":
            steps = [1 + step // 2 for step in steps]
        return (chunk.targets + torch.tensor(steps)) % CLASSES

    return chosen


@pytest.mark.parametrize(
    ("what", "notices"),
    [
        ("perhaps the same", lambda: test_the_other_class_is_another_one_and_every_other_is_as_likely(0)),
        ("not uniform", lambda: test_the_other_class_is_another_one_and_every_other_is_as_likely(0)),
        ("by place", test_an_image_s_other_class_does_not_depend_on_its_batch),
    ],
)  # fmt: skip
def test_twin_another_way_to_choose_is_noticed(
    what: str, notices: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_, "_drawn", spoiled(what))
    with pytest.raises(AssertionError):
        notices()


def test_the_runner_up_and_the_least_likely_class() -> None:
    model, x = convolutional(), images()
    logits = model(x).tolist()
    ranked = [sorted(range(CLASSES), key=lambda c, row=row: -row[c]) for row in logits]
    assert others(ClassChange("second"), model, x, 0).tolist() == [order[1] for order in ranked]
    assert others(ClassChange("least"), model, x, 0).tolist() == [order[-1] for order in ranked]


def test_the_explained_class_is_never_the_other_one_though_it_be_second_or_least() -> None:
    model, x = convolutional(), images()
    on = ground(model, x)
    order = model(x).argsort(1, descending=True)
    for choice, rank, wanted in (("second", 1, 0), ("least", -1, -2)):
        chunk = Chunk(x, order[:, rank], chunk_of(model, x).ids)
        (state,) = ClassChange(choice).changed(on, chunk, 0)
        assert torch.equal(state.targets, order[:, wanted])  # type: ignore[arg-type]


def test_draws_are_refused_where_there_are_none() -> None:
    assert "draws" not in lacking(ClassChange) | lacking(ClassChange())
    assert "draws" in lacking(ClassChange("second"))


@pytest.mark.parametrize(("choice", "draws"), [("random", DRAWS), ("second", 1), ("least", 1)])
def test_what_is_not_drawn_has_one_draw(choice: str, draws: int) -> None:
    found = settled(ClassChange(choice), ground(linear(), images()))
    assert found.record(("spearman",)).draws == draws
    assert found.is_fixed is (draws == 1)


def test_a_threshold_makes_no_other_scores() -> None:
    on = ground(linear(), images())
    prints = [print_of(dict(settled(c, on).check.fingerprint())) for c in (
        ClassChange(), ClassChange(d_class=0.5), ClassChange("second"))]  # fmt: skip
    assert prints[0] == prints[1] != prints[2]


# What comes out.


def literal(model: nn.Sequential, x: Tensor, view: str) -> tuple[np.ndarray, np.ndarray]:
    """S and C of the gradient on a linear network, whose maps are rows of W: (draws, images) each."""
    w = model[1].weight.detach().reshape(CLASSES, 2, 49)  # type: ignore[union-attr,operator]
    rows = (w.sum(1) if view == "signed" else w.abs().sum(1)).numpy()
    explained = model(x).argmax(1).tolist()
    S, C = np.empty((DRAWS, len(x))), np.empty((DRAWS, len(x)))
    for draw in range(DRAWS):
        other = others(ClassChange(), model, x, draw).tolist()
        for i, c in enumerate(explained):
            S[draw, i] = spearmanr(rows[c], rows[other[i]]).statistic
            following = [(i + k) % len(x) for k in range(1, PARTNERS + 1)]
            C[draw, i] = np.mean([spearmanr(rows[c], rows[other[j]]).statistic for j in following])
    return S, C


def table(found: Measured, column: str, view: str) -> np.ndarray:
    scores = found.scores[(found.scores["view"] == view) & (found.scores["stage"] == STAGE)]
    gradient = scores[scores["method"] == "gradient"]
    return gradient[column].to_numpy().reshape(DRAWS, -1)


@pytest.mark.parametrize("view", ["signed", "absolute"])
def test_the_gradient_of_a_linear_network_is_a_row_of_its_weights(view: str) -> None:
    model, x = linear(), images()
    found = measured(ClassChange(), model, x, [Gradient()], draws=DRAWS)
    S, C = literal(model, x, view)
    np.testing.assert_allclose(table(found, "value", view), S, atol=1e-12)
    np.testing.assert_allclose(table(found, "chance", view), C, atol=1e-12)
    own = found.scores[found.scores["stage"] == "self"]
    assert (own["value"] == 1).all()  # no noise: the same map again
    record = found.settled.record(["spearman"])
    (cell,) = [
        v
        for v in class_cells(found, record)
        if (v.method, v.view, v.similarity) == ("gradient", view, "spearman")
    ]
    assert cell.retained == pytest.approx((S - C).sum() / (1 - C).sum(), abs=1e-9)


def class_cells(found: Measured, record: Any) -> list[Any]:
    from salsanity.verdicts import judge

    return list(judge(found.scores, record, methods=["gradient"], controls=[]))


def test_twin_another_class_s_row_is_another_number(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = linear(), images()
    S, _ = literal(model, x, "signed")
    monkeypatch.setattr(class_, "_drawn", spoiled("by place"))
    found = measured(ClassChange(), model, x, [Gradient()], draws=DRAWS)
    assert not np.allclose(table(found, "value", "signed"), S)


def first_component(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """As EigenCAM: the first principal component of a layer's output, whatever class is asked for."""
    with torch.no_grad():
        activation = model[:4](x)  # type: ignore[index]
    flat = activation.flatten(2)
    _, _, right = torch.linalg.svd(flat - flat.mean(2, keepdim=True), full_matrices=False)
    return right[:, 0].abs().reshape(len(x), 1, 7, 7)


def noise_of_the_class(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Noise that belongs to the image and the class: another class, another map."""
    maps = []
    for image, target in zip(x, targets.tolist(), strict=True):
        seed = int(hashlib.sha256(f"{image_id(image)} {target}".encode()).hexdigest()[:12], 16)
        generator = torch.Generator().manual_seed(seed)
        maps.append(torch.randn(image.shape, generator=generator, dtype=image.dtype))
    return torch.stack(maps)


METHODS: tuple[Method, ...] = (
    CallableMethod(first_component, "eigencam"),
    CallableMethod(noise_of_the_class, "noise of the class"),
    Gradient(),
    Edge(),
)


def test_what_does_not_see_the_class_keeps_everything_and_what_is_noise_nothing() -> None:
    found = measured(ClassChange(), convolutional(), images(16), METHODS, draws=8)
    assert (found.values("eigencam", STAGE) == 1).all()
    assert (found.values("edge", STAGE) == 1).all()
    verdicts = found.verdicts(["eigencam", "noise of the class", "gradient"], ["edge"])
    for name in ("eigencam", "edge"):
        assert verdicts[name].outcome is Outcome.FAIL, name
        assert verdicts[name].retained == pytest.approx(1, abs=1e-12)
        assert "depend on the class" in ClassChange.words.caught
    assert abs(found.values("noise of the class", STAGE).mean()) < 0.06  # 3 standard errors
    assert verdicts["noise of the class"].outcome is Outcome.PASS
    assert abs(verdicts["noise of the class"].retained) < 0.05
    assert 0.05 < verdicts["gradient"].retained < 0.95


def test_twin_noise_of_the_image_alone_keeps_everything() -> None:
    def noise_of_the_image(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        return noise_of_the_class(model, x, torch.zeros_like(targets))

    method = CallableMethod(noise_of_the_image, "noise")
    found = measured(ClassChange(), convolutional(), images(8), [method])
    assert found.verdicts(["noise"])["noise"].outcome is Outcome.FAIL


# Two classes.


def of_two(beside: float) -> nn.Sequential:
    """A network of two logits, (beside + d) / 2 and (beside - d) / 2: beside 0, they are one number up to sign."""
    torch.manual_seed(7)
    features = (nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
    last = nn.Linear(8 * 49, 2).double()
    with torch.no_grad():
        (total, difference), turned = torch.linalg.qr(last.weight.T.double())[0].T, last.weight
        turned.copy_(torch.stack([beside * total + difference, beside * total - difference]))
        last.bias.zero_()
    return nn.Sequential(*features, nn.Flatten(), last).double().eval()


TWO_CLASSED = (Gradient(), Edge(), Noise())


def judged_of_two(beside: float, *similarities: Any) -> tuple[Measured, dict[str, Any]]:
    kinds = similarities or (Spearman(), SSIM(window=5), HOG())
    found = measured(
        ClassChange(), of_two(beside), images(16), TWO_CLASSED, similarities=kinds, draws=4
    )
    return found, found.verdicts(["gradient"], ["edge", "noise"])


def test_two_logits_that_are_one_number_up_to_sign_are_judged_by_signs() -> None:
    found, verdicts = judged_of_two(0.0)
    assert set(found.scores["view"]) == {"signed"}
    assert set(found.scores["similarity"]) == {"spearman"}
    assert (found.values("gradient", STAGE, "signed") < -0.99).all()
    assert verdicts["gradient"].outcome is Outcome.PASS
    assert "signed maps alone" in verdicts["gradient"].reason
    assert (verdicts["edge"].outcome, verdicts["noise"].outcome) == (Outcome.FAIL, Outcome.PASS)
    assert "one number up to sign" in found.settled.notes[0]
    assert found.settled.record(["hog"]).measures == ("spearman",)


def test_twin_absolute_maps_of_a_mirrored_network_catch_the_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What would be said without the rule, of a gradient that follows the class as it should."""
    monkeypatch.setattr(class_, "MIRRORED", -1.0)
    _, verdicts = judged_of_two(0.0)
    assert verdicts["gradient"].outcome is Outcome.FAIL
    with pytest.raises(AssertionError):
        test_two_logits_that_are_one_number_up_to_sign_are_judged_by_signs()


def test_twin_windows_and_histograms_of_gradients_know_no_sign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(class_, "tells_signs", lambda *_: True)
    with pytest.raises(AssertionError):
        test_two_logits_that_are_one_number_up_to_sign_are_judged_by_signs()


@pytest.mark.parametrize(("beside", "views"), [(0.2, 1), (3.0, 2)])
def test_logits_that_are_nearly_one_number_are_treated_as_such(beside: float, views: int) -> None:
    found, _ = judged_of_two(beside, Spearman())
    assert found.scores["view"].nunique() == views
    assert len(found.settled.notes) == 2 - views
    assert found.settled.record(["spearman"]).words.scope == "" or views == 1


def test_of_two_classes_the_other_is_always_the_same_and_nothing_is_drawn() -> None:
    found, _ = judged_of_two(3.0, Spearman())
    assert found.settled.record(["spearman"]).draws == 1
    assert found.settled.is_fixed
    x, model = images(), of_two(3.0)
    on = ground(model, x)
    chunk = chunk_of(model, x)
    (state,) = settled(ClassChange(), on).check.changed(on, chunk, 0, (STAGE,))[:1]
    assert torch.equal(state.targets, 1 - chunk.targets)  # type: ignore[operator,arg-type]


def test_settings_stay_those_that_were_asked_for() -> None:
    asked = ClassChange("least")
    for model in (of_two(0.0), of_two(3.0), linear()):
        found = settled(asked, ground(model, images()))
        assert dict(found.settings) == {"class_choice": "least"}


def test_the_threshold_tells_no_scores_apart() -> None:
    for model in (of_two(0.0), of_two(3.0)):
        on = ground(model, images())
        prints = [
            print_of(dict(settled(ClassChange(d_class=d), on).check.fingerprint()))
            for d in (0.5, 0.75)
        ]
        assert prints[0] == prints[1]


def test_a_similarity_without_signs_is_not_enough() -> None:
    with pytest.raises(SimilarityError, match="such as spearman, got hog"):
        judged_of_two(0.0, HOG())
    judged_of_two(3.0, HOG())


def test_one_logit_has_no_other_class() -> None:
    with pytest.raises(ModelError, match="at least two classes"):
        settled(ClassChange(), ground(linear(classes=1), images()))


def test_a_run_of_a_mirrored_network_says_so_and_goes_on_in_its_folder(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"methods": ["gradient"], "similarities": ["spearman", "hog"]}
    asked |= {"gallery": 1, "draws": 2, "out": tmp_path}
    first = salsanity.run(["class", "repeat"], of_two(0.0), images(), **asked)
    assert any("one number up to sign" in note for note in first.notes)
    table = first.verdicts[first.verdicts["view"].notna()]
    assert set(table[table["check"] == "class"]["view"]) == {"signed"}
    assert set(table[table["check"] == "repeat"]["view"]) == {"signed", "absolute"}
    assert "one number up to sign" in (tmp_path / "report.html").read_text()
    again = salsanity.run(["class", "repeat"], of_two(0.0), images(), **asked)
    assert again.verdicts.equals(first.verdicts)
