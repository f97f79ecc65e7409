"""The axis algebra: dimensions as atoms, products and sums, tied together by unification with refinement."""

from penjing.axes.read import fold, indices, leaves, mask, size_at, units
from penjing.axes.space import Dim, Kind, Space, TieError

__all__ = ["Dim", "Kind", "Space", "TieError", "fold", "indices", "leaves", "mask", "size_at", "units"]
