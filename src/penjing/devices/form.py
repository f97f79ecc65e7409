"""The kinds of files that devices run."""

from __future__ import annotations

from typing import Literal

Form = Literal["onnx", "pt2", "tflite", "pte", "aoti.pt2", "hls.zip"]
"""ONNX, PyTorch's exported program, LiteRT's flat buffer, ExecuTorch's program, inductor's machine code,
an hls4ml project.

It is how a file's name ends; PyTorch loads packages of machine code by the same ending as programs.
"""
