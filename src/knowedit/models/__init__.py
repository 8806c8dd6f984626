"""Language models seen through their anatomy: loading, prompts, interventions, recording and replay."""

from knowedit.models.anatomies.anatomy import Anatomy
from knowedit.models.anatomies.contract import check_anatomy
from knowedit.models.anatomies.discovery import discover
from knowedit.models.anatomies.families import FAMILIES
from knowedit.models.fingerprints import Fingerprint, fingerprint, tensor_digest
from knowedit.models.forwards import Batch, batch, forward, visit
from knowedit.models.generation import generate, generate_ids, generator_from
from knowedit.models.hooks import Site, capture, intervene
from knowedit.models.language_model import LanguageModel
from knowedit.models.loading import load
from knowedit.models.probabilities import next_token_probabilities, target_token_log_probabilities
from knowedit.models.projection import Projection
from knowedit.models.prompts import Prompt, encode, encode_with_offsets, locate, locate_in, target_ids
from knowedit.models.replay.prefix_cache import PrefixCache
from knowedit.models.replay.recording import Recording, record
from knowedit.models.replay.replaying import read_out, replay, resume

__all__ = [
    "FAMILIES",
    "Anatomy",
    "Batch",
    "Fingerprint",
    "LanguageModel",
    "PrefixCache",
    "Projection",
    "Prompt",
    "Recording",
    "Site",
    "batch",
    "capture",
    "check_anatomy",
    "discover",
    "encode",
    "encode_with_offsets",
    "fingerprint",
    "forward",
    "generate",
    "generate_ids",
    "generator_from",
    "intervene",
    "load",
    "locate",
    "locate_in",
    "next_token_probabilities",
    "read_out",
    "record",
    "replay",
    "resume",
    "target_ids",
    "target_token_log_probabilities",
    "tensor_digest",
    "visit",
]
