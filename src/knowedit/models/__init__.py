"""Language models seen through their anatomy: loading, prompts, interventions, recording and replay."""

from knowedit.models.anatomy import Anatomy
from knowedit.models.arguments import Arguments, block_arguments
from knowedit.models.batches import Batch, batch
from knowedit.models.contract import check_anatomy, check_paths
from knowedit.models.families import FAMILIES
from knowedit.models.fingerprints import Fingerprint, fingerprint, tensor_digest
from knowedit.models.forwards import forward
from knowedit.models.generation import generate, generate_ids, generate_texts
from knowedit.models.gradients import frozen
from knowedit.models.hooks import Site
from knowedit.models.interventions import capture, intervene
from knowedit.models.kept_keys import KeptKeys, keep_keys
from knowedit.models.language_model import LanguageModel
from knowedit.models.loading import load
from knowedit.models.projection import Projection
from knowedit.models.prompts import Prompt, encode, locate, locate_in, target_ids
from knowedit.models.recording import Recording, read_out, record, replay, resume, take_keys
from knowedit.models.scoring import (
    last_logits,
    next_token_probabilities,
    target_log_probabilities,
    target_token_log_probabilities,
)
from knowedit.models.seeds import generator_from
from knowedit.models.substitution import replay_with
from knowedit.models.truncated import visit

__all__ = [
    "FAMILIES",
    "Anatomy",
    "Arguments",
    "Batch",
    "Fingerprint",
    "KeptKeys",
    "LanguageModel",
    "Projection",
    "Prompt",
    "Recording",
    "Site",
    "batch",
    "block_arguments",
    "capture",
    "check_anatomy",
    "check_paths",
    "encode",
    "fingerprint",
    "forward",
    "frozen",
    "generate",
    "generate_ids",
    "generate_texts",
    "generator_from",
    "intervene",
    "keep_keys",
    "last_logits",
    "load",
    "locate",
    "locate_in",
    "next_token_probabilities",
    "read_out",
    "record",
    "replay",
    "replay_with",
    "resume",
    "take_keys",
    "target_ids",
    "target_log_probabilities",
    "target_token_log_probabilities",
    "tensor_digest",
    "visit",
]
