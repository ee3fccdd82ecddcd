"""Plug-ins of other distributions: found, used, and named when they are broken."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from networks import chain, images
from salsanity import registry
from salsanity.checks.cascade import Cascade
from salsanity.errors import ModelError, SalsanityError, SpecError, UsageError
from salsanity.executors.named import executor
from salsanity.executors.serial import SerialExecutor
from salsanity.models.network import prepare
from salsanity.plugins import plugin, plugin_names
from salsanity.suite import judging, model_randomization_test

Install = Callable[..., None]

CODE = '''
import torch
from dataclasses import dataclass
from salsanity.similarity import Pearson
from salsanity.executors.serial import SerialExecutor

RUNS = []

def explain(model, inputs, targets):
    model(inputs)
    return inputs.abs()

@dataclass(frozen=True)
class Scaled:
    factor: float = 1.0
    name: str = "scaled"
    stochastic: bool = False
    def steps(self, inputs):
        yield ()
        return inputs.x * self.factor

class Alike(Pearson):
    name = "alike"

class Zeros:
    name = "module"
    def __call__(self, network, seed):
        generator = torch.Generator().manual_seed(seed % 2**63)
        return {layer: {n: torch.randn(v.shape, generator=generator, dtype=v.dtype) for n, v in tensors.items()}
                for layer, tensors in network.trained.items()}

class Here:
    def run(self, job, lots, *, tick=None):
        RUNS.append(1)
        yield from SerialExecutor().run(job, lots, tick=tick)

def raises(network, seed):
    raise RuntimeError("no numbers left")

def wrong_shape(network, seed):
    return {"0": {"weight": torch.zeros(1)}}

def unknown_tensor(network, seed):
    return {"nowhere": {"weight": torch.zeros(1)}}

def not_finite(network, seed):
    return {"0": {"weight": torch.full_like(network.trained["0"]["weight"], float("inf"))}}

def no_mapping(network, seed):
    return [1]

number = 7
'''  # fmt: skip


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install distributions with entry points and one module each, for one test."""
    made = []

    def installed(name: str, entries: dict[str, str], code: str = CODE) -> None:
        module = f"{name}_module"
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = [f"[{group}]\n{entry}" for group, entry in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(lines).replace("MODULE", module))
        (tmp_path / f"{module}.py").write_text(code)
        made.append(module)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield installed
    for module in made:
        sys.modules.pop(module, None)


def test_a_method_is_found_by_name_and_takes_arguments(install: Install) -> None:
    install("extra", {"salsanity.methods": "scaled = MODULE:Scaled\nmine = MODULE:explain"})
    assert registry.method("scaled(factor=2.0)").factor == 2.0
    assert registry.method("mine").name == "mine"
    assert {"scaled", "mine"} <= set(plugin_names("salsanity.methods"))


def test_a_similarity_is_found_by_name(install: Install) -> None:
    install("extra", {"salsanity.similarities": "alike = MODULE:Alike"})
    assert registry.similarity("alike").name == "alike"


def test_a_draw_goes_under_the_name_that_was_asked(install: Install) -> None:
    install("extra", {"salsanity.draws": "wild = MODULE:Zeros"})
    assert Cascade(init="wild").init == "wild"
    draw = registry.draw("wild")
    assert draw.name == "wild"
    network = prepare(chain(), images())
    drawn = draw(network, 1)
    assert not torch.equal(drawn["0"]["weight"], network.trained["0"]["weight"])


def test_a_run_uses_draw_and_executor(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "draw_report", lambda *_: None)
    install(
        "extra",
        {"salsanity.draws": "wild = MODULE:Zeros", "salsanity.executors": "here = MODULE:Here"},
    )
    asked = {"methods": ["gradient"], "similarities": ["spearman"], "draws": 2, "gallery": 0}
    result = model_randomization_test(
        chain(), images(count=4), out=tmp_path / "run", init="wild", executor="here", **asked
    )
    assert result.spec["init"] == "wild"
    assert set(result.verdicts["init"]) == {"wild"}
    assert sys.modules["extra_module"].RUNS == [1]
    file = tmp_path / "extra_module.py"
    other = model_randomization_test(
        chain(), images(count=4), out=tmp_path / "other", init=f"{file}:Zeros", **asked
    )
    assert other.spec["init"] == f"{file}:Zeros"


@pytest.mark.parametrize(
    ("group", "entry", "use", "words"),
    [
        ("salsanity.methods", "bad = MODULE:missing", registry.method, "missing"),
        ("salsanity.methods", "bad = nowhere_to_be_found:x", registry.method, "nowhere_to_be_found"),
        ("salsanity.methods", "bad = MODULE:number", registry.method, "int"),
        ("salsanity.similarities", "bad = MODULE:missing", registry.similarity, "missing"),
        ("salsanity.similarities", "bad = MODULE:Here", registry.similarity, "without name"),
        ("salsanity.draws", "bad = MODULE:missing", registry.draw, "missing"),
        ("salsanity.draws", "bad = MODULE:number", registry.draw, "int"),
        ("salsanity.executors", "bad = MODULE:missing", executor, "missing"),
        ("salsanity.executors", "bad = MODULE:Zeros", executor, "run"),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_named(
    install: Install, group: str, entry: str, use: Callable[[str], object], words: str
) -> None:
    install("culprit", {group: entry})
    with pytest.raises(UsageError, match=words) as caught:
        use("bad")
    for part in ("'bad'", "culprit 1.2", group, "repair or uninstall"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "code", ["import sys; sys.exit(3)", "raise ValueError('on import')", "def f(:"]
)
def test_a_plugin_that_dies_on_import_is_named(install: Install, code: str) -> None:
    install("culprit", {"salsanity.methods": "bad = MODULE:x"}, code)
    with pytest.raises(UsageError, match=r"plug-in 'bad' of culprit 1\.2"):
        registry.method("bad")


def test_arguments_that_do_not_fit_name_the_plugin(install: Install) -> None:
    install("culprit", {"salsanity.methods": "scaled = MODULE:Scaled"})
    with pytest.raises(UsageError, match=r"culprit 1\.2.*colour"):
        registry.method("scaled(colour='red')")


def test_two_plugins_of_one_name_are_refused(install: Install) -> None:
    for name in ("one", "two"):
        install(name, {"salsanity.methods": "same = MODULE:explain"})
    with pytest.raises(UsageError, match=r"one 1\.2.*two 1\.2"):
        registry.method("same")


def test_twin_an_absent_plugin_is_none() -> None:
    assert plugin("salsanity.methods", "no such thing") is None


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("raises", "no numbers left"),
        ("wrong_shape", "shape"),
        ("unknown_tensor", "nowhere.weight"),
        ("not_finite", "finite"),
        ("no_mapping", "list"),
    ],
)
def test_a_draw_that_goes_wrong_is_named(tmp_path: Path, function: str, words: str) -> None:
    (tmp_path / "draws.py").write_text(CODE)
    asked = f"{tmp_path}/draws.py:{function}"
    network = prepare(chain(), images())
    with pytest.raises(ModelError, match=words) as caught:
        registry.draw(asked)(network, 0)
    assert asked in str(caught.value)


@pytest.mark.parametrize("init", ["modul", "", 3])
def test_an_unknown_initialiser_is_refused_at_once(init: object) -> None:
    with pytest.raises(SpecError, match="init"):
        Cascade(init=init)  # type: ignore[arg-type]


def test_executors_by_name() -> None:
    assert executor(None) == executor("serial") == SerialExecutor()
    with pytest.raises(SalsanityError, match="serial"):
        executor("raay")
    with pytest.raises(SalsanityError, match="object"):
        executor(object())  # type: ignore[arg-type]
