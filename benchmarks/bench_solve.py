"""How long solving and cutting take beyond the export, and torch-pruning on the same models in the same run.

    python benchmarks/bench_solve.py [--only NAME ...] [--no-zoo] [--no-peer]

Times are CPU seconds of one thread, garbage collected before and not during, as `timeit` does it. The peer is
given what it needs to get through a model at all: a plain tensor as output.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import platform
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from budget_networks import Logits
from revision import commit
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from penjing.network import RULES, Call, Network  # noqa: E402
from penjing.network.axis import find_axes  # noqa: E402
from penjing.network.solve import solve  # noqa: E402
from penjing.network.trace import Trace, capture  # noqa: E402
from penjing.plan import Plan  # noqa: E402
from penjing.surgery import cut  # noqa: E402
from penjing.surgery.proof import Reference  # noqa: E402
from penjing.surgery.selection import Selection  # noqa: E402
from tests.zoo.models.densenet import DenseBlock, Transition  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "solve.json"
LIMITS_MS = {"resnet50": 50, "vit_b_16": 50, "densenet121": 50, "llama_7b": 250}
ZOO_LIMIT_S = 5.0
REPEATS = 7


def resnet50() -> tuple[nn.Module, Tensor]:
    from transformers import ResNetConfig, ResNetForImageClassification

    return Logits(ResNetForImageClassification(ResNetConfig(num_labels=1000))), torch.randn(1, 3, 224, 224)


def vit_b_16() -> tuple[nn.Module, Tensor]:
    from transformers import ViTConfig, ViTForImageClassification

    return Logits(ViTForImageClassification(ViTConfig(num_labels=1000))), torch.randn(1, 3, 224, 224)


def densenet121() -> tuple[nn.Module, Tensor]:
    features = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    )
    width = 64
    for number, depth in enumerate((6, 12, 24, 16)):
        features.append(DenseBlock(depth, width, 32, 4))
        width += 32 * depth
        if number < 3:
            features.append(Transition(width, width // 2))
            width //= 2
    head = nn.Sequential(
        nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(width, 1000)
    )
    return nn.Sequential(*features, *head), torch.randn(1, 3, 224, 224)


def llama(layers: int, hidden: int, inner: int, heads: int, groups: int) -> tuple[nn.Module, Tensor]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        vocab_size=32000,
        use_cache=False,
    )
    return Logits(LlamaForCausalLM(config)), torch.zeros(1, 16, dtype=torch.long)


def llama_7b() -> tuple[nn.Module, Tensor]:
    with torch.device("meta"):
        return llama(32, 4096, 11008, 32, 32)


def llama_1b() -> tuple[nn.Module, Tensor]:
    return llama(22, 2048, 5632, 32, 4)


MODELS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "resnet50": resnet50,
    "vit_b_16": vit_b_16,
    "densenet121": densenet121,
    "llama_7b": llama_7b,
    "llama_1b": llama_1b,
}


def seconds(function: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Median CPU seconds of a call, and what it returned last."""
    taken = []
    for _ in range(repeats):
        gc.collect()
        gc.disable()
        start = time.process_time()
        result = function()
        taken.append(time.process_time() - start)
        gc.enable()
    return statistics.median(taken), result


def solving(trace: Trace, model: nn.Module, repeats: int) -> dict[str, float]:
    """Milliseconds for the ties, and for reading names, members and reasons off them."""
    solve_s, solution = seconds(lambda: solve(trace, RULES, model), repeats)
    fresh = [solve(trace, RULES, model) for _ in range(repeats)]  # one remembers what was read off it
    axes_s, _ = seconds(lambda: find_axes(fresh.pop(), trace, model), repeats)
    ties = len(solution.space)
    return {"solve_ms": round(solve_s * 1e3, 2), "axes_ms": round(axes_s * 1e3, 2), "dimensions": ties}


def halves(net: Network) -> Plan:
    draw = random.Random(0)
    kept = {
        axis.name: tuple(sorted(draw.sample(range(axis.size), max(1, axis.size // 2))))
        for axis in net.prunable
    }
    return Plan(kept=kept)


def ours(model: nn.Module, call: Call, *, repeats: int, cutting: bool) -> dict[str, Any]:
    export_s, trace = seconds(lambda: capture(model, call))
    found: dict[str, Any] = {"export_s": round(export_s, 2), **solving(trace, model, repeats)}
    net = Network(model, call, trace, solve(trace, RULES, model))
    found["operators"], found["axes"] = len(net.operators), len(net.prunable)
    if cutting:
        plan = halves(net)
        cut_s, done = seconds(lambda: cut(net, plan))
        selection = Selection(net, plan.kept)
        proof_s, _ = seconds(lambda: Reference(net, selection).check(done.model))
        found.update(cut_and_proof_s=round(cut_s, 2), proof_s=round(proof_s, 2))
        found.update(fallback=done.fallback, max_error=done.proof.max_error)
        found["parameters"] = [net.parameters, sum(p.numel() for p in done.model.parameters())]
    return found


def peer(model: nn.Module, inputs: Tensor) -> dict[str, Any]:
    """torch-pruning: its graph, then half of the channels of every group but the last layer's."""
    import torch_pruning as tp

    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    try:
        graph_s, graph = seconds(
            lambda: tp.DependencyGraph().build_dependency(model, example_inputs=(inputs,))
        )
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:300]}

    def prune() -> int:
        groups = 0
        for group in graph.get_all_groups(ignored_layers=[head], root_module_types=[nn.Conv2d, nn.Linear]):
            module, pruner = group[0].dep.target.module, group[0].dep.handler
            channels = graph.get_out_channels(module) if graph.is_out_channel_pruning_fn(pruner) else 0
            if channels > 1:
                group.prune(list(range(0, channels, 2)))
                groups += 1
        return groups

    found: dict[str, Any] = {"graph_s": round(graph_s, 2)}
    try:
        prune_s, found["groups"] = seconds(prune)
        found["prune_s"] = round(prune_s, 2)
    except Exception as error:
        return {**found, "failed": f"{type(error).__name__}: {error}"[:300]}
    found["parameters"] = sum(p.numel() for p in model.parameters())
    try:
        with torch.no_grad():
            model(inputs)
        found["runs_afterwards"] = True
    except Exception as error:
        found["runs_afterwards"] = f"{type(error).__name__}: {error}"[:200]
    return found


def zoo() -> dict[str, Any]:
    """Solving, reading, cutting and proving every model of the zoo: the longest of each."""
    from tests.zoo.registry import ENTRIES

    rows: dict[str, dict[str, Any]] = {}
    gc.freeze()  # what the libraries hold would otherwise be walked before every measurement
    for entry in ENTRIES:
        model = entry.build().eval()
        try:
            rows[entry.name] = ours(model, Call.of(model, entry.inputs()), repeats=1, cutting=True)
        except Exception as error:
            rows[entry.name] = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(f"  {entry.name}: {rows[entry.name]}", flush=True)
    timed = {name: row for name, row in rows.items() if "failed" not in row}
    longest = {
        name: row["solve_ms"] / 1e3 + row["axes_ms"] / 1e3 + row["cut_and_proof_s"]
        for name, row in timed.items()
    }
    solved = {name: row["solve_ms"] + row["axes_ms"] for name, row in timed.items()}
    slowest, hardest = max(longest, key=longest.__getitem__), max(solved, key=solved.__getitem__)
    return {
        "models": len(rows),
        "failed": [name for name in rows if name not in timed],
        "longest_after_export": {
            "model": slowest,
            "seconds": round(longest[slowest], 2),
            "limit": ZOO_LIMIT_S,
        },
        "longest_solving": {"model": hardest, "milliseconds": round(solved[hardest], 2)},
        "rows": rows,
    }


def environment() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    packages = ("torch", "transformers", "torch-pruning")
    return {
        "date": date.today().isoformat(),
        "commit": commit(),
        "cpu": cpu,
        "python": platform.python_version(),
        **{package: installed(package) for package in packages},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--no-zoo", action="store_true")
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in options.only:
        model, inputs = MODELS[name]()
        on_meta = name == "llama_7b"
        call = Call.of(model.eval(), (inputs,))
        row: dict[str, Any] = {"penjing": ours(model, call, repeats=REPEATS, cutting=not on_meta)}
        if name in LIMITS_MS:
            total = row["penjing"]["solve_ms"] + row["penjing"]["axes_ms"]
            row |= {"limit_ms": LIMITS_MS[name], "total_ms": round(total, 2), "met": total <= LIMITS_MS[name]}
        if not on_meta and not options.no_peer:
            row["torch_pruning"] = peer(model, inputs)
        store(name, row)
        print(name, json.dumps(row), flush=True)
        del model, call
    if not options.no_zoo:
        store("zoo", zoo())


def store(section: str, found: dict[str, Any]) -> None:
    """Puts one section into the results, with the machine and the commit it was measured on."""
    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    result[section] = {**found, "environment": environment()}
    RESULT.parent.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1).replace(f"{ROOT}/", "")  # reasons name files
    RESULT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
