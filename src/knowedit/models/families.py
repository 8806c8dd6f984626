"""The anatomies known by name: one entry per ``config.model_type``."""

from __future__ import annotations

from knowedit.models.anatomy import Anatomy

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
}
