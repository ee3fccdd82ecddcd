"""A job travels: opened in another process it comes to the same, whatever its parts; what cannot travel is named."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from salsanity import registry
from salsanity.checks.cascade import Cascade
from salsanity.checks.named import settled
from salsanity.data.images import open_folder
from salsanity.data.preprocessing import Preprocessing
from salsanity.data.sources import open_data
from salsanity.errors import ModelError, UnitError, UsageError
from salsanity.models.load import load_model
from salsanity.models.network import prepare
from salsanity.testing.elsewhere import elsewhere
from salsanity.testing.jobs import (
    difference,
    lots_for,
    results_in_turn,
    small_job,
)
from salsanity.testing.networks import small_network
from salsanity.testing.traces import Traces
from salsanity.units.files import loaded_files
from salsanity.units.images import ImageEntry, index_images
from salsanity.units.job import Job, ground_of
from salsanity.units.spec import RunSpec

MINE = '''
"""What a user keeps in one file."""

from dataclasses import dataclass

import torch
from net_beside_mine import Net
from salsanity.similarity import Cosine, Scores


def build():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Net()


@dataclass
class Explainer:
    power: float = 1.0

    def __call__(self, model, x, targets):
        x = x.requires_grad_()
        score = model(x).gather(1, targets[:, None]).sum()
        return torch.autograd.grad(score, x)[0].abs() ** self.power


explain = Explainer(0.5)


class Likeness:
    name = "likeness"

    def prepare(self, view):
        return Cosine().prepare(view)

    def compare(self, a, b):
        found = Cosine().compare(a, b)
        return Scores(found.values**2, found.reasons)


def draw(network, seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: {n: torch.randn(v.shape, generator=generator) for n, v in tensors.items()}
        for layer, tensors in network.trained.items()
    }


class Lazy(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.rand(1, 16, 16, generator=generator), index


def images():
    return Lazy()
'''


NEIGHBOUR = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 3, 3), nn.Linear(3, 10)

    def forward(self, x):
        return self.head(torch.relu(self.conv(2 * x)).mean((2, 3)))
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "net_beside_mine.py").write_text(NEIGHBOUR)
    return str(tmp_path / "mine.py")


def job_of(model: nn.Module, source: Any, **changes: Any) -> Job:
    """A job with the cascade on a source's images, made as a run makes it."""
    spec = RunSpec(draws=1, max_images=6, batch_size=4, gallery=1, device="cpu")
    init = changes.pop("init", "module")
    base = small_job()
    entries = [replace(e, target=0) for e in index_images(source, seed=0, limit=6).entries]
    pool = torch.stack([source[e.index].x for e in entries])
    network = prepare(model, pool[:1])
    make_model = changes.get("make_model")
    check = settled(Cascade(init=init), ground_of(network, spec, pool, make_model)).check
    own: dict[str, Any] = {
        "model": model,
        "fingerprint": network.fingerprint,
        "make_model": make_model,
        "source": source,
        "spec": spec,
        "checks": {"cascade": check},
        "entries": tuple(entries),
        "pool": len(entries),
        "shown": frozenset({entries[0].id}),
    }
    return replace(base, **{**own, **changes})


def check_equal(job: Job) -> None:
    """The job comes to the same here and in a new process."""
    here, there = results_in_turn(job), elsewhere(results_in_turn, job)
    assert list(here) == list(there)
    assert [difference(there[unit], right) for unit, right in here.items()] == [None] * len(here)
    assert any(value == value for value in next(iter(here.values())).columns["value"])  # not NaN


def test_a_file_of_the_user_s_goes_with_the_job(mine: str) -> None:
    loaded = load_model(f"{mine}:build")
    method = registry.method(f"{mine}:explain")
    likeness = registry.load_symbol(f"{mine}:Likeness")()
    job = job_of(
        loaded.model,
        open_data(f"{mine}:images"),
        make_model=loaded.make_model,
        methods=(registry.method("gradient"), method),
        similarities=(likeness,),
        init=f"{mine}:draw",
    )
    check_equal(job)


def test_a_folder_goes_with_the_job(tmp_path: Path) -> None:
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 255, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    shown = Preprocessing(size=8, mean=(0.5,) * 3, std=(0.2,) * 3)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    check_equal(job_of(model, open_folder(tmp_path, preprocessing=shown)))


def test_the_digits_and_a_reference_network_go_with_the_job() -> None:
    loaded = load_model("reference:cnn", options={"in_channels": 1, "size": 32, "classes": 10})
    job = job_of(loaded.model, open_data("digits"), make_model=loaded.make_model, init="fresh")
    check_equal(job)


def test_weight_norm_goes_with_the_job() -> None:
    norm = nn.utils.parametrizations.weight_norm
    layers = nn.Sequential(norm(nn.Linear(1024, 8)), nn.ReLU(), norm(nn.Linear(8, 10)))
    job = job_of(nn.Sequential(nn.Flatten(), layers), open_data("digits"))
    kept = job.model[1][0]  # type: ignore[index]
    check_equal(job)
    assert type(kept).__name__ == "ParametrizedLinear"
    with pytest.raises(RuntimeError, match="only supported through"):
        pickle.dumps(kept)  # which is why


@pytest.mark.parametrize("spec", ["torchvision:resnet18", "reference:mlp"])
def test_builders_of_libraries_travel(spec: str) -> None:
    pytest.importorskip("torchvision")
    build = (
        load_model(spec, weights=None).make_model if spec.startswith("ref") else _untrained(spec)
    )
    again = pickle.loads(pickle.dumps(build))
    assert [p.shape for p in again().parameters()] == [p.shape for p in build().parameters()]


def _untrained(spec: str) -> Callable[[], nn.Module]:
    from salsanity.models.libraries import torchvision_source

    return torchvision_source(spec.partition(":")[2], {}).build


def test_values_travel_also_where_a_pickler_would_share_memory() -> None:
    """Pools hand values over with a pickler that moves tensors into shared memory: the user's must stay where they are."""
    job = small_job()
    homes = [p.data_ptr() for p in job.model.parameters()]
    again = pickle.loads(bytes(ForkingPickler.dumps(job)))
    assert [p.data_ptr() for p in job.model.parameters()] == homes
    assert not any(p.is_shared() for p in (*job.model.parameters(), *again.model.parameters()))
    with torch.no_grad():
        next(iter(again.model.parameters())).zero_()
    assert bool(next(iter(job.model.parameters())).any())


def test_twin_that_pickler_moves_what_it_is_given() -> None:
    model = small_network()
    ForkingPickler.dumps(model)
    assert next(iter(model.parameters())).is_shared()


def test_what_is_open_here_stays_here() -> None:
    job = replace(small_job(), here=small_job().open())
    assert pickle.loads(pickle.dumps(job)).here is None


class Locked:
    """A similarity that holds what cannot travel."""

    name = "locked"

    def __init__(self) -> None:
        self.lock = threading.Lock()


def local_explainer() -> Any:
    def explain(model: nn.Module, x: Any, targets: Any) -> Any:
        return x

    return registry.method(explain)


class Opens(nn.Linear):
    """A network with an open file."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.file = Path(__file__).open()  # noqa: SIM115 - that is the point

    def __del__(self) -> None:
        self.file.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (lambda: {"methods": (registry.method("gradient"), local_explainer())}, "the method explain cannot"),
        (lambda: {"similarities": (Locked(),)}, "the similarity locked cannot"),
        (lambda: {"make_model": lambda: nn.Linear(2, 2)}, r"builder of networks \(make_model\) cannot"),
        (lambda: {"model": Opens()}, "the network cannot"),
        (lambda: {"checks": {"cascade": Locked()}}, "the check locked cannot"),
        (lambda: {"source": (x for x in ())}, "the images cannot"),
    ],
)  # fmt: skip
def test_what_cannot_travel_is_named_in_one_sentence(
    changes: Callable[[], Any], words: str
) -> None:
    job = replace(small_job(), **changes())
    with pytest.raises(UsageError, match=words) as error:
        pickle.dumps(job)
    assert "\n" not in str(error.value)
    assert "executor serial" in str(error.value)


def test_code_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = pickle.dumps(replace(small_job(), similarities=(Gone(),)))
    monkeypatch.delattr(sys.modules[__name__], "Gone")
    with pytest.raises(UsageError, match=r"similarity of the run.*Gone"):
        pickle.loads(sent)


class Gone:
    name = "gone"


def test_a_file_that_was_edited_since_is_refused(mine: str) -> None:
    loaded = load_model(f"{mine}:build")
    sent = pickle.dumps(job_of(loaded.model, open_data(f"{mine}:images")))
    Path(mine).write_text(MINE + "\n# later\n")
    with pytest.raises(UsageError, match="as it was when the run began"):
        elsewhere(pickle.loads, sent)


def test_a_file_that_has_nothing_to_do_with_the_job_may_be_gone(mine: str) -> None:
    load_model(f"{mine}:build")
    Path(mine).unlink()
    assert loaded_files([pickle.dumps(small_job())]) == ()


def test_an_edited_file_is_loaded_anew_and_an_unchanged_one_is_not(mine: str) -> None:
    first = load_model(f"{mine}:build").model
    assert type(load_model(f"{mine}:build").model) is type(first)
    beside = Path(mine).with_name("net_beside_mine.py")
    beside.write_text(NEIGHBOUR.replace("Conv2d(1, 3, 3)", "Conv2d(1, 3, 5)"))
    assert load_model(f"{mine}:build").model.conv.kernel_size == (5, 5)


class Forgetful(nn.Linear):
    """Loses its values on the way, as a network does that builds itself anew when it is unpickled."""

    def __reduce__(self) -> Any:
        return Forgetful, (self.in_features, self.out_features)

    def __deepcopy__(self, _: Any) -> Any:
        again = Forgetful(self.in_features, self.out_features)
        again.load_state_dict(self.state_dict())
        return again


def test_a_network_that_loses_its_values_on_the_way_is_refused() -> None:
    source = open_data("digits")
    model = nn.Sequential(nn.Flatten(), Forgetful(1024, 10))
    job = job_of(model, source)
    with pytest.raises(ModelError, match="when the run began"):
        pickle.loads(pickle.dumps(job)).open()
    job.open()  # here, where it is the same object, it is itself


def test_opening_leaves_the_user_s_network_alone() -> None:
    job = small_job()
    traces = Traces.of(job.model)
    opened = job.open()
    opened.do(lots_for(job, "cascade")[0][1])
    assert opened.network.module is not job.model
    assert traces.values_changed() is None
    assert traces.modes_changed() is None


def threads_after_opening(job: Job) -> int:
    job.open()
    return torch.get_num_threads()


def test_another_process_rounds_as_this_one_does() -> None:
    """Sums are split among threads, so that as many must share them."""
    usual = torch.get_num_threads()
    assert elsewhere(threads_after_opening, replace(small_job(), threads=usual + 2)) == usual + 2
    small_job().open()
    assert torch.get_num_threads() == usual


def test_one_unit_at_a_time() -> None:
    job = small_job()
    opened = job.open()
    (unit, *_), *_ = lots_for(job, "cascade")
    opened.busy.acquire()
    with pytest.raises(UnitError, match="one unit at a time"):
        opened.do(unit)
    opened.busy.release()
    assert opened.do(unit).key == unit
    assert opened.do(unit).key == unit, "the network was not given back"


def test_another_thread_opens_a_network_of_its_own() -> None:
    job = small_job()
    job = replace(job, here=job.open())
    assert job.open().network is job.here.network  # type: ignore[union-attr]
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(job.open().network))
    thread.start()
    thread.join()
    assert found[0] is not job.here.network  # type: ignore[union-attr]
    assert found[0].fingerprint == job.fingerprint


def test_images_keep_their_targets(tmp_path: Path) -> None:
    job = pickle.loads(pickle.dumps(small_job()))
    assert [type(entry) for entry in job.entries] == [ImageEntry] * 12
    assert job.entries == small_job().entries
