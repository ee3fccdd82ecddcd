"""Repeatability and input shift, with what analysis says must come out."""

from __future__ import annotations

import pytest
import torch
from bench import measured
from scipy.stats import spearmanr
from torch import nn

from salsanity.checks.frame import REFERENCE_STREAM, InputMap, State
from salsanity.checks.repeat import STAGE as AGAIN
from salsanity.checks.repeat import Repetition
from salsanity.checks.shift import STAGE as SHIFTED
from salsanity.checks.shift import InputShift
from salsanity.errors import SpecError
from salsanity.methods import (
    Edge,
    GradCAM,
    Gradient,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    Noise,
    SmoothGrad,
)
from salsanity.records import Outcome


def relu_cnn() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(96, 5),
    ).eval()


def linear() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 5)).eval()


def images(n: int = 8, size: int = 12) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(3))


def test_methods_without_noise_agree_with_themselves_to_the_bit_and_noise_does_not() -> None:
    found = measured(Repetition(), relu_cnn(), images())
    assert (found.values("gradient", AGAIN) == 1).all()
    assert (found.values("edge", AGAIN) == 1).all()
    assert found.values("noise", AGAIN).abs().mean() < 0.1
    verdicts = found.verdicts(["gradient"], ["edge", "noise"])
    assert verdicts["gradient"].outcome is Outcome.PASS
    assert verdicts["edge"].outcome is Outcome.PASS
    assert verdicts["noise"].outcome is Outcome.FAIL


def test_every_draw_has_noise_of_its_own() -> None:
    """With few samples SmoothGrad does not agree with itself, and no two draws are alike."""
    found = measured(Repetition(), relu_cnn(), images(), [SmoothGrad(2, 0.5)], draws=3)
    by_draw = found.values("smoothgrad", AGAIN).unstack()
    assert (by_draw < 0.999).all().all()
    assert by_draw.nunique().min() == 3
    more = measured(Repetition(), relu_cnn(), images(), [SmoothGrad(40, 0.5)], draws=3)
    assert more.values("smoothgrad", AGAIN).mean() > by_draw.stack().mean() + 0.05


def test_twin_draws_of_one_stream_would_be_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Repetition, "changed", lambda *_: [State(AGAIN, stream=REFERENCE_STREAM)])
    found = measured(Repetition(), relu_cnn(), images(), [SmoothGrad(2, 0.5)], draws=3)
    assert (found.values("smoothgrad", AGAIN) == 1).all()


METHODS = (
    Gradient(),
    GuidedBackprop(),
    GradCAM(),
    SmoothGrad(3),
    InputXGradient(),
    IntegratedGradients(4),
    Edge(),
    Noise(),
)


def test_what_follows_the_function_stays_and_what_multiplies_by_the_input_moves() -> None:
    """f2(x + m) = f1(x): gradients, guided ones and GradCAM are equal to rounding; x * gradient and IG from zeros are not."""
    found = measured(InputShift(), relu_cnn(), images(), METHODS)
    for method in ("gradient", "guided_backprop", "gradcam", "smoothgrad"):
        assert found.values(method, SHIFTED).min() > 0.9999, method
    for method in ("input_x_gradient", "integrated_gradients"):
        assert found.values(method, SHIFTED).max() < 0.95, method
    verdicts = found.verdicts([m.name for m in METHODS[:6]], ["edge", "noise"])
    outcomes = {name: v.outcome.value for name, v in verdicts.items()}
    assert outcomes == {
        "gradient": "PASS",
        "guided_backprop": "PASS",
        "gradcam": "PASS",
        "smoothgrad": "PASS",
        "input_x_gradient": "FAIL",
        "integrated_gradients": "FAIL",
        "edge": "PASS",
        "noise": "FAIL",
    }


@pytest.mark.parametrize("shift", ["-1", "0.5,-2,1"])
def test_on_a_linear_network_input_x_gradient_changes_by_m_times_w(shift: str) -> None:
    network, x = linear(), images()
    found = measured(InputShift(shift=shift), network, x, [InputXGradient()])
    w = network[1].weight.detach().reshape(5, 3, 12, 12)[network(x).argmax(1)]
    m = torch.tensor([float(part) for part in shift.split(",")]).reshape(1, -1, 1, 1)
    ids = found.scores["image"].drop_duplicates()
    known = found.values("input_x_gradient", SHIFTED).droplevel("draw")
    for image, before, after in zip(ids, x * w, (x + m) * w, strict=True):
        literal = spearmanr(before.abs().sum(0).flatten(), after.abs().sum(0).flatten()).statistic
        assert known[image] == pytest.approx(literal, abs=1e-6)


def test_integrated_gradients_whose_baseline_is_shifted_along_stay() -> None:
    """The baseline m of the shifted network is the zeros of the other."""
    from salsanity.passes.request import Baseline

    along = IntegratedGradients(4, baseline=Baseline("constant", -1.0), name="along")
    network, x = relu_cnn(), images()
    zeros = IntegratedGradients(4, name="along")
    reference = measured(InputShift(), network, x, [zeros])
    assert reference.values("along", SHIFTED).max() < 0.95

    class Along:
        """Zeros for images, m for shifted ones: told apart by their least value."""

        name, stochastic = "along", False

        def steps(self, inputs):
            return (along if inputs.x.min() < 0 else zeros).steps(inputs)

    found = measured(InputShift(), network, x, [Along()])
    assert found.values("along", SHIFTED).min() > 0.9999


def test_twin_a_shift_that_the_network_does_not_absorb_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        InputShift,
        "changed",
        lambda *_: [State(SHIFTED, inputs=InputMap(lambda x: x - 1), stream=REFERENCE_STREAM)],
    )
    found = measured(InputShift(), relu_cnn(), images(), [Gradient()])
    assert found.values("gradient", SHIFTED).min() < 0.99


def test_wrong_shifts_are_refused() -> None:
    for shift in ("0", "a", "1,,2"):
        with pytest.raises(SpecError, match="expected shift"):
            InputShift(shift=shift)
    with pytest.raises(SpecError, match="3 \\(channels\\)"):
        measured(InputShift(shift="1,2"), relu_cnn(), images())
