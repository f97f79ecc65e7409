"""Masks as data, and on modules."""

from __future__ import annotations

import io
import tempfile
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize

from penjing.compress.masks import Masks, apply, bake, held, masks_of, strip, weights, zero
from penjing.errors import PenjingError
from tests.compress.masks.models import Language, Tied, convolutional


def random_masks(model: nn.Module, share: float = 0.5, *, seed: int = 0) -> Masks:
    generator = torch.Generator().manual_seed(seed)
    return Masks(
        {
            name: torch.rand(one.tensor.shape, generator=generator) < share
            for name, one in weights(model)[0].items()
            if not isinstance(one.module, nn.LSTM)
        }
    )


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=3),
    st.integers(0, 99),
    st.sampled_from(["json", "safetensors"]),
)
def test_masks_survive_a_file_bit_for_bit(shapes: list[list[int]], seed: int, form: str) -> None:

    generator = torch.Generator().manual_seed(seed)
    masks = Masks({f"a.{i}": torch.rand(shape, generator=generator) < 0.5 for i, shape in enumerate(shapes)})
    with tempfile.TemporaryDirectory() as folder:
        assert Masks.load(masks.save(Path(folder) / f"m.{form}")) == masks


def test_masks_are_counted() -> None:
    masks = Masks({"a": torch.tensor([[True, False], [False, False]]), "b": torch.ones(4, dtype=torch.bool)})
    assert {name: (one.weights, one.kept, one.sparsity) for name, one in masks.counts.items()} == {
        "a": (4, 1, 0.75), "b": (4, 4, 0.0)
    }  # fmt: skip
    assert masks.sparsity == 3 / 8
    assert "75.00% zeros" in str(masks)
    assert Masks().sparsity == 0
    assert masks != Masks({"a": masks["a"], "b": ~masks["b"]})


@pytest.mark.parametrize(
    "content", ["", "{}", '{"format": "penjing-masks-1", "masks": {"a": {"shape": [9], "bits": ""}}}']
)
@pytest.mark.parametrize("name", ["m.json", "m.safetensors", "m.npz"])
def test_file_that_holds_no_masks_is_refused(tmp_path: Path, content: str, name: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(PenjingError) as caught:
        Masks.load(tmp_path / name)
    assert caught.value.code == "PJ814"


def test_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PenjingError, match="cannot be written"):
        Masks().save(tmp_path / "file" / "m.json")


def test_mask_that_is_none_is_refused() -> None:
    model = nn.Linear(2, 2)
    for masks in (
        {"weight": torch.ones(2, 2)},
        {"weight": torch.ones(3, 2) > 0},
        {"other": torch.ones(2, 2) > 0},
    ):
        with pytest.raises(PenjingError) as caught:
            apply(model, Masks(masks))
        assert caught.value.code == "PJ814"
        assert not parametrize.is_parametrized(model)


def test_applied_baked_and_stripped_are_inverse() -> None:
    torch.manual_seed(0)
    model = convolutional()
    before = deepcopy(model.state_dict())
    parameters = list(model.parameters())
    masks = random_masks(model)
    wanted = {name: value * masks[name] if name in masks else value for name, value in before.items()}

    apply(model, masks)
    assert masks_of(model) == masks
    assert {id(one) for one in model.parameters()} == {id(one) for one in parameters}
    x = torch.randn(2, 3, 6, 6)
    y = model.eval()(x)
    strip(model)
    assert list(model.state_dict()) == list(before)  # the same names in the same order
    assert same(model.state_dict(), before)

    bake(apply(model, masks))
    assert type(model[0]) is nn.Conv2d
    assert all(one is two for one, two in zip(model.parameters(), parameters, strict=True))
    assert same(model.state_dict(), wanted)
    assert not any(one[one == 0].signbit().any() for name, one in model.state_dict().items() if name in masks)
    assert masks_of(model) == masks
    assert torch.equal(model(x), y)

    other = convolutional()
    other.load_state_dict(before)
    assert torch.equal(zero(other, masks).eval()(x), y)


def test_mask_is_exact_even_where_what_lies_under_it_is_nan() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[float("nan"), 2.0]])
    apply(layer, {"weight": torch.tensor([[False, True]])})
    y = layer(torch.ones(1, 2))
    y.sum().backward()
    assert y.item() == 2.0
    assert layer.parametrizations.weight.original.grad.tolist() == [[0.0, 1.0]]


def test_gradients_of_masked_weights_are_zero_and_the_others_as_ever() -> None:
    model = convolutional()
    masks = random_masks(model)
    plain = zero(deepcopy(model), masks)
    apply(model, masks)
    x = torch.randn(2, 3, 6, 6)
    for one in (model, plain):
        one(x).square().sum().backward()
    for name, mask in masks.items():
        grad = model.get_submodule(name[:-7]).parametrizations.weight.original.grad
        assert torch.equal(grad, plain.get_parameter(name).grad * mask)
        assert bool((grad[~mask] == 0).all())


def test_second_mask_takes_the_place_of_the_first() -> None:
    model = convolutional()
    one, two = random_masks(model), random_masks(model, seed=1)
    apply(apply(model, one), two)
    assert masks_of(model) == two
    assert len(model[0].parametrizations.weight) == 1


def test_masked_model_can_be_copied_saved_and_moved() -> None:
    model = apply(convolutional(), random_masks(convolutional())).eval()
    x = torch.randn(2, 3, 6, 6)
    twin = deepcopy(model)
    assert torch.equal(twin(x), model(x))
    assert masks_of(twin) == masks_of(model)
    with torch.no_grad():
        twin[0].parametrizations.weight.original.zero_()
    assert not torch.equal(twin(x), model(x))  # a copy of its own
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    twin.load_state_dict(torch.load(file))
    assert torch.equal(twin(x), model(x))
    assert torch.equal(twin.double().float()(x), model(x))
    twin.train(not twin.training)


def test_masked_model_is_exported() -> None:
    model = apply(convolutional(), random_masks(convolutional())).eval()
    x = torch.randn(2, 3, 6, 6)
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x))
    import penjing as pj

    assert pj.trace(bake(deepcopy(model)), x).parameters == pj.trace(convolutional(), x).parameters


def test_tied_weights_stay_tied_and_are_masked_in_all_places() -> None:
    model = Tied()
    mask = torch.rand(8, 8) < 0.5
    x = torch.randn(3, 8)
    wanted = zero(deepcopy(model), {"two.weight": mask})(x)
    for name in ("one.weight", "two.weight"):
        own = apply(deepcopy(model), {name: mask})
        assert torch.equal(own(x), wanted)
        assert own.one.parametrizations.weight.original is own.two.parametrizations.weight.original
        assert len(list(own.parameters())) == 2
        assert list(masks_of(own)) == ["one.weight"]
        twin = bake(deepcopy(own))
        assert twin.one.weight is twin.two.weight
        assert torch.equal(twin(x), wanted)
        assert strip(own).one.weight is own.two.weight
        assert torch.equal(own(x), model(x))


def test_attention_is_masked_and_recurrent_layers_are_refused() -> None:
    """`nn.LSTM` reads its weights from a list of its own: a parametrization would do nothing."""
    torch.manual_seed(0)
    model = Language().eval()
    tokens = torch.randint(12, (2, 5))
    masks = random_masks(model)
    assert "attention.in_proj_weight" in masks
    masked = apply(deepcopy(model), masks)
    assert torch.equal(masked(tokens), zero(deepcopy(model), masks)(tokens))
    assert not torch.equal(masked(tokens), model(tokens))
    name = "memory.weight_hh_l0"
    recurrent = {name: torch.zeros(32, 8, dtype=torch.bool)}
    with pytest.raises(PenjingError, match=name) as caught:
        apply(masked, {**recurrent, "inner.weight": torch.zeros(8, 8) > 0})
    assert caught.value.code == "PJ815"
    assert masks_of(masked) == masks  # nothing was done
    assert bool((zero(masked, recurrent).memory.weight_hh_l0 == 0).all())


def test_weight_that_is_computed_is_refused() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.raises(PenjingError, match="cannot be masked") as caught:
        apply(model, {"0.weight": torch.ones(4, 4) > 0})
    assert caught.value.code == "PJ815"


def test_weights_are_found_and_the_others_have_a_reason() -> None:
    found, left = weights(Language())
    assert list(found) == [
        "attention.in_proj_weight", "attention.out_proj.weight", "memory.weight_ih_l0", "memory.weight_hh_l0",
        "inner.weight",
    ]  # fmt: skip
    assert left.keys() == {"words.weight", "places"}
    assert "looked up" in left["words.weight"]
    assert "token or a table" in left["places"]
    found, left = weights(
        Language(), keep=["memory", "attention.out*"], only=["attention", "memory", "head", "places"]
    )
    assert list(found) == ["places", "words.weight", "attention.in_proj_weight"]
    assert left["memory.weight_hh_l0"] == "kept whole, as asked"
    assert left["inner.weight"] == "not among those that were asked for"
    assert list(weights(apply(convolutional(), random_masks(convolutional())))[0]) == list(
        weights(convolutional())[0]
    )
    with pytest.raises(PenjingError, match="`inne` fits no parameter") as caught:
        weights(Language(), keep=["inne"])
    assert caught.value.code == "PJ816"


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9, centered=True),
}


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(4, 3, 6, 6)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_never_revives_a_weight(name: str) -> None:
    """Neither baked zeros that are held, nor masks; and both are the same training."""
    torch.manual_seed(0)
    model = convolutional()
    optimizer = OPTIMIZERS[name](model.parameters())
    trained(model, optimizer, 3)  # there is momentum, in every weight
    masks = random_masks(model)
    twin, state = deepcopy(model), deepcopy(optimizer.state_dict())
    zero(model, masks)
    with held(model, masks, optimizer):
        for _ in range(5):
            trained(model, optimizer, 1)
            for path, mask in masks.items():
                assert bool((model.get_parameter(path)[~mask] == 0).all())
                for value in optimizer.state[model.get_parameter(path)].values():
                    assert value.shape != mask.shape or bool((value[~mask] == 0).all())
    assert masks_of(model) == masks

    other = OPTIMIZERS[name](twin.parameters())
    other.load_state_dict(state)
    apply(twin, masks)
    for _ in range(5):
        trained(twin, other, 1)
    for one, two in zip(model.state_dict().values(), bake(twin).state_dict().values(), strict=True):
        torch.testing.assert_close(one, two)

    trained(model, optimizer, 1)  # no longer held: gradients are dense again
    assert masks_of(model) != masks


def test_held_sets_to_zero_what_is_not_yet() -> None:
    model = convolutional()
    masks = random_masks(model)
    with held(model, masks, torch.optim.SGD(model.parameters(), lr=0.1)):
        assert masks_of(model) == masks


def test_masks_of_a_copy_are_its_own() -> None:
    """A deep copy has the class that the original was given: neither may change it for the other."""
    masks = random_masks(convolutional())
    model = apply(convolutional(), masks).eval()
    x = torch.randn(2, 3, 6, 6)
    y = model(x)
    for change in (bake, strip):
        twin = deepcopy(model)
        change(twin)
        twin(x)
        assert torch.equal(model(x), y)
    attention = apply(Language(), {"attention.in_proj_weight": torch.ones(24, 8) > 0}).eval()
    twin = deepcopy(attention)
    bake(apply(twin, {"inner.weight": torch.ones(8, 8) > 0}))
    assert torch.equal(twin(torch.arange(5)[None]), attention(torch.arange(5)[None]))


def test_copy_may_be_masked_further_without_the_original() -> None:
    model = apply(nn.Linear(4, 4), {"weight": torch.ones(4, 4) > 0})
    twin = deepcopy(model)
    apply(twin, {"bias": torch.zeros(4) > 0})
    assert isinstance(model.bias, nn.Parameter)
    assert bool((twin.bias == 0).all())
    assert type(bake(twin)) is type(bake(model)) is nn.Linear


class Noisy(torch.optim.SGD):
    """Moves every weight, whatever its gradient."""

    def step(self, closure: object = None) -> None:
        super().step()
        with torch.no_grad():
            for group in self.param_groups:
                for weight in group["params"]:
                    weight.add_(torch.randn_like(weight), alpha=0.01)


def test_weights_are_held_also_against_steps_without_a_gradient() -> None:
    model = convolutional()
    masks = random_masks(model)
    optimizer = Noisy(model.parameters(), lr=0.1)
    with held(model, masks, optimizer):
        trained(model, optimizer, 3)
        assert masks_of(model) == masks
