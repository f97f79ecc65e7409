"""Encoder-decoders, two-tower and speech models of `transformers`."""

from __future__ import annotations

from tests.zoo.entry import Entry
from tests.zoo.models.hf_build import (
    BATCH,
    SMALL,
    SPECIAL,
    captioned,
    entry,
    images,
    noise,
    sentence,
    tokens,
    translated,
)

_BART = SPECIAL | {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 32,
    "decoder_start_token_id": 2,
    "use_cache": False,
}
_WHISPER = _BART | {"num_mel_bins": 16, "max_source_positions": 20, "max_target_positions": 16}
_T5 = SPECIAL | {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "decoder_start_token_id": 0,
    "use_cache": False,
}
_WAV2VEC2 = (
    SMALL
    | SPECIAL
    | {
        "conv_dim": [16, 16, 24],
        "conv_kernel": [10, 3, 2],
        "conv_stride": [5, 2, 2],
        "num_feat_extract_layers": 3,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
    }
)
_TEXT = SMALL | SPECIAL | {"max_position_embeddings": 32}
_VISION = SMALL | {"image_size": 32, "patch_size": 8}
_CLIP = {"text_config": _TEXT, "vision_config": _VISION, "projection_dim": 16}

PAIRED_ENTRIES: tuple[Entry, ...] = (
    entry("hf_t5", "T5ForConditionalGeneration", translated(), _T5),
    entry("hf_t5_logits", "T5ForConditionalGeneration", translated(), _T5, alone="logits"),
    entry(
        "hf_t5_gated",
        "T5ForTokenClassification",
        tokens(masked=True),
        _T5 | {"feed_forward_proj": "gated-gelu", "num_labels": 3},
    ),
    entry("hf_bart", "BartForConditionalGeneration", translated(), _BART),
    entry("hf_bart_logits", "BartForConditionalGeneration", translated(), _BART, alone="logits"),
    entry(
        "hf_bart_eager",
        "BartForConditionalGeneration",
        translated(),
        _BART | {"attn_implementation": "eager"},
    ),
    entry("hf_clip", "CLIPModel", captioned(), _CLIP),
    entry("hf_clip_logits", "CLIPModel", captioned(), _CLIP, alone="logits_per_image"),
    entry(
        "hf_clip_classifier",
        "CLIPForImageClassification",
        images(),
        {"vision_config": _VISION, "num_labels": 5},
    ),
    entry(
        "hf_siglip",
        "SiglipModel",
        captioned(),
        {"text_config": _TEXT | {"projection_size": 32}, "vision_config": _VISION},
    ),
    entry(
        "hf_whisper",
        "WhisperForConditionalGeneration",
        noise("input_features", BATCH, 16, 40, decoder_input_ids=sentence(7)),
        _WHISPER,
    ),
    entry(
        "hf_whisper_logits",
        "WhisperForConditionalGeneration",
        noise("input_features", BATCH, 16, 40, decoder_input_ids=sentence(7)),
        _WHISPER,
        alone="logits",
    ),
    entry(
        "hf_whisper_classifier",
        "WhisperForAudioClassification",
        noise("input_features", BATCH, 16, 40),
        _WHISPER | {"classifier_proj_size": 12, "num_labels": 3},
    ),
    entry(
        "hf_wav2vec2",
        "Wav2Vec2ForCTC",
        noise("input_values", BATCH, 400),
        _WAV2VEC2,
    ),
    entry(
        "hf_wav2vec2_layer_norm",
        "Wav2Vec2ForSequenceClassification",
        noise("input_values", BATCH, 400),
        _WAV2VEC2
        | {
            "feat_extract_norm": "layer",
            "do_stable_layer_norm": True,
            "use_weighted_layer_sum": True,
            "classifier_proj_size": 12,
            "num_labels": 3,
        },
    ),
)
