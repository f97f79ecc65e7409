"""`pj.sparsify`: zeros, a record that counts them, and wishes that are refused."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from threading import Lock
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

import penjing as pj
from penjing.compress.masks import Below, Block, Masks, Sparsity, masks_of
from penjing.errors import PenjingError
from tests.compress.masks.models import Language, convolutional


def loss(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
    return F.cross_entropy(outputs, batch[1])


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return convolutional().eval()


X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
DATA = [(X + i, torch.randint(4, (2,), generator=torch.Generator().manual_seed(i))) for i in range(3)]


def zeros(model: nn.Module) -> dict[str, int]:
    return {name: int((p == 0).sum()) for name, p in model.named_parameters() if p.ndim > 1}


@pytest.mark.parametrize("bake", [True, False])
def test_model_is_copied_and_its_zeros_are_those_of_torch(model: nn.Sequential, bake: bool) -> None:
    before = deepcopy(model.state_dict())
    found = pj.sparsify(model, sparsity=0.8, bake=bake)
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    twin = deepcopy(model)
    pairs = [(one, "weight") for one in twin if isinstance(one, nn.Linear | nn.Conv2d)]
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.8)
    assert torch.equal(found.model(X), twin(X))
    assert isinstance(found.model[0], nn.Conv2d)
    assert (type(found.model[0]) is nn.Conv2d) == bake
    assert masks_of(found.model) == found.masks
    total = sum(one.numel() for one in model.parameters() if one.ndim > 1)
    assert (
        found.record.removed == round(0.8 * total) == sum(int((~one).sum()) for one in found.masks.values())
    )
    assert found.record.sparsity == found.masks.sparsity
    assert found.record.parameters == sum(one.numel() for one in model.parameters())
    for one in found.record.layers:
        assert one.kept == int(found.masks[one.name].sum())
        assert one.shape == tuple(model.get_parameter(one.name).shape)
    assert f"{found.record.removed} of" in str(found.record)
    assert type(found.record).model_validate_json(found.record.model_dump_json()) == found.record


@pytest.mark.parametrize(
    "pattern", ["unstructured", "2:4", "rows", "columns", "kernels", "4x1", Block((2, 2))]
)
@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "wanda", "random"])
def test_every_pattern_goes_with_every_criterion(model: nn.Sequential, pattern: Any, criterion: str) -> None:
    wanted = None if pattern == "2:4" else 0.5
    scope = None if pattern == "2:4" else "layer"
    found = pj.sparsify(
        model,
        X,
        sparsity=wanted,
        scope=scope,
        pattern=pattern,
        criterion=criterion,
        data=DATA,
        loss=loss,
        bake=True,
    )
    assert found.masks
    for name, mask in found.masks.items():
        assert float(mask.float().mean()) == pytest.approx(0.5, abs=0.26), name
    notes = {one.name: one.note for one in found.record.layers if one.note}
    assert notes.keys() == {one.name for one in found.record.layers} - found.masks.keys()
    if pattern == "2:4":
        assert notes.keys() == {"0.weight"}
        assert found.record.sparsity == 0.5
    assert found.record.criterion == criterion
    assert bool(found.model(X).isfinite().all())


def test_same_call_gives_the_same_masks(model: nn.Sequential) -> None:
    for criterion in ("random", "wanda", "taylor"):
        one, two = (pj.sparsify(model, X, criterion=criterion, data=iter(DATA), loss=loss) for _ in range(2))
        assert one.masks == two.masks


def test_keep_and_only_leave_weights_with_their_reason(model: nn.Sequential) -> None:
    found = pj.sparsify(model, sparsity=0.5, keep=["9"])
    assert "9.weight" not in found.masks
    assert {one.name: one.note for one in found.record.layers}["9.weight"] == "kept whole, as asked"
    assert list(pj.sparsify(model, sparsity=0.5, only=["7.weight"]).masks) == ["7.weight"]


def test_what_is_zero_already_goes_first(model: nn.Sequential) -> None:
    once = pj.sparsify(model, sparsity=0.5)
    for criterion in ("magnitude", "random", "taylor"):
        twice = pj.sparsify(once.model, X, sparsity=0.7, criterion=criterion, data=DATA, loss=loss)
        assert twice.masks.sparsity == pytest.approx(0.7, abs=1e-3)
        assert not any(bool((twice.masks[name] & ~once.masks[name]).any()) for name in once.masks)


def test_masks_hold_under_training(model: nn.Sequential) -> None:
    found = pj.sparsify(model, pattern="1:4")
    optimizer = torch.optim.AdamW(found.model.parameters(), lr=0.1, weight_decay=0.1)
    for batch in DATA:
        optimizer.zero_grad()
        loss(found.model(batch[0]), batch).backward()
        optimizer.step()
    assert masks_of(found.model) == found.masks


def test_recurrent_weights_are_zeroed_and_noted() -> None:
    torch.manual_seed(0)
    model = Language().eval()
    found = pj.sparsify(model, sparsity=0.6, scope="layer")
    notes = {one.name: one.note for one in found.record.layers}
    assert "past parametrizations" in notes["memory.weight_hh_l0"]
    assert "looked up" in notes["words.weight"]
    assert masks_of(found.model) == found.masks
    baked = pj.sparsify(model, sparsity=0.6, scope="layer", bake=True)
    tokens = torch.arange(5)[None]
    assert torch.equal(found.model(tokens), baked.model(tokens))
    assert found.record.sparsity == pytest.approx(0.6, abs=0.01)


def emptied(model: nn.Sequential) -> nn.Sequential:
    model[7].weight.data.zero_()
    return model


def spoiled(model: nn.Sequential) -> nn.Sequential:
    model[7].weight.data[0, 0] = float("inf")
    return model


def locked(model: nn.Sequential) -> nn.Sequential:
    model.lock = Lock()
    return model


REFUSED: dict[str, tuple[Callable[[nn.Sequential], Any], str]] = {
    "no module": (lambda m: pj.sparsify("model"), "PJ105"),  # type: ignore[arg-type]
    "text for names": (lambda m: pj.sparsify(m, keep="9"), "PJ106"),
    "no such name": (lambda m: pj.sparsify(m, keep=["head"]), "PJ816"),
    "nothing left": (lambda m: pj.sparsify(m, keep=["*"]), "PJ816"),
    "all": (lambda m: pj.sparsify(m, sparsity=1.0), "PJ811"),
    "nothing": (lambda m: pj.sparsify(m, sparsity=0.0), "PJ812"),
    "a threshold too low": (lambda m: pj.sparsify(m, rule=Below(1e-12)), "PJ812"),
    "a layer would be empty": (lambda m: pj.sparsify(m, rule=Below(10)), "PJ812"),
    "no such pattern": (lambda m: pj.sparsify(m, pattern="2/4"), "PJ811"),
    "pattern and share": (lambda m: pj.sparsify(m, pattern="2:4", sparsity=0.9), "PJ811"),
    "pattern and scope": (lambda m: pj.sparsify(m, pattern="2:4", scope="layer"), "PJ811"),
    "rule and share": (lambda m: pj.sparsify(m, sparsity=0.5, rule=Sparsity(0.5)), "PJ811"),
    "no such scope": (lambda m: pj.sparsify(m, scope="all"), "PJ811"),
    "unsuited": (lambda m: pj.sparsify(m, pattern="2:4", unsuited="refuse"), "PJ810"),
    "no such criterion": (lambda m: pj.sparsify(m, criterion="magnitud"), "PJ301"),
    "units": (lambda m: pj.sparsify(m, X, criterion="obs", data=DATA), "PJ818"),
    "no data": (lambda m: pj.sparsify(m, X, criterion="wanda"), "PJ302"),
    "no example": (lambda m: pj.sparsify(m, criterion="wanda", data=DATA), "PJ302"),
    "sparsegpt, layers that compete": (
        lambda m: pj.sparsify(m, X, criterion="sparsegpt", scope="global"),
        "PJ811",
    ),
    "sparsegpt, blocks": (
        lambda m: pj.sparsify(m, X, criterion="sparsegpt", pattern="4x1", data=DATA),
        "PJ811",
    ),
    "sparsegpt, no data": (lambda m: pj.sparsify(m, X, criterion="sparsegpt"), "PJ302"),
    "sparsegpt, unsuited": (
        lambda m: pj.sparsify(m, X, criterion="sparsegpt", pattern="2:4", data=DATA, unsuited="refuse"),
        "PJ810",
    ),
    "sparsegpt, zeros": (
        lambda m: pj.sparsify(pj.sparsify(m, sparsity=0.5).model, X, criterion="sparsegpt", data=DATA),
        "PJ818",
    ),
    "text for a share": (lambda m: pj.sparsify(m, sparsity="0.9"), "PJ106"),  # type: ignore[arg-type]
    "no such way": (lambda m: pj.sparsify(m, pattern="2:4", unsuited="drop"), "PJ306"),  # type: ignore[arg-type]
    "zeros": (lambda m: pj.sparsify(emptied(m)), "PJ813"),
    "infinite": (lambda m: pj.sparsify(spoiled(m)), "PJ104"),
    "a lock": (lambda m: pj.sparsify(locked(m)), "PJ804"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wish_that_cannot_be_met_is_one_clear_error(model: nn.Sequential, case: str) -> None:
    call, code = REFUSED[case]
    with pytest.raises(PenjingError) as caught:
        call(model)
    assert caught.value.code == code, caught.value


def test_masks_of_a_result_survive_a_file(model: nn.Sequential, tmp_path: Any) -> None:
    found = pj.sparsify(model, pattern="2:4")
    assert Masks.load(found.masks.save(tmp_path / "masks.safetensors")) == found.masks


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_types_of_numbers_stay_and_ranks_are_those_of_the_values(dtype: torch.dtype, pattern: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to(dtype)
    options = {} if pattern == "2:4" else {"sparsity": 0.5}
    found = pj.sparsify(model, pattern=pattern, keep=None, **options)
    assert found.model[0].weight.dtype == dtype
    assert found.masks == pj.sparsify(model.double(), pattern=pattern, **options).masks
    assert found.model(torch.ones(1, 8, dtype=dtype)).dtype == dtype


def test_model_stays_in_its_mode(model: nn.Sequential) -> None:
    for training in (True, False):
        found = pj.sparsify(model.train(training), X, criterion="wanda", data=DATA)
        assert all(one.training == training for one in (*found.model.modules(), *model.modules()))
