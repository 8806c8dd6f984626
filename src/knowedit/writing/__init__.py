"""How files and folders are written: whole or not at all, and in nobody's place."""

from knowedit.writing.files import PathLike, new_file, write_bytes
from knowedit.writing.folders import check_folder, new_folder
from knowedit.writing.names import plain_name
from knowedit.writing.places import LEFTOVER, Place

__all__ = [
    "LEFTOVER",
    "PathLike",
    "Place",
    "check_folder",
    "new_file",
    "new_folder",
    "plain_name",
    "write_bytes",
]
