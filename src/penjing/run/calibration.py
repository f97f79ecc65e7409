"""A latency model of one network: fitted to a few whole networks that are cut from it and measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penjing.devices import Artifact, CostModel, Measuring
from penjing.plan import Plan
from penjing.recover import Watch
from penjing.run.bench import Bench
from penjing.surgery import cut

NETWORKS = 10
"""How many are measured, the original included."""


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

        def build(counts: Mapping[str, int]) -> Path:
            """Which units stay makes no difference to the time."""
            kept = {name: tuple(range(count)) for name, count in counts.items()}
            small = cut(net, Plan(kept=kept)).model
            made.append(bench.export(small, bench.folder / f"calibration-{len(made)}.onnx"))
            advance()
            return made[-1].path

        model = CostModel.calibrate(net, device, build, networks=NETWORKS, seed=seed)
    for artifact in made:
        bench.discard(artifact)
    return model
