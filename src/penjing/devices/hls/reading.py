"""What an hls4ml project says of itself: layers, reuse factors, widths and streams, in its own C++."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penjing.devices.hls.folding import BLOCK_BITS, BLOCK_BYTES, BLOCK_WORDS, Folded
from penjing.devices.refusal import existing, refused

_SHORT: Final = 16  # streams of so few words are shift registers, not block RAM


@dataclass(frozen=True)
class Layer:
    """One layer with weights.

    Attributes:
        folded: its multiplications.
        bits: of a weight.
    """

    folded: Folded
    bits: int


@dataclass(frozen=True)
class Stream:
    """A queue between two layers.

    Attributes:
        bits: of a word.
        depth: words.
    """

    bits: int
    depth: int

    @property
    def blocks(self) -> int:
        """Block RAMs that it takes."""
        if self.depth <= _SHORT:
            return 0
        return math.ceil(self.bits / BLOCK_BITS) * math.ceil(self.depth / BLOCK_WORDS)


@dataclass(frozen=True)
class Project:
    """A design as its files describe it.

    Attributes:
        layers: with weights, in order.
        streams: between layers, as deep as hls4ml makes them before anybody has simulated it.
    """

    layers: tuple[Layer, ...]
    streams: tuple[Stream, ...]

    @property
    def multipliers(self) -> int:
        """Of all layers; each takes one DSP at up to 18 bits, and none below 9."""
        return sum(one.folded.multipliers for one in self.layers)

    @property
    def weight_blocks(self) -> int:
        """Block RAMs that hold weights."""
        return sum(one.folded.blocks(one.bits) for one in self.layers)

    @property
    def stream_blocks(self) -> int:
        """Block RAMs that hold what is between layers."""
        return sum(one.blocks for one in self.streams)

    @property
    def memory_bytes(self) -> int:
        """Of all block RAMs that are taken, whole."""
        return (self.weight_blocks + self.stream_blocks) * BLOCK_BYTES

    @property
    def slowest_cycles(self) -> int:
        """Of the layer that takes longest: so often the design can take another input."""
        return max((one.folded.cycles for one in self.layers), default=0)


def read_project(path: Path) -> Project:
    """Reads the files of a project.

    Raises:
        PenjingError: PJ404, there is no such file; PJ405, it is no project.
    """
    try:
        with zipfile.ZipFile(existing(path)) as file:
            names = {Path(name).name: name for name in file.namelist() if name.startswith("firmware/")}
            texts = {name: file.read(names[name]).decode() for name in ("parameters.h", "defines.h")}
            (top,) = (name for name in file.namelist() if re.fullmatch(r"firmware/\w+\.cpp", name))
            code = file.read(top).decode()
        types = _types(texts["defines.h"])
        return Project(_layers(texts["parameters.h"], types), _streams(code, types))
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise refused("hls4ml", str(path), error) from error


def _types(text: str) -> dict[str, int]:
    """Bits of every type that is defined."""
    found = {}
    for number, count, name in re.findall(
        r"typedef (?:nnet::array<)?ap_u?(?:fixed|int)<(\d+)[^>]*>(?:, ([\d*]+)>)? (\w+);", text
    ):
        found[name] = int(number) * math.prod(int(one) for one in count.split("*") if one)
    return found


def _layers(text: str, types: Mapping[str, int]) -> tuple[Layer, ...]:
    """Every matrix that is multiplied by, with the positions of the convolution that it belongs to."""
    bodies = dict(re.findall(r"struct (\w+)(?: : nnet::\w+)? \{(.*?)\n\};", text, flags=re.DOTALL))
    kinds = dict(re.findall(r"struct (\w+) : nnet::(\w+)", text))
    layers = []
    for name, body in bodies.items():
        if kinds.get(name) != "dense_config":
            continue
        whole = bodies.get(name.removesuffix("_mult"), "") if name.endswith("_mult") else ""
        height, width = (_number(whole, key, 1) for key in ("out_height", "out_width"))
        folded = Folded(
            _number(body, "n_in"), _number(body, "n_out"), height * width, _number(body, "reuse_factor")
        )
        held = re.search(r"typedef (\w+) weight_t;", body)
        layers.append(Layer(folded, types[held[1]] if held else 0))
    return tuple(layers)


def _number(body: str, key: str, default: int | None = None) -> int:
    found = re.search(rf"static const unsigned {key} = (\d+);", body)
    if found is not None:
        return int(found[1])
    if default is None:
        raise ValueError(f"a layer without `{key}`")
    return default


def _streams(code: str, types: Mapping[str, int]) -> tuple[Stream, ...]:
    kinds = {name: kind for kind, name in re.findall(r"hls::stream<(\w+)> (\w+)\(", code)}
    depths = re.findall(r"#pragma HLS STREAM variable=(\w+) depth=(\d+)", code)
    return tuple(Stream(types[kinds[name]], int(depth)) for name, depth in depths)
