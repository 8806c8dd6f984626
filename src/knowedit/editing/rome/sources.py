"""Where each number of ROME's profiles comes from.

The sources are the sections of arXiv 2202.05262 v1 and the files of the authors' code: at its first commit of
February 2022 (448f8fe) and at its last of October 2022 (0874014).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from knowedit.editing.rome.profiles import NUMBERS
from knowedit.errors import InputError

FEBRUARY, OCTOBER = "February 2022", "October 2022"

SOURCES: Final[Mapping[str, Mapping[str, str]]] = {
    "learning_rate": {
        "paper": "D.5",
        FEBRUARY: "hparams: v_lr",
        OCTOBER: "hparams: v_lr",
    },
    "max_steps": {
        "paper": "D.5: at most 25",
        FEBRUARY: "hparams: v_num_grad_steps 20",
        OCTOBER: "v_num_grad_steps 20, of which compute_v.py leaves the loop before the last update",
    },
    "stop_loss": {
        "paper": "D.5",
        FEBRUARY: "compute_v.py: the two terms of Eqn. 8, without the decay",
        OCTOBER: "compute_v.py: the whole loss, decay included",
    },
    "target": {
        "paper": "Eqn. 8: P[o* | p], all tokens of o*",
        FEBRUARY: "compute_v.py: the first token",
        OCTOBER: "compute_v.py: mean over the tokens",
    },
    "weight_decay": {
        "paper": "D.5",
        FEBRUARY: "hparams: 1.5e-3 for GPT-2 XL, 2e-3 for GPT-J",
        OCTOBER: "hparams: v_weight_decay 0.5",
    },
    "decay": {
        "paper": "D.5 does not say of what; read as the code of February, Adam's L2 on δ",
        FEBRUARY: "compute_v.py: weight_decay of Adam on δ",
        OCTOBER: "compute_v.py: ‖δ‖ / ‖m‖², the numerator not squared",
    },
    "kl_factor": {
        "paper": "D.5: λ = 1e2",
        FEBRUARY: "hparams: 5e2 for GPT-2 XL, 1e3 for GPT-J",
        OCTOBER: "hparams: kl_factor 0.0625",
    },
    "kl_reduction": {
        "paper": "Eqn. 8 has the sum; with λ = 1e2 that leaves no room for o*, so read as the code of February",
        FEBRUARY: "compute_v.py: kl_div with its default, which divides by the vocabulary",
        OCTOBER: "compute_v.py: batchmean, which is the sum",
    },
    "kl_prompt": {
        "paper": "Section 4",
        FEBRUARY: "compute_v.py",
        OCTOBER: "compute_v.py",
    },
    "kl_position": {
        "paper": "Section 4: the next token after p'",
        FEBRUARY: "compute_v.py: the last token",
        OCTOBER: "compute_v.py: the subject's last token, for the index of the lookup is used again",
    },
    "max_offset": {
        "paper": "none is named",
        FEBRUARY: "none",
        OCTOBER: "hparams: clamp_norm_factor 4",
    },
    "prefixed": {
        "paper": "Eqn. 8: the prompt p",
        FEBRUARY: "compute_v.py: the bare prompt",
        OCTOBER: "compute_v.py: the prompt behind every prefix",
    },
    "layer": {
        "paper": "known_layers, or what is stored with the model",
        FEBRUARY: "the same",
        OCTOBER: "the same",
    },
    "known_layers": {
        "paper": "D.5, whose heading names both models: 15",
        FEBRUARY: "hparams: 16 for GPT-2 XL, 5 for GPT-J",
        OCTOBER: "hparams: 17 for GPT-2 XL, 5 for GPT-J",
    },
    "prefixes.lengths": {
        "paper": "D.5: 20 of length 2, 20 of 5, 10 of 10; read as the number of drawn tokens",
        FEBRUARY: "rome_main.py: the paper's",
        OCTOBER: "rome_main.py: 10 of length 5, 10 of 10",
    },
    "prefixes.start": {
        "paper": "D.5: sampled from the model; read as from its start token",
        FEBRUARY: "rome_main.py: each begins with The",
        OCTOBER: "rome_main.py: the end-of-text token",
    },
    "prefixes.count_start": {
        "paper": "a prefix of length 2 has 2 tokens",
        FEBRUARY: "generate.py: the length is that of the whole text",
        OCTOBER: "generate.py: the length is that of the whole text",
    },
    "prefixes.top_k": {
        "paper": "none is named",
        FEBRUARY: "generate.py: drawn among the best 5",
        OCTOBER: "generate.py: drawn among the best 5",
    },
    "prefixes.empty": {
        "paper": "D.5: 50 prefixes, none of them empty",
        FEBRUARY: "rome_main.py: an empty one more",
        OCTOBER: "rome_main.py: an empty one more",
    },
    "prefixes.separator": {
        "paper": "Eqn. 7: x_j + s",
        FEBRUARY: "rome_main.py: a space",
        OCTOBER: "rome_main.py: a full stop and a space",
    },
    "key_text": {
        "paper": "Eqn. 7: the text ends with the subject",
        FEBRUARY: "compute_u.py: the same",
        OCTOBER: "compute_u.py: the whole prompt behind the prefix",
    },
    "constraint_key": {
        "paper": "Eqn. 5 and 22: one k* on both sides",
        FEBRUARY: "compute_v.py: the bare prompt's key",
        OCTOBER: "compute_v.py: the bare prompt's key",
    },
    "max_update": {
        "paper": "none is named",
        FEBRUARY: "compute_v.py: the right vector at most 100 long, the left one of length one",
        OCTOBER: "none",
    },
}
"""Field of `ROME`, then paper, February and October: where its value comes from."""

_COLUMN: Final[Mapping[str, str]] = {
    "paper": "paper",
    "paper-literal-kl": "paper",
    "released-2022-02": FEBRUARY,
    "released-2022-02-gpt-j": FEBRUARY,
    "released-2022-10": OCTOBER,
    "consistent-keys": OCTOBER,
    "both-keys": "paper",
}

_OWN: Final[Mapping[tuple[str, str], str]] = {
    ("paper-literal-kl", "kl_reduction"): "Eqn. 8 word for word",
    (
        "consistent-keys",
        "constraint_key",
    ): "one key on both sides, as in Eqn. 22; the value is still m of the bare prompt plus δ",
    ("both-keys", "constraint_key"): "ours: v* at k* and at the prompt's own key, an update of rank two",
}


def sourced_values(name: str) -> dict[str, tuple[Any, str]]:
    """A profile's values, each with where it comes from; those of nested tables under ``outer.inner``.

    Raises:
        InputError: there is no such profile.
    """
    if name not in NUMBERS:
        raise InputError(f"there is no profile {name!r}: use one of {', '.join(NUMBERS)}")
    values: dict[str, Any] = {"layer": None, **NUMBERS[name]}
    values |= {f"prefixes.{field}": value for field, value in asdict(values["prefixes"]).items()}
    column = _COLUMN[name]
    return {field: (values[field], _OWN.get((name, field), SOURCES[field][column])) for field in SOURCES}


def described(value: Any) -> str:
    """A value of a profile for people."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case tuple():  # pairs: how many of what length, or a model and its layer
            return ", ".join(f"{a} × {b}" if isinstance(a, int) else f"{a} {b}" for a, b in value)
        case str():
            return value if value.strip() == value else repr(value)
    return str(value)
