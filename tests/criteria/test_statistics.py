from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from penjing.criteria import Statistics, collect
from penjing.errors import PenjingError
from penjing.network import Network, trace
from tests.criteria import networks

NEEDS = frozenset({"gradients"})


def residual_with(batches: Any, loss: Any = networks.cross_entropy) -> Statistics:
    return collect(networks.residual(), NEEDS, data=batches, loss=loss)


def refused(batches: Any, loss: Any = networks.cross_entropy) -> PenjingError:
    with pytest.raises(PenjingError) as caught:
        residual_with(batches, loss)
    return caught.value


def test_collect_touches_nothing_when_nothing_is_needed() -> None:
    def data() -> Any:
        raise AssertionError("read")
        yield

    assert collect(networks.residual(), frozenset(), data=data(), loss=None) == Statistics()


def test_collect_passes_over_the_data_once() -> None:
    read = []

    def data() -> Any:
        for number, batch in enumerate(networks.images(4)):
            read.append(number)
            yield batch

    assert residual_with(data()).batches == 4
    assert read == [0, 1, 2, 3]


def test_collect_sums_absolute_gradients_over_batches() -> None:
    both = residual_with(networks.images(2))
    first, second = (residual_with([batch]) for batch in networks.images(2))
    assert both.loss is not None
    assert first.loss is not None
    assert second.loss is not None
    assert both.loss == pytest.approx((first.loss + second.loss) / 2)
    for name, sums in both.gradients.items():
        assert sums.dtype == torch.float64
        assert bool((sums >= 0).all())
        torch.testing.assert_close(sums, first.gradients[name] + second.gradients[name])


def test_collect_is_the_same_whatever_the_model_was_doing() -> None:
    net = networks.tied()
    batch = (torch.randint(11, (3, 5)), torch.randint(11, (3, 5)))

    def loss(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(outputs.flatten(0, 1), batch[1].flatten())

    net.model.eval()
    quiet = collect(net, NEEDS, data=[batch], loss=loss)
    net.model.train()  # its dropout would change every gradient
    net.model.requires_grad_(False)
    with torch.no_grad():
        busy = collect(net, NEEDS, data=[batch], loss=loss)
    assert all(torch.equal(quiet.gradients[name], busy.gradients[name]) for name in quiet.gradients)


def test_collect_knows_a_tied_parameter_by_each_of_its_names() -> None:
    batch = (torch.randint(11, (3, 5)), torch.randint(11, (3, 5)))
    found = collect(networks.tied(), NEEDS, data=[batch], loss=lambda out, batch: out.square().mean())
    assert found.gradients["embed.weight"] is found.gradients["out.weight"]


def test_collect_gives_zeros_to_what_the_loss_does_not_depend_on() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.used(x), self.unused(x)

    net = trace(Spare(), torch.randn(2, 3))
    found = collect(net, NEEDS, data=[torch.randn(2, 3)], loss=lambda out, batch: out[0].sum())
    assert not found.gradients["unused.weight"].any()
    assert found.gradients["used.weight"].any()


def counting() -> Network:
    """A model in a state of its own: mixed modes and flags, gradients, buffers that count."""
    torch.manual_seed(0)
    net = trace(networks.Counting(), torch.randn(4, 5))
    model = net.model
    model(torch.randn(4, 5)).sum().backward()
    model.train()
    model.get_submodule("norm").eval()
    model.get_parameter("first.weight").requires_grad_(False)
    return net


def state(model: nn.Module) -> dict[str, Any]:
    return {
        "modes": [module.training for module in model.modules()],
        "flags": [parameter.requires_grad for parameter in model.parameters()],
        "grads": [copy.deepcopy(parameter.grad) for parameter in model.parameters()],
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "tensors": [id(tensor) for tensor in [*model.parameters(), *model.buffers()]],
    }


@pytest.mark.parametrize("fails", [False, True])
def test_collect_leaves_the_model_as_it_was(fails: bool) -> None:
    net = counting()
    before = state(net.model)
    batches = [torch.randn(4, 5), torch.full((4, 5), torch.nan) if fails else torch.randn(4, 5)]
    with pytest.raises(PenjingError) if fails else nullcontext():
        collect(net, NEEDS, data=batches, loss=lambda out, batch: out.square().mean())
    after = state(net.model)
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_collect_reads_a_batch_of_two_tensors_as_the_inputs_of_a_model_of_two() -> None:
    net = trace(networks.TwoInputs(), (torch.randn(2, 3), torch.randn(2, 4)))
    pair = (torch.randn(2, 3), torch.randn(2, 4))
    alone = collect(net, NEEDS, data=[pair], loss=lambda out, batch: out.square().mean())
    beside = collect(net, NEEDS, data=[(pair, torch.ones(2))], loss=lambda out, batch: out.square().mean())
    named = {"left": pair[0], "right": pair[1]}
    by_name = collect(net, NEEDS, data=[named], loss=lambda out, batch: out.square().mean())
    assert alone.loss == beside.loss == by_name.loss


def test_collect_takes_batches_as_a_data_loader_gives_them() -> None:
    images = torch.cat([batch[0] for batch in networks.images(2)])
    labels = torch.cat([batch[1] for batch in networks.images(2)])
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=5)
    assert residual_with(data).loss == residual_with(networks.images(2)).loss


@pytest.mark.parametrize(("data", "loss"), [(None, networks.cross_entropy), ([], None), (None, None)])
def test_collect_names_what_is_missing(data: Any, loss: Any) -> None:
    error = refused(data, loss)
    assert error.code == "PJ302"
    assert ("data" in error.what) == (data is None)
    assert ("loss" in error.what) == (loss is None)


def test_collect_refuses_one_tensor_for_data() -> None:
    error = refused(torch.randn(5, 1, 4, 4))
    assert error.code == "PJ302"
    assert "data=[tensor]" in error.tries


@pytest.mark.parametrize("empty", [[], iter(())])
def test_collect_refuses_data_without_a_batch(empty: Any) -> None:
    assert refused(empty).code == "PJ304"


def test_collect_names_the_batch_whose_loss_is_not_finite() -> None:
    batches = networks.images(3)
    batches[2][0][0, 0, 0, 0] = torch.nan
    error = refused(batches)
    assert error.code == "PJ303"
    assert "loss" in error.what
    assert "batch 2" in error.what


def test_collect_names_the_parameter_whose_gradient_is_not_finite() -> None:
    # The square root of nothing: a finite loss, an infinite slope.
    error = refused(networks.images(1), lambda out, batch: (out * 0).abs().sum().sqrt())
    assert error.code == "PJ303"
    assert "gradient of `" in error.what


@pytest.mark.parametrize(
    "loss",
    [
        lambda out, batch: out.sum().item(),
        lambda out, batch: out.sum().detach(),
        lambda out, batch: out,
        lambda out, batch: None,
    ],
)
def test_collect_refuses_a_loss_that_is_no_scalar_of_the_weights(loss: Any) -> None:
    assert refused(networks.images(1), loss).code == "PJ307"


def test_collect_names_the_batch_that_does_not_run() -> None:
    batches = [*networks.images(1), (torch.randn(5, 3, 4, 4), torch.zeros(5).long())]
    error = refused(batches)
    assert error.code == "PJ310"
    assert "batch 1" in error.what
    assert "networks.py:" in error.path


def test_collect_names_the_batch_that_does_not_fit() -> None:
    error = refused([tuple(torch.randn(3, 5, 1, 4, 4))])
    assert error.code == "PJ310"
    assert "forward" in error.because
