"""Real image sets: from a folder, from an installed package, or downloaded once and checked."""

from penjing.datasets.balance import balanced
from penjing.datasets.idx import read_idx
from penjing.datasets.images import LabelledImages, read_folder
from penjing.datasets.mnist import fashion_mnist, mnist

__all__ = ["LabelledImages", "balanced", "fashion_mnist", "mnist", "read_folder", "read_idx"]
