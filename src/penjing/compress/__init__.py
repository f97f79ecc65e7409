"""Smaller and quicker forms of the same weights."""

from penjing.compress.sparse import Sparse, load_sparse, to_sparse

__all__ = ["Sparse", "load_sparse", "to_sparse"]
