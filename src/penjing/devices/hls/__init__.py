"""FPGAs through hls4ml: a network as C++ for high-level synthesis."""

from penjing.devices.hls.device import Hls4ml

__all__ = ["Hls4ml"]
