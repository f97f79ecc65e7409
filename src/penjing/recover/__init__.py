"""Getting accuracy back: re-estimation, reconstruction, fine-tuning, distillation."""

from penjing.recover.batch_norm import BatchNorm
from penjing.recover.blockwise import Blockwise
from penjing.recover.driver import Driver
from penjing.recover.fine_tune import FineTune
from penjing.recover.gradual_huggingface import huggingface_callback
from penjing.recover.gradual_lightning import lightning_callback
from penjing.recover.huggingface import HuggingFace
from penjing.recover.lightning import Lightning
from penjing.recover.loop import Loop
from penjing.recover.metric import measured
from penjing.recover.reconstruction import Reconstruct
from penjing.recover.step import (
    Checkpoint,
    Epoch,
    Evaluate,
    Loss,
    RecoveryRecord,
    Saved,
    Situation,
    Step,
    Watch,
)
from penjing.recover.synthetic import Synthetic

__all__ = [
    "BatchNorm",
    "Blockwise",
    "Checkpoint",
    "Driver",
    "Epoch",
    "Evaluate",
    "FineTune",
    "HuggingFace",
    "Lightning",
    "Loop",
    "Loss",
    "Reconstruct",
    "RecoveryRecord",
    "Saved",
    "Situation",
    "Step",
    "Synthetic",
    "Watch",
    "huggingface_callback",
    "lightning_callback",
    "measured",
]
