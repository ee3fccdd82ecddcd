"""The Python of the documentation runs: the blocks of a page, one after another, in one namespace with a small network."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import salsanity
from salsanity.suite.result import Result
from salsanity.testing.networks import small_network, some_images

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
SLOW = "another_process"
"""A test of a contract that starts a process; it has its place in tests/testing."""


def blocks_of(page: str) -> list[str]:
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def page_of(page: str, names: dict[str, Any], *, only_files: bool = False) -> dict[str, Any]:
    """Run the blocks of a page; one that begins with the name of a file is that file, lying here."""
    for number, block in enumerate(blocks_of(page)):
        named = FILE.match(block)
        if named is not None:
            Path(named[1]).write_text(block, encoding="utf-8")
        elif not only_files:
            exec(compile(block, f"{page}, block {number + 1}", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def names() -> dict[str, Any]:
    return {"model": small_network(), "images": some_images(8), "__name__": "page"}


def judged(result: Result) -> dict[str, set[str]]:
    assert result.trusted, result.gates["reasons"]
    return {str(check): set(rows["outcome"]) for check, rows in result.headlines.groupby("check")}


def test_the_page_on_plug_ins(capsys: pytest.CaptureFixture[str]) -> None:
    found = page_of("plugins.md", names())
    assert judged(found["result"]).keys() == {"all_but_first"}
    assert "guided_backprop" in capsys.readouterr().out
    contract = found["TestAllButFirst"]
    kept = [name for name in dir(contract) if name.startswith("test_") and SLOW not in name]
    assert len(kept) > 10
    for name in kept:
        getattr(contract(), name)()
    assert list(importlib.import_module("pool").Pool().run(None, [])) == []
    assert len(Path("my_checks.py").read_text().splitlines()) <= 40


def patches(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of noise with a patch whose place tells the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 5
    images = 0.3 * torch.randn(count, 2, 12, 12, generator=generator, dtype=torch.float64)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = ((0, 0), (0, 8), (4, 4), (8, 0), (8, 8))[label]
        image[:, row : row + 4, column : column + 4] += 1.5
    return images, labels


@functools.cache
def learned(seed: int) -> nn.Module:
    """The small network, trained on the half of the images that the seed makes."""
    model, (x, y) = small_network(), patches(100, seed)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    x, y = patches(50, 9)
    assert float((model(x).argmax(1) == y).double().mean()) > 0.95
    return model


def page_on_checks() -> dict[str, Any]:
    halves = {"model_of_one_half": learned(1), "model_of_the_other_half": learned(2)}
    return page_of("checks.md", names() | halves | {"images": patches(16, 9)[0]})


def test_the_page_on_checks(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = judged(page_on_checks()["result"])
    assert outcomes.keys() == {"frozen", "mirror", "runner_up", "other_half"}
    assert outcomes["mirror"] == {"PASS"}  # the gradient of f(flipped x) is the flipped gradient
    assert outcomes["frozen"] != {"FAIL"}
    assert "other_half outcome" in capsys.readouterr().out


def first_layer(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Sees the first convolution alone, and no class."""
    with torch.no_grad():
        return model[0](x).abs().sum(1)  # type: ignore[index]


def sided(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """The image, but always darker to the right."""
    return x.abs() * torch.linspace(1, 0, x.shape[-1], dtype=x.dtype)


@pytest.mark.parametrize(
    ("check", "method", "outcome"),
    [
        ("Frozen()", "first_layer", "FAIL"),
        ("Frozen(block='15')", "gradient", "PASS"),
        ("Mirror()", "sided", "FAIL"),
        ("RunnerUp()", "first_layer", "FAIL"),
        ("OtherHalf(same)", "gradient", "PASS"),
        ("OtherHalf(untrained)", "gradient", "FAIL"),
    ],
)
def test_twins_of_the_worked_examples_come_out_as_they_must(
    check: str, method: str, outcome: str
) -> None:
    """Each example catches what it is for, and nothing else: methods and networks of which the answer is known."""
    page_of("checks.md", {"model_of_one_half": None}, only_files=True)
    known = vars(importlib.import_module("more_checks")) | {"same": learned(1)}
    known["untrained"] = small_network()
    asked: Any = {"first_layer": first_layer, "sided": sided}.get(method, method)
    made, options = eval(check, known), {"similarities": ["spearman"], "gallery": 0}
    result = salsanity.run(made, learned(1), patches(16, 9)[0], methods=[asked], **options)
    assert judged(result) == {made.name: {outcome}}


def test_a_block_that_is_not_there_is_refused() -> None:
    page_of("checks.md", {}, only_files=True)
    made = importlib.import_module("more_checks").Frozen(block="nowhere")
    with pytest.raises(salsanity.ModelError, match="got 'nowhere'"):
        salsanity.run(made, learned(1), patches(8, 9)[0], methods=["gradient"])


def test_every_check_has_a_section_and_every_section_its_words() -> None:
    from salsanity.checks.named import BUILT_IN

    page = (DOCS / "checks.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\S+)\n\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    for name, kind in BUILT_IN.items():
        assert f"*{kind.words.question}*" in sections[name], name
        for part in ("**What it does.**", "**Controls.**", "**Source.**"):
            assert part in sections[name], f"{name} lacks {part}"


def test_twin_code_that_does_not_run_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wrong.md").write_text("```python\nimport salsanity\nsalsanity.nothing()\n```\n")
    monkeypatch.setattr(sys.modules[__name__], "DOCS", tmp_path)
    with pytest.raises(AttributeError, match="nothing"):
        page_of("wrong.md", names())
