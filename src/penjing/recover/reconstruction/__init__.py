"""Reconstruction: weights solved in closed form so that a cut network gives the outputs of the original."""

from penjing.recover.reconstruction.reconstruct import Reconstruct

__all__ = ["Reconstruct"]
