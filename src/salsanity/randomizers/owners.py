"""Owners: a layer with the tensors that it computes with, however they are stored.

Weight norm and spectral norm (torch's hook kind and its `parametrize` kind) store a weight as other
tensors. A fresh weight is drawn plain, and then stored the way the layer stores it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from salsanity.errors import ModelError
from salsanity.models.atoms import owner_of
from salsanity.models.coverage import is_learned
from salsanity.models.network import Network
from salsanity.models.slots import Slot, dotted, tensors_in

POWER_ITERATIONS: Final = 20
"""Spectral norm's vectors follow the weight by power iteration; torch starts with 15."""


@final
@dataclass(frozen=True, eq=False)
class Owner:
    """A layer of a network and the slots that are stored in it or in its parametrisations."""

    path: str
    module: nn.Module
    slots: tuple[Slot, ...]

    @property
    def stored_otherwise(self) -> bool:
        """Whether the layer computes with a weight that it does not store as such."""
        return parametrize.is_parametrized(self.module) or bool(_norm_hooks(self.module))

    def plain(self) -> dict[str, Tensor]:
        """Return the tensors that the layer computes with, by name, on the CPU."""
        if not self.stored_otherwise:
            return {slot.name: plain(slot.tensor) for slot in self.slots}
        module = plain_copy(self.module)
        return {name: plain(p) for name, p in module._parameters.items() if p is not None}

    def stored(self, values: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Turn plain values into what the layer stores: layer path -> tensor name -> values."""
        if not self.stored_otherwise:
            return {self.path: {slot.name: values[slot.name] for slot in self.slots}}
        module = _cpu_copy(self.module)
        with torch.no_grad():
            for name, value in values.items():
                _store(module, name, value)
        return self.read_from(module)

    def read_from(self, module: nn.Module) -> dict[str, dict[str, Tensor]]:
        """Read from another such layer the used learned tensors, and the buffers that follow from
        them.

        Those are spectral norm's vectors and the base of orthogonal maps.
        """
        result: dict[str, dict[str, Tensor]] = {}
        wanted = {slot.key for slot in self.slots}
        for inner, part in _stores(module):
            layer = dotted(self.path, inner) if inner else self.path
            for name, tensor in (*part._parameters.items(), *part._buffers.items()):
                if tensor is not None and (
                    (layer, name) in wanted or _derived(module, inner, name)
                ):
                    result.setdefault(layer, {})[name] = tensor.detach().cpu()
        return result


def owners_of(network: Network) -> Iterator[Owner]:
    """Yield the layers that hold learned tensors which the forward pass uses."""
    groups: dict[str, list[Slot]] = {}
    for slot in network.slots:
        if is_learned(network, slot):
            groups.setdefault(owner_of(slot.layer), []).append(slot)
    for path, slots in groups.items():
        yield Owner(path, network.module.get_submodule(path), tuple(slots))


def plain_copy(module: nn.Module) -> nn.Module:
    """Copy a layer to the CPU, with plain parameters in place of weight norm and its kin."""
    plain = _cpu_copy(module)
    for hook in _norm_hooks(plain):
        hook.remove(plain)
    if parametrize.is_parametrized(plain):
        _unparametrize(plain)
    return plain


def _unparametrize(module: nn.Module) -> None:
    """Make parametrised tensors plain; torch's own removal changes the class for all copies."""
    names = [name for name, _ in module.get_submodule("parametrizations").named_children()]
    values = {name: getattr(module, name).detach().clone() for name in names}
    del module._modules["parametrizations"]
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value, requires_grad=False))


def _cpu_copy(module: nn.Module) -> nn.Module:
    memo = {id(t): t.detach().clone() for t in tensors_in(vars(module)) if not t.is_leaf}
    result = copy.deepcopy(module, memo).cpu()
    for tensor in (*result.parameters(), *result.buffers()):
        tensor.data = plain(tensor)
    for table in (result._forward_hooks, result._backward_hooks, result._backward_pre_hooks):
        table.clear()
    return result


def plain(tensor: Tensor) -> Tensor:
    """Return a tensor's values on the CPU, row by row: random numbers are written in the order of memory."""
    return tensor.detach().cpu().contiguous()


def _norm_hooks(module: nn.Module) -> list[WeightNorm | SpectralNorm]:
    hooks = module._forward_pre_hooks.values()
    return [hook for hook in hooks if isinstance(hook, WeightNorm | SpectralNorm)]


def _store(module: nn.Module, name: str, value: Tensor) -> None:
    hook = next((hook for hook in _norm_hooks(module) if hook.name == name), None)
    if parametrize.is_parametrized(module, name):
        _store_parametrized(module, name, value)
    elif isinstance(hook, WeightNorm):
        dim = -1 if hook.dim is None else hook.dim
        getattr(module, f"{name}_v").copy_(value)
        getattr(module, f"{name}_g").copy_(torch.norm_except_dim(value, 2, dim))
    elif hook is not None:
        getattr(module, f"{name}_orig").copy_(value)
        for _ in range(POWER_ITERATIONS):
            hook.compute_weight(module, do_power_iteration=True)
    else:
        parameter = module._parameters.get(name)
        if parameter is not None:
            parameter.copy_(value)


def _store_parametrized(module: nn.Module, name: str, value: Tensor) -> None:
    try:
        setattr(module, name, value)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"The parametrisation of {name!r} in a {type(module).__name__} takes no fresh values "
            f"({error}); it needs a right_inverse. Give make_model, so that a fresh network is "
            "built"
        ) from error
    module.train()
    for _ in range(POWER_ITERATIONS):
        getattr(module, name)
    module.eval()


def _stores(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    yield "", module
    for inner, part in module.named_modules():
        if inner.startswith("parametrizations."):
            yield inner, part


def _derived(module: nn.Module, inner: str, name: str) -> bool:
    """Whether a buffer follows from the weight: spectral norm's vectors, orthogonal maps' base."""
    part = module.get_submodule(inner)
    if name not in part._buffers:
        return False
    hooks = [hook for hook in _norm_hooks(module) if isinstance(hook, SpectralNorm)]
    return bool(inner) or any(name in {f"{h.name}_u", f"{h.name}_v"} for h in hooks)
