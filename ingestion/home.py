"""Whether HANDOFF_HOME can hold state; what stands in it is said by settings.py."""

from __future__ import annotations

import os
from pathlib import Path

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings


def require_home(settings: Settings, *, create: bool = True) -> Path:
    """The folder of all state, made when it is not there; without `create` only tried.

    SETTING_INVALID when it is no folder, cannot be made or cannot be written.
    """
    try:
        root = settings.root
        missing = [folder for folder in (root, *root.parents) if not folder.exists()]
        # Permission bits do not tell whether a folder can be made, /proc for one; making it does.
        if create:
            root.mkdir(parents=True, exist_ok=True)
        elif missing:
            missing[-1].mkdir()
            missing[-1].rmdir()
            return root
        if not root.is_dir():
            raise NotADirectoryError("it is no folder")
        if not os.access(root, os.W_OK | os.X_OK):
            raise PermissionError("it cannot be written")
    # RuntimeError: `~somebody` of a user that does not exist.
    except (OSError, RuntimeError) as error:
        raise HandoffError(
            "SETTING_INVALID",
            f"HANDOFF_HOME='{settings.home}' cannot hold state: "
            f"{getattr(error, 'strerror', None) or error}",
            remedy="Give HANDOFF_HOME a folder of yours, or a path where one can be made.",
        ) from error
    return root
