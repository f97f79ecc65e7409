"""A latency model of one network: fitted to a few whole networks that are cut from it and measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penjing.devices import Artifact, CostModel, Measuring
from penjing.plan import Plan
from penjing.recover import Watch
from penjing.run.bench import Bench
from penjing.run.spread import cores, room_for, spread
from penjing.surgery import cut

NETWORKS = 12
"""How many are measured, the original included."""

_COPIES = 6
"""Times a network's weights that making and exporting a smaller one may hold at once."""


def calibrate(bench: Bench, *, seed: int, watch: Watch) -> CostModel:
    """Cuts, exports and measures networks of random widths, and fits; those measured before are remembered.

    Args:
        bench: of the original, on a device that measures.
        seed: of the choice of widths.
        watch: told of every network.
    """
    device, net = bench.device, bench.net
    assert isinstance(device, Measuring)
    made: list[Artifact] = []
    with watch.track("networks to calibrate with", NETWORKS) as advance:

        def build(chosen: Sequence[Mapping[str, int]]) -> list[Path]:
            made.extend(_exported(bench, chosen, advance))
            return [artifact.path for artifact in made]

        model = CostModel.calibrate(net, device, build, networks=NETWORKS, seed=seed)
    for artifact in made:
        bench.discard(artifact)
    return model


def _exported(bench: Bench, chosen: Sequence[Mapping[str, int]], advance: Any) -> list[Artifact]:
    """Artifacts of the networks of these widths, on all cores where they are ONNX files."""

    def one(place: int) -> Artifact:
        """Which units stay makes no difference to the time."""
        kept = {name: tuple(range(count)) for name, count in chosen[place].items()}
        small = cut(bench.net, Plan(kept=kept)).model
        return bench.export(small, bench.folder / f"calibration-{place}.onnx")

    start = time.perf_counter()
    made = {0: one(0)}
    advance()
    took, others = time.perf_counter() - start, range(1, len(chosen))
    weights = sum(tensor.numel() * tensor.element_size() for tensor in bench.net.model.state_dict().values())
    workers = min(cores(), room_for(_COPIES * weights)) if bench.device.form == "onnx" else 1
    for place, artifact in spread(one, others, workers=workers, patience_s=60 + 10 * took):
        made[others[place]] = artifact
        advance()
    for place in others:
        if place not in made:
            made[place] = one(place)
            advance()
    return [made[place] for place in range(len(chosen))]
