"""Describe the release as a Research Object Crate: ``ro-crate-metadata.json`` in the root.

What it says is taken from ``CITATION.cff``, ``data_manifest.yaml``, the published results with their
checksums, and the notebooks; nothing is typed here that stands elsewhere. It is written for a release and not
kept in between: with the checksum of every part it would be outdated by every change.
"""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from rocrate.model.contextentity import ContextEntity
from rocrate.model.person import Person
from rocrate.rocrate import ROCrate

from radtransfer.data.manifest import load_manifest
from radtransfer.hashing import sha256_file

ROOT = Path(__file__).resolve().parents[1]
CRATE = "ro-crate-metadata.json"
LICENCES = {
    "MIT": ("https://spdx.org/licenses/MIT", "MIT License"),
    "CC-BY-4.0": ("https://creativecommons.org/licenses/by/4.0/", "Creative Commons Attribution 4.0"),
}
KINDS = {
    ".csv": "text/csv",
    ".ipynb": "application/x-ipynb+json",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".yaml": "application/yaml",
}
DESCRIPTIONS = (
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "data_manifest.yaml",
    "requirements.lock",
    "environment.yml",
)
"""Files beside results and notebooks that a reader of the crate needs."""


def crate(day: str) -> dict[str, Any]:
    """Content of the metadata file, for a release of this day (``YYYY-MM-DD``)."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    described = ROCrate()
    code, text = (
        described.add(ContextEntity(described, address, {"@type": "CreativeWork", "name": name}))
        for address, name in LICENCES.values()
    )
    described.name, described.description = citation["title"], zenodo["description"]
    described.license, described.keywords = code, citation["keywords"]
    described.creator = [
        described.add(Person(described, f"#author-{number}", {"name": author["name"]}))
        for number, author in enumerate(citation["authors"], start=1)
    ]
    described.root_dataset["author"] = described.creator
    described.root_dataset["version"] = citation["version"]
    described.root_dataset["datePublished"] = day

    for name, digest in _parts().items():
        path = ROOT / name
        properties = {"contentSize": str(path.stat().st_size), "sha256": digest, "name": path.name}
        if path.suffix in KINDS:
            properties["encodingFormat"] = KINDS[path.suffix]
        part = described.add_file(path, name, properties=properties)
        part["license"] = text if name.startswith(("results/", "book/")) else code
        if name.startswith("results/notebooks/"):
            part["isBasedOn"] = {"@id": f"notebooks/{path.name}"}
    _mention_datasets(described)
    with tempfile.TemporaryDirectory() as folder:
        described.metadata.write(folder)
        content: dict[str, Any] = json.loads((Path(folder) / CRATE).read_text(encoding="utf-8"))
    return content


def _parts() -> dict[str, str]:
    """Digest of each file of the release that the crate names."""
    sums = (ROOT / "results" / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    parts = {f"results/{name}": digest for digest, _, name in (line.partition("  ") for line in sums)}
    sources = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / name for name in DESCRIPTIONS)]
    names = (path.relative_to(ROOT).as_posix() for path in sources)
    return dict(sorted((parts | {name: sha256_file(ROOT / name) for name in names}).items()))


def _mention_datasets(described: ROCrate) -> None:
    """Name what the images are, which the crate does not hold."""
    for name, entry in load_manifest().datasets.items():
        if entry.access != "generated":
            properties = {
                "@type": "Dataset",
                "name": entry.title,
                "citation": entry.citation,
                "usageInfo": entry.licence,
                "conditionsOfAccess": entry.access,
            }
            mentioned = described.add(ContextEntity(described, f"#dataset-{name}", properties))
            described.root_dataset.append_to("mentions", mentioned)


def main() -> None:
    """Write the file."""
    day = datetime.now(UTC).date().isoformat()
    (ROOT / CRATE).write_text(json.dumps(crate(day), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
