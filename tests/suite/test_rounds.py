"""`--until-decided`: rounds, who leaves, the same answer after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import salsanity
from networks import chain
from salsanity.executors.serial import SerialExecutor
from salsanity.suite import judging
from salsanity.verdicts import futility
from salsanity.verdicts.sequential import plan_looks, settled_at

OPTIONS: dict[str, Any] = {
    "similarities": ["spearman"],
    "samples": 2,
    "steps": 2,
    "draws": 6,
    "max_images": 24,
    "gallery": 0,
    "batch_size": 8,
    "d_full": 0.02,  # about what the gradient retains here: it stays open
}


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have tests of their own."""
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.randn(24, 2, 12, 12, generator=torch.Generator().manual_seed(5))


def copying(network: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """An explainer that shows the input, whatever the network says."""
    network(x)
    return x


METHODS = [copying, "gradient", "guided_backprop"]


def run(pictures: Tensor, out: Path, **options: Any) -> salsanity.Result:
    return salsanity.model_randomization_test(
        chain().float(), pictures, methods=METHODS, out=out, **{**OPTIONS, **options}
    )


@pytest.fixture(scope="module")
def whole(pictures: Tensor, tmp_path_factory: pytest.TempPathFactory) -> salsanity.Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "draw_report", lambda *_: None)
        return run(pictures, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def decided(pictures: Tensor, tmp_path_factory: pytest.TempPathFactory) -> salsanity.Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "draw_report", lambda *_: None)
        return run(pictures, tmp_path_factory.mktemp("decided") / "run", until_decided=True)


def rows(result: salsanity.Result, method: str) -> int:
    scores = result.scores
    return int(((scores["method"] == method) & (scores["stage"] != "self")).sum())


def test_what_is_settled_leaves_and_the_answers_stay(
    whole: salsanity.Result, decided: salsanity.Result
) -> None:
    assert decided.outcome("copying") == whole.outcome("copying") == "FAIL"
    assert rows(decided, "copying") < rows(whole, "copying")
    assert decided.spec["until_decided"] is True
    assert "look " in decided.verdicts.set_index("method")["reason"]["copying"].iloc[0]


def test_what_is_open_leaves_where_the_rest_would_hardly_settle_it(
    whole: salsanity.Result, decided: salsanity.Result
) -> None:
    assert decided.outcome("gradient") == whole.outcome("gradient") == "INCONCLUSIVE"
    assert rows(decided, "gradient") < rows(whole, "gradient")
    reason = decided.verdicts.set_index("method")["reason"]["gradient"].iloc[0]
    assert reason.endswith("the others would hardly settle it)")


def test_methods_leave_at_the_look_that_a_replay_of_the_whole_run_gives(
    whole: salsanity.Result, decided: salsanity.Result
) -> None:
    """While it runs, a run must weigh all looks to come, not only those that it has come to."""
    names, looks = [str(m) for m in whole.spec["methods"]], plan_looks(24, 6)
    settled = settled_at(
        whole.scores,
        judging.checks_of(whole.spec)[0],
        methods=names,
        controls=whole.spec["controls"],
        images=[image["id"] for image in whole.spec["images"]],
        looks=looks,
    )
    share = {m: looks[settled.get(m, -1)].size / looks[-1].size for m in names}
    assert {m: rows(decided, m) / rows(whole, m) for m in names} == pytest.approx(share)


def test_what_may_still_be_settled_goes_on_to_the_end(
    pictures: Tensor, whole: salsanity.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(futility, "FUTILE", 0.0)
    patient = run(pictures, tmp_path / "run", until_decided=True)
    assert patient.outcome("gradient") == "INCONCLUSIVE"
    assert rows(patient, "gradient") == rows(whole, "gradient") == rows(patient, "edge")


def test_an_interrupted_run_asks_the_same_rounds(
    pictures: Tensor, decided: salsanity.Result, tmp_path: Path
) -> None:
    interrupted = iter(range(100))

    class Stopping:
        def run(self, job: Any, lots: Any, *, tick: Any = None) -> Any:
            for done in SerialExecutor().run(job, lots, tick=tick):
                if next(interrupted) == 3:
                    raise KeyboardInterrupt
                yield done

    with pytest.raises(KeyboardInterrupt):
        salsanity.model_randomization_test(
            chain().float(), pictures, methods=METHODS, out=tmp_path, until_decided=True,
            executor=Stopping(), **OPTIONS,
        )  # fmt: skip
    again = run(pictures, tmp_path, until_decided=True)
    by = ["method", "draw", "stage", "image", "view", "similarity"]
    ours, theirs = (r.scores.sort_values(by).reset_index(drop=True) for r in (again, decided))
    assert ours.equals(theirs)


def test_scores_of_a_decided_run_are_those_of_the_whole_run(
    whole: salsanity.Result, decided: salsanity.Result
) -> None:
    by = ["method", "draw", "stage", "image", "view", "similarity"]
    both = decided.scores.merge(whole.scores, on=by, suffixes=("", "_whole"))
    wanted = both[both["stage"] != "self"]
    assert len(wanted) == len(decided.scores[decided.scores["stage"] != "self"])
    torch.testing.assert_close(
        torch.tensor(wanted["value"].to_numpy()),
        torch.tensor(wanted["value_whole"].to_numpy()),
        rtol=1e-5,
        atol=1e-5,
        equal_nan=True,
    )
