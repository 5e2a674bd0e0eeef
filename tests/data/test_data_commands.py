from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from radtransfer.data.commands import app
from radtransfer.errors import DataError, InputError

RUN = CliRunner()


def test_list_is_plain_without_a_terminal(work: Path) -> None:
    lines = RUN.invoke(app, ["list"]).output.splitlines()
    assert lines[0].split("\t")[0] == "dataset"
    assert any(line.startswith("nih_pneumonia_1000\txray\t1001\t27.5 MB\tno\t") for line in lines)


def test_describe_tells_the_terms(work: Path) -> None:
    out = RUN.invoke(app, ["describe", "nih_pneumonia_1000"]).output
    assert "licence\tNIH Clinical Center terms" in out
    assert "source 1\tmirror nih_pneumonia_1000" in out


def test_an_unknown_dataset(work: Path) -> None:
    result = RUN.invoke(app, ["verify", "phantom_xry"])
    assert isinstance(result.exception, InputError)
    assert "did you mean 'phantom_xray'" in str(result.exception)


@pytest.mark.shared
def test_fetch_then_verify_then_describe(
    work: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = RUN.invoke(app, ["verify", "chestxray14_sample"])
    assert isinstance(missing.exception, DataError)
    assert "15 of 15 files" in str(missing.exception)
    monkeypatch.setenv("RADTRANSFER_MIRROR", str(shared_data))
    assert RUN.invoke(app, ["fetch", "chestxray14_sample"]).exit_code == 0
    assert "15 files are what the manifest says" in RUN.invoke(app, ["verify", "chestxray14_sample"]).output
    assert "patients\t" in RUN.invoke(app, ["describe", "chestxray14_sample"]).output


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("chexpert_readers", "files\t30"),
        ("pneumonia_mnist_truncated", "train has 3,882 of 4,708 images"),
        ("rsna_pneumonia_sample", "rows of its table have no image here"),
        ("luna16_sample", "nobody is left"),
    ],
)
def test_every_dataset_can_be_described(
    work: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    monkeypatch.setenv("RADTRANSFER_MIRROR", str(shared_data))
    assert RUN.invoke(app, ["fetch", name]).exit_code == 0
    said = RUN.invoke(app, ["describe", name])
    assert said.exit_code == 0, said.exception
    assert told in said.output
