"""Gram matrices, energies and sensitivities, against sums over the rows that hooks see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.criteria.grams import Grams
from penjing.errors import PenjingError
from penjing.network import trace
from tests.criteria.networks import Residual, TiedLanguageModel


def data(batches: int = 3, size: int = 4) -> list[Tensor]:
    return [
        torch.randn(size, 1, 4, 4, generator=torch.Generator().manual_seed(n)) + 2 for n in range(batches)
    ]


def model() -> Residual:
    torch.manual_seed(0)
    return Residual().eval()


def seen(net: Residual, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and outputs of a layer, as it was called."""
    inputs, outputs = [], []

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        inputs.append(args[0])
        outputs.append(output)

    handle = net.get_submodule(layer).register_forward_hook(note)
    with torch.no_grad():
        for batch in data():
            net(batch)
    handle.remove()
    return torch.cat(inputs).double().numpy(), torch.cat(outputs).double().numpy()


def test_covariance_and_energy_of_a_linear_layer() -> None:
    net = model()
    reading = Grams(trace(net, data()[0]), data()).of(["head.weight"])["head.weight"]
    x, y = seen(net, "head")
    np.testing.assert_allclose(reading.covariance[0], np.cov(x.T, bias=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(reading.energy[0], np.square(y).mean(0), rtol=1e-4)
    assert (reading.rows, reading.samples) == (12, 12)


def test_covariance_of_a_convolution_is_that_of_its_windows() -> None:
    net = model()
    reading = Grams(trace(net, data()[0]), data()).of(["mix.weight"])["mix.weight"]
    x, _ = seen(net, "mix")
    windows = functional.unfold(torch.tensor(x), 3, padding=1)  # [n, channels * taps, positions]
    rows = windows.unflatten(1, (6, 9)).permute(0, 3, 2, 1).reshape(-1, 54).numpy()  # taps first
    np.testing.assert_allclose(reading.covariance[0], np.cov(rows.T, bias=True), rtol=1e-3, atol=1e-4)


def test_sensitivity_is_the_mean_over_random_directions_of_the_squared_slope() -> None:
    # The last layer: y is its output, so the derivative of the output by it is the identity.
    net = model()
    many = [
        Grams(trace(net, data()[0]), data(), seed=seed).of(["head.weight"])["head.weight"]
        for seed in range(200)
    ]
    found = torch.stack([reading.sensitivity[0] for reading in many]).mean(0)
    spreads = []
    with torch.no_grad():
        for batch in data():
            y = net(batch).double()
            spreads.append(4 / float((y - y.mean(0)).square().sum()))
    np.testing.assert_allclose(found, np.full(4, np.mean(spreads)), rtol=0.2)


def test_readings_do_not_depend_on_what_is_asked_first() -> None:
    net = trace(model(), data()[0])
    one, other = Grams(net, data(), rows=5), Grams(net, data(), rows=5, memory_bytes=0)
    names = sorted(one.names)
    for name in names:
        first, second = one.of([name])[name], other.of([name])[name]
        assert torch.equal(first.xx, second.xx)
        assert torch.equal(first.slope, second.slope)
    again = Grams(net, data(), rows=5).of(names)
    assert all(torch.equal(again[name].xx, one.of([name])[name].xx) for name in names)


def test_rows_that_are_drawn_are_as_many_as_asked() -> None:
    found = Grams(trace(model(), data()[0]), data(), rows=30).of(["mix.weight"])
    assert found["mix.weight"].rows == 30


def test_tied_parameters_have_no_reading() -> None:
    tokens = [torch.randint(11, (2, 5)) for _ in range(2)]
    grams = Grams(trace(TiedLanguageModel(), tokens[0]), tokens)
    assert grams.names == {"up.weight", "down.weight"}
    assert grams.of(["out.weight", "embed.weight", "nowhere"]) == {}


def test_model_is_as_it_was() -> None:
    net = model().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    Grams(trace(net, data()[0]), data()).of(["mix.weight"])
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_values_that_are_not_finite_are_refused_by_the_name_of_the_layer() -> None:
    bad = data()
    bad[1][0] = torch.inf
    with pytest.raises(PenjingError, match="what `") as caught:
        Grams(trace(model(), data()[0]), bad).of(["stem.weight"])
    assert caught.value.code == "PJ303"


def test_batches_that_all_take_another_way_are_refused() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.one(x) if x.mean() > 0 else self.other(x)
            return y

    with pytest.raises(PenjingError) as caught:
        Grams(trace(Decides(), torch.ones(2, 4)), [-torch.ones(2, 4)])
    assert caught.value.code == "PJ322"
