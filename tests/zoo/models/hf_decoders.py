"""Causal language models of `transformers`."""

from __future__ import annotations

from tests.zoo.entry import Entry
from tests.zoo.models.hf_build import SMALL, SPECIAL, entry, tokens

_CAUSAL = SMALL | SPECIAL | {"max_position_embeddings": 32, "use_cache": False}
_GROUPED = _CAUSAL | {"num_key_value_heads": 2}
_EXPERTS = _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}
_GPT = SPECIAL | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "use_cache": False}

DECODER_ENTRIES: tuple[Entry, ...] = (
    entry("hf_gpt2", "GPT2LMHeadModel", tokens(), _GPT),
    entry("hf_gptj", "GPTJForCausalLM", tokens(), _GPT | {"rotary_dim": 4}),
    entry("hf_gpt_neox", "GPTNeoXForCausalLM", tokens(), _CAUSAL),
    entry(
        "hf_opt",
        "OPTForCausalLM",
        tokens(masked=True),
        SPECIAL
        | {
            "hidden_size": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "word_embed_proj_dim": 32,
            "max_position_embeddings": 32,
            "use_cache": False,
        },
    ),
    entry(
        "hf_bloom",
        "BloomForCausalLM",
        tokens(),
        SPECIAL | {"hidden_size": 32, "n_layer": 2, "n_head": 4, "use_cache": False},
    ),
    entry("hf_llama", "LlamaForCausalLM", tokens(), _GROUPED),
    entry("hf_llama_eager", "LlamaForCausalLM", tokens(), _GROUPED | {"attn_implementation": "eager"}),
    entry("hf_qwen2", "Qwen2ForCausalLM", tokens(masked=True), _GROUPED),
    entry("hf_qwen3", "Qwen3ForCausalLM", tokens(), _GROUPED | {"head_dim": 8}),
    entry("hf_mistral", "MistralForCausalLM", tokens(), _GROUPED | {"sliding_window": 4}),
    entry("hf_gemma", "GemmaForCausalLM", tokens(), _CAUSAL | {"num_key_value_heads": 1, "head_dim": 8}),
    entry(
        "hf_gemma2",
        "Gemma2ForCausalLM",
        tokens(),
        _GROUPED | {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8},
    ),
    entry("hf_phi", "PhiForCausalLM", tokens(), _CAUSAL | {"partial_rotary_factor": 0.5}),
    entry("hf_phi3", "Phi3ForCausalLM", tokens(), _GROUPED),
    entry(
        "hf_falcon",
        "FalconForCausalLM",
        tokens(),
        SPECIAL
        | {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "use_cache": False,
        },
    ),
    entry(
        "hf_falcon_new",
        "FalconForCausalLM",
        tokens(),
        SPECIAL
        | {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_kv_heads": 2,
            "new_decoder_architecture": True,
            "use_cache": False,
        },
    ),
    # onnx: the exporter has no translation of `transformers::grouped_mm_fallback`.
    entry("hf_mixtral", "MixtralForCausalLM", tokens(), _EXPERTS, onnx=False),
    entry(
        "hf_mixtral_batched",
        "MixtralForCausalLM",
        tokens(),
        _EXPERTS | {"experts_implementation": "batched_mm"},
    ),
    # refused: GuardOnDataDependentSymNode "Could not guard on data-dependent expression Eq(u0, 0)", where the
    # model loops over the experts that some token was routed to.
    entry(
        "hf_mixtral_eager",
        "MixtralForCausalLM",
        tokens(),
        _EXPERTS | {"experts_implementation": "eager"},
        refused=True,
        onnx=False,
    ),
    entry(
        "hf_qwen2_moe",
        "Qwen2MoeForCausalLM",
        tokens(),
        _GROUPED
        | {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 40,
        },
        onnx=False,
    ),
    entry(
        "hf_mamba",
        "MambaForCausalLM",
        tokens(),
        SPECIAL
        | {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 8,
            "time_step_rank": 4,
            "use_cache": False,
        },
    ),
)
