"""From a plan to a smaller module, and the proof that it is the same function."""

from penjing.surgery.cut import Cut, cut
from penjing.surgery.graph import GraphNetwork
from penjing.surgery.proof import TOLERANCE, Proof
from penjing.surgery.record import redo
from penjing.surgery.regrow import regrown, same_axes

__all__ = ["TOLERANCE", "Cut", "GraphNetwork", "Proof", "cut", "redo", "regrown", "same_axes"]
