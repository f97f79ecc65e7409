"""Text encoders of `transformers`."""

from __future__ import annotations

from tests.zoo.entry import Entry
from tests.zoo.models.hf_build import SMALL, SPECIAL, entry, tokens

_BERT = SMALL | SPECIAL | {"max_position_embeddings": 32, "num_labels": 3}

ENCODER_ENTRIES: tuple[Entry, ...] = (
    entry("hf_bert", "BertForSequenceClassification", tokens(masked=True), _BERT),
    entry(
        "hf_bert_eager",
        "BertForSequenceClassification",
        tokens(masked=True),
        _BERT | {"attn_implementation": "eager"},
    ),
    entry(
        "hf_distilbert",
        "DistilBertForSequenceClassification",
        tokens(masked=True),
        {
            "vocab_size": 120,
            "dim": 32,
            "hidden_dim": 48,
            "n_layers": 2,
            "n_heads": 4,
            "max_position_embeddings": 32,
            "num_labels": 3,
        },
    ),
    entry("hf_roberta", "RobertaForSequenceClassification", tokens(), _BERT),
    entry(
        "hf_deberta",
        "DebertaForSequenceClassification",
        tokens(masked=True),
        _BERT
        | {
            "relative_attention": True,
            "max_relative_positions": 8,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "pooler_hidden_size": 32,
        },
    ),
    entry(
        "hf_deberta_v2",
        "DebertaV2ForSequenceClassification",
        tokens(masked=True),
        _BERT
        | {
            "relative_attention": True,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "max_relative_positions": -1,
            "pooler_hidden_size": 32,
        },
    ),
    entry(
        "hf_albert",
        "AlbertForSequenceClassification",
        tokens(),
        _BERT | {"embedding_size": 16, "num_hidden_groups": 1, "inner_group_num": 1},
    ),
    entry(
        "hf_electra",
        "ElectraForSequenceClassification",
        tokens(masked=True),
        _BERT | {"embedding_size": 16},
    ),
)
