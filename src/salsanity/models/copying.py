"""Copies of a user's network: complete, in eval mode, without wrappers for parallel or compiled running."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from salsanity.errors import ModelError
from salsanity.models.slots import memory_of, slots_of, tensors_in


def copied(model: nn.Module) -> nn.Module:
    """Copy a module deeply, also where it holds tensors that autograd made (weight norm's hook).

    Wrappers for parallel or compiled running are taken off, outside and inside. Raises ModelError for TorchScript, for
    layers that have no values yet, and where Python cannot copy the model.
    """
    module = unwrapped(model)
    _check_has_values(module)
    memo: dict[int, Any] = {}
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ModelError(
                f"Expected an eager nn.Module, got TorchScript ({type(part).__name__}): its layers cannot be randomised one "
                "by one. Give the Python model that it was compiled from"
            )
        for tensor in tensors_in(vars(part)):
            if not tensor.is_leaf:
                memo[id(tensor)] = tensor.detach().clone()
    try:
        copy_ = interpreted(_with_own_classes(copy.deepcopy(module, memo)))
    except Exception as error:
        raise ModelError(
            f"The network {type(module).__name__} cannot be copied ({type(error).__name__}: {error}); salsanity works on a "
            "copy only. Remove what cannot be copied (open files, locks, generators) from its attributes, and let its "
            "__getattr__, if it has one, raise AttributeError for what it does not have"
        ) from error
    _check_apart(module, copy_)
    return copy_


def _check_apart(original: nn.Module, ours: nn.Module) -> None:
    """Raise ModelError where a copy shares memory with its original, which would then be changed."""
    theirs = {memory_of(slot.tensor) for slot in slots_of(original) if slot.tensor.numel()}
    shared = [slot.path for slot in slots_of(ours) if memory_of(slot.tensor) in theirs]
    if shared or ours is original:
        more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
        what = f"{shared[0]}{more}" if shared else "everything"
        raise ModelError(
            f"The network {type(original).__name__} cannot be copied: its copy shares {what} with it; salsanity works "
            "on a copy only. Take out the __deepcopy__ that returns the object itself"
        )


def _with_own_classes(module: nn.Module) -> nn.Module:
    """Give parametrised layers a class of their own: torch keeps their properties in the class."""
    for part in module.modules():
        if is_parametrized(part):
            kind = type(part)
            part.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
    return module


def interpreted(module: nn.Module) -> nn.Module:
    """Take the compilation off all parts of a module of ours, which is changed: it hides what runs inside."""
    for part in list(module.modules()):
        for name, child in list(part._modules.items()):
            if child is not None and _is_compiled(child):
                part._modules[name] = unwrapped(child)
        if vars(part).get("_compiled_call_impl") is not None:
            object.__setattr__(part, "_compiled_call_impl", None)
    return module


@contextmanager
def eagerly() -> Iterator[None]:
    """Run compiled functions as they are written during the block, so that what they do is seen; torch 2.6 or newer can."""
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield


def unwrapped(model: object) -> nn.Module:
    """Take off what wraps a module for parallel or compiled running; ModelError for others.

    Only torch's own wrappers: what forwards attributes of an inner network may have preprocessing of its own.
    """
    if not isinstance(model, nn.Module):
        what = (
            "Give what its module() returns"
            if type(model).__name__ == "ExportedProgram"
            else "Give the network itself, not a state dict or a path"
        )
        raise ModelError(f"Expected a torch.nn.Module, got {type(model).__name__}. {what}")
    inner: object = None
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = model.module
    elif _is_compiled(model):
        inner = model._modules.get("_orig_mod")
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def _is_compiled(module: nn.Module) -> bool:
    """Whether it is torch.compile's wrapper; its class is not imported, which takes seconds."""
    kinds = {(kind.__module__, kind.__name__) for kind in type(module).__mro__}
    return ("torch._dynamo.eval_frame", "OptimizedModule") in kinds


def _check_has_values(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ModelError(
                f"The lazy layer of {name} has no weights yet, so there is nothing trained to check. Run the network once on "
                "real input, or load trained weights"
            )
    empty = [slot.path for slot in slots_of(module) if slot.tensor.is_meta]
    if empty:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise ModelError(
            f"The network {type(module).__name__} has no values yet ({empty[0]}{more} on the meta device), so there is nothing "
            "trained to check. Load its weights first, onto cpu or cuda"
        )


def settled(module: nn.Module, device: torch.device) -> nn.Module:
    """Bring a copy to a device and into eval mode, without gradients, whatever its own methods return."""
    moved = module.to(device)
    module = moved if isinstance(moved, nn.Module) else module
    try:
        module.train()  # which also empties what networks keep of their weights in eval mode
        module.eval()
    except NotImplementedError:  # exported programs have no mode
        for part in module.modules():
            part.training = False
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    for slot in slots_of(module):
        if slot.tensor.device != device and device.index is not None:
            raise ModelError(
                f"The network's {slot.kind} {slot.path} stays on {slot.tensor.device} when the network moves to {device}. Let "
                "its to() call that of nn.Module"
            )
    return module
