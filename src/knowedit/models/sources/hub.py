"""Whether the Hugging Face Hub can be asked, and how to ask it quietly."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EIO
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from safetensors import SafetensorError
from transformers.utils import logging as hf_logging

HUB_SECONDS = 5.0
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
BARS = "HF_HUB_DISABLE_PROGRESS_BARS"


def hub_answers() -> bool:
    """Whether the Hub can be reached; asked first, for its client retries for minutes and prints it all."""
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT)
    if any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in OFFLINE):
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=HUB_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True  # it answered, if only to say no
    except (OSError, ValueError):
        return False


@contextmanager
def quiet(wanted: bool) -> Iterator[None]:
    """Without transformers' notes and progress bars; a download keeps its bar."""
    level = hf_logging.get_verbosity()
    # Where the environment decides about bars, trying to change it only gives a warning.
    bars = wanted and hf_logging.is_progress_bar_enabled() and BARS not in os.environ
    if wanted:
        hf_logging.set_verbosity_error()
    if bars:
        hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def save_pretrained(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write both as transformers does, quietly.

    Raises:
        OSError: they cannot be written; the libraries below have errors of their own for a full disk.
    """
    try:
        with quiet(True):
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except Exception as error:
        # The tokenizers library has no class for it.
        if isinstance(error, SafetensorError) or type(error) is Exception:
            raise OSError(EIO, " ".join(str(error).split()), str(folder)) from None
        raise
