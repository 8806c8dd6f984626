"""A byte-pair tokenizer, like GPT-2's, whose merges do not undo the dense names."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from knowedit.organisms.corpus import END_OF_TEXT, passage
from knowedit.organisms.world import World

VOCABULARY = 2304
# Syllables are merged first, so that no merge learned from other words can cut across them.
SYLLABLE_REPEATS = 30_000
PASSAGES = 1500


def train_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """Train on the world's text with every name replaced by its syllables."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(world), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def _texts(world: World) -> Iterator[str]:
    for syllable in world.syllables:
        for form in (syllable, syllable.capitalize(), " " + syllable.capitalize()):
            yield "\n".join([form] * SYLLABLE_REPEATS)
    rng = Random("tokenizer")
    names = sorted(world.kind_of, key=len, reverse=True)
    for _ in range(PASSAGES):
        text = passage(world, rng, 100).replace(END_OF_TEXT, "\n")
        for name in names:
            text = text.replace(name, "")
        yield text
