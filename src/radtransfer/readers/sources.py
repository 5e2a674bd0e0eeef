"""Where a reader study's tables come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radtransfer.errors import unknown_name

if TYPE_CHECKING:
    from radtransfer.readers.tables import ReaderTables

SOURCES = ("chexpert", "phantom")


def load_tables(source: str, *, seed: int = 0) -> ReaderTables:
    """Tables of a source.

    Parameters
    ----------
    source : {"chexpert", "phantom"}
        The CheXpert test set's radiologists, fetched by the manifest; or phantom readers.
    seed : int
        Of the phantoms.
    """
    if source == "chexpert":
        from radtransfer.readers.chexpert import load

        return load()
    if source == "phantom":
        from radtransfer.readers.phantoms import PanelSpec, reader_panel

        return reader_panel(PanelSpec(seed=seed))
    raise unknown_name("source of readings", source, SOURCES)
