"""The models of `transformers`: random weights, small configurations, no hints."""

from __future__ import annotations

from tests.zoo.entry import Entry
from tests.zoo.models.hf_decoders import DECODER_ENTRIES
from tests.zoo.models.hf_encoders import ENCODER_ENTRIES
from tests.zoo.models.hf_paired import PAIRED_ENTRIES
from tests.zoo.models.hf_vision import VISION_ENTRIES

HF_ENTRIES: tuple[Entry, ...] = ENCODER_ENTRIES + DECODER_ENTRIES + VISION_ENTRIES + PAIRED_ENTRIES
