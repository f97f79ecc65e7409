"""Calibration inputs that are made up where there are no data."""

from penjing.recover.synthetic.synthetic import Synthetic

__all__ = ["Synthetic"]
