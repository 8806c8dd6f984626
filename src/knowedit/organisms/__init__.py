"""Small GPTs that know a synthetic world: the world, its text, the recipe and the trainer."""

from knowedit.organisms.corpus import passage
from knowedit.organisms.recall import held_out_pairs, recall, trained_pairs
from knowedit.organisms.recipe import RECIPES, Recipe
from knowedit.organisms.records import compile_records, split_subjects
from knowedit.organisms.tokenizer import train_tokenizer
from knowedit.organisms.train import train
from knowedit.organisms.units import rescale_residual
from knowedit.organisms.world import Relation, World

__all__ = [
    "RECIPES",
    "Recipe",
    "Relation",
    "World",
    "compile_records",
    "held_out_pairs",
    "passage",
    "recall",
    "rescale_residual",
    "split_subjects",
    "train",
    "train_tokenizer",
    "trained_pairs",
]
