"""Image models of `transformers`."""

from __future__ import annotations

from tests.zoo.entry import Entry
from tests.zoo.models.hf_build import SMALL, entry, images

_VIT = SMALL | {"image_size": 32, "patch_size": 8, "num_labels": 5}
_DETR = {
    "backbone_config": {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [16, 16, 24, 32],
        "depths": [1, 1, 1, 1],
        "out_features": ["stage4"],
    },
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "num_queries": 6,
    "num_labels": 5,
    "use_cache": False,
}

VISION_ENTRIES: tuple[Entry, ...] = (
    entry("hf_vit", "ViTForImageClassification", images(), _VIT),
    entry("hf_deit", "DeiTForImageClassificationWithTeacher", images(), _VIT),
    entry(
        "hf_beit",
        "BeitForImageClassification",
        images(),
        _VIT | {"use_relative_position_bias": True, "layer_scale_init_value": 0.1},
    ),
    entry("hf_dinov2", "Dinov2ForImageClassification", images(), _VIT | {"use_swiglu_ffn": True}),
    entry(
        "hf_segformer",
        "SegformerForSemanticSegmentation",
        images(),
        {
            "num_encoder_blocks": 4,
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [16, 16, 32, 32],
            "num_attention_heads": [1, 2, 4, 4],
            "sr_ratios": [4, 2, 1, 1],
            "mlp_ratios": [2, 2, 2, 2],
            "decoder_hidden_size": 24,
            "num_labels": 5,
        },
    ),
    entry(
        "hf_convnext",
        "ConvNextForImageClassification",
        images(),
        {
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 2, 1],
            "num_labels": 5,
            "layer_scale_init_value": 0.1,
        },
    ),
    entry(
        "hf_resnet",
        "ResNetForImageClassification",
        images(),
        {
            "embedding_size": 8,
            "hidden_sizes": [16, 32, 48, 64],
            "depths": [1, 1, 1, 1],
            "layer_type": "bottleneck",
            "num_labels": 5,
        },
    ),
    entry(
        "hf_mobilevit",
        "MobileViTForImageClassification",
        images(64),
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32],
            "num_attention_heads": 4,
            "num_labels": 5,
        },
    ),
    entry(
        "hf_swin",
        "SwinForImageClassification",
        images(),
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
            "num_labels": 5,
        },
    ),
    entry("hf_detr", "DetrForObjectDetection", images(), _DETR),
    entry("hf_detr_logits", "DetrForObjectDetection", images(), _DETR, alone="logits"),
)
