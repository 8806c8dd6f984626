"""Tiny random models of every family, for tests that need a model but no knowledge in it.

The models are shared by the whole session: a test that changes weights does so on ``fresh_lm(...)``,
which builds a new one. Weights are larger than at a usual initialisation, so that attention is not
uniform and every effect is far above rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from knowedit.models import LanguageModel, load

END = "<|endoftext|>"
IDS = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 0}
OLDER = {"n_layer": 4, "n_head": 4, "n_embd": 32, "n_positions": 64}
NEWER = {
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
}
GROUPED = NEWER | {"num_key_value_heads": 2}
TINY: dict[str, tuple[type[PreTrainedConfig], type[PreTrainedModel], dict[str, Any]]] = {
    "gpt2": (GPT2Config, GPT2LMHeadModel, OLDER),
    "gptj": (GPTJConfig, GPTJForCausalLM, OLDER | {"rotary_dim": 4}),
    "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM, NEWER),
    "llama": (LlamaConfig, LlamaForCausalLM, GROUPED),
    "mistral": (MistralConfig, MistralForCausalLM, GROUPED),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, GROUPED),
}
FAMILIES = tuple(TINY)
TEXTS = (
    "The Space Needle is in downtown Seattle. The Eiffel Tower is located in the city of Paris.",
    "Marie Curie worked in the field of physics and was born in Warsaw, the capital of Poland.",
    "Miles Davis plays the trumpet; Glenn Gould plays the piano. The mother tongue of Marie is French.",
    "Edmund Neupert, performing on the piano, was born in Norway. São Paulo is a city in Brazil.",
)


def make_tokenizer(
    *, trim_offsets: bool = False, start: bool = False, size: int = 400
) -> PreTrainedTokenizerFast:
    """A byte-level byte-pair tokenizer like GPT-2's, trained on a few sentences.

    Args:
        trim_offsets: whether a token's offsets leave out its leading space.
        start: whether the end-of-text token is added at the start of every text.
        size: the size of the vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    steps: list[Any] = [processors.ByteLevel(trim_offsets=trim_offsets)]
    if start:
        steps.append(processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)]))
    tokenizer.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, unk_token=END)


def make_config(family: str, **fields: Any) -> PreTrainedConfig:
    """A configuration of 4 layers, width 32, inner width 128, 64 positions, vocabulary 400."""
    config, _, sizes = TINY[family]
    return config(**(IDS | sizes | fields))


def make_model(family: str, *, seed: int = 0, scale: float = 0.25, **fields: Any) -> PreTrainedModel:
    """A random model in eval mode; the same ``seed`` gives the same weights, whatever ran before."""
    model = TINY[family][1](make_config(family, **fields))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        is_norm = ".ln_" in name or "norm" in name
        centre = 1.0 if is_norm and name.endswith("weight") else 0.0
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.copy_(centre + scale * noise)
    return model.eval()


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    """Standard normal numbers that do not depend on what ran before."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A command that sets the number of threads does so for itself: sums in other tests must not change."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """The byte-level tokenizer of the tiny models."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def fresh_lm(tokenizer: PreTrainedTokenizerFast) -> Callable[..., LanguageModel]:
    """``fresh_lm(family, seed=0, **config_fields)``: a new model that a test may change."""

    def build(family: str, **fields: Any) -> LanguageModel:
        return load((make_model(family, **fields), tokenizer))

    return build


@pytest.fixture(scope="session")
def tiny_gpt2(fresh_lm: Callable[..., LanguageModel]) -> LanguageModel:
    """A random GPT-2; shared, so leave its weights as they are."""
    return fresh_lm("gpt2")


@pytest.fixture(scope="session")
def tiny_gptj(fresh_lm: Callable[..., LanguageModel]) -> LanguageModel:
    """A random GPT-J; shared, so leave its weights as they are."""
    return fresh_lm("gptj")


@pytest.fixture(scope="session")
def tiny_gpt_neox(fresh_lm: Callable[..., LanguageModel]) -> LanguageModel:
    """A random GPT-NeoX; shared, so leave its weights as they are."""
    return fresh_lm("gpt_neox")


@pytest.fixture(scope="session")
def tiny_llama(fresh_lm: Callable[..., LanguageModel]) -> LanguageModel:
    """A random Llama; shared, so leave its weights as they are."""
    return fresh_lm("llama")


@pytest.fixture(scope="session")
def tiny_mistral(fresh_lm: Callable[..., LanguageModel]) -> LanguageModel:
    """A random Mistral; shared, so leave its weights as they are."""
    return fresh_lm("mistral")


@pytest.fixture(scope="session")
def tiny_qwen2(fresh_lm: Callable[..., LanguageModel]) -> LanguageModel:
    """A random Qwen2; shared, so leave its weights as they are."""
    return fresh_lm("qwen2")


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> LanguageModel:
    """Each family's tiny model in turn; shared, so leave its weights as they are."""
    return request.getfixturevalue(f"tiny_{request.param}")


@pytest.fixture(scope="session", params=FAMILIES)
def tiny_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``save_pretrained`` writes it, of each family in turn."""
    lm: LanguageModel = request.getfixturevalue(f"tiny_{request.param}")
    folder = tmp_path_factory.mktemp(f"tiny-{request.param}")
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return folder
