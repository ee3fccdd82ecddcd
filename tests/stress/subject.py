"""Networks, explainers and data that stress programs name as `subject.py:function`: honest ones and hostile ones."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE, CLASSES = 16, 4


class Small(nn.Module):
    """Two convolutions and a layer on their means, in float64."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 4, CLASSES)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv1(x.to(self.fc.weight.dtype)))
        y = F.adaptive_avg_pool2d(F.relu(self.conv2(y)), 2)
        return self.fc(y.flatten(1))


def honest(channels: int = 3) -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small(channels)


def honest_float32() -> Small:
    return honest().float()


def images(count: int = 12, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, channels, SIDE, SIDE, generator=generator, dtype=torch.float64)


def data(split: str = "test") -> tuple[Tensor, Tensor]:
    """Images whose class is the quarter that is brightest: learnt in seconds."""
    count = 48 if split == "train" else 12
    generator = torch.Generator().manual_seed(7 if split == "train" else 8)
    labels = torch.arange(count) % CLASSES
    pixels = torch.rand(count, 3, SIDE, SIDE, generator=generator) * 0.5
    half = SIDE // 2
    for i, label in enumerate(labels.tolist()):
        top, left = label // 2 * half, label % 2 * half
        pixels[i, :, top : top + half, left : left + half] += 0.5
    return pixels.clamp(0, 1), labels


def trainable() -> nn.Module:
    """A small network that memorises `data` within some epochs, also with permuted labels."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, CLASSES),
    )


class Hostile(Small):
    """Does `what` in its forward pass, from call number `after` on."""

    def __init__(self, what: str, after: int = 0) -> None:
        super().__init__()
        self.what, self.after, self.calls = what, after, [0]

    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        self.calls[0] += 1
        return logits if self.calls[0] <= self.after else BAD_NETWORKS[self.what](self, x, logits)


def _raise(*_: object) -> Any:
    raise RuntimeError("a fault of the user's <b>own</b>\nin two lines")


def _exit(*_: object) -> Any:
    raise SystemExit(0)


def _sleep(*_: object) -> Any:
    time.sleep(3600)


def _swallowing(*_: object) -> Any:
    while True:
        try:
            time.sleep(3600)
        except Exception:
            continue


def _drift(network: Any, _: Tensor, logits: Tensor) -> Tensor:
    network.fc.weight.data.mul_(0.9)
    return logits


def _train(network: Any, _: Tensor, logits: Tensor) -> Tensor:
    with torch.no_grad():
        network.fc.weight.mul_(0.9)
    network.train()
    return logits


def _allocate(*_: object) -> Any:
    return [torch.ones(2**24) for _ in range(10**6)]


def _once(network: Any, logits: Tensor, error: Exception) -> Tensor:
    """Raise at the first call only."""
    if network.calls[0] == network.after + 1:
        raise error
    return logits


def _recurse(network: Any, x: Tensor, logits: Tensor) -> Any:
    return network(x)


BAD_NETWORKS: dict[str, Any] = {
    "nan": lambda n, x, y: y * torch.nan,
    "infinite": lambda n, x, y: y + torch.inf,
    "constant": lambda n, x, y: torch.ones_like(y),
    "constant with gradient": lambda n, x, y: y * 0 + 1,
    "no gradient": lambda n, x, y: y.detach(),
    "integers": lambda n, x, y: y.argmax(1, keepdim=True).repeat(1, CLASSES),
    "one row": lambda n, x, y: y[:1],
    "one class": lambda n, x, y: y[:, :1],
    "no class": lambda n, x, y: y[:, :0],
    "four axes": lambda n, x, y: x,
    "flat": lambda n, x, y: y.flatten(),
    "transposed": lambda n, x, y: y.T,
    "a list of numbers": lambda n, x, y: y.tolist(),
    "nothing": lambda n, x, y: None,
    "text": lambda n, x, y: "<script>alert(1)</script>",
    "an empty mapping": lambda n, x, y: {},
    "other number of classes each time": lambda n, x, y: y[:, : 2 + n.calls[0] % 3],
    "complex": lambda n, x, y: y.to(torch.complex128),
    "raise": _raise,
    "exit": _exit,
    "sleep": _sleep,
    "sleep and swallow": _swallowing,
    "drift": _drift,
    "train": _train,
    "allocate": _allocate,
    "recurse": _recurse,
    "memory": lambda n, x, y: (_ for _ in ()).throw(MemoryError("made up")),
    "cuda memory": lambda n, x, y: _once(
        n, y, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    ),
    "cpu memory": lambda n, x, y: _once(
        n, y, RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
    ),
}


def hostile() -> Hostile:
    """The network that the environment asks for."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Hostile(os.environ["HOSTILE"], int(os.environ.get("HOSTILE_AFTER", "0")))


def no_network() -> str:
    return "no network"


def raising_builder() -> nn.Module:
    raise ValueError("no weights today")


def without_parameters() -> nn.Module:
    return nn.Flatten()


def uncopyable() -> nn.Module:
    network = honest()
    network.handle = Path(os.devnull).open()  # noqa: SIM115 - that is the point
    return network


def with_nan_weights() -> nn.Module:
    network = honest()
    nn.init.constant_(network.fc.weight, torch.nan)
    return network


_leak: list[Tensor] = []


class Leaking(Small):
    """Keeps some megabytes at every call after LEAK_AFTER, as a network does that logs its activations."""

    def forward(self, x: Tensor) -> Tensor:
        is_early = len(_leak) < int(os.environ.get("LEAK_AFTER", "0"))
        _leak.append(torch.ones(1 if is_early else int(os.environ.get("LEAK", "1"))))
        return super().forward(x)


def leaking() -> Leaking:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Leaking()


class Greedy(Small):
    """Needs so many bytes for each image of a batch."""

    def forward(self, x: Tensor) -> Tensor:
        torch.empty(len(x) * int(os.environ["GREEDY"]), dtype=torch.uint8)
        return super().forward(x)


def greedy() -> Greedy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Greedy()


def plain_gradient(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    x.requires_grad_()
    score = model(x).gather(1, targets[:, None]).sum()
    return torch.autograd.grad(score, x)[0]


def is_worker() -> bool:
    """Whether this is a worker of Ray, which is called after what it does."""
    return Path("/proc/self/cmdline").read_text().startswith("ray::")


def takes_memory_once(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Takes TAKES GiB in the first worker that is asked, and holds them until the worker is ended."""
    flag = Path(os.environ.get("TAKES_ONCE", os.devnull))
    if is_worker() and not flag.exists():
        flag.touch()
        held = np.ones(int(float(os.environ["TAKES"]) * 2**27))
        time.sleep(60 + held[0])
    return plain_gradient(model, x, targets)


def ends_workers(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Ends every worker that is given the image at ENDS_AT."""
    image = images()[int(os.environ.get("ENDS_AT", "0"))].to(x.dtype)
    if is_worker() and any(torch.equal(one, image) for one in x):
        os._exit(1)
    return plain_gradient(model, x, targets)


def explains_nan(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return torch.full_like(x, torch.nan)


def explains_infinity(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return torch.full_like(x, torch.inf)


def explains_zero(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return torch.zeros_like(x)


def explains_one_pixel(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return torch.ones(len(x), 1, 1, 1)


def explains_too_many(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return torch.ones(len(x) + 1, *x.shape[1:])


def explains_other_axes(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return torch.ones(len(x), 7, SIDE, SIDE)


def explains_empty(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return torch.ones(0)


def explains_text(model: nn.Module, x: Tensor, targets: Tensor) -> Any:
    return "<b>map</b>"


def explains_objects(model: nn.Module, x: Tensor, targets: Tensor) -> Any:
    return np.array([object()] * len(x))


def explains_none(model: nn.Module, x: Tensor, targets: Tensor) -> Any:
    return None


def explains_complex(model: nn.Module, x: Tensor, targets: Tensor) -> Any:
    return x.to(torch.complex128)


def raises(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    raise RuntimeError("always <i>wrong</i>\n\x1b[31m")


def raises_now_and_then(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    if float(x.sum()) < 0:
        raise ValueError("this image is not to my taste")
    return plain_gradient(model, x, targets)


def exits(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    raise SystemExit(0)


def sleeps(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    time.sleep(3600)
    return x


def swallows(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return _swallowing()  # type: ignore[no-any-return]


def allocates(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    return _allocate()  # type: ignore[no-any-return]


def mutates_the_network(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    maps = plain_gradient(model, x, targets)
    for parameter in model.parameters():
        parameter.data.zero_()
    model.train()
    model.fc = nn.Linear(32, CLASSES).double()  # type: ignore[assignment]
    model.register_forward_hook(lambda *_: torch.zeros(1))
    return maps


def mutates_the_inputs(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    maps = plain_gradient(model, x, targets)
    with torch.no_grad():
        x.zero_()
        targets.zero_()
    return maps


def wants_other_arguments(model: nn.Module) -> Tensor:
    return torch.ones(1)


def bad_data() -> Any:
    return {"EMPTY": torch.zeros(0, 3, SIDE, SIDE), "NAN": images() * torch.nan}.get(
        os.environ.get("BAD_DATA", ""), "no data"
    )


def raising_data() -> Any:
    raise OSError("the disk is gone")


def data_without_labels(split: str = "test") -> Tensor:
    return data(split)[0]


def constant_images() -> Tensor:
    return torch.ones(4, 3, SIDE, SIDE)


def plain_images() -> Tensor:
    return images()
