"""Packages that only some users need, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from radtransfer.errors import RadtransferError


def optional(name: str) -> Any:
    """Import a package of the extra ``ray``.

    Parameters
    ----------
    name : str

    Returns
    -------
    module

    Raises
    ------
    RadtransferError
        If it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise RadtransferError(
            f"{name} is not installed", hint="in the checkout: .venv/bin/python -m pip install -e '.[ray]'"
        ) from None
