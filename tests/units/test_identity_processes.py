"""A print is the same in every process: whatever the seed of hashes, what was imported before, or where things lie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from salsanity.units import identity

THINGS = '''
import collections, dataclasses, enum, functools, logging, pathlib, re
import numpy as np, pandas as pd, torch
from torch import nn
from captum.attr import IntegratedGradients

LOG = logging.getLogger(__name__)
CONFIG = {"sizes": {1, 2, 3}, "names": {"x", "y", "zed"}}

class Colour(enum.Enum):
    RED = 1
    BLUE = "b"

@dataclasses.dataclass
class Settings:
    window: int = 1
    names: set = dataclasses.field(default_factory=lambda: {"a", "b", "c"})

class Mine:
    """A similarity without a repr."""
    name = "mine"
    known = {"p", "q", "r"}
    def __init__(self): self.seen = frozenset({"u", "v", "w"})
    def prepare(self, view): return view.values
    def compare(self, a, b): return a in {"one", "two", "three"}

class Slotted:
    __slots__ = ("names",)
    def __init__(self): self.names = {Colour.RED: {"p", "q"}, Colour.BLUE: Settings()}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.names = nn.Linear(2, 2), {"u", "v"}
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
        self.layer.register_forward_hook(self.note)
    def note(self, module, x, y): return None
    def forward(self, x): return self.layer(x)

class Explainer:
    kind = Colour.RED
    def __init__(self, model):
        self.model, self.log, self.random = model, logging.getLogger("x"), np.random.default_rng(0)
        self.handle = model.register_forward_hook(self.note)
        self.inner = IntegratedGradients(model)
    def note(self, module, x, y): pass
    @torch.no_grad()
    def __call__(self, model, x, targets):
        LOG.info("explaining")
        return x * len(CONFIG)

def closing_over(held, *, names=frozenset({"aa", "bb"})):
    def explain(model, x, targets, by={"k", "l"}):
        return held if x in {"q", "r", "s"} else explain
    return explain

@functools.lru_cache
def cached(model, x, targets): return x

@torch.no_grad()
def decorated(model, x, targets): return x

def things():
    torch.manual_seed(0)
    net = Net()
    knot = {"names": {("a", 1), ("b", 2)}}
    knot["knot"] = knot
    by_sets = {name: {name, "and"} for name in {"one", "two", "three"}}
    return {
        "similarity": Mine(), "slots": Slotted(), "network": net, "explainer": Explainer(Net()),
        "bound": Explainer(Net()).note, "closure": closing_over({"s", "t", "u"}), "cached": cached, "decorated": decorated,
        "partial": functools.partial(closing_over, names={"z", "y"}), "class": Explainer, "knot": knot, "by sets": by_sets,
        "object array": np.array([{"a", "b"}, 1], dtype=object), "frame": pd.DataFrame({"a": [1], "b": ["x"]}),
        "random": np.random.RandomState(1), "path": pathlib.Path("a"), "pattern": re.compile("a"),
        "lambda": lambda m, x, t: CONFIG, "deque": collections.deque([{"a", "b"}]),
        "traced": torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2))),
        "function of C": torch.relu, "nobody": object(), "error": ValueError("x"), "module": torch, "builder": Net,
        "scripted": torch.jit.script(nn.Sequential(nn.Linear(2, 2))),
    }
'''  # fmt: skip

SCRIPT = """
import json, sys, warnings
from unittest.mock import patch
warnings.simplefilter("ignore")
{before}
from salsanity.models.load import load_symbol
from salsanity.units import facts, identity

things = load_symbol(sys.argv[1] + "/things.py:things")()
without_order = ((frozenset, lambda value: facts.nothing_else(repr(value))), *facts._KINDS)
broken = {{
    "nothing": patch.object(identity, "print_of", identity.print_of),
    "members of sets in their own order": patch.object(facts, "sorted", list, create=True),
    "constants by repr": patch.object(facts, "_KINDS", without_order),
    "objects by repr": patch.object(identity, "print_of", repr),
}}
found = {{}}
for name, one in broken.items():
    with one:
        found[name] = {{key: identity.print_of(thing) for key, thing in things.items()}}
json.dump(found, sys.stdout)
"""

BEFORE = (
    "",
    "import PIL.Image, torch; kept = [torch.nn.ReLU().register_forward_hook(print) for _ in range(7)]; "
    "filler = [object() for _ in range(99_999)]",
)

Found = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """Prints of all things in two processes, and those that are broken in some way."""
    pytest.importorskip("captum")
    folder = tmp_path_factory.mktemp("things")
    (folder / "things.py").write_text(THINGS)
    return [prints(folder, seed, before) for seed, before in enumerate(BEFORE, 1)]


def prints(folder: Path, seed: int, before: str) -> Found:
    paths = [str(Path(identity.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before), str(folder)],
        env={
            **os.environ,
            "PYTHONHASHSEED": str(seed),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: Found = json.loads(done.stdout)
    return found


def are_the_same(one: dict[str, str], other: dict[str, str]) -> None:
    """Prints do not depend on the process; no two things share one."""
    differing = [name for name in one if one[name] != other[name]]
    assert not differing, f"of another process: {differing}"
    assert len(set(one.values())) == len(one), "two things have one print"


def test_prints_are_the_same_in_all_processes(processes: list[Found]) -> None:
    are_the_same(*(found["nothing"] for found in processes))


@pytest.mark.parametrize(
    "broken",
    ["members of sets in their own order", "constants by repr", "objects by repr"],
)
def test_twin_a_print_of_what_a_process_chose_fails(broken: str, processes: list[Found]) -> None:
    with pytest.raises(AssertionError, match="of another process"):
        are_the_same(*(found[broken] for found in processes))
