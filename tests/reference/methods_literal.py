"""The paper's methods, written out one image and one point at a time in float64: slow, and plain to read."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gradient(model: nn.Module, x: Tensor, target: int) -> Tensor:
    """d f_c / d x of one image (C, H, W)."""
    x = x.detach().clone().requires_grad_()
    model(x[None])[0, target].backward()
    assert x.grad is not None
    return x.grad


def smoothgrad(model: nn.Module, x: Tensor, target: int, noises: list[Tensor]) -> Tensor:
    """Mean of gradients at x + noise."""
    return sum(gradient(model, x + noise, target) for noise in noises) / len(noises)


def smoothgrad_squared(model: nn.Module, x: Tensor, target: int, noises: list[Tensor]) -> Tensor:
    """Mean of squared gradients at x + noise."""
    return sum(gradient(model, x + noise, target) ** 2 for noise in noises) / len(noises)


def vargrad(model: nn.Module, x: Tensor, target: int, noises: list[Tensor]) -> Tensor:
    """Variance of gradients at x + noise, in two passes."""
    gradients = [gradient(model, x + noise, target) for noise in noises]
    mean = sum(gradients) / len(gradients)
    return sum((g - mean) ** 2 for g in gradients) / len(gradients)


def integrated_gradients(
    model: nn.Module, x: Tensor, target: int, baseline: Tensor, steps: int
) -> Tensor:
    """(x - b) times the mean gradient at the midpoints of `steps` equal parts of the path."""
    total = torch.zeros_like(x)
    for i in range(steps):
        total += gradient(model, baseline + (i + 0.5) / steps * (x - baseline), target)
    return (x - baseline) * total / steps


def integrated_gradients_smoothgrad(
    model: nn.Module, x: Tensor, target: int, noises: list[Tensor], steps: int
) -> Tensor:
    """Mean of integrated gradients, from zeros, over noisy copies."""
    zeros = torch.zeros_like(x)
    maps = [integrated_gradients(model, x + noise, target, zeros, steps) for noise in noises]
    return sum(maps) / len(maps)


def guided_backprop(layers: list[nn.Module], x: Tensor, target: int) -> Tensor:
    """Backward through a chain of layers by hand, clipping what leaves each ReLU."""
    values = [x[None].detach()]
    for layer in layers:
        values.append(layer(values[-1]).detach())
    flow = torch.zeros_like(values[-1])
    flow[0, target] = 1
    for layer, value in zip(reversed(layers), reversed(values[:-1]), strict=True):
        if isinstance(layer, nn.ReLU):
            flow = flow.clamp(min=0) * (value > 0)
        else:
            point = value.clone().requires_grad_()
            (flow,) = torch.autograd.grad(layer(point), point, flow)
    return flow[0]


def gradcam(below: nn.Module, above: nn.Module, x: Tensor, target: int) -> Tensor:
    """relu(sum_k mean(dA_k) A_k) at the output A of `below`, enlarged bilinearly: (1, H, W)."""
    A = below(x[None]).detach().requires_grad_()
    (dA,) = torch.autograd.grad(above(A)[0, target], A)
    total = torch.zeros(A.shape[2:], dtype=x.dtype)
    for k in range(A.shape[1]):
        total += dA[0, k].mean() * A[0, k].detach()
    coarse = total.clamp(min=0)
    return F.interpolate(coarse[None, None], size=x.shape[1:], mode="bilinear")[0]
