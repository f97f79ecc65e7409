"""A trained network and real images that come with the package: nothing to download."""

from penjing.demo.network import FashionResNet
from penjing.demo.shipped import accuracy, load_data, load_network

__all__ = ["FashionResNet", "accuracy", "load_data", "load_network"]
