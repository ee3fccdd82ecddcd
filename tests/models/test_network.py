"""The caller's network is never touched; what cannot be checked is refused in words."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from salsanity.errors import ModelError
from salsanity.models.network import logits_in, prepare


def small_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )


EXAMPLE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def state(model: nn.Module) -> dict[str, object]:
    """Everything about a model that salsanity must leave alone."""
    found: dict[str, object] = {}
    for name, module in model.named_modules():
        found[f"{name}|training"] = module.training
        for table in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            found[f"{name}|{table}"] = dict(getattr(module, table))
        found[f"{name}|attributes"] = {k: id(v) for k, v in vars(module).items()}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[name] = (id(tensor), tensor.data_ptr(), tensor._version, tensor.requires_grad)
        found[f"{name}|grad"] = (
            None if tensor.grad is None else (id(tensor.grad), tensor.grad.tolist())
        )
        found[f"{name}|bytes"] = tensor.detach().numpy().tobytes()
    return found


def used_model() -> nn.Module:
    model = small_cnn().train()
    model[0].register_forward_hook(lambda *_: None)
    model(EXAMPLE).sum().backward()
    model[5].weight.requires_grad_(False)
    return model


def test_prepare_leaves_the_model_alone():
    model = used_model()
    before = state(model)
    rng = torch.get_rng_state()
    network = prepare(model, EXAMPLE)
    assert state(model) == before
    assert torch.equal(torch.get_rng_state(), rng)
    assert not any(m.training for m in network.module.modules())
    assert not any(p.requires_grad or p.grad is not None for p in network.module.parameters())
    model.eval()
    with pytest.raises(AssertionError):  # twin: the comparison sees a change
        assert state(model) == before


def test_prepare_leaves_the_model_alone_when_it_fails():
    model = used_model()
    before = state(model)
    with pytest.raises(ModelError, match="does not run, forward and backward"):
        prepare(model, torch.rand(1, 3, 8, 8))
    assert state(model) == before


def test_the_copy_computes_what_the_model_computes():
    model = small_cnn().eval()
    network = prepare(model, EXAMPLE)
    torch.testing.assert_close(network.logits(EXAMPLE), model(EXAMPLE))
    assert network.classes == 3
    assert network.parameters == sum(p.numel() for p in model.parameters())


def test_fingerprint_tells_weights_apart():
    model = small_cnn()
    first = prepare(model, EXAMPLE).fingerprint
    assert prepare(model, EXAMPLE).fingerprint == first
    with torch.no_grad():
        model[1].running_mean[0] += 1e-6
    assert prepare(model, EXAMPLE).fingerprint != first


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
    ],
)
def test_copies_reparametrised_layers(wrap):
    model = nn.Sequential(nn.Flatten(), wrap(nn.Linear(64, 5)), nn.ReLU(), nn.Linear(5, 3))
    model(EXAMPLE)  # leaves a non-leaf tensor behind with the hook kinds
    model.eval()
    expected = model(EXAMPLE)
    network = prepare(model, EXAMPLE)
    torch.testing.assert_close(network.logits(EXAMPLE), expected)
    assert parametrize.is_parametrized(network.module[1]) == parametrize.is_parametrized(model[1])


@dataclass
class Output:
    logits: Tensor


class Returns(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.fc, self.wrap = nn.Linear(64, 3), wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.fc(x.flatten(1)))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda z: z,
        lambda z: (z, z[:, :, None]),
        lambda z: {"logits": z, "loss": None, "features": z * 2},
        lambda z: {"out": z, "map": z[:, :, None]},
        lambda z: (z.sum(), [z]),
        Output,
    ],
)
def test_unwraps_logits(wrap):
    model = Returns(wrap)
    network = prepare(model, EXAMPLE)
    torch.testing.assert_close(network.logits(EXAMPLE), model.fc(EXAMPLE.flatten(1)))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda z: "cat", "returned str"),
        (lambda z: {"scores": [2, 3]}, "returned dict with scores"),
        (lambda z: z[:, :, None, None], r"returned \(2, 3, 1, 1\)"),
        (lambda z: z.flatten(), r"returned \(6,\)"),
        (lambda z: z[:1], "one row of logits for each of 2 images"),
        (lambda z: z[:, :1], "at least two classes"),
        (lambda z: z * float("nan"), "NaN or infinite"),
    ],
)
def test_refuses_what_is_no_classifier(wrap, message):
    with pytest.raises(ModelError, match=message):
        prepare(Returns(wrap), EXAMPLE)


def test_refuses_broken_models():
    with pytest.raises(ModelError, match="no parameters"):
        prepare(nn.Flatten(), EXAMPLE)
    with pytest.raises(ModelError, match=r"torch\.nn\.Module, got dict"):
        prepare({}, EXAMPLE)
    model = small_cnn()
    with torch.no_grad():
        model[5].bias[1] = float("nan")
    with pytest.raises(ModelError, match=r"5\.bias has 1 values that are NaN"):
        prepare(model, EXAMPLE)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_layers_need_weights():
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(3))
    with pytest.raises(ModelError, match="lazy layer"):
        prepare(model, EXAMPLE)
    model(EXAMPLE)
    assert [b.name for b in prepare(model, EXAMPLE).blocks] == ["1", "3"]


def test_wrappers_are_taken_off():
    model = small_cnn()
    network = prepare(nn.DataParallel(model), EXAMPLE)
    assert [b.name for b in network.blocks] == ["0", "5", "7"]


def test_logits_in_takes_a_list():
    assert logits_in([torch.zeros(2, 3)]).shape == (2, 3)


class Interrupted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.armed = nn.Linear(64, 3), False

    def forward(self, x: Tensor) -> Tensor:
        if self.armed:
            raise KeyboardInterrupt
        return self.fc(x.relu_().flatten(1))


def test_ctrl_c_in_the_forward_pass():
    model = Interrupted()
    model.armed = True
    before, example = state(model), EXAMPLE.clone()
    with pytest.raises(KeyboardInterrupt):
        prepare(model, example)
    assert state(model) == before
    assert torch.equal(example, EXAMPLE)


def test_a_network_that_changes_its_input_in_place():
    example = EXAMPLE - 0.5
    kept = example.clone()
    prepare(Interrupted(), example)
    assert torch.equal(example, kept)


def test_random_forward_passes_leave_the_random_state():
    class Noisy(Interrupted):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc((x + torch.randn_like(x)).flatten(1))

    model, before = Noisy(), torch.get_rng_state()
    prepare(model, EXAMPLE)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused():
    class Scripted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.jit.trace(nn.Linear(64, 3), torch.rand(2, 64))

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.flatten(1))

    with pytest.raises(ModelError, match="TorchScript"):
        prepare(Scripted(), EXAMPLE)


def test_what_python_cannot_copy_is_named():
    model = small_cnn()
    model.lock = threading.Lock()
    with pytest.raises(ModelError, match=r"Sequential cannot be copied .*lock"):
        prepare(model, EXAMPLE)


class TrainsItsNorm(nn.Module):
    """Puts its batch norm into training mode at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(64, 3), nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        self.norm.train()
        return self.norm(self.fc(x.flatten(1)))


def test_the_trial_leaves_no_statistics_behind():
    model = TrainsItsNorm()
    network = prepare(model, EXAMPLE)
    assert network.trained["norm"]["running_mean"].tolist() == [0, 0, 0]
    assert network.module.norm.running_mean.tolist() == [0, 0, 0]
    assert network.fingerprint == prepare(model, EXAMPLE).fingerprint
    network.module(EXAMPLE)  # twin: a call does
    assert network.module.norm.running_mean.tolist() != [0, 0, 0]
