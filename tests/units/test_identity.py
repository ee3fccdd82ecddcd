"""A print changes with everything that a score depends on, and with nothing else.

What must hold is written as functions of a print, so that prints which miss something can be shown to fail.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import functools
import importlib
import logging
import os
import re
import runpy
import sys
import threading
import types  # noqa: F401 - in a text
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from networks import chain
from salsanity.errors import UsageError
from salsanity.symbols import load_symbol
from salsanity.units import arrays, facts, identity, origins, written
from salsanity.units.identity import can_be_identified, print_of, unidentified

Print = Callable[..., str]
LOG = logging.getLogger("somebody's")
SCALE = {"by": 1.0, "names": {"a", "b", "c"}}
LIVE = threading.Lock()


class Explainer:
    """Holds a network and a number."""

    def __init__(self, model: nn.Module, scale: float = 1.0) -> None:
        self.model = model
        self.scale = scale

    def explain(self, model: nn.Module, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return x * self.scale

    __call__ = explain


class Slotted:
    """Holds a number in a slot."""

    __slots__ = ("__hidden", "scale")

    def __init__(self, scale: float, hidden: int = 0) -> None:
        self.scale = scale
        self.__hidden = hidden


@dataclasses.dataclass
class Settings:
    """What a user may keep settings in."""

    window: int = 3
    names: tuple[str, ...] = ("a",)


class Colour(enum.Enum):
    """Two values."""

    RED = 1
    BLUE = 2


class Content(dict[str, int]):
    """A dictionary with an attribute."""

    scale = 1


def with_weight(change: float) -> nn.Module:
    model = chain()
    model[0].weight.data[0, 0, 0, 0] += change
    return model


def scaled(factor: float) -> Callable[..., Any]:
    return lambda model, x, targets: x * factor


def keyword(*, factor: float = 1.0) -> Callable[..., Any]:
    def explain(model: Any, x: Any, targets: Any, *, by: float = factor) -> Any:
        return x * by

    return explain


def attributed(value: float) -> nn.Module:
    model = chain()
    model.temperature = value
    return model


def marked(value: int) -> Callable[..., Any]:
    def explain(model: Any, x: Any, targets: Any) -> Any:
        return x

    explain.value = value  # type: ignore[attr-defined]
    return explain


def hooked(change: float | None = None) -> nn.Module:
    model = chain()
    if change is not None:
        model[1].register_forward_hook(lambda module, x, y: y + change)
    return model


def content(scale: int, **items: int) -> Content:
    made = Content(items)
    made.scale = scale
    return made


def patched(value: int) -> nn.Module:
    model = chain()
    model.forward = lambda x: x * value  # type: ignore[method-assign]
    return model


PAIRS = [
    ("chain()", "with_weight(1e-12)"),
    ("chain()", "nn.Sequential(*chain()[:-1], nn.Identity(), chain()[-1])"),
    ("chain()", "nn.Sequential(*list(chain())[:1], *list(chain())[1:][::-1])"),
    ("chain()", "chain().train()"),
    ("attributed(1.0)", "attributed(2.0)"),
    ("patched(1)", "patched(2)"),
    ("chain()", "hooked(1.0)"),
    ("hooked(1.0)", "hooked(2.0)"),
    ("nn.MaxPool2d(2, stride=1)", "nn.MaxPool2d(2, stride=2)"),
    ("scaled(1.0)", "scaled(2.0)"),
    ("scaled(1)", "scaled(1.0)"),
    ("keyword()", "keyword(factor=2.0)"),
    ("marked(1)", "marked(2)"),
    ("functools.partial(scaled, 1.0)", "functools.partial(scaled, 2.0)"),
    ("functools.partial(scaled, factor=1)", "functools.partial(scaled, factor=2)"),
    ("functools.lru_cache(scaled(1.0))", "functools.lru_cache(scaled(2.0))"),
    ("torch.no_grad()(scaled(1.0))", "torch.no_grad()(scaled(2.0))"),
    ("torch.no_grad()(scaled(1.0))", "torch.enable_grad()(scaled(1.0))"),
    ("Explainer(chain())", "Explainer(chain(), 2.0)"),
    ("Explainer(chain()).explain", "Explainer(with_weight(1)).explain"),
    ("Explainer(chain()).explain", "Explainer(chain())"),
    ("Slotted(1.0)", "Slotted(2.0)"),
    ("Slotted(1.0, 1)", "Slotted(1.0, 2)"),
    ("Settings()", "Settings(window=4)"),
    ("Settings()", 'Settings(names=("b",))'),
    ("Colour.RED", "Colour.BLUE"),
    ("content(1, a=1)", "content(2, a=1)"),
    ("content(1, a=1)", "content(1, a=2)"),
    ('{"draws": 5}', '{"draws": 6}'),
    ('[1, "1"]', '["1", 1]'),
    ("[1]", "(1,)"),
    ("1", "True"),
    ("0.0", "-0.0"),
    ("{1, 2}", "{1, 3}"),
    ("collections.OrderedDict(a=1, b=2)", "collections.OrderedDict(b=2, a=1)"),
    ("collections.deque([1], 2)", "collections.deque([1], 3)"),
    ("collections.defaultdict(list, a=1)", "collections.defaultdict(set, a=1)"),
    ('re.compile("a")', 're.compile("a", re.IGNORECASE)'),
    ("types.SimpleNamespace(a=1)", "types.SimpleNamespace(a=2)"),
    ("np.random.default_rng(0)", "np.random.default_rng(1)"),
    ("torch.Generator().manual_seed(0)", "torch.Generator().manual_seed(1)"),
    ("torch.zeros(2)", "torch.zeros(2, 1)"),
    ("torch.zeros(2)", "torch.zeros(2, dtype=torch.float64)"),
    ("torch.eye(2).to_sparse()", "torch.ones(2, 2).to_sparse()"),
    ("torch.tensor([1j]).conj()", "torch.tensor([1j])"),
    ("torch.zeros(2).numpy()", "torch.ones(2).numpy()"),
    ("np.arange(8)[::2]", "np.arange(1, 9)[::2]"),
    ('np.array([{"a"}, 1], dtype=object)', 'np.array([{"b"}, 1], dtype=object)'),
    ("np.ma.array([1, 2], mask=[0, 1])", "np.ma.array([1, 2], mask=[1, 0])"),
    ("np.float32(1.0)", "np.float32(2.0)"),
    ("torch.relu", "torch.sigmoid"),
    ("np.add", "np.multiply"),
    ("torch.float32", "torch.float64"),
    ("Explainer", "Slotted"),
    ("[].append", "[1].append"),
]  # fmt: skip


def made(text: str) -> Any:
    return eval(text)


def tells_apart(print_: Print, one: Callable[[], Any], other: Callable[[], Any]) -> None:
    """Equal things have equal prints, others have others."""
    assert print_(one()) == print_(one()), "two equal things have two prints"
    assert print_(other()) == print_(other()), "two equal things have two prints"
    assert print_(one()) != print_(other()), "two things have one print"


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_equal_things_have_equal_prints_and_others_do_not(one: str, other: str) -> None:
    tells_apart(print_of, lambda: made(one), lambda: made(other))
    assert re.fullmatch(r"[0-9a-f]{64}", print_of(made(one)))


def test_no_two_of_all_these_things_have_one_print() -> None:
    texts = {text for pair in PAIRS for text in pair}
    assert len({print_of(made(text)) for text in texts}) == len(texts)


def test_two_lambdas_of_one_line_are_two() -> None:
    one, other, same = [lambda x: x + 1, lambda x: x + 2, lambda x: x + 1]
    assert print_of(one) != print_of(other)
    assert print_of(one) == print_of(one)
    assert same(1) == one(1)  # where the places of code are not recorded, these two are one


def plain_values() -> st.SearchStrategy[Any]:
    """Plain values inside each other."""
    numbers = st.integers() | st.floats() | st.booleans() | st.none() | st.complex_numbers()
    leaves = numbers | st.text() | st.binary()
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
            | st.frozensets(leaves, max_size=4)
        ),
        max_leaves=12,
    )


def spelled(value: Any) -> str:
    """An independent oracle: what a plain value is, as a text."""
    if isinstance(value, dict):
        pairs = sorted(f"{spelled(k)}:{spelled(v)}" for k, v in value.items())
        return f"dict({','.join(pairs)})"
    if isinstance(value, frozenset):
        return f"frozenset({','.join(sorted(map(spelled, value)))})"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({','.join(map(spelled, value))})"
    return f"{type(value).__name__} {value!r}"


@settings(max_examples=300, deadline=None)
@given(plain_values(), plain_values())
def test_prints_of_plain_values_are_equal_just_where_the_values_are(one: Any, other: Any) -> None:
    assert (print_of(one) == print_of(other)) == (spelled(one) == spelled(other))
    assert print_of(one) == print_of(copy.deepcopy(one))


def test_a_copy_has_the_same_print() -> None:
    model = chain()
    assert print_of(model) == print_of(copy.deepcopy(model))
    explainer = Explainer(model, 3.0)
    assert print_of(explainer) == print_of(copy.deepcopy(explainer))


def test_a_tensor_is_told_by_its_values_not_by_how_they_lie() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert print_of(x) == print_of(x.contiguous(memory_format=torch.channels_last))
    assert print_of(x.numpy()) == print_of(np.asfortranarray(x.numpy()))
    assert print_of(nn.Parameter(x)) == print_of(nn.Parameter(x).requires_grad_(False))


def test_pieces_of_a_large_array_count_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_AT_ONCE", 3)
    values = np.arange(20)
    assert print_of(values[::2]) == print_of(values[::2].copy())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_network_is_the_network_that_was_compiled() -> None:
    networks = (chain(), chain(), with_weight(1.0))
    one, same, other = (torch.compile(model, backend="eager") for model in networks)
    assert print_of(one) == print_of(same) != print_of(other)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_network_is_told_by_code_and_weights() -> None:
    one, same, other = (torch.jit.script(m) for m in (chain(), chain(), with_weight(1.0)))
    assert print_of(one) == print_of(same) != print_of(other)
    assert print_of(one) != print_of(torch.jit.script(chain()[:-1]))


def test_what_refers_to_itself_has_a_print() -> None:
    one, other = Explainer(chain()), Explainer(chain(), 2.0)
    for explainer in (one, other):
        explainer.model.owner = explainer  # type: ignore[assignment]
    assert print_of(one) == print_of(one) != print_of(other)
    knot: list[Any] = [{}]
    knot[0]["knot"] = knot
    assert print_of(knot) == print_of(copy.deepcopy(knot))


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


class Endless(collections.deque[Any]):
    """Says of itself that it holds another one."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (), Endless()


def test_depth_is_no_matter_until_it_has_no_end() -> None:
    assert print_of(nested(3_000)) != print_of(nested(3_001))
    for endless in (nested(11_000), Endless()):
        assert "without an end" in str(unidentified(endless))
        assert len(str(unidentified(endless))) < 1_000


class Odd:
    """Does wrong whatever it is asked."""

    def __init__(self) -> None:
        self.held = 1

    @property
    def looked_at(self) -> int:
        raise AssertionError("a property was run")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("was compared")

    __hash__ = None  # type: ignore[assignment]
    __bool__ = __len__ = __iter__ = __repr__ = __str__ = __getstate__ = looked_at.fget  # type: ignore


class Odder(Odd):
    """Lies about its class too."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise AssertionError("the class was asked for")

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")


def test_nothing_of_an_odd_object_is_run() -> None:
    one, other = Odd(), Odd()
    object.__setattr__(other, "held", 2)
    assert print_of(one) == print_of(Odd()) != print_of(other)
    assert print_of([Odder.__new__(Odder), {1: one}]) != print_of([Odder.__new__(Odder), {2: one}])


# Files


FILES = {
    "explainers.py": "import torch\nfrom near import by\nTIMES = 1\n"
    "def explain(m, x, t):\n    import late\n    return by(x) * TIMES\n",
    "near.py": "import far\ndef by(x): return far.FACTOR * x\n",
    "far.py": "FACTOR = 1\n",
    "late.py": "def late(x): return x\n",
    "stranger.py": "def other(x): return x\n",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An explainer in a file that imports another one, which imports a third; one that is imported late; a stranger."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    yield tmp_path
    forget()


def forget() -> None:
    """Forget what was imported, as in a new process."""
    importlib.invalidate_caches()
    for name in [*FILES, "explaining_package"]:
        for loaded in [m for m in sys.modules if m.partition(".")[0] == name.removesuffix(".py")]:
            sys.modules.pop(loaded)
    for loaded in [m for m in sys.modules if m.startswith("salsanity_user_")]:
        sys.modules.pop(loaded)


def loaded(folder: Path) -> Any:
    forget()
    return load_symbol(f"{folder}/explainers.py:explain")


def sees_an_edit(print_: Print, folder: Path, name: str) -> None:
    """Whoever edits a file has another print, in this process too."""
    before = print_(loaded(folder))
    assert print_(loaded(folder)) == before
    (folder / name).write_text(FILES[name].replace("x\n", "x + 1\n").replace("= 1", "= 2"))
    assert print_(loaded(folder)) != before, f"an edit of {name} was missed"
    (folder / name).write_text(FILES[name])
    assert print_(loaded(folder)) == before


IMPORTED = ("explainers.py", "near.py", "far.py", "late.py")


@pytest.mark.parametrize("name", IMPORTED)
def test_an_edit_of_a_file_or_of_what_it_imports_is_seen(folder: Path, name: str) -> None:
    sees_an_edit(print_of, folder, name)


def sees_no_more(print_: Print, folder: Path) -> None:
    """What nobody imports, the date of a file, and the folder's name do not count."""
    before = print_(loaded(folder))
    (folder / "stranger.py").write_text("def other(x): return 7\n")
    for path in folder.glob("*.py"):
        os.utime(path, (1, 1))
    assert print_(loaded(folder)) == before
    moved = folder.with_name("moved")
    folder.rename(moved)
    assert print_(loaded(moved)) == before


def test_an_edit_beside_it_and_a_newer_date_are_not(folder: Path) -> None:
    sees_no_more(print_of, folder)


def sees_what_is_in_memory(print_: Print, folder: Path) -> None:
    """Who edits a file and does not load it again still runs the old code: another print than the new code has."""
    explain = loaded(folder)
    old = print_(explain)
    for name in ("explainers.py", "far.py"):
        (folder / name).write_text(FILES[name].replace("= 1", "= 2"))
        stale = print_(explain)
        explain_again = loaded(folder)
        assert len({old, stale, print_(explain_again)}) == 3, f"{name} in memory is not on disk"
        (folder / name).write_text(FILES[name])
        explain = loaded(folder)
    text = FILES["near.py"].replace("far.FACTOR * x", "far.FACTOR + x")
    (folder / "near.py").write_text(text)
    assert len({old, print_(explain), print_(loaded(folder))}) == 3


def test_code_that_was_edited_but_not_loaded_again_is_neither_the_old_nor_the_new(
    folder: Path,
) -> None:
    sees_what_is_in_memory(print_of, folder)


def test_a_constant_of_another_module_that_is_set_from_outside_is_seen(folder: Path) -> None:
    explain = loaded(folder)
    before = print_of(explain)
    sys.modules["far"].FACTOR = 5  # type: ignore[attr-defined]
    assert print_of(explain) != before


def test_what_a_module_computed_when_it_was_imported_is_seen(folder: Path) -> None:
    (folder / "near.py").write_text(
        "import json, pathlib\nDATA = json.loads((pathlib.Path(__file__).parent / 'd.json').read_text())\n"
        "def by(x): return DATA['factor'] * x\n"
    )
    prints = []
    for factor in (1, 2):
        (folder / "d.json").write_text(f'{{"factor": {factor}}}')
        prints.append(print_of(loaded(folder)))
    assert prints[0] != prints[1]


def test_a_module_counts_alike_before_and_after_a_late_import(folder: Path) -> None:
    explain = loaded(folder)
    before = print_of(explain)
    sys.path.insert(0, str(folder))
    try:
        explain(None, 1, None)
    finally:
        sys.path.remove(str(folder))
    assert "late" in sys.modules
    assert print_of(explain) == before


def test_a_file_counts_alike_whether_it_is_run_imported_or_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    before = print_of(loaded(folder))
    forget()
    assert print_of(importlib.import_module("explainers").explain) == before
    forget()
    run = runpy.run_path(str(folder / "explainers.py"), run_name="__main__")
    assert print_of(run["explain"]) == before


def test_a_file_counts_alike_where_pytest_rewrites_its_asserts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pytest rewrites the modules of a distribution with a plug-in: their names, whoever else bears them."""
    pytest.register_assert_rewrite("explainers")
    monkeypatch.syspath_prepend(str(folder))
    before = print_of(loaded(folder))
    forget()
    rewritten = importlib.import_module("explainers")
    assert any(name.startswith("@") for name in vars(rewritten)), "pytest rewrote nothing"
    assert print_of(rewritten.explain) == before


def test_a_file_of_the_users_with_the_name_of_a_module_of_pythons_is_the_users(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "near.py").write_text("import this\ndef by(x): return this.times(x)\n")
    (folder / "this.py").write_text("def times(x): return x\n")
    monkeypatch.delitem(sys.modules, "this", raising=False)
    before = print_of(loaded(folder))
    monkeypatch.delitem(sys.modules, "this")
    (folder / "this.py").write_text("def times(x): return 2 * x\n")
    assert print_of(loaded(folder)) != before


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package whose explainer calls another of its modules."""
    folder = tmp_path / "explaining_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from explaining_package.maps import explain\n")
    (folder / "maps.py").write_text(
        "from . import scale\ndef explain(m, x, t): return scale.by(x)\n"
    )
    (folder / "scale.py").write_text("def by(x): return x\n")
    (folder / "unused.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    forget()


@pytest.mark.parametrize("name", ["__init__.py", "maps.py", "scale.py"])
def test_a_change_in_the_modules_of_the_explainers_package_is_seen(
    package: Path, name: str
) -> None:
    def explain() -> Any:
        forget()
        return importlib.import_module("explaining_package").explain

    before = print_of(explain())
    (package / "unused.py").write_text("1\n")
    assert print_of(explain()) == before
    (package / name).write_text((package / name).read_text() + "\n# changed\n")
    assert print_of(explain()) != before


def test_installed_packages_are_told_by_their_release_and_ours_by_name() -> None:
    assert origins.release("torch") == f"torch {torch.__version__}"
    homes = {
        "torch.nn.modules.conv": "library",
        "collections": "python",
        "sys": "python",
        "salsanity.units": "salsanity",
        "networks": "user",
        __name__: "user",
    }
    for name, home in homes.items():
        assert origins.module_of(vars(sys.modules[name])).home == home


def test_a_new_release_of_a_library_is_another_print(monkeypatch: pytest.MonkeyPatch) -> None:
    things: list[Callable[[], Any]] = [lambda: torch.relu, nn.ReLU, lambda: scaled(1.0)]
    before = [print_of(thing()) for thing in things]
    monkeypatch.setattr(origins.importlib.metadata, "version", lambda name: "99.0")
    origins.release.cache_clear()
    try:
        assert all(a != print_of(t()) for a, t in zip(before, things, strict=True))
    finally:
        origins.release.cache_clear()


def typed(text: str, **names: Any) -> Any:
    """What a text defines that is run without a file, as in a notebook."""
    names.setdefault("__name__", "__main__")
    exec(compile(text, "<ipython-input-1>", "exec"), names)
    return names["explain"]


def test_code_without_a_file_is_told_by_what_it_does_and_names() -> None:
    text = "def explain(m, x, t):\n    return by(x) * TIMES if t in {'a', 'b'} else x\ndef by(x): return x\n"
    one = print_of(typed(text, TIMES=1))
    assert print_of(typed("\n\n# moved\n" + text, TIMES=1)) == one
    others = [typed(text, TIMES=2), typed(text.replace("return x\n", "return -x\n"), TIMES=1)]
    others += [typed(text.replace("'b'", "'c'"), TIMES=1), typed(text, TIMES=torch.ones(1))]
    others += [typed(text.replace("* TIMES", "+ TIMES"), TIMES=1)]
    assert len({one, *map(print_of, others)}) == 6


def test_a_class_without_a_file_is_told_by_its_methods() -> None:
    text = "class Mine:\n    scale = 2\n    def __call__(self, m, x, t): return x * self.scale\nexplain = Mine()\n"
    one, same = print_of(typed(text)), print_of(typed(text))
    assert one == same
    assert one != print_of(typed(text.replace("x *", "x +")))
    assert one != print_of(typed(text.replace("= 2", "= 3")))


def test_a_module_that_such_code_imports_late_is_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    explain = typed("def explain(m, x, t):\n    from near import by\n    return by(x)\n")
    before = print_of(explain)
    (folder / "far.py").write_text("FACTOR = 2\n")
    assert print_of(explain) != before


# Twins: prints that miss something fail where they should


def nothing(value: Any) -> Any:
    """Facts of nothing."""
    return None
    yield


def blind_to_closures(monkeypatch: pytest.MonkeyPatch) -> Print:
    monkeypatch.setattr(written, "_kept", nothing)
    return print_of


def blind_to_weights(monkeypatch: pytest.MonkeyPatch) -> Print:
    kinds = tuple((k, nothing if f is arrays.tensor_facts else f) for k, f in facts._KINDS)
    monkeypatch.setattr(facts, "_KINDS", kinds)
    return print_of


def blind_to_imports(monkeypatch: pytest.MonkeyPatch) -> Print:
    monkeypatch.setattr(identity, "_next_to", lambda module: ())
    monkeypatch.setattr(written, "_globals", nothing)
    return print_of


def blind_to_late_imports(monkeypatch: pytest.MonkeyPatch) -> Print:
    monkeypatch.setattr(identity, "imported_by", lambda module, imports: ())
    return print_of


def blind_to_memory(monkeypatch: pytest.MonkeyPatch) -> Print:
    monkeypatch.setattr(identity, "differing", lambda module: ())
    monkeypatch.setattr(origins.Module, "place_of", lambda self, code: 0)
    return print_of


def reading_once(monkeypatch: pytest.MonkeyPatch) -> Print:
    texts: dict[str, bytes] = {}

    def content(self: Any) -> bytes | None:
        if self.file is None:
            return None
        return texts.setdefault(self.file, Path(self.file).read_bytes())

    monkeypatch.setattr(origins.Module, "content", content)
    return print_of


def by_date(monkeypatch: pytest.MonkeyPatch) -> Print:
    def content(self: Any) -> bytes | None:
        return str(Path(self.file).stat().st_mtime_ns).encode() if self.file else None

    monkeypatch.setattr(origins.Module, "content", content)
    return print_of


def by_repr(monkeypatch: pytest.MonkeyPatch) -> Print:
    kept: list[Any] = []  # so that no address is used again

    def print_(value: Any) -> str:
        kept.append(value)
        return repr(value)

    return print_


Assertion = Callable[[Print, Path], None]
TWINS: list[tuple[Callable[..., Print], Assertion]] = [
    (blind_to_closures, lambda p, _: tells_apart(p, lambda: scaled(1.0), lambda: scaled(2.0))),
    (blind_to_weights, lambda p, _: tells_apart(p, chain, lambda: with_weight(1.0))),
    (blind_to_imports, lambda p, f: sees_an_edit(p, f, "far.py")),
    (blind_to_late_imports, lambda p, f: sees_an_edit(p, f, "late.py")),
    (blind_to_memory, sees_what_is_in_memory),
    (reading_once, lambda p, f: sees_an_edit(p, f, "late.py")),
    (by_date, sees_no_more),
    (by_repr, lambda p, _: tells_apart(p, lambda: Slotted(1.0), lambda: Slotted(2.0))),
]


@pytest.mark.parametrize(("twin", "assertion"), TWINS)
def test_twin_a_print_that_misses_something_fails(
    twin: Callable[..., Print],
    assertion: Assertion,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(AssertionError):
        assertion(twin(monkeypatch), folder)


# What cannot be identified


def generator() -> Iterator[int]:
    yield 1


class Holding:
    """Holds anything."""

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


def closing_over(held: Any) -> Callable[..., Any]:
    return lambda model, x, targets: (held, x)


LIVING = {
    "open file": Path(__file__).open,
    "generator": generator,
    "lock": threading.Lock,
    "thread": threading.Thread,
    "event": threading.Event,
    "number of C": lambda: __import__("ctypes").c_int(3),
    "library of C": lambda: __import__("ctypes").CDLL(None),
    "view of memory": lambda: memoryview(b"x"),
}


@pytest.fixture(params=LIVING)
def living(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = LIVING[request.param]()
    yield made
    if hasattr(made, "close"):
        made.close()


def test_a_living_thing_is_refused_with_its_path_and_what_to_do(living: Any) -> None:
    wrapped = {
        "Holding.held": Holding(held=living),
        "Holding.parts['a'][0]": Holding(parts={"a": [living]}),
        "closing_over.<locals>.<lambda> -> variable 'held'": closing_over(living),
        "partial.keywords['held']": functools.partial(scaled, held=living),
        "Holding.a.b": Holding(a=Holding(b=living)),
    }
    for path, thing in wrapped.items():
        with pytest.raises(UsageError) as raised:
            print_of(1, thing)
        text = str(raised.value)
        assert f" at {path};" in text
        assert type(living).__name__ in text
        assert "\n" not in text
        assert "__salsanity_print__" in text
        assert "rerun" in text
        assert unidentified(thing) == text
        assert not can_be_identified(thing)


def in_an_array(held: Any) -> Any:
    array = np.empty(2, dtype=object)
    array[0] = held
    return array


def anything() -> st.SearchStrategy[Any]:
    """Things of all kinds inside each other, living and odd ones among them."""
    kinds = [
        *LIVING.values(),
        object,
        Odd,
        lambda: Holding(odd=Odder.__new__(Odder)),
        chain,
        lambda: LOG,
    ]
    leaves = st.sampled_from(kinds[1:]).map(lambda kind: kind()) | st.integers()
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=2), inner, max_size=3)
            | inner.map(lambda held: Holding(held=held))
            | inner.map(closing_over)
            | inner.map(lambda held: functools.partial(scaled, held))
            | inner.map(in_an_array)
        ),
        max_leaves=6,
    )


@settings(max_examples=150, deadline=None)
@given(anything())
def test_anything_has_a_print_or_is_refused_in_one_sentence(thing: Any) -> None:
    why = unidentified(thing)
    if why is None:
        assert print_of(thing) == print_of(thing)
    else:
        assert why.startswith("expected ")
        assert not re.search(r"0x[0-9a-f]{6}|\n", why)


def test_an_explainer_with_a_logger_or_under_a_lock_of_its_file_is_not_refused() -> None:
    def explain(model: Any, x: Any, targets: Any) -> Any:
        LOG.info("explaining")
        with LIVE:
            return x * SCALE["by"]

    assert print_of(Holding(log=LOG)) == print_of(Holding(log=logging.getLogger("another")))
    before = print_of(explain)
    SCALE["by"] = 2.0
    try:
        assert print_of(explain) != before
    finally:
        SCALE["by"] = 1.0
    assert print_of(explain) == before


def test_a_lock_beside_a_number_hides_it_not() -> None:
    def explain(model: Any, x: Any, targets: Any) -> Any:
        return BOTH

    prints = []
    for number in (1, 2):
        globals()["BOTH"] = {"lock": LIVE, "number": number}
        prints.append(print_of(explain))
    assert prints[0] != prints[1]
    with pytest.raises(UsageError):
        print_of(explain, globals()["BOTH"])  # here nothing says how the lock came about
    with pytest.raises(UsageError):
        print_of(globals()["BOTH"], explain)


BOTH: Any = None


def test_a_lock_that_code_without_a_file_names_is_refused() -> None:
    with pytest.raises(UsageError, match="global 'LOCK'"):
        print_of(typed("def explain(m, x, t): return LOCK", LOCK=threading.Lock()))


class Told:
    """Says itself what it is."""

    def __init__(self, says: Any) -> None:
        self.says = says
        self.lock = threading.Lock()

    def __salsanity_print__(self) -> Any:
        return self.says() if callable(self.says) else self.says


def test_an_object_can_say_what_it_is() -> None:
    assert print_of(Told([1])) == print_of(Told([1])) != print_of(Told([2]))
    explain = closing_over(threading.Lock())
    explain.__salsanity_print__ = lambda: 3  # type: ignore[attr-defined]
    assert can_be_identified(explain, Holding(inside=Told({"a": [1, None]})))

    class Other(Told):
        pass

    assert print_of(Other([1])) != print_of(Told([1])), "the class counts all the same"


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (object(), "not JSON serializable"),
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: repr(object()), "address"),
    ],
)
def test_what_it_says_must_be_a_json_value(says: Any, words: str) -> None:
    assert words in str(unidentified(Holding(inside=Told(says))))
    assert "Holding.inside;" in str(unidentified(Holding(inside=Told(says))))
