"""Explainers of the user's: tried before the run, timed, heard to run the network, and never louder than the run."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import salsanity
from networks import chain
from salsanity.cli import app
from salsanity.errors import MethodError
from salsanity.suite import judging

FAST: dict[str, Any] = {
    "similarities": ["spearman"],
    "draws": 2,
    "gallery": 0,
    "batch_size": 8,
    "memory_format": "contiguous",
}
ReLU_FORWARD = nn.ReLU.forward
X = torch.randn(8, 2, 12, 12, generator=torch.Generator().manual_seed(5))


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have tests of their own."""
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


def run(out: Path, *methods: Any, **options: Any) -> salsanity.Result:
    asked = {"rerun": True, **FAST, **options}
    return salsanity.model_randomization_test(
        chain().float(), X, methods=list(methods), out=out, **asked
    )


def grad(model: Any, x: Tensor, targets: Tensor) -> Tensor:
    x.requires_grad_()
    return torch.autograd.grad(model(x).gather(1, targets[:, None]).sum(), x)[0]


def test_an_explainer_around_another_network_is_refused_with_the_remedy(tmp_path: Path) -> None:
    mine = chain().float()

    def built_beforehand(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        assert isinstance(model, nn.Module)
        return grad(mine, x, targets)

    with pytest.raises(
        MethodError, match=r"built_beforehand never ran the network .* around the `model`"
    ):
        run(tmp_path, "gradient", built_beforehand)
    assert not list((tmp_path / "scores").glob("*"))


def test_an_explainer_that_keeps_maps_by_image_is_refused(tmp_path: Path) -> None:
    kept: dict[Any, Tensor] = {}

    def keeping(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        place = tuple(x.flatten().tolist())
        if place not in kept:
            kept[place] = grad(model, x, targets)
        return kept[place]

    with pytest.raises(MethodError, match="keep no maps from one call to the next"):
        run(tmp_path, keeping)


def test_an_explainer_that_reads_the_weights_itself_is_taken(tmp_path: Path) -> None:
    """As tutorials of layer-wise relevance propagation do: `layer.forward(x)`, weights by hand."""

    def by_hand(model: nn.Sequential, x: Tensor, targets: Tensor) -> Tensor:
        x.requires_grad_()
        h = x
        for layer in model:
            h = layer.forward(h)
        (found,) = torch.autograd.grad(h.gather(1, targets[:, None]).sum(), x)
        return found

    result = run(tmp_path, "gradient", by_hand)
    scores = result.scores[result.scores["stage"] != "self"].set_index("method")["value"]
    assert (scores["by_hand"].to_numpy() == scores["gradient"].to_numpy()).all()
    assert result.outcome("by_hand") == result.outcome("gradient")
    assert result.gates["unheard"] == []


def test_noise_that_never_looks_at_the_network_is_no_method_that_passes(tmp_path: Path) -> None:
    def entropy(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        generator = torch.Generator()
        generator.seed()
        return torch.randn(x.shape, generator=generator)

    with pytest.raises(MethodError, match="entropy never ran the network"):
        run(tmp_path, entropy)


def test_one_that_stops_looking_later_gets_no_verdict_and_spoils_no_other(tmp_path: Path) -> None:
    mine, calls = chain().float(), []

    def tiring(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(x))
        return grad(model if len(calls) <= 4 else mine, x, targets)

    result = run(tmp_path, "gradient", tiring)
    reason = result.headlines.set_index("method")["reason"]["tiring"]
    assert result.outcome("tiring") == "INCONCLUSIVE"
    assert "tiring never ran the network that it was given" in reason
    assert result.gates["unheard"] == ["tiring"]
    assert not any("tiring" in why for why in result.gates["reasons"])
    alone = run(tmp_path / "alone", "gradient")
    assert result.outcome("gradient") == alone.outcome("gradient")


def raising(*, when: Callable[[nn.Module, Tensor], bool]) -> Any:
    def broken(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        if when(model, x):
            raise ModuleNotFoundError("No module named 'no_such_library'")
        return grad(model, x, targets)

    return broken


def is_trained(model: Any) -> bool:
    return torch.equal(model[0].weight, chain().float()[0].weight)


@pytest.mark.parametrize(
    ("when", "where"),
    [
        (lambda model, x: True, "the trained network for 4 image"),
        (lambda model, x: not is_trained(model), "changed networks for 4 image"),
    ],
)
def test_one_that_raises_everywhere_is_refused_with_its_own_error(
    when: Any, where: str, tmp_path: Path
) -> None:
    own = f"none of {where}.*broken raised ModuleNotFoundError: No module named 'no_such_library'"
    with pytest.raises(MethodError, match=own):
        run(tmp_path, "gradient", raising(when=when))


def test_a_few_failing_images_stay_what_they_are(tmp_path: Path) -> None:
    bad = X[[0, 1, 5]].sum((1, 2, 3))
    broken = raising(when=lambda model, x: bool(torch.isin(x.sum((1, 2, 3)), bad).any()))
    result = run(tmp_path, broken)
    own = result.scores[result.scores["method"] == "broken"]
    lost = own[own["reason"].fillna("").str.contains("broken raised")]
    assert lost["image"].nunique() == 3
    assert own[own["stage"] != "self"].groupby("image")["value"].any().sum() == 5


def test_the_command_line_says_it_and_forgets_it_once_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef build():\n    with torch.random.fork_rng():\n        torch.manual_seed(1)\n"
        "        return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))\n\n\ndef data():\n"
        "    return torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))\n"
    )
    good = (
        "import torch\n\n\ndef mine(model, x, t):\n    x.requires_grad_()\n"
        "    return torch.autograd.grad(model(x).gather(1, t[:, None]).sum(), x)[0]\n"
    )
    asked = ["check", "--model", "nets.py:build", "--data", "nets.py:data", "--out", "run"]
    asked += ["--method", "mine.py:mine", "--similarity", "spearman", "--draws", "2"]
    asked += ["--gallery", "0", "--batch-size", "4", "--junit", "j.xml"]
    (tmp_path / "mine.py").write_text("def mine(model, x, t):\n    import no_such_library\n")
    assert app.run(asked) == 2
    assert "No module named 'no_such_library'" in capfd.readouterr().err
    document = (tmp_path / "j.xml").read_text("utf-8")
    assert 'errors="1"' in document
    assert "No module named 'no_such_library'" in document
    (tmp_path / "mine.py").write_text(good)
    assert app.run(asked) != 2
    assert "no_such_library" not in (tmp_path / "j.xml").read_text("utf-8")
    assert salsanity.Result(tmp_path / "run").scores["value"].notna().all()
    assert "no_such_library" not in capfd.readouterr().err
    (tmp_path / "mine.py").write_text("def mine(model, x, t):\n    import no_such_library\n")
    assert app.run(asked) == 2
    assert 'errors="1"' in (tmp_path / "j.xml").read_text("utf-8")  # nothing of the run before


def test_an_explainer_may_import_its_neighbours_when_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it could if its file were run by itself; two folders may each have a `parts`."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "parts_of_mine.py").write_text(
        "import torch\n\n\ndef explain(model, x, t):\n    x.requires_grad_()\n"
        "    return torch.autograd.grad(model(x).gather(1, t[:, None]).sum(), x)[0]\n"
    )
    file = tmp_path / "mine" / "late.py"
    file.write_text(
        "def explain(model, x, t):\n    import parts_of_mine\n    return parts_of_mine.explain(model, x, t)\n\n\n"
        "class Explainer:\n    __name__ = 'explainer'\n\n    def __call__(self, model, x, t):\n"
        "        return explain(model, x, t)\n"
        "\n\nmade = Explainer()\n"
    )
    monkeypatch.chdir(tmp_path)
    names = [f"{file}:explain", f"{file}:made"]
    result = run(tmp_path / "out", "gradient", *names, rerun=False)
    found = result.scores.pivot_table("value", ["image", "stage", "draw", "view"], "method")
    assert all((found[name] == found["gradient"]).all() for name in names)
    assert str(tmp_path / "mine") not in sys.path


def test_twin_a_neighbour_that_is_missing_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("def explain(model, x, t):\n    import parts_not_there\n")
    with pytest.raises(MethodError, match=r"No module named 'parts_not_there'.*; mend it"):
        run(tmp_path / "out", "gradient", f"{tmp_path / 'late.py'}:explain")


@dataclass(frozen=True)
class Raising:
    """A method of passes, as plug-ins bring them, with a fault in it."""

    late: bool
    name: str = "raising"
    stochastic: bool = False

    def steps(self, inputs: Any) -> Any:
        from salsanity.passes.request import Pass

        if self.late:
            yield (Pass(),)
        raise KeyError("layer4")


@pytest.mark.parametrize("late", [True, False])
def test_a_method_of_passes_that_raises_is_refused_too(late: bool, tmp_path: Path) -> None:
    with pytest.raises(
        MethodError, match=r"raising raised KeyError: 'layer4' \(line .*\); mend it"
    ):
        run(tmp_path, Raising(late))


def test_what_explainers_print_is_kept_from_the_terminal_and_found_in_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def loud(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        sys.stdout.write("100%|#####| explaining\n")
        return grad(model, x, targets)

    result = run(tmp_path, loud)
    out, err = capfd.readouterr()
    assert "explaining" not in out + err
    assert any("loud prints or warns (1 line(s)" in note for note in result.notes)
    assert (tmp_path / "errors.log").read_text().count("explaining") == 1


def functional(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Reads the weights, and runs nothing that could be heard."""
    weight = model[0].weight  # type: ignore[index]
    return F.conv2d(x, weight, padding=1).abs().sum(1, keepdim=True)


def test_weights_that_are_read_are_enough(tmp_path: Path) -> None:
    result = run(tmp_path, functional)
    assert result.headlines["outcome"].iloc[0] in ("PASS", "INCONCLUSIVE", "FAIL")
    assert result.gates["unheard"] == []


class Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0].clamp(min=0) * (x > 0)


def guided_for_all(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Puts another forward into a class of torch's, and leaves it there."""
    nn.ReLU.forward = lambda self, x: Guided.apply(x)  # type: ignore[method-assign,no-untyped-call]
    return grad(model, x, targets)


def guided_and_back(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.ReLU, "forward", lambda self, x: Guided.apply(x))
        return grad(model, x, targets)


def hooks_all_modules(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    def clip(part: nn.Module, gradients: Any, _: Any) -> Any:
        if isinstance(part, nn.ReLU):
            return tuple(None if g is None else g.clamp(min=0) for g in gradients)
        return None

    torch.nn.modules.module.register_module_full_backward_hook(clip)
    torch.set_default_dtype(torch.float64)
    return grad(model, x, targets)


def test_an_explainer_that_patches_torch_for_good_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.ReLU, "forward", nn.ReLU.forward)  # which is put back after the test
    with pytest.raises(
        MethodError, match="expected guided_for_all to leave torch and your classes"
    ):
        run(tmp_path / "a", "gradient", guided_for_all)
    after, alone = run(tmp_path / "b", "gradient").scores, run(tmp_path / "c", "gradient").scores
    assert after["value"].tolist() == alone["value"].tolist(), "and it is put back"
    assert nn.ReLU.forward is ReLU_FORWARD


class Rectified(nn.ReLU):
    """An activation of the user's."""


def patches_the_users_class(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    def forward(self: nn.Module, y: Tensor) -> Tensor:
        return y.clamp(0, 0.01)

    Rectified.forward = forward  # type: ignore[method-assign]
    return grad(model, x, targets)


def test_a_class_of_the_users_that_an_explainer_patches_is_named_and_put_back(
    tmp_path: Path,
) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(288, 12), Rectified(), nn.Linear(12, 4))
    with pytest.raises(
        MethodError, match=r"other gradients for every method \(Rectified\.forward\)"
    ):
        salsanity.run(
            "cascade", model, X, methods=[patches_the_users_class], out=tmp_path / "a", **FAST
        )
    assert "forward" not in vars(Rectified)


class Remembering:
    """Puts its hook on once, as in a notebook; what comes later are maps of the first call."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []
        self.is_on = False

    def __call__(self, model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        if not self.is_on:
            model[0].register_forward_hook(lambda _, __, out: self.seen.append(out.detach()))
            self.is_on = True
        return grad(model, x, targets) * self.seen[-1].mean()


def test_hooks_that_are_put_on_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"hooks on the network in 1 of \d+ calls.*in every call"):
        run(tmp_path, Remembering())


def test_twin_hooks_of_every_call_are_not(tmp_path: Path) -> None:
    def each_time(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        return Remembering()(model, x, targets)

    assert len(run(tmp_path, each_time).scores)


def test_an_explainer_may_write_into_its_maps_again(tmp_path: Path) -> None:
    shared = torch.zeros(1, *X.shape[1:])

    def reusing(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        return shared.copy_(grad(model, x, targets))

    def array(model: nn.Module, x: Tensor, targets: Tensor) -> Any:
        return shared.copy_(grad(model, x, targets)).numpy()

    scores = run(tmp_path, grad, reusing, array).scores
    by = [
        g["value"].tolist()
        for n, g in scores.groupby("method")
        if n in ("grad", "reusing", "array")
    ]
    assert by[0] == by[1] == by[2]


def test_what_an_explainer_leaves_on_the_process_is_taken_off(tmp_path: Path) -> None:
    alone = run(tmp_path / "alone", "gradient").scores
    result = run(tmp_path / "all", "gradient", hooks_all_modules, guided_and_back)
    found = result.scores[result.scores["method"] == "gradient"]
    of_it = alone[alone["method"] == "gradient"]
    assert found["value"].tolist() == of_it["value"].tolist()
    tables = vars(torch.nn.modules.module)
    assert not tables["_global_backward_hooks"]
    assert torch.get_default_dtype() is torch.float32


def test_maps_that_no_network_changes_are_asked_after(tmp_path: Path) -> None:
    kept: list[nn.Module] = []

    def of_the_first(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        kept.append(copy.deepcopy(model))
        model(x)
        return grad(kept[0], x, targets)

    result = run(tmp_path, "gradient", of_the_first)
    said = [note for note in result.notes if "to the last bit" in note]
    assert [note.partition(" ")[0] for note in said] == ["of_the_first"]
