"""The anatomies known by name: one entry per ``config.model_type``."""

from __future__ import annotations

from knowedit.models.anatomies.anatomy import Anatomy

# Mistral and Qwen2 name their parts as Llama does. In these the MLP has a gate beside `mlp_up`; both
# are multiplied before `mlp_down`, whose input is the key all the same.
_LLAMA = Anatomy(
    embedding="model.embed_tokens",
    position_embedding=None,
    blocks="model.layers",
    final_norm="model.norm",
    head="lm_head",
    attention="self_attn",
    attention_in=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    attention_out="self_attn.o_proj",
    mlp="mlp",
    mlp_up="mlp.up_proj",
    mlp_down="mlp.down_proj",
)

FAMILIES: dict[str, Anatomy] = {
    "gpt2": Anatomy(
        embedding="transformer.wte",
        position_embedding="transformer.wpe",
        blocks="transformer.h",
        final_norm="transformer.ln_f",
        head="lm_head",
        attention="attn",
        attention_in=("attn.c_attn",),
        attention_out="attn.c_proj",
        mlp="mlp",
        mlp_up="mlp.c_fc",
        mlp_down="mlp.c_proj",
    ),
    "gptj": Anatomy(
        embedding="transformer.wte",
        position_embedding=None,
        blocks="transformer.h",
        final_norm="transformer.ln_f",
        head="lm_head",
        attention="attn",
        attention_in=("attn.q_proj", "attn.k_proj", "attn.v_proj"),
        attention_out="attn.out_proj",
        mlp="mlp",
        mlp_up="mlp.fc_in",
        mlp_down="mlp.fc_out",
    ),
    "gpt_neox": Anatomy(
        embedding="gpt_neox.embed_in",
        position_embedding=None,
        blocks="gpt_neox.layers",
        final_norm="gpt_neox.final_layer_norm",
        head="lm_head",
        attention="attention",
        attention_in=("attention.query_key_value",),
        attention_out="attention.dense",
        mlp="mlp",
        mlp_up="mlp.dense_h_to_4h",
        mlp_down="mlp.dense_4h_to_h",
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
}
"""The anatomy of every family, by the ``model_type`` of its configuration."""
