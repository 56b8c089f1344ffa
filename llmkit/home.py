"""Where boxes are kept on this machine, and whether the network may be used."""

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The folder of everything that is fetched or made: ``LLMKIT_HOME``, else the user's data folder."""
    given = os.environ.get("LLMKIT_HOME")
    return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("llmkit"))


def offline() -> bool:
    """Whether ``LLMKIT_OFFLINE`` forbids the network."""
    return os.environ.get("LLMKIT_OFFLINE", "0").strip().lower() not in ("", "0", "false", "no")
