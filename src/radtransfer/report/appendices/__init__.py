"""Appendices of the book, generated from the records of a study and from what only a person can state.

A page of the book has a line ``<!-- appendix: NAME -->``, which gives way to MyST Markdown made of the
evidence: :data:`APPENDICES` by name. What it refers to is then checked like everything else on a page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from radtransfer.errors import unknown_name
from radtransfer.report.appendices import checklists, datasheets, model_cards, provenance, surroundings
from radtransfer.report.appendices.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["APPENDICES", "Evidence", "fill"]

APPENDICES: dict[str, Callable[[Evidence], str]] = {
    "datasheets": datasheets.datasheets,
    "datasets_not_used": datasheets.not_used,
    "model_cards": model_cards.model_cards,
    "claim": checklists.claim,
    "tripod_ai": checklists.tripod_ai,
    "machines": surroundings.machines,
    "times": surroundings.times,
    "packages": surroundings.packages,
    "provenance": provenance.provenance,
}
"""Generators by name."""

_PLACE = re.compile(r"^<!-- appendix: (\S+) -->$", re.M)


def fill(text: str, evidence: Evidence) -> str:
    """Replace the lines of a page that name an appendix.

    Parameters
    ----------
    text : str
        MyST Markdown.
    evidence : Evidence

    Returns
    -------
    str
        The same text if it names none.

    Raises
    ------
    RadtransferError
        If there is no such appendix, or its evidence is missing or damaged.
    """

    def generated(match: re.Match[str]) -> str:
        if match[1] not in APPENDICES:
            raise unknown_name("appendix", match[1], APPENDICES)
        return APPENDICES[match[1]](evidence)

    return _PLACE.sub(generated, text)
