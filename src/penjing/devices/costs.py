"""What a network of any widths will take on a device: fitted to a few whole networks that were measured."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from penjing.devices.cache import Cache
from penjing.devices.clock import Basis
from penjing.devices.fit import Rates, Row, fit, priced
from penjing.devices.fusion import folded
from penjing.devices.matching import Signature, signature_of, times_by_signature
from penjing.devices.measurement import Measurement
from penjing.devices.measuring import Measuring
from penjing.devices.stairs import Stairs
from penjing.devices.terms import Terms, terms_of
from penjing.devices.widths import Counts, alignments, sample
from penjing.errors import PenjingError
from penjing.network import Network, Operator

Build = Callable[[Sequence[Mapping[str, int]]], Sequence[Path]]

_PART: Final = 0.2
"""What the share of some operators counts beside the whole network: profiles are coarse."""

_NEAR: Final = 2.0
"""What a network that was measured on the way to the goal counts beside one of the calibration."""


@dataclass(frozen=True)
class Sample:
    """A network that was measured.

    Attributes:
        counts: its widths.
        ms: what it took.
        nodes: what its convolutions and matrix products took, in ms, by what they compute; a part of `ms`.
        weight: how much it counts in the fit.
    """

    counts: Counts
    ms: float
    nodes: Mapping[Signature, float] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True)
class CostError:
    """How far predictions were from measured networks that the fit had not seen (leave one out), relative.

    Attributes:
        median: of the absolute relative errors.
        worst: the largest of them.
        networks: how many there were.
    """

    median: float
    worst: float
    networks: int


@dataclass(frozen=True)
class OperatorCost:
    """One operator's part in the latency of a network.

    Attributes:
        name: of the operator.
        module: that called it.
        target: e.g. `aten.conv2d.default`.
        ms: by the fitted rates.
        share: of the whole network's.
        measured_ms: what the runtime measured for such an operator in a calibration network, or None.
        folds: operators that the runtime computes together with this one.
        output: shape of its first output.
    """

    name: str
    module: str
    target: str
    ms: float
    share: float
    measured_ms: float | None
    folds: tuple[str, ...]
    output: tuple[int, ...]


class CostModel:
    """Predicts the latency of a network at any choice of widths.

    Every operator's time is a sum of quantities (multiply-accumulates over padded channels, bytes, calls:
    `terms`) at rates that are fitted to whole networks, since single operators timed alone do not add up to
    a network.
    """

    def __init__(self, net: Network, stairs: Stairs, samples: Sequence[Sample], basis: Basis) -> None:
        """Fits rates to `samples`; use `calibrate` to measure them.

        Args:
            net: the network.
            stairs: of the device.
            samples: at least one, in which the original network is `{}`.
            basis: the clock that the samples were read by.
        """
        self.basis: Basis = basis
        self._stairs, self._samples = stairs, list(samples)
        self._steps = alignments(net, stairs)
        self._folded = folded(net.operators)
        self._operators = [operator for operator in net.operators if operator.name not in self._folded]
        together: dict[tuple[str, ...], list[Operator]] = defaultdict(list)
        for operator in self._operators:
            together[tuple(sorted(operator.depends))].append(operator)
        self._groups = list(together.items())
        self._prices: list[dict[tuple[int | None, ...], float]] = []
        self._refit()

    @classmethod
    def calibrate(
        cls,
        net: Network,
        device: Measuring,
        build: Build,
        *,
        networks: int = 12,
        axes: Sequence[str] | None = None,
        seed: int = 0,
        cache: Cache | None = None,
        limit_s: float = 30.0,
    ) -> CostModel:
        """Measures the original and randomly narrowed networks on `device`, and fits.

        Args:
            net: the network.
            device: what to measure on.
            build: makes the artifacts of networks that keep so many units of each axis, one a network.
            networks: how many to measure, the original included; more are more exact.
            axes: names of the axes to vary; all that may be cut where it is None.
            seed: of the choice of widths.
            cache: where measurements are kept; networks that are in it are not built again.
            limit_s: seconds for the timing.

        Raises:
            PenjingError: PJ407, too few networks; PJ404 or PJ405 from `device.measure`.
        """
        if networks < 2:
            raise PenjingError(
                "PJ407", f"{networks} networks are too few to calibrate with", tries=["networks=12"]
            )
        cache = cache or Cache()
        stairs = device.stairs(cache)
        steps = {name: step for name, step in alignments(net, stairs).items() if axes is None or name in axes}
        odd = stairs.conv_even > 1 or stairs.depthwise_even > 1
        chosen = sample(net, steps, networks=networks, odd=odd, seed=seed)
        subject = f"costs-beside-{device.fingerprint.key()}-{signature(net)}"
        known = {_key(entry["counts"]): entry for entry in cache.load(subject).get("networks", [])}
        if not all(_key(counts) in known for counts in chosen):
            entries = _measure(net, device, build(chosen), chosen, limit_s)
            known |= {_key(entry["counts"]): entry for entry in entries}
            cache.save(subject, {"device": device.record(), "networks": list(known.values())})
        used = [known[_key(counts)] for counts in chosen]
        bases = {Measurement(**entry["measurement"]).basis for entry in used}
        basis: Basis = "cpu" if "cpu" in bases else "wall"
        return cls(net, stairs, [_sample(entry, basis) for entry in used], basis)

    @classmethod
    def read(cls, net: Network, record: Mapping[str, Any]) -> CostModel:
        """The inverse of `record`: a model that predicts the same of the same network, to the last bit."""
        samples = [
            Sample(
                dict(counts), ms, {(what, tuple(sizes)): part for what, sizes, part in nodes}, weight=weight
            )
            for counts, ms, nodes, weight in record["samples"]
        ]
        return cls(net, Stairs(**record["stairs"]), samples, record["basis"])

    def record(self) -> dict[str, Any]:
        """What it was fitted to, as data."""
        samples = [
            [dict(one.counts), one.ms, [[what, list(sizes), ms] for (what, sizes), ms in one.nodes.items()],
             one.weight]
            for one in self._samples
        ]  # fmt: skip
        return {"basis": self.basis, "stairs": self._stairs.record(), "samples": samples}

    def latency_ms(self, counts: Mapping[str, int]) -> float:
        """The predicted latency when each axis in `counts` keeps that many units."""
        total = 0.0
        for (axes, operators), prices in zip(self._groups, self._prices, strict=True):
            key = tuple(map(counts.get, axes))
            price = prices.get(key)
            if price is None:
                price = prices[key] = sum(self._price(operator, counts) for operator in operators)
            total += price
        return total

    def operator_ms(self, operator: Operator, counts: Mapping[str, int]) -> float:
        """The part of one operator of the network; all of them add up to `latency_ms`."""
        return 0.0 if operator.name in self._folded else self._price(operator, counts)

    def alignment(self, axis: str) -> int:
        """The multiple that the axis's number of units is best kept at; 1 where any number is as good."""
        return self._steps.get(axis, 1)

    def update(self, measured: Sequence[tuple[Mapping[str, int], float]]) -> None:
        """Takes in networks that were measured since, (counts, ms), and fits again.

        They count more than those of the calibration: they lie where the plan is.
        """
        self._samples += [Sample(dict(counts), ms, weight=_NEAR) for counts, ms in measured]
        self._refit()

    @cached_property
    def error(self) -> CostError:
        """The error on measured networks, each predicted from the others."""
        rows = [self._rows(entry) for entry in self._samples]
        errors = []
        for index, entry in enumerate(self._samples):
            rates = fit([row for other, kept in enumerate(rows) if other != index for row in kept])
            predicted = priced(self._terms(entry.counts), rates)
            errors.append(abs(predicted / entry.ms - 1))
        return CostError(statistics.median(errors), max(errors), len(errors))

    def per_operator(self, counts: Mapping[str, int]) -> list[OperatorCost]:
        """The part of every operator that costs something, in order of execution."""
        whole = self.latency_ms(counts)
        measured = self._table
        parts: dict[str, list[str]] = defaultdict(list)
        for name, head in self._folded.items():
            parts[head].append(name)
        found = []
        for operator in self._operators:
            own = _own(operator, counts)
            if not operator.runs_at(own):
                continue
            ms, signature = self._price(operator, counts), signature_of(operator, own, self._stairs)
            found.append(
                OperatorCost(
                    name=operator.name,
                    module=operator.module,
                    target=operator.target,
                    ms=ms,
                    share=ms / whole if whole else 0.0,
                    measured_ms=None if signature is None else measured.get(signature),
                    folds=tuple(parts[operator.name]),
                    output=operator.outputs_at(own)[0],
                )
            )
        return found

    @cached_property
    def _table(self) -> dict[Signature, float]:
        """What operators of each shape took inside of whole networks: the median over the calibration's."""
        times: dict[Signature, list[float]] = defaultdict(list)
        for entry in self._samples:
            for signature, ms in entry.nodes.items():
                times[signature].append(ms)
        return {signature: statistics.median(values) for signature, values in times.items()}

    def _refit(self) -> None:
        self._rates: Rates = fit([row for entry in self._samples for row in self._rows(entry)])
        self._prices = [{} for _ in self._groups]
        self.__dict__.pop("error", None)

    def _price(self, operator: Operator, counts: Mapping[str, int]) -> float:
        return priced(_terms_of(operator, counts, self._stairs), self._rates)

    def _terms(self, counts: Mapping[str, int]) -> Terms:
        """Quantities of the whole network."""
        return _sum(_terms_of(operator, counts, self._stairs) for operator in self._operators)

    def _rows(self, entry: Sample) -> list[Row]:
        """The network as one equation, and one each for the operators of a kind and for the rest."""
        terms = [_terms_of(operator, entry.counts, self._stairs) for operator in self._operators]
        rows = [Row(_sum(terms), entry.ms, entry.ms, entry.weight)]
        if not entry.nodes:
            return rows
        kinds: dict[str, list[Terms]] = defaultdict(list)
        times: dict[str, float] = defaultdict(float)
        for operator, own in zip(self._operators, terms, strict=True):
            if not own:
                continue
            signature = signature_of(operator, _own(operator, entry.counts), self._stairs)
            ms = None if signature is None else entry.nodes.get(signature)
            group = "" if ms is None else next(iter(own))
            kinds[group].append(own)
            times[group] += ms or 0.0
        times[""] = max(0.0, entry.ms - sum(times.values()))
        weight = _PART * entry.weight
        return rows + [Row(_sum(kinds[group]), times[group], entry.ms, weight) for group in kinds]


def _measure(
    net: Network, device: Measuring, paths: Sequence[Path], chosen: Sequence[Counts], limit_s: float
) -> list[dict[str, Any]]:
    """What the cache keeps of networks: widths, measurement, and the operators' part in it."""
    measured = device.beside(paths[0], paths[1:], call=net.call, limit_s=limit_s)
    entries = []
    for path, counts, measurement in zip(paths, chosen, measured, strict=True):
        nodes = device.profile(path, call=net.call)
        profiled = sum(node.ms for node in nodes) or 1.0
        shares = {signature: ms / profiled for signature, ms in times_by_signature(nodes).items()}
        entries.append(
            {
                "counts": counts,
                "measurement": measurement.record(),
                "shares": [[what, list(sizes), share] for (what, sizes), share in shares.items()],
            }
        )
    return entries


def _sample(entry: Mapping[str, Any], basis: Basis) -> Sample:
    measurement = Measurement(**entry["measurement"])
    ms = measurement.cpu_ms if basis == "cpu" else measurement.wall_ms
    nodes = {(what, tuple(sizes)): share * ms for what, sizes, share in entry["shares"]}
    return Sample(dict(entry["counts"]), ms, nodes)


def signature(net: Network) -> str:
    """Of the network's operators and their shapes; its weights do not matter to its time."""
    parts = [
        (op.target, sorted(op.inputs_at({}).items()), op.outputs_at({}), sorted(op.axes))
        for op in net.operators
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _key(counts: Mapping[str, int]) -> str:
    return json.dumps(counts, sort_keys=True)


def _own(operator: Operator, counts: Mapping[str, int]) -> Counts:
    """The counts that concern an operator."""
    return {name: counts[name] for name in operator.depends if name in counts}


def _terms_of(operator: Operator, counts: Mapping[str, int], stairs: Stairs) -> Terms:
    """Quantities of one operator; none where its branch is gone."""
    own = _own(operator, counts)
    return terms_of(operator, own, stairs) if operator.runs_at(own) else {}


def _sum(terms: Iterable[Terms]) -> Terms:
    total: Terms = defaultdict(float)
    for own in terms:
        for name, quantity in own.items():
            total[name] += quantity
    return total
