"""Writes docs/reference/zoo.md: every model of the zoo traced, and cut to half of each axis at random."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.equivalence.half import halve  # noqa: E402
from tests.zoo.entry import Entry  # noqa: E402
from tests.zoo.registry import ENTRIES  # noqa: E402

PAGE = Path(__file__).parent / "reference" / "zoo.md"
HEAD = """# Models that penjing is tested on

Small configurations of the usual architectures, with random weights, and no hints given. Every one is cut to
half of the units of every axis, by magnitude and at random, and must then

- equal the masked original in float64, to 1e-10 of the largest output;
- give every kept parameter a finite gradient;
- agree with its ONNX export to 1e-5 of the largest output, wherever the uncut model exports at all;
- come back from `save` and `load` bit for bit.

`pytest -m '' tests/equivalence/test_zoo.py` checks all of that; `hf_` is for models of transformers.

| column | is |
|---|---|
| axes | that may be cut, of all that were found |
| covered | the share of the parameters through which these go |
| left | parameters after the cut at random, as a share |
| proof | the largest difference from the masked original, relative to the largest output |
| module | `own`: the user's class, cut in place; `graph`: the rewritten graph, and why, below |
| opaque | operators without a rule |

"""


def page() -> str:
    """The page as the models are now."""
    head = "| model | axes | covered | left | proof | module | opaque |\n|---|---|---|---|---|---|---|\n"
    rows, reasons = [], []
    for entry in ENTRIES:
        row, reason = line(entry)
        rows.append(row)
        reasons += [f"- `{entry.name}`: {reason}\n"] if reason else []
    own = len(rows) - len(reasons)
    total = f"\n{own} of {len(rows)} models keep the user's own module.\n\n"
    footer = "This page is written by `python docs/zoo.py`.\n"
    return HEAD + head + "".join(rows) + total + "".join(reasons) + "\n" + footer


def line(entry: Entry) -> tuple[str, str]:
    """A row of the table, and why the module is not the user's own, if it is not."""
    halved = halve(entry, "random")
    net, made = halved.net, halved.cut
    left = sum(p.numel() for p in made.model.parameters()) / net.parameters
    fields = [
        f"`{entry.name}`",
        f"{len(net.prunable)} of {len(net.axes)}",
        f"{net.coverage:.1%}",
        f"{left:.0%}",
        f"{made.proof.max_error:.0e}",
        "graph" if made.fallback else "own",
        ", ".join(f"`{name}`" for name in net.opaque) or "none",
    ]
    reason = (made.fallback or "").replace(f"{ROOT}/", "")
    return f"| {' | '.join(fields)} |\n", reason.partition("site-packages/")[2] or reason


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    PAGE.write_text(page())
