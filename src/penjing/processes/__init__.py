"""One job done by several processes: who they are, what they exchange, and what becomes of one that fails.

Under `torchrun` or `accelerate launch` the first use of any of these joins the others. With one process
nothing is exchanged, and nothing is loaded.
"""

from penjing.processes.ending import together
from penjing.processes.exchange import from_each, from_first, joined, mine, split_already, sum_
from penjing.processes.group import is_first, rank, world

__all__ = [
    "from_each",
    "from_first",
    "is_first",
    "joined",
    "mine",
    "rank",
    "split_already",
    "sum_",
    "together",
    "world",
]
