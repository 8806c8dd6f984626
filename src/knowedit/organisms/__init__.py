"""Small GPTs that know a synthetic world: the world, its text, the recipe and the trainer."""

from knowedit.organisms.corpus import passage
from knowedit.organisms.recall import recalled
from knowedit.organisms.recipe import RECIPES, Recipe
from knowedit.organisms.records import compile_records
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
    "passage",
    "recalled",
    "rescale_residual",
    "train",
    "train_tokenizer",
]
