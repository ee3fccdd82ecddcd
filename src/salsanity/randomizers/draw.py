"""Draws: fresh values for everything that a network learned; none of them touches the network.

A draw is a frozen dataclass: called with a network and a seed it returns layer -> tensor name ->
values, on the CPU, for the whole network. Every tensor has its own seed, from the layer's path and
the tensor's name, so that layers of equal shape differ and nothing depends on order, device, or how
the network's weights lie in memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, final

import torch
from torch import Tensor, nn

from salsanity.errors import ModelError, UsageError
from salsanity.models.network import Network
from salsanity.models.random_state import random_state
from salsanity.randomizers.owners import Owner, owners_of, plain, plain_copy
from salsanity.seeds import seed_for

Drawn = dict[str, dict[str, Tensor]]
Role = Literal["weight", "bias", "scale", "bare"]

HE_GAIN: Final = 2.6
"""C: sd sqrt(2.6 / fan_in); He's 2 / fan_in is left after the truncation at two sds."""

ZERO_SD: Final = 0.02
"""The usual sd of transformers' tokens, for a bare parameter that is all zeros."""


class Draw(Protocol):
    """Draws fresh values for all learned tensors of a network that its forward pass uses."""

    @property
    def name(self) -> str:
        """The name that stands beside every verdict."""

    def __call__(self, network: Network, seed: int) -> Drawn:
        """Return layer -> tensor name -> values, on the CPU; `network` is not changed."""


@final
@dataclass(frozen=True)
class ModuleInit:
    """Each layer's own `reset_parameters`, run on a copy of the layer.

    Parameters that no reset touches (class tokens, position embeddings, layer scale) are drawn from
    a normal with the trained tensor's own mean and sd. Norm layers go back to weight 1, bias 0.
    """

    name: str = "module"

    def __call__(self, network: Network, seed: int) -> Drawn:
        """Draw for the whole network."""
        return _drawn(network, seed, _reset)


@final
@dataclass(frozen=True)
class He:
    """C on Inception: weights from a truncated normal of sd sqrt(2.6 / fan_in), biases 0.

    Norm layers get weight 1; bare parameters a normal with the trained mean and sd **[ours]**.
    """

    name: str = "he"

    def __call__(self, network: Network, seed: int) -> Drawn:
        """Draw for the whole network."""
        return _drawn(network, seed, _by_tensor(_he))


@final
@dataclass(frozen=True)
class TruncatedNormal:
    """Weights from a normal of sd `sd` truncated at two sds, biases constant.

    P: sd 0.01, biases 0. C on the CNN: sd 0.1, biases 0.1. Norm layers get weight 1 **[ours]**.
    """

    sd: float = 0.01
    bias: float = 0.0
    name: str = "truncated_normal"

    def __call__(self, network: Network, seed: int) -> Drawn:
        """Draw for the whole network."""

        def fill(tensor: Tensor, role: Role, _: nn.Module, generator: torch.Generator) -> Tensor:
            if role == "bias":
                return torch.full_like(tensor, self.bias)
            if role == "scale":
                return torch.ones_like(tensor)
            return truncated_normal(tensor, self.sd, generator)

        return _drawn(network, seed, _by_tensor(fill))


@final
@dataclass(frozen=True)
class Permute:
    """Shuffle the trained values of every tensor; where all are equal, draw as in `matched`."""

    name: str = "permute"

    def __call__(self, network: Network, seed: int) -> Drawn:
        """Draw for the whole network."""
        return _drawn(network, seed, _by_tensor(_permuted))


@final
@dataclass(frozen=True)
class Matched:
    """A normal with the mean and sd of every trained tensor."""

    name: str = "matched"

    def __call__(self, network: Network, seed: int) -> Drawn:
        """Draw for the whole network."""
        return _drawn(network, seed, _by_tensor(_matched))


INITIALISERS: Final[Mapping[str, Draw]] = {
    draw.name: draw for draw in (ModuleInit(), He(), TruncatedNormal(), Permute(), Matched())
}


def draw_named(name: str) -> Draw:
    """Return an initialiser that needs only the network; UsageError for other names."""
    if name not in INITIALISERS:
        raise UsageError(
            f"Expected an initialiser among auto, fresh, {', '.join(INITIALISERS)}; got {name!r}"
        )
    return INITIALISERS[name]


Values = dict[str, Tensor]
Fill = Callable[[Tensor, Role, nn.Module, torch.Generator], Tensor]


def _drawn(network: Network, seed: int, draw: Callable[[Owner, int], Values]) -> Drawn:
    result: Drawn = {}
    with torch.no_grad():
        for owner in owners_of(network):
            for layer, tensors in owner.stored(draw(owner, seed)).items():
                result.setdefault(layer, {}).update(tensors)
    return result


def _by_tensor(fill: Fill) -> Callable[[Owner, int], Values]:
    """Draw a layer tensor by tensor, each from its own generator."""

    def draw(owner: Owner, seed: int) -> Values:
        return {
            name: _filled(fill, owner, name, tensor, seed) for name, tensor in owner.plain().items()
        }

    return draw


def _filled(fill: Fill, owner: Owner, name: str, tensor: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed_for(seed, owner.path, name))
    if not (tensor.is_floating_point() or tensor.is_complex()):  # indices of a codebook
        return _shuffled(tensor, generator)
    wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    return fill(wide, role_of(owner.module, name, tensor), owner.module, generator).to(tensor.dtype)


def role_of(module: nn.Module, name: str, tensor: Tensor) -> Role:
    """Say what a tensor is in its layer: matrix or kernel, bias, a norm's scale, or bare."""
    if tensor.ndim <= 1 and "bias" in name:
        return "bias"
    if tensor.ndim <= 1 and is_norm(module):
        return "scale"
    resettable = _reset_of(module) is not None
    leaf = all(child == "parametrizations" for child, _ in module.named_children())
    kernel = resettable or (leaf and name.endswith("weight"))
    return "weight" if tensor.ndim > 1 and kernel else "bare"


def is_norm(module: nn.Module) -> bool:
    """Whether a layer normalises (batch, layer, group, instance, RMS norms of any library)."""
    return "norm" in type(module).__name__.lower() or hasattr(module, "running_mean")


def _he(tensor: Tensor, role: Role, module: nn.Module, generator: torch.Generator) -> Tensor:
    if role == "weight":
        return truncated_normal(tensor, (HE_GAIN / fan_in(tensor, module)) ** 0.5, generator)
    if role == "bare":
        return _matched(tensor, role, module, generator)
    return torch.zeros_like(tensor) if role == "bias" else torch.ones_like(tensor)


def fan_in(weight: Tensor, module: nn.Module) -> int:
    """How many inputs one output sums over; `weight`: (out, in, ...), transposed (in, out, ...)."""
    if getattr(module, "transposed", False):
        return weight.numel() // weight.shape[1] // int(getattr(module, "groups", 1))
    return weight[0].numel()


def truncated_normal(like: Tensor, sd: float, generator: torch.Generator) -> Tensor:
    """Draw a normal of sd `sd` that is truncated at two sds, as TensorFlow's `truncated_normal`.

    Of complex numbers the real and the imaginary parts have half of the variance each.
    """
    if like.is_complex():
        parts = [
            truncated_normal(part, sd * 0.5**0.5, generator) for part in (like.real, like.imag)
        ]
        return torch.complex(*parts)
    values = torch.empty_like(like)
    nn.init.trunc_normal_(values, 0.0, sd, -2 * sd, 2 * sd, generator=generator)
    return values


def _matched(tensor: Tensor, role: Role, module: nn.Module, generator: torch.Generator) -> Tensor:
    """A normal of the tensor's mean and sd; if all are equal sd |mean|, or 0.02 for zeros.

    Of complex numbers: real and imaginary parts by themselves.
    """
    if tensor.is_complex():
        parts = [_matched(p, role, module, generator) for p in (tensor.real, tensor.imag)]
        return torch.complex(*parts)
    mean = float(tensor.double().mean())
    sd = float(tensor.double().std(correction=0))
    if sd <= 1e-7 * abs(mean):
        sd = abs(mean) or ZERO_SD
    return torch.empty_like(tensor).normal_(mean, sd, generator=generator)


def _permuted(tensor: Tensor, role: Role, module: nn.Module, generator: torch.Generator) -> Tensor:
    flat = tensor.flatten()
    if bool((flat == flat[0]).all()):
        return _matched(tensor, role, module, generator)
    return _shuffled(tensor, generator)


def _shuffled(tensor: Tensor, generator: torch.Generator) -> Tensor:
    flat = tensor.flatten()
    shuffled = flat[torch.randperm(len(flat), generator=generator)]
    # Of a few values, one permutation in a few changes nothing.
    return (flat.roll(1) if torch.equal(shuffled, flat) else shuffled).view_as(tensor)


def _reset(owner: Owner, seed: int) -> Values:
    """A layer's own initialisation, and the bare rule for what it leaves alone."""
    trained = owner.plain()
    fresh = _after_reset(owner, seed) if _reset_of(owner.module) else {}
    for name, tensor in trained.items():
        if name not in fresh:
            fresh[name] = _unreset(owner, name, tensor, seed)
    return {name: fresh[name] for name in trained}


def _unreset(owner: Owner, name: str, tensor: Tensor, seed: int) -> Tensor:
    """Norms without a reset of their own start at 1 and 0; anything else is bare."""
    if is_norm(owner.module) and tensor.ndim <= 1:
        return _filled(_he, owner, name, tensor, seed)
    return _filled(_matched, owner, name, tensor, seed)


def _reset_of(module: nn.Module) -> str | None:
    """Name of a module's own initialisation that needs no arguments."""
    for name in ("reset_parameters", "_reset_parameters"):
        method = getattr(module, name, None)
        if callable(method) and not _required(method):
            return name
    return None


def _required(method: Callable[..., object]) -> list[str]:
    simple = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(method).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind in simple]


def _after_reset(owner: Owner, seed: int) -> Values:
    """Run the reset on a copy; return the tensors that it wrote, even if to equal values."""
    module, trained = plain_copy(owner.module), _direct(owner.module)
    before = {
        n: (p, p._version, plain(trained[n]) if n in trained else p.detach().clone())
        for n, p in _direct(module).items()
    }
    try:
        with random_state(seed_for(seed, owner.path), devices=()):
            getattr(module, str(_reset_of(module)))()
    except AttributeError:
        return {}  # a converted layer, whose tensors have other names than its class gives them
    except Exception as error:
        raise ModelError(
            f"reset_parameters of {owner.path or 'the network'} ({type(module).__name__}) failed: "
            f"{type(error).__name__}: {error}. Choose another initialiser, such as --init he"
        ) from error
    return {
        name: after.detach()
        for name, after in _direct(module).items()
        if name in before and _written(*before[name], after)
    }


def _direct(module: nn.Module) -> dict[str, Tensor]:
    tensors = (*module._parameters.items(), *module._buffers.items())
    return {name: tensor for name, tensor in tensors if tensor is not None}


def _written(before: Tensor, version: int, values: Tensor, after: Tensor) -> bool:
    return after is not before or after._version != version or not torch.equal(after, values)
