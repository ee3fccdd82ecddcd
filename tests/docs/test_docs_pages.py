"""Every code block of every page: Python runs, options of commands exist, files of options are read, scripts are there."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from docs.pages import ROOT, Block, blocks, commands, names_of, pages, run, same_output, undrawn
from salsanity import suite
from salsanity.cli.app import COMMANDS, app_for
from salsanity.cli.wishes import Wishes
from salsanity.options import options_of
from salsanity.testing.networks import small_network, some_images
from salsanity.units.spec import RunSpec

ALL = [block for page in pages() for block in blocks(page)]
ELSEWHERE = {
    "README.md": "test_readme.py",
    "docs/checks.md": "test_docs_code.py",
    "docs/plugins.md": "test_docs_code.py",
    "docs/tutorial.md": "test_tutorial.py",
}
"""Pages whose Python another file runs."""
SLOW = ("another_process", "new_process")
"""Tests of contracts that start a process; tests/testing has them."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    undrawn(monkeypatch)
    yield
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def of(*languages: str) -> list[Any]:
    return [pytest.param(b, id=b.place) for b in ALL if b.language in languages]


def page_of(name: str, **options: Any) -> dict[str, Any]:
    """Run a page and compare what it prints."""
    names = names_of({"model": small_network(), "images": some_images(8), **options})
    for block, told, after in run(blocks(ROOT / name), names):
        assert after is None or not same_output(told, after.text), f"{block.place}: {told}"
    return names


def contract(kind: type) -> int:
    """Run the tests of a contract that stands on a page; return how many there were."""
    kept = [n for n in dir(kind) if n.startswith("test_") and not any(s in n for s in SLOW)]
    for name in kept:
        getattr(kind(), name)()
    return len(kept)


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of two draws and few images, whatever the page says: what they print is no number."""
    asked = suite.run
    small = {"draws": 2, "max_images": 4}
    monkeypatch.setattr(suite, "run", lambda *given, **said: asked(*given, **{**said, **small}))


@pytest.mark.usefixtures("fewer")
@pytest.mark.parametrize("name", ["method", "similarity", "initialiser"])
def test_what_is_added_runs_and_keeps_its_contract(name: str) -> None:
    found = page_of(f"docs/adding/{name}.md")
    (kind,) = (v for k, v in found.items() if k.startswith("Test") and isinstance(v, type))
    assert contract(kind) > 4


def test_a_check_that_is_added_runs_and_keeps_its_contract() -> None:
    assert contract(page_of("docs/adding/check.md")["TestUpsideDown"]) > 4


@pytest.mark.parametrize("name", ["executor", "option", "library"])
def test_what_is_added_runs(name: str) -> None:
    page_of(f"docs/adding/{name}.md")


def test_the_page_on_ci(
    tmp_path: Path, salsanity_check: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = types.ModuleType("mypackage")
    vars(package).update(load_network=small_network, held_out_images=lambda: some_images(16))
    vars(package)["explain"] = "gradient"
    monkeypatch.setitem(sys.modules, "mypackage", package)
    found = page_of("docs/ci.md")

    def check(*given: Any, **options: Any) -> Any:
        small = {"similarities": ["spearman"], "allow": ["INCONCLUSIVE"], "max_images": 8}
        return salsanity_check(*given, **{**options, **small})

    for name in ("test_explainer", "test_explainer_tells_classes_apart"):
        found[name](check)


@pytest.mark.parametrize("page", ["docs/how-to.md", "docs/explainers.md"])
def test_explainers_on_pages_are_methods(page: str) -> None:
    import salsanity

    found = page_of(page)
    plain = found.get("plain") or importlib.import_module("explainers").plain
    result = salsanity.run(
        *("repeat", small_network(), some_images(4)), methods=[plain], gallery=0, draws=2
    )
    assert result.outcome("plain") is not salsanity.Outcome.FAIL


class Writer:
    """What TensorBoard's writer is told, where TensorBoard is not installed."""

    told: list[str]

    def __init__(self, folder: str) -> None:
        self.told = []

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        assert any(name.startswith("retained/cascade/gradient") for name in self.told)

    def add_text(self, tag: str, text: str) -> None:
        self.told.append(tag)

    def add_scalar(self, tag: str, value: float) -> None:
        self.told.append(tag)
        float(value)

    def add_figure(self, tag: str, figure: Any) -> None:
        figure.savefig("figure.png")


@pytest.mark.filterwarnings("ignore")
def test_the_page_on_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in ("mlflow", "wandb", "lightning", "huggingface_hub"):
            pytest.importorskip(library, reason=f"{library} is not installed: scripts/integrations")
    if importlib.util.find_spec("tensorboard") is None:
        stand_in = types.ModuleType("torch.utils.tensorboard")
        vars(stand_in)["SummaryWriter"] = Writer
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    from lightning.pytorch import LightningModule

    asked, small = suite.run, {"similarities": ["spearman"], "draws": 2, "gallery": 1}
    monkeypatch.setattr(
        suite, "run", lambda *given, **options: asked(*given, **{**options, **small})
    )

    class Classifier(LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            LightningModule.__init__(self)
            self.network = small_network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x)  # type: ignore[no-any-return]

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: Any, index: int) -> None: ...

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 1e-3)

    images = some_images(4)
    data = DataLoader(TensorDataset(images, torch.arange(4)), batch_size=4)
    given = {"classifier": Classifier(), "training_data": data, "validation_data": data}
    page_of("docs/results.md", images=images, **given)
    assert "model-index" in Path("README.md").read_text()


def test_no_page_with_python_is_left_out() -> None:
    mine = Path(__file__).read_text(encoding="utf-8")
    for block in ALL:
        page = block.place.partition(":")[0]
        if block.language == "python" and page not in ELSEWHERE:
            stem = page.removeprefix("docs/adding/").removesuffix(".md")
            assert page in mine or f'"{stem}"' in mine, f"no test runs {block.place}"
    for page, test in ELSEWHERE.items():
        (file,) = (ROOT / "tests").rglob(test)
        assert Path(page).name in file.read_text(encoding="utf-8"), page


def parsed(words: list[str]) -> dict[str, Any]:
    """Read a command as the command line does, without doing it."""
    group = typer.main.get_command(app_for(words[1]))
    command: Any = group.commands[words[1]]  # type: ignore[attr-defined]
    given = [w for w in words[2:] if w not in ("...", "…")]
    return dict(command.make_context(words[1], given, resilient_parsing="..." in words).params)


@pytest.mark.parametrize("block", of("sh", "bash", "shell"))
def test_commands_on_pages_exist_with_their_options(block: Block) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    known = {*extras["optional-dependencies"]}
    for words in commands(block):
        if words[0] == "salsanity" and len(words) > 1 and not words[1].startswith("-"):
            assert words[1] in COMMANDS, block.place
            parsed([w for w in words if not w.startswith("[") and not w.endswith("]")])
        elif words[0].startswith("scripts/"):
            assert (ROOT / words[0]).is_file(), f"{block.place}: {words[0]}"
        elif words[0] == "python" and words[1].startswith(("benchmarks/", "scripts/")):
            assert (ROOT / words[1]).exists(), f"{block.place}: {words[1]}"
        for found in re.findall(r"(?:\.|salsanity)\[([\w,-]+)\]", " ".join(words)):
            assert set(found.split(",")) <= known, f"{block.place}: extras {found}"


@pytest.mark.parametrize("block", of("toml"))
def test_files_of_options_on_pages_are_read(block: Block) -> None:
    found = tomllib.loads(block.text)
    if "project" in found:
        return
    from salsanity.checks.named import BUILT_IN
    from salsanity.cli.wishes import Choice

    kinds = (RunSpec, Wishes, Choice, *BUILT_IN.values())
    known = {name for kind in kinds for name in options_of(kind)}
    assert set(found) <= known, block.place


@pytest.mark.parametrize("block", of("yaml"))
def test_yaml_on_pages_is_read(block: Block) -> None:
    assert [*yaml.safe_load_all(block.text)]


def test_twin_a_command_with_a_misspelt_option_is_found() -> None:
    with pytest.raises(Exception, match="modell"):
        parsed(["salsanity", "check", "--modell", "x", "--images", "photos/"])


def test_twin_another_output_is_found() -> None:
    assert not same_output("PASS .56 [.48,.64] 429", "PASS .57 [.47,.64] 430")
    assert same_output("PASS .56", "FAIL .56")
    assert same_output("PASS .56", "PASS .65")
    assert same_output("PASS .56", "PASS .56 more")
