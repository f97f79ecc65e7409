"""The GPUs that NVIDIA's driver reaches, by its own word."""

from __future__ import annotations

import ctypes
from typing import Final

DRIVER: Final = "nvcuda.dll" if hasattr(ctypes, "WinDLL") else "libcuda.so.1"
"""It comes with the driver and with nothing that pip installs, so that no package can pretend to a GPU."""

_NAME_BYTES: Final = 256


def gpus(driver: str = DRIVER) -> tuple[str, ...]:
    """Their names, in order; none where there is no driver, or no GPU that it reaches.

    Args:
        driver: the library to ask, by name or path.

    Source: the CUDA driver API, sections "Initialization" and "Device Management".
    """
    try:
        library = ctypes.CDLL(driver)
    except OSError:
        return ()
    count, handle = ctypes.c_int(), ctypes.c_int()
    if library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    names = []
    for index in range(count.value):
        text = ctypes.create_string_buffer(_NAME_BYTES)
        if library.cuDeviceGet(ctypes.byref(handle), index):
            continue
        if not library.cuDeviceGetName(text, _NAME_BYTES, handle):
            names.append(text.value.decode())
    return tuple(names)
