"""Downloads with checksums into the user's cache folder, on request only."""

from __future__ import annotations

import re
from pathlib import Path

from pyro_vae.datasets.reading import one_line
from pyro_vae.errors import InputError

TIMEOUT_S = 30


def cache_folder(name: str) -> Path:
    """Where the files of dataset ``name`` are kept once downloaded."""
    import pooch

    return Path(pooch.os_cache("pyro_vae")) / name


def fetch(url: str, checksum: str, folder: Path) -> Path:
    """Return the file behind ``url`` from ``folder``, downloading it if it is not there yet.

    A file already there with the right checksum is used as it is, wherever it came from.

    Args:
        checksum: the hash and its kind, ``md5:...`` or ``sha256:...``.

    Raises:
        InputError: no connection, no such file, no room, or a checksum that does not match; names
            the URL and the folders in which the file is looked for.
    """
    import pooch

    name = url.rsplit("/", 1)[-1]
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT_S)
    try:
        return Path(pooch.retrieve(url, checksum, name, folder, downloader=downloader))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a bad hash a ValueError
        reason = one_line(error)
        # Those of requests tell it through three layers of their parts.
        if any(base.__name__ == "ConnectionError" for base in type(error).__mro__):
            cause = re.search(r"\[Errno -?\d+\] ([^'\"()]+)", reason)
            reason = "no connection" if cause is None else f"no connection: {cause[1]}"
        raise InputError(
            f"could not download {url} ({reason}); put {name} by hand into {folder} or "
            "into the folder that PYRO_VAE_DATA or --data-dir names"
        ) from error
