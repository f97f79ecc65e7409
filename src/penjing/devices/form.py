"""The kinds of files that devices run."""

from __future__ import annotations

from typing import Literal

Form = Literal["onnx", "pt2", "tflite", "pte", "hls.zip"]
"""ONNX, PyTorch's exported program, LiteRT's flat buffer, ExecuTorch's program, an hls4ml project."""
