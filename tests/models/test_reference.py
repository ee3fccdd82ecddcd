import pytest
import torch
from torch import nn

from salsanity.errors import ModelError
from salsanity.models.reference import cnn, demo_network, digits_network, mlp


def names(network):
    return [name for name, _ in network.named_children() if name != "flatten"]


def test_the_cnn_is_the_papers():
    network = cnn()
    assert names(network) == [
        "conv1",
        "relu1",
        "pool1",
        "conv2",
        "relu2",
        "pool2",
        "fc1",
        "relu3",
        "fc2",
    ]
    shapes = {k: tuple(v.shape) for k, v in network.named_parameters() if k.endswith("weight")}
    assert shapes == {
        "conv1.weight": (32, 1, 5, 5),
        "conv2.weight": (64, 32, 5, 5),
        "fc1.weight": (1024, 3136),
        "fc2.weight": (10, 1024),
    }
    assert network(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_the_mlp_is_the_papers():
    network = mlp()
    widths = [m.out_features for m in network if isinstance(m, nn.Linear)]
    assert widths == [2500, 1500, 500, 10]
    assert names(network)[-1] == "logits"
    assert network(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_the_demo_network_takes_the_digits():
    assert demo_network()(torch.rand(2, 1, 32, 32)).shape == (2, 10)
    assert digits_network()(torch.rand(2, 1, 32, 32)).shape == (2, 10)


def test_the_deep_digits_network_has_convolutions_in_its_upper_half():
    network = digits_network()
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert [type(layer).__name__ for layer in layers[len(layers) // 2 :]].count("Conv2d") == 2
    assert all(float(layer.bias.detach().abs().sum()) == 0 for layer in layers)


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 29), (2, 4)])
def test_other_shapes(channels, size):
    x = torch.rand(2, channels, size, size)
    assert cnn(channels, size, 7, width=8)(x).shape == (2, 7)
    assert mlp(channels, size, 7, widths=(9, 8, 7))(x).shape == (2, 7)


def check_initial_values(weights, biases):
    assert abs(weights.mean()) < 0.001
    # A normal truncated at two sds keeps 0.880 of its sd.
    assert abs(weights.std() - 0.0880) < 0.001
    assert weights.abs().max() <= 0.2
    assert (biases == 0.1).all()


def test_initial_values():
    torch.manual_seed(0)
    network = cnn()
    check_initial_values(network.fc1.weight, network.fc1.bias)
    with pytest.raises(AssertionError):
        check_initial_values(torch.randn(1024, 3136) * 0.1, network.fc1.bias)
    with pytest.raises(AssertionError):
        default = nn.Linear(3136, 1024)
        check_initial_values(default.weight, default.bias)


def test_two_builds_differ():
    assert not torch.equal(cnn(width=8).fc1.weight, cnn(width=8).fc1.weight)


@pytest.mark.parametrize(
    "build",
    [lambda: cnn(size=3), lambda: cnn(classes=0), lambda: mlp(in_channels=0), lambda: cnn(width=0)],
)
def test_absurd_sizes_are_refused(build):
    with pytest.raises(ModelError, match="expected"):
        build()


def test_weights_of_the_mlp_start_narrower_the_more_inputs_a_layer_has():
    """sd 2 / sqrt(inputs), truncated at two sds, which leaves .8796 of it; biases 0, as the released code has them."""
    torch.manual_seed(0)
    for layer in (m for m in mlp() if isinstance(m, nn.Linear)):
        sd = 2 / layer.in_features**0.5
        assert float(layer.weight.detach().std()) == pytest.approx(0.8796 * sd, rel=0.03)
        assert float(layer.weight.detach().abs().max()) <= 2 * sd
        assert not layer.bias.any()
