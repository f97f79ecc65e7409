"""Weights that hold many zeros, stored without them where that is measured to be quicker."""

from penjing.compress.sparse.files import check_empty, load_sparse
from penjing.compress.sparse.network import Sparse, to_sparse
from penjing.compress.sparse.record import LayerRecord, SparseRecord

__all__ = ["LayerRecord", "Sparse", "SparseRecord", "check_empty", "load_sparse", "to_sparse"]
