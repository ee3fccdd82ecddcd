"""What a classifier returns: which of it are the logits, and what is odd about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Final

import torch
from torch import Tensor, nn

from salsanity.errors import ModelError

Choice = str | int
"""Names an output: a key, a position, or several with dots (`heads.1`)."""

_ATTRIBUTE: Final = "_salsanity_output"

DEEPEST: Final = 4
"""Outputs are looked for so many containers deep."""

SUMS_TO_ONE: Final = 1e-4

FEWEST_NUMBERS: Final = 12
"""So many numbers in a row between 0 and 1 are no chance."""


def as_choice(text: str | None) -> Choice | None:
    """Read what `--output` names: a whole number is a position."""
    return int(text) if text is not None and text.lstrip("-").isdigit() else text


def logits_in(output: object, choice: Choice | None = None) -> Tensor:
    """Find the logits in what a classifier returned.

    A tensor; the `logits` of a mapping or object; else the only tensor of two dimensions in it, or the first of several of one
    shape (Inception's auxiliary outputs follow in training). `choice` names another. Raises ModelError for anything else, for
    outputs of which two could be meant, and for shapes other than (N, classes).
    """
    value = _chosen(output, choice) if choice is not None else _found(output)
    if not isinstance(value, Tensor):
        raise ModelError(
            "Expected logits as a tensor (N, classes), or a tuple, mapping or object with such a tensor; the network "
            f"returned {_told(output)}. Wrap it in a module that returns the logits"
        )
    if value.ndim != 2:
        raise ModelError(
            f"Expected logits of shape (N, classes), the network returned {tuple(value.shape)}. Wrap it in a module that "
            "returns one row of logits per image"
        )
    return value


def ask_which(output: object) -> None:
    """Raise ModelError where two tensors of what a network returned could be the logits, whatever their shapes."""
    found = {} if _is_clear(output) else _candidates(output)
    if len(found) > 1:
        raise ModelError(_question(found))


def note_on(output: object, choice: Choice | None) -> str | None:
    """Say which of several outputs is taken; None where there is one, or one that is called logits."""
    if choice is not None:
        return f"Output {str(choice)!r} of the network is taken for the logits, as asked."
    held = {} if _is_clear(output) else dict(_tensors(output, ""))
    found = _candidates(output)
    if not held or len(found) != 1:
        return None
    (name,) = found
    others = ", ".join(_shown(n, t) for n, t in held.items() if n != name)
    also = f"; it also returns {others}" if others else ""
    return f"Output {_shown(name, found[name])} of the network is taken for the logits{also}."


def remember(module: nn.Module, choice: Choice | None) -> None:
    """Note on a copy of ours which output was chosen, for explainers that are given the module alone."""
    if choice is not None:
        object.__setattr__(module, _ATTRIBUTE, choice)


def remembered(module: nn.Module) -> Choice | None:
    """Return the output that was chosen for a copy of ours; None where nothing was."""
    choice: Choice | None = vars(module).get(_ATTRIBUTE)
    return choice


def look_like_probabilities(scores: Tensor, last_operation: str) -> str | None:
    """Say that logits (N, classes) look like probabilities or their logarithms; None where they do not."""
    advice = "give the network without it, since its gradients vanish where it is sure"
    inside = bool(((scores >= 0) & (scores <= 1)).all())
    total = (scores if inside else scores.exp()).double().sum(1)
    if bool(((total - 1).abs() < SUMS_TO_ONE).all()):
        what, last = (
            ("probabilities", "softmax") if inside else ("log-probabilities", "log_softmax")
        )
        return f"The network's outputs look like {what} (each row sums to 1): if it ends in a {last}, {advice}."
    if inside and (last_operation == "sigmoid" or scores.numel() >= FEWEST_NUMBERS):
        return f"The network's outputs look like probabilities (all lie between 0 and 1): if it ends in a sigmoid, {advice}."
    return None


def check_scores(scores: Tensor, images: int) -> None:
    """Raise ModelError for logits that no verdict can be given on."""
    shape = tuple(scores.shape)
    if shape[0] != images:
        raise ModelError(
            f"Expected one row of logits for each of {images} images, the network returned {shape}. Wrap it in a module that "
            "keeps the batch as the first axis"
        )
    if shape[1] < 2:
        raise ModelError(
            f"Expected logits of at least two classes, the network returned {shape}. Wrap a network with one output z in a "
            "module that returns torch.cat([-z, z], dim=1)"
        )
    shut = torch.nonzero((scores == -torch.inf).all(0)).flatten().tolist()
    if shut and len(shut) < shape[1]:
        named = ", ".join(map(str, shut[:8])) + (" ..." if len(shut) > 8 else "")
        raise ModelError(
            f"The network returns -inf for class{'es' if len(shut) > 1 else ''} {named} of {shape[1]}. Wrap it in a module that "
            "returns the other classes' logits"
        )
    if not bool(scores.isfinite().all()):
        raise ModelError(
            "The network returns logits that are NaN or infinite for the first image. Check its weights and the preprocessing "
            "of the images"
        )


def _is_clear(output: object) -> bool:
    return isinstance(output, Tensor) or _called_logits(output) is not None


def _called_logits(output: object) -> object:
    if isinstance(output, Mapping):
        return output.get("logits")
    return getattr(output, "logits", None)


def _found(output: object) -> object:
    if isinstance(output, Tensor):
        return output
    named = _called_logits(output)
    if named is not None:
        return named
    found = _candidates(output)
    if len({tuple(tensor.shape) for tensor in found.values()}) > 1:
        raise ModelError(_question(found))
    first = next(_tensors(output, ""), ("", None))[1]
    return next(iter(found.values()), first)


def _candidates(output: object) -> dict[str, Tensor]:
    """Tensors that could be logits, by name: of floating point, two dimensions and two or more columns."""
    held = dict(_tensors(output, ""))
    wide = {n: t for n, t in held.items() if t.is_floating_point() and t.ndim == 2}
    return {n: t for n, t in wide.items() if t.shape[1] > 1} or wide


def _tensors(output: object, name: str, depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        yield name, output
    elif depth < DEEPEST:
        for key, inner in _items(output):
            yield from _tensors(inner, f"{name}.{key}" if name else key, depth + 1)


def _items(output: object) -> Iterator[tuple[str, object]]:
    if isinstance(output, Mapping):
        yield from ((str(key), value) for key, value in output.items())
    elif isinstance(output, tuple | list):
        yield from ((str(i), value) for i, value in enumerate(output))
    elif is_dataclass(output) and not isinstance(output, type):
        yield from ((f.name, getattr(output, f.name, None)) for f in fields(output))


def _chosen(output: object, choice: Choice) -> object:
    found: object = output
    path = str(choice)
    for key in [path] if path in dict(_items(output)) else path.split("."):
        inside = dict(_items(found))
        if key not in inside and not hasattr(found, key):
            held = ", ".join(_shown(n, t) for n, t in _tensors(output, "")) or _told(output)
            raise ModelError(f"Expected output {path!r} among what the network returns: {held}")
        found = inside[key] if key in inside else getattr(found, key)
    return found


def _question(found: Mapping[str, Tensor]) -> str:
    held = " and ".join(_shown(name, tensor) for name, tensor in found.items())
    names = " or ".join(f"--output {name}" for name in found)
    return (
        f"Expected one tensor of logits, but the network returns {len(found)} that could be meant: {held}. Say which: {names} "
        "(in Python output=...)"
    )


def _shown(name: str, tensor: Tensor) -> str:
    return f"{name} {tuple(tensor.shape)}"


def _told(output: object) -> str:
    """Name what was returned: a container with its keys."""
    keys = [key for key, _ in _items(output)] if isinstance(output, Mapping) else []
    return type(output).__name__ + (f" with {', '.join(keys[:6])}" if keys else "")
