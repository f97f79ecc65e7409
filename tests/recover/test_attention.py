from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from penjing.errors import PenjingError
from penjing.recover.attention import Attention, attention_loss, attention_map


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


MASK = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]], dtype=torch.bool)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"is_causal": True}, {"attn_mask": MASK}, {"attn_mask": draw(5, 4)}, {"scale": 0.9},
        {"attn_mask": torch.zeros(5, 4).masked_fill(~MASK, float("-inf"))},
    ],
    ids=["plain", "causal", "mask", "bias", "scale", "infinite"],
)  # fmt: skip
def test_attention_map_is_what_torch_gives_for_unit_values(options: dict[str, Any]) -> None:
    q, k, v = draw(2, 3, 5, 8), draw(2, 3, 4, 8), torch.eye(4).expand(2, 3, 4, 4)
    expected = F.scaled_dot_product_attention(q, k, v, **options).mean(1)
    torch.testing.assert_close(attention_map(q, k, v, **options), expected)


def test_attention_map_shares_keys_among_queries() -> None:
    q, k, v = draw(2, 6, 5, 8), draw(2, 2, 4, 8), torch.eye(4).expand(2, 2, 4, 4)
    expected = F.scaled_dot_product_attention(q, k, v, enable_gqa=True).mean(1)
    torch.testing.assert_close(attention_map(q, k, v, enable_gqa=True), expected)


def test_attention_map_is_a_distribution_where_a_query_sees_nothing() -> None:
    q, k = draw(1, 1, 2, 4), draw(1, 1, 3, 4)
    found = attention_map(q, k, k, attn_mask=torch.zeros(2, 3, dtype=torch.bool))
    torch.testing.assert_close(found, torch.full((1, 2, 3), 1 / 3))


class WrittenOut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        q = x.unflatten(-1, (2, 4)).transpose(1, 2)
        return (q @ q.transpose(-2, -1)).softmax(-1) @ q


def modules() -> dict[str, tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]:
    x = draw(3, 5, 8)
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    mha = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    return {
        "encoder layer": (layer, (x,), {}),
        "weights": (mha, (x, x, x), {}),
        "weights of heads": (mha, (x, x, x), {"average_attn_weights": False}),
        "no weights": (mha, (x, x, x), {"need_weights": False}),
        "one sample": (mha, (x[0], x[0], x[0]), {}),
        "written out": (WrittenOut(), (x,), {}),
    }


@pytest.mark.parametrize("name", modules())
def test_attention_is_seen_and_changes_nothing(name: str) -> None:
    module, args, kwargs = modules()[name]
    expected = module(*args, **kwargs)
    with Attention() as seen:
        found = module(*args, **kwargs)
    torch.testing.assert_close(found, expected)
    (one,) = seen.maps
    assert one.shape == ((1 if name == "one sample" else 3), 5, 5)
    torch.testing.assert_close(one.sum(-1), torch.ones(one.shape[:2]))
    if name == "weights":
        torch.testing.assert_close(one, expected[1])


def test_attention_of_a_model_in_training_carries_gradients() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    with Attention() as seen:
        layer(draw(3, 5, 8))
    seen.maps[0][0, 0, 0].backward()
    assert layer.self_attn.in_proj_weight.grad is not None
    assert layer.self_attn.in_proj_weight.grad.abs().sum() > 0


def test_attention_loss_is_the_divergence_of_the_last_maps() -> None:
    mine, theirs = draw(2, 3, 4).softmax(-1), draw(3, 2, 4).reshape(2, 3, 4).softmax(-1)
    p, q = theirs.double().numpy(), mine.double().numpy()
    expected = (p * np.log(p / q)).sum(-1).mean()
    assert attention_loss([theirs, mine], [theirs]).item() == pytest.approx(expected, rel=1e-5)
    assert attention_loss([mine], [mine]).item() == 0


def test_attention_loss_is_finite_where_keys_are_masked() -> None:
    q = draw(1, 1, 5, 8).requires_grad_()
    map_ = attention_map(q, draw(1, 1, 4, 8), q, attn_mask=MASK)
    loss = attention_loss(
        [map_], [attention_map(draw(1, 1, 6, 8)[:, :, :5], draw(1, 1, 4, 8), q, MASK).detach()]
    )
    loss.backward()
    assert loss.isfinite()
    assert q.grad is not None
    assert bool(q.grad.isfinite().all())


@pytest.mark.parametrize(
    ("mine", "theirs", "says"),
    [
        ([], [torch.ones(1, 2, 2)], "cut model runs no attention"),
        ([torch.ones(1, 2, 2)], [], "original runs no attention"),
        ([torch.ones(1, 2, 2)], [torch.ones(1, 2, 3)], r"\(1, 2, 2\), that of the original \(1, 2, 3\)"),
    ],
    ids=["student", "teacher", "shape"],
)
def test_attention_loss_refuses_what_cannot_be_compared(
    mine: list[Tensor], theirs: list[Tensor], says: str
) -> None:
    with pytest.raises(PenjingError, match="PJ317") as caught:
        attention_loss(mine, theirs)
    assert caught.match(says)
