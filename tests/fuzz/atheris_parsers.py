"""Coverage-guided fuzzing of the parsers that are Python themselves. In no suite: atheris is optional.

``pip install atheris; python tests/fuzz/atheris_parsers.py PARSER [folder of findings] -max_total_time=60``
with delimited, archive, manifest or npz for PARSER; the other arguments are libFuzzer's. Stops at the first
input that lets anything but the project's own errors escape.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["radtransfer.data", "tarfile", "zipfile", "yaml", "numpy.lib._format_impl"]
):
    import tarfile  # noqa: F401
    import zipfile  # noqa: F401

    import yaml  # noqa: F401

    from radtransfer.data.archives import unpack
    from radtransfer.data.delimited import read_delimited
    from radtransfer.data.formats import medmnist
    from radtransfer.data.manifest import FileEntry, load_manifest

from parsers import all_cases

from radtransfer.errors import RadtransferError

WANTED = FileEntry(path="a", bytes=6, sha256="0" * 64, member="r/a.png")
PARSERS: dict[str, tuple[str, tuple[str, ...], Callable[[Path], object]]] = {
    "delimited": ("a.csv", ("delimited",), read_delimited),
    "archive": ("r.bin", ("zip", "tar"), lambda path: unpack(path, [WANTED], path.parent / "target")),
    "manifest": ("manifest.yaml", ("manifest",), load_manifest),
    "npz": ("a.npz", ("medmnist",), lambda path: medmnist.read_cohort(path.parent, {"task": "pneumonia"})),
}


def main() -> None:
    name, seeds, parse = PARSERS[sys.argv.pop(1)]
    folder = Path(tempfile.mkdtemp())
    corpus = folder / "corpus"
    corpus.mkdir()
    for seed in seeds:
        for i, case in enumerate(all_cases()[seed]):
            for file, content in case.files.items():
                if Path(file).suffix == Path(name).suffix:
                    (corpus / f"{seed}{i}").write_bytes(content)

    def once(content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        try:
            parse(path)
        except RadtransferError:
            return

    atheris.Setup([*sys.argv, str(corpus)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
