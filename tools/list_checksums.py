"""Write a checksum list that the package ships, and print what the manifest says of it.

    python tools/list_checksums.py FOLDER NAME [--as TABLE IMAGE SOURCE]

With ``--as`` the files are listed under the names that they have at another source: TABLE is a CSV file in
FOLDER with those names in the column SOURCE, beside the paths here in the column IMAGE (relative to FOLDER
or to its ``images``).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from radtransfer.data.delimited import read_delimited
from radtransfer.data.listing import list_files, write_list
from radtransfer.data.manifest import CHECKSUMS

SUMS = "SHA256SUMS"


def main() -> None:
    """List the files of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--as", dest="names", nargs=3, metavar=("TABLE", "IMAGE", "SOURCE"))
    asked = parser.parse_args()
    if asked.names:
        table = read_delimited(asked.folder / asked.names[0], required=asked.names[1:])
        there = dict(zip(table[asked.names[2]], table[asked.names[1]], strict=True))
        names = {
            source: path if (asked.folder / path).is_file() else f"images/{path}"
            for source, path in there.items()
        }
    else:
        files = (path for path in asked.folder.rglob("*") if path.is_file() and path.name != SUMS)
        names = {name: name for name in (path.relative_to(asked.folder).as_posix() for path in files)}
    entries = list_files(asked.folder, [names[name] for name in sorted(names)])
    renamed = (
        entry.model_copy(update={"path": name}) for entry, name in zip(entries, sorted(names), strict=True)
    )
    listed = write_list(renamed, CHECKSUMS / f"{asked.name}.tsv")
    yaml.safe_dump(listed.model_dump(), sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main()
