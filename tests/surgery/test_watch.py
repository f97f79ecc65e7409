"""One watched run: which attributes of the user's modules reach which calls, and where these stand."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from penjing.network import trace
from penjing.surgery.tracked import Tracked, expression_of, origins
from penjing.surgery.watch import Watch, watch
from tests.surgery.shrink import seeded

Sizes = set[tuple[str, str]]


def watched(model: nn.Module, inputs: Any) -> Watch:
    return watch(trace(model.eval(), inputs))


def reaching(seen: Watch, *functions: str) -> Sizes:
    """(module path, attribute) of every remembered size that reaches a call of these functions."""
    return sizes_in(
        number
        for sighting in seen.sightings
        if not functions or sighting.place.function in functions
        for number in sighting.numbers.values()
    )


def sizes_in(numbers: Iterable[Any]) -> Sizes:
    leaves = [leaf for n in numbers if isinstance(n, int) for leaf in origins(expression_of(n))]
    return {(leaf.origin[1], ".".join(leaf.origin[2:])) for leaf in leaves if leaf.origin[0] == "attribute"}


class Attention(nn.Module):
    """As in timm: the head width is kept beside the number of heads."""

    def __init__(self, dim: int = 16, num_heads: int = 4) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = (q * self.scale) @ k.transpose(-2, -1)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c))


class Computed(nn.Module):
    """As in nanoGPT: sizes are computed where they are used."""

    def __init__(self, n_embd: int = 16, n_head: int = 4) -> None:
        super().__init__()
        self.n_head, self.n_embd = n_head, n_embd
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        q = q.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        v = v.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))


X = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))


def test_watch_sees_heads_and_head_width_of_an_attention() -> None:
    assert reaching(watched(Attention(), X), "reshape") == {("", "num_heads"), ("", "head_dim")}


def test_watch_sees_sizes_computed_where_they_are_used() -> None:
    seen = watched(Computed(), X)
    assert reaching(seen, "split") == {("", "n_embd")}
    assert reaching(seen, "view") == {("", "n_head")}
    widths = [s.numbers[0, 4] for s in seen.sightings if s.place.function == "view" and (0, 4) in s.numbers]
    assert len(widths) == 3
    for width in widths:
        kinds = {leaf.origin[0] for leaf in origins(expression_of(width))}
        assert kinds == {"shape", "attribute"}


def test_watch_knows_modules_by_their_paths() -> None:
    model = nn.Sequential(Attention(), nn.Identity(), Computed())
    seen = watched(model, X)
    assert reaching(seen, "reshape") == {("0", "num_heads"), ("0", "head_dim")}
    assert reaching(seen, "split") == {("2", "n_embd")}
    assert {s.module for s in seen.sightings if s.place.function == "linear"} == {
        "0.qkv",
        "0.proj",
        "2.c_attn",
        "2.c_proj",
    }


def test_watch_sees_groups_of_convolutions_and_of_group_norm() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.GroupNorm(4, 8), nn.Conv2d(8, 8, 1, groups=8))
    seen = watched(model, torch.randn(1, 4, 5, 5))
    assert ("0", "groups") in reaching(seen, "conv2d")
    assert ("2", "groups") in reaching(seen, "conv2d")
    assert reaching(seen, "group_norm") == {("1", "num_groups")}


def test_watch_sees_every_entry_of_a_tuple_apart() -> None:
    model = nn.Sequential(nn.LayerNorm((6, 16)), nn.Flatten(1), nn.Unflatten(1, (6, 16)))
    seen = watched(model, X)
    assert reaching(seen, "layer_norm") == {("0", "normalized_shape.[0]"), ("0", "normalized_shape.[1]")}
    assert reaching(seen, "unflatten") >= {("2", "unflattened_size.[0]"), ("2", "unflattened_size.[1]")}


def test_watch_sees_the_heads_of_multihead_attention() -> None:
    seen = watched(nn.MultiheadAttention(16, 4, batch_first=True), (X, X, X))
    assert reaching(seen, "multi_head_attention_forward") >= {("", "num_heads"), ("", "embed_dim")}


def test_watch_sees_which_remembered_sizes_the_code_found_equal() -> None:
    class Strict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(16, 8)
            self.width = 8
            self.out = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.inner(x)
            if y.shape[-1] != self.width:
                raise ValueError("width")
            assert self.width == self.out.in_features
            return self.out(y)

    seen = watched(Strict(), X)
    pairs = [sizes_in(pair) for pair in seen.equal if all(isinstance(n, Tracked) for n in pair)]
    assert {("", "width")} in pairs
    assert {("", "width"), ("out", "in_features")} in pairs


def test_watch_tells_apart_modules_that_share_their_settings() -> None:
    class Block(nn.Module):
        def __init__(self, config: Any) -> None:
            super().__init__()
            self.config = config
            self.up = nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            b, n, _ = x.shape
            return self.up(x).view(b, n, self.config.heads, -1).flatten(2)

    settings = types.SimpleNamespace(heads=4, name="tiny")
    model = nn.Sequential(Block(settings), Block(settings))
    seen = watched(model, X)
    assert reaching(seen, "view") == {("0", "config.heads"), ("1", "config.heads")}
    assert model[0].config is model[1].config is settings
    assert type(settings.heads) is int


def test_watch_counts_calls_of_a_shared_module_apart() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = Attention()

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(self.attention(x))

    seen = watched(Twice(), X)
    turns = [(s.turn, s.place) for s in seen.sightings if s.place.function == "reshape"]
    assert [turn for turn, _ in turns] == [1, 1, 2, 2]
    assert turns[0][1] == turns[2][1] != turns[1][1]


def test_watch_places_calls_at_the_users_expressions() -> None:
    seen = watched(Computed(), X)
    views = [s.place for s in seen.sightings if s.place.function == "view"]
    assert [place.text for place in views] == [
        "k.view(b, t, self.n_head, c // self.n_head)",
        "q.view(b, t, self.n_head, c // self.n_head)",
        "v.view(b, t, self.n_head, c // self.n_head)",
        "y.transpose(1, 2).contiguous().view(b, t, c)",
    ]
    assert {place.code for place in views} == {"forward"}
    assert {place.occurrence for place in views} == {0}


def test_watch_numbers_calls_of_one_line() -> None:
    class Line(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return sum(part.view(2, 48) for part in (x, x + 1))  # type: ignore[return-value]

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.scale = Line(), Line(), nn.Parameter(torch.ones(6, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x * self.scale) + self.second(x)

    seen = watched(Both(), torch.randn(2, 6, 8))
    views = [(s.module, s.place.occurrence) for s in seen.sightings if s.place.function == "view"]
    assert views == [("first", 0), ("first", 1), ("second", 0), ("second", 1)]


def source(lines_above: int) -> Callable[[Tensor], Tensor]:
    scope: dict[str, Any] = {}
    text = "def fold(x):\n    return x.reshape(\n        2,\n        -1,\n    )\n"
    exec(compile("\n" * lines_above + text, "<moved>", "exec"), scope)
    found: Callable[[Tensor], Tensor] = scope["fold"]
    return found


def test_watch_gives_a_call_the_same_place_wherever_its_function_stands_in_the_file() -> None:
    class Folded(nn.Module):
        def __init__(self, lines_above: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(16))
            self.fold = source(lines_above)

        def forward(self, x: Tensor) -> Tensor:
            return self.fold(x * self.scale)

    places = []
    for lines_above in (0, 40):
        seen = watched(Folded(lines_above), X)
        places += [s.place for s in seen.sightings if s.place.function == "reshape"]
    assert places[0] == places[1]
    assert places[0].code == "fold"


def test_watch_looks_through_functions_that_torch_writes_in_python() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(16, 4))

        def forward(self, x: Tensor) -> Tensor:
            y = torch.einsum("bnc,cd->bnd", x, self.w)
            y = F.layer_norm(y, (4,))
            one, other = torch.split(y, 2, dim=-1)
            return torch.cat(y.split(2, -1), -1) + torch.cat([other, one], -1)

    seen = watched(Mixed(), X)
    found = {
        s.place.function: s.place
        for s in seen.sightings
        if s.place.function in ("einsum", "layer_norm", "split", "cat")
    }
    assert len(found) == 4
    assert {place.code for place in found.values()} == {"forward"}
    assert found["layer_norm"].text == "F.layer_norm(y, (4,))"


def test_watch_leaves_the_model_and_the_process_as_they_were() -> None:
    model = seeded(lambda: nn.Sequential(Attention(), nn.MultiheadAttention(16, 4), nn.LayerNorm(16)))
    model.forward = types.MethodType(lambda self, x: self[2](self[1](self[0](x), x, x)[0]), model)
    flags = torch.compiler._is_compiling_flag, torch.compiler._is_exporting_flag
    before = {path: dict(vars(module)) for path, module in model.named_modules()}

    watched(model, X)

    assert (torch.compiler._is_compiling_flag, torch.compiler._is_exporting_flag) == flags
    assert torch.backends.mha.get_fastpath_enabled()
    for path, module in model.named_modules():
        assert vars(module).keys() == before[path].keys()
        assert all(value is before[path][name] for name, value in vars(module).items())
        assert type(vars(module).get("num_heads", 1)) is int
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        pytest.param("hf_llama", {"head_dim"}, id="llama"),
        pytest.param("hf_gpt2", {"split_size", "head_dim"}, id="gpt2"),
        pytest.param("hf_bert", {"attention_head_size"}, id="bert"),
    ],
)
def test_watch_sees_the_sizes_of_attention_in_transformers(build: str, expected: set[str]) -> None:
    from tests.zoo.models.hf import HF_ENTRIES

    entry = next(entry for entry in HF_ENTRIES if entry.name == build)
    seen = watched(entry.build(), entry.inputs())
    found = {name for path, name in reaching(seen, "view", "split", "reshape") if "att" in path}
    assert found >= expected
