"""The proof: right cuts pass, wrong ones do not, whatever the model's numbers, types and random draws."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.network import Network, trace
from penjing.surgery import cut
from penjing.surgery.graph import rewrite
from penjing.surgery.masked import run_masked
from penjing.surgery.proof import TOLERANCE, Proof, Reference
from penjing.surgery.selection import Selection
from tests.surgery.shrink import Keep, apart, every_other, own, seeded, shrink


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.norm(self.up(x).relu()))


X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def small() -> tuple[Network, Selection, Any]:
    """A network, a selection, and the module that is cut to it."""
    net = trace(seeded(Small), X)
    keep = Keep(every_other(net))
    return net, Selection(net, keep.kept), cut(net, keep).model


def test_right_cut_passes_far_inside_the_tolerance() -> None:
    net, selection, model = small()
    proof = Reference(net, selection).check(model)
    assert proof == Proof(proof.max_error, TOLERANCE, "float64", passed=True, runs=3)
    assert 0 <= proof.max_error < 1e-13


def spoil_order(model: Any) -> None:
    model.up.weight[[0, 1]] = model.up.weight[[1, 0]]


def spoil_one_weight(model: Any) -> None:
    model.down.weight[0, 0] += 1e-6


def spoil_norm(model: Any) -> None:
    model.norm.normalized_shape, model.norm.eps = (4,), 1e-4


def spoil_with_nan(model: Any) -> None:
    model.down.bias[0] = float("nan")


@pytest.mark.parametrize("spoil", [spoil_order, spoil_one_weight, spoil_norm, spoil_with_nan])
def test_wrong_cut_fails(spoil: Any) -> None:
    net, selection, model = small()
    wrong = deepcopy(model)
    with torch.no_grad():
        spoil(wrong)
    reference = Reference(net, selection)
    assert reference.check(model).passed
    assert not reference.check(wrong).passed


@pytest.mark.parametrize(
    "kept", [(0, 2, 4, 6), (1, 3, 5, 6), (1, 3, 5)], ids=["all other", "one other", "fewer"]
)
def test_cut_to_other_units_than_planned_fails(kept: tuple[int, ...]) -> None:
    net, selection, _ = small()
    (axis,) = net.prunable
    other = cut(net, Keep({axis.name: kept})).model
    assert not Reference(net, selection).check(other).passed


def test_cut_of_another_shape_fails() -> None:
    class Longer(Small):
        def forward(self, x: Tensor) -> Any:
            y = super().forward(x)
            return torch.cat([y, y])

    class More(Small):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x), x

    net, selection, model = small()
    for kind in (Longer, More):
        wrong = deepcopy(model)
        wrong.__class__ = kind
        assert Reference(net, selection).check(wrong).max_error == float("inf")


def test_error_of_a_small_output_is_not_hidden_by_a_large_one() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Small()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x * 1e9, self.inner(x)

    net = trace(seeded(Two), X)
    keep = Keep(every_other(net))
    selection, model = Selection(net, keep.kept), cut(net, keep).model
    assert Reference(net, selection).check(model).passed
    with torch.no_grad():
        model.inner.down.bias += 1e-4
    assert not Reference(net, selection).check(model).passed


def test_rounding_in_an_output_that_is_zero_but_for_it_is_no_error() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Small()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.inner(x)
            return y, (y - y.mean(-1, keepdim=True)).mean(-1)

    assert own(shrink(seeded(Centred), X))


def test_proof_runs_on_random_inputs_also() -> None:
    """Zeros as example inputs would let everything through that the bias does not show."""
    net = trace(seeded(Small), torch.zeros(4, 6))
    keep = Keep(every_other(net))
    selection, model = Selection(net, keep.kept), cut(net, keep).model
    with torch.no_grad():
        model.up.weight.mul_(2)
    assert apart(model(torch.zeros(4, 6)), cut(net, keep).model(torch.zeros(4, 6))) == 0
    assert not Reference(net, selection).check(model).passed


def test_outputs_that_are_not_finite_on_the_example_inputs_are_refused() -> None:
    class Logged(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).log()

    net = trace(seeded(Logged), X)
    with pytest.raises(PenjingError) as caught:
        cut(net, Keep(every_other(net)))
    assert caught.value.code == "PJ204"


def test_random_inputs_on_which_outputs_are_not_finite_are_left_out() -> None:
    class Rooted(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.sqrt())

    proof = shrink(seeded(Rooted), X.abs()).cut.proof
    assert proof.passed
    assert proof.runs == 1


def test_random_inputs_on_which_the_model_does_not_run_are_left_out() -> None:
    """A time that is a float and picks a row of a table, as in diffusion models."""

    class Timed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.inner = nn.Embedding(10, 6), Small()

        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            return self.inner(x + self.table((time * 50).long()))

    shrunk = shrink(seeded(Timed), (X, torch.tensor([0.02, 0.1, 0.18, 0.0])))
    own(shrunk)
    assert 1 <= shrunk.cut.proof.runs < 3


class Random(nn.Module):
    """Draws of every kind in the middle of a network."""

    def __init__(self, draw: str) -> None:
        super().__init__()
        self.inner, self.draw, self.out = Small(), draw, nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner.up(x)
        if self.draw == "noise":
            y = y + torch.randn_like(y) * torch.rand(y.shape[0], 1)
        elif self.draw == "dropout":
            y = F.dropout(y, 0.5, training=True)
        elif self.draw == "gumbel":
            y = F.gumbel_softmax(y, dim=-1)
        elif self.draw == "normal":
            y = y + torch.empty_like(y).normal_(0.0, 0.1) + y.new_empty(8).uniform_()
        elif self.draw == "bernoulli":
            y = y * torch.bernoulli(y.sigmoid())
        elif self.draw == "permutation":
            y = y[torch.randperm(y.shape[0])]
        elif self.draw == "integers":
            y = y + torch.randint(0, 3, (y.shape[0], 1))
        else:
            y = y[torch.multinomial(y.abs().sum(1), 4)]
        return self.out(self.inner.down(y))


@pytest.mark.parametrize(
    "draw",
    ["noise", "dropout", "gumbel", "normal", "bernoulli", "permutation", "integers", "multinomial"],
)
def test_network_that_draws_random_numbers_is_proven(draw: str) -> None:
    model = own(shrink(seeded(lambda: Random(draw)), X))
    assert model.out.in_features == 1
    assert model(X).shape == (4, 2)


def test_proof_leaves_the_random_state_of_a_deterministic_model_alone() -> None:
    net, selection, model = small()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Reference(net, selection).check(model)
    assert torch.equal(torch.get_rng_state(), before)


class Typed(nn.Module):
    """Code that asks for float32 and makes constants on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()
        self.scales = [torch.rand(8), torch.rand(8)]
        self.turn = torch.randn(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner.up(x).float() / torch.tensor(0.1)
        y = y.softmax(-1, dtype=torch.float32) * torch.tensor([0.3, 0.7])[:, None, None]
        y = (y + y.new_tensor(0.1) + torch.as_tensor(1 / 3)).sum(0).to(torch.float32)
        y = F.linear(y * self.scales[0] + self.scales[1], self.turn)
        return self.inner.down(y.type(torch.float32) + torch.zeros(8, dtype=torch.float32))


def test_code_that_asks_for_float32_is_proven_in_float64() -> None:
    net = trace(seeded(Typed), X)
    result = cut(net, Keep({}))
    assert result.fallback is None, result.fallback
    assert result.proof.max_error < 1e-14


def test_cut_of_a_model_that_keeps_plain_tensors_is_its_own_module() -> None:
    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.turn = Small(), torch.randn(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.inner(x), self.turn)

    model = own(shrink(seeded(Kept), X))
    assert model.turn.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_model_of_any_type_is_proven_in_float64(dtype: torch.dtype) -> None:
    shrunk = shrink(seeded(Small).to(dtype), X.to(dtype))
    assert own(shrunk).up.weight.dtype == dtype
    assert shrunk.cut.proof.dtype == "float64"
    assert shrunk.cut.proof.max_error < 1e-13


def test_proof_leaves_default_type_and_fast_path_as_they_were() -> None:
    net, selection, model = small()
    Reference(net, selection).check(model)
    assert torch.get_default_dtype() == torch.float32
    assert torch.backends.mha.get_fastpath_enabled()
    assert model.up.weight.dtype == torch.float32


def test_masked_original_is_the_original_with_zeros_where_sums_read_what_is_gone() -> None:
    """Independent of the graph: the hidden units are silenced by hand, the norm is over the others."""
    net, selection, _ = small()
    model = seeded(Small).double()
    (found,) = run_masked(net, selection, net.call.map(lambda leaf: leaf.double()))
    kept = list(selection.kept(net.tensors["up.bias"][0]) or ())
    hidden = model.up(X.double()).relu()[:, kept]
    hidden = F.layer_norm(hidden, (len(kept),), model.norm.weight[kept], model.norm.bias[kept])
    assert apart(found, F.linear(hidden, model.down.weight[:, kept], model.down.bias)) < 1e-13


def test_complex_outputs_are_compared() -> None:
    class Spectrum(Small):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.rfft(super().forward(x))

    net = trace(seeded(Spectrum), X)
    keep = Keep(every_other(net))
    selection, model = Selection(net, keep.kept), cut(net, keep).model
    with torch.no_grad():
        model.down.bias[1] += 1e-3
    assert not Reference(net, selection).check(model).passed


class Fourier(nn.Module):
    """Complex weights on the lowest frequencies, as Fourier neural operators have them."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 3)
        self.weight = nn.Parameter(torch.randn(8, 8, 2, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        modes = torch.fft.rfft(self.up(x).mT)
        kept = torch.zeros(len(x), self.weight.shape[1], modes.shape[-1], dtype=torch.cfloat)
        kept[..., :2] = torch.einsum("bit,iot->bot", modes[..., :2], self.weight)
        return self.down(torch.fft.irfft(kept, n=x.shape[1]).mT)


def test_cut_of_complex_weights_is_proven() -> None:
    shrunk = shrink(seeded(Fourier), torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0)))
    model = own(shrunk)
    assert model.weight.shape == (4, 4, 2)
    assert model.weight.dtype is torch.complex64
    selection = Selection(shrunk.net, shrunk.keep.kept)
    with torch.no_grad():
        model.weight[0, 0, 1] += 1e-6j
    assert not Reference(shrunk.net, selection).check(model).passed


class Quantised(nn.Module):
    """Weights rounded to a scale for each channel, as training that is aware of quantisation rounds them."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 3)
        self.register_buffer("scale", torch.rand(8) + 0.01)
        self.register_buffer("zero", torch.zeros(8, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.fake_quantize_per_channel_affine(self.up.weight, self.scale, self.zero, 0, -128, 127)
        return self.down(
            torch.fake_quantize_per_tensor_affine(F.linear(x, weight, self.up.bias), 0.1, 0, 0, 255)
        )


def test_cut_of_quantised_weights_is_proven_though_scales_are_single_precision() -> None:
    model = own(shrink(seeded(Quantised), X))
    assert (model.scale.shape, model.zero.shape) == ((4,), (4,))


def test_model_that_runs_in_no_wider_type_is_refused() -> None:
    class Single(Small):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y + torch.fused_moving_avg_obs_fake_quant(
                y, *(torch.ones(1, dtype=torch.int64) for _ in range(2)), torch.zeros(1), torch.ones(1),
                torch.ones(1), torch.zeros(1, dtype=torch.int32), 0.1, 0, 255, -1,
            )  # fmt: skip

    net = trace(seeded(Single), X)
    with pytest.raises(PenjingError, match="float64") as caught:
        cut(net, Keep({}))
    assert caught.value.code == "PJ204"


def test_complex_inputs_are_random_in_both_parts() -> None:
    class Modulus(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.down(self.up(x.real).relu() * self.up(x.imag))

    shrunk = shrink(seeded(Modulus), X.to(torch.cfloat))
    assert own(shrunk).up.out_features == 4
    assert shrunk.cut.proof.runs == 3


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_cut_of_a_weight_that_a_hook_computes_can_be_copied() -> None:
    layers = [nn.utils.weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 3)]
    model = own(shrink(seeded(lambda: nn.Sequential(*layers)), X))
    assert torch.equal(deepcopy(model)(X), model(X))


def test_both_forms_of_a_cut_are_proven_alike() -> None:
    net, selection, model = small()
    reference = Reference(net, selection)
    assert reference.check(rewrite(net, selection)).passed
    assert reference.check(model).passed
    spoiled = rewrite(net, selection)
    with torch.no_grad():
        spoil_order(spoiled)
    assert not reference.check(spoiled).passed
