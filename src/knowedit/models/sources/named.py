"""Models that have a name here and whose weights are elsewhere: in another package, or in one file on the Hub.

What is known about such a model is in the notes of its folder in this package. Under ``weights`` they say where its
GGUF file is, and the file's SHA-256, so that the name always means the same weights.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from knowedit.bundled import Weights
from knowedit.errors import FileFormatError, InputError
from knowedit.models.sources.hub import hub_answers


def located(name: str, weights: Weights) -> Path:
    """The GGUF file of a model: from the installed package, else from the Hub at the revision noted.

    Args:
        name: of the model.
        weights: where they are.

    Raises:
        InputError: no such package, and the Hub does not give the file.
        FileFormatError: another file than the one that is noted.
    """
    path = weights.installed or _from_hub(name, weights)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != weights.sha256:
        raise FileFormatError(
            f"{path} is not the file that {name} means: its SHA-256 is {found[:12]}…, expected "
            f"{weights.sha256[:12]}…; run '{weights.command}', or give the path of your file, "
            "which is then a model of its own"
        )
    return path


def _from_hub(name: str, weights: Weights) -> Path:
    places = {"repo_id": weights.repository, "filename": weights.name, "revision": weights.revision}
    for offline in (True, False):  # a file that is here already needs no network
        try:
            if offline or hub_answers():
                return Path(hf_hub_download(**places, local_files_only=offline))
        except (OSError, ValueError, HfHubHTTPError) as problem:
            reason = problem
    raise InputError(
        f"the weights of {name} are not here, and the Hugging Face Hub does not give them: "
        f"run '{weights.command}', which brings them"
    ) from reason
