"""Numbers that are NaN or infinite: refused where they begin, by name."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from knowedit.cli import app
from knowedit.errors import NumericalError
from knowedit.models import Site, generate, intervene, load, locate, next_token_probabilities
from knowedit.tracing import TraceSettings
from knowedit.tracing.runs import CleanRun
from tests.conftest import make_model


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_weight_that_is_no_number_is_named(tokenizer, value):
    model = make_model("gpt2")
    for layer in (3, 2):
        model.transformer.h[layer].mlp.c_proj.weight.data[5, layer] = value
    words = r"1 of the 4096 numbers in transformer\.h\.2\.mlp\.c_proj\.weight of .* are NaN or infinite \(float32\)"
    with pytest.raises(NumericalError, match=words):
        load((model, tokenizer))


def test_half_precision_that_overflows_is_named(tokenizer):
    model = make_model("gpt2")
    model.transformer.h[1].attn.c_attn.bias.data[0] = 1e5
    load((model, tokenizer))
    with pytest.raises(
        NumericalError, match=r"h\.1\.attn\.c_attn\.bias .* \(float16\), .* wider number format"
    ):
        load((model.half(), tokenizer))


def overflowing(tokenizer, dtype):
    """Finite weights whose products do not fit float16; layer 1's MLP is the first."""
    model = make_model("gpt2")
    for layer in (1, 2):
        model.transformer.h[layer].mlp.c_proj.weight.data *= 40000
    return load((model.to(dtype), tokenizer))


@pytest.mark.parametrize(
    "use",
    [
        lambda lm: lm.logits(["The"]),
        lambda lm: next_token_probabilities(lm, ["The", "Miles Davis plays"]),
        lambda lm: generate(lm, "The", 3),
    ],
    ids=["logits", "probabilities", "generate"],
)
def test_the_first_part_whose_output_overflows_is_named(tokenizer, use):
    words = "first in the output of the mlp of layer 1 .*float16.*: expected finite ones"
    use(overflowing(tokenizer, torch.float32))
    with pytest.raises(NumericalError, match=words):
        use(overflowing(tokenizer, torch.float16))


def test_a_later_step_of_a_generation_names_it_too(tokenizer):
    """The first two steps are sound; the third has a KV cache behind it."""
    lm, steps = load((make_model("gpt2"), tokenizer)), []

    def spoil(value):
        steps.append(value.shape)
        return value * (float("inf") if len(steps) > 2 else 1)

    words = "first in the output of the attention of layer 2"
    with intervene(lm, {Site(2, "attention"): spoil}), pytest.raises(NumericalError, match=words):
        generate(lm, "The Space Needle", 5, stop_at_eos=False)


def test_an_embedding_and_a_head_are_named(tokenizer):
    lm = load((make_model("gpt2"), tokenizer))
    for site, words in (
        (Site(None, "embedding"), "first in the output of the embedding "),
        (Site(None, "head", "input"), "first in the output of the head "),
    ):
        with intervene(lm, {site: lambda value: value / 0}), pytest.raises(NumericalError, match=words):
            lm.logits(["The"])


@pytest.fixture(scope="module")
def nan_folder(tokenizer, tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("nan"), make_model("gpt2")
    model.transformer.h[2].mlp.c_proj.weight.data[5, 7] = torch.nan
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


RECORD = {
    "case_id": 0,
    "requested_rewrite": {
        "prompt": "{} plays the",
        "subject": "Miles Davis",
        "target_new": {"str": "piano"},
        "target_true": {"str": "trumpet"},
        "relation_id": "P1303",
    },
    "paraphrase_prompts": ["Miles Davis performs on the"],
    "neighborhood_prompts": ["Glenn Gould plays the"],
    "generation_prompts": ["Miles Davis plays"],
}


@pytest.mark.parametrize(
    "command",
    [
        "generate --prompt The",
        "trace {} --subject Davis",
        "edit --subject Davis --prompt {} --target-new piano --method ft --layer 1 --out OUT/e",
        "evaluate --records RECORDS --method ft --layer 1 --out OUT/run",
    ],
)
def test_commands_refuse_in_one_line(nan_folder, tmp_path, command):
    records, out = tmp_path / "records.json", tmp_path / "out"
    records.write_text(json.dumps([RECORD]), encoding="utf-8")
    out.mkdir()
    words = [word.replace("OUT", str(out)).replace("RECORDS", str(records)) for word in command.split()]
    words = [word if word != "{}" else "{} plays the" for word in words]
    result = CliRunner().invoke(app, [*words, "--model", str(nan_folder)])
    assert result.exit_code == 2, result.output
    (line,) = result.output.strip().splitlines()
    assert "transformer.h.2.mlp.c_proj.weight" in line
    assert list(out.iterdir()) == []


@torch.no_grad()
def test_a_corrupted_run_that_overflows_is_an_error_and_no_trace(tokenizer):
    lm = load((make_model("gpt2"), tokenizer))
    run = CleanRun(lm, locate(lm, "{} plays the", "Miles Davis"), (), TraceSettings())
    states = run.recording.states[-1][:, -1:]
    run.probabilities(states)
    with pytest.raises(NumericalError, match=r"NaN in a corrupted run of .* \(float32\): use less noise"):
        run.probabilities(states * torch.nan)
