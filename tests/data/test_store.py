from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from local_server import serving

from radtransfer.data import decoding, quality, store
from radtransfer.data import fetch as fetching
from radtransfer.data.duplicates import Duplicates, find_duplicates
from radtransfer.data.images import DecodeError, decode
from radtransfer.data.phantoms import PhantomSpec
from radtransfer.data.splits import LEAKS
from radtransfer.data.store import CuratedDataset, curate
from radtransfer.errors import DataError, InputError, LeakageError

SPEC = PhantomSpec(n_patients=150, size=48, n_near_duplicates=6, seed=2)


def make(**changes: Any) -> CuratedDataset:
    wanted: dict[str, Any] = {"task": "pneumonia", "image_size": 48, "seed": 1, "phantom": SPEC}
    return curate("phantom_xray", **(wanted | changes))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_curated_dataset_keeps_its_promises(work: Path) -> None:
    dataset = make()
    frame = dataset.cohort.frame
    assert dataset.images.shape == (len(frame), 48, 48)
    assert dataset.images.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0, 0, 0] = 1
    assert dataset.flow.final.n_images == len(frame)
    assert frame["age_years"].dropna().between(18, 80).all()
    held, folds = set(dataset.holdout.ids("test")), dataset.folds.table
    assert held.isdisjoint(folds["image_id"])
    assert held | set(folds["image_id"]) == set(frame["image_id"])
    patients = frame.set_index("image_id")["patient_id"]
    assert set(patients[list(held)]).isdisjoint(folds["patient_id"])
    ids = frame["image_id"].tolist()[::-1]
    assert dataset.index(ids).tolist() == list(range(len(ids)))[::-1]
    with pytest.raises(InputError, match="nobody"):
        dataset.index([ids[0], "nobody"])


def test_the_last_test_is_on_the_hold_out_part_alone(work: Path) -> None:
    dataset = make()
    held = set(dataset.holdout.ids("test"))
    split = dataset.final.folds.split(0, validation_fraction=0.1, seed=1)
    assert set(split.ids("test")) == held
    learned = {*split.ids("train"), *split.ids("validation")}
    assert learned == set(dataset.folds.table["image_id"])
    assert dataset.final.digest == dataset.digest  # the same images
    assert dataset.final.folds.digest != dataset.folds.digest
    assert dataset.image_ids == tuple(dataset.cohort.frame["image_id"])
    with pytest.raises(InputError, match=r"no image of phantom_xray-.* is held out"):
        _ = make(test_fraction=0).final.folds


def test_pixels_stand_in_the_row_of_their_image(work: Path) -> None:
    dataset = make()
    raw = next((work / "raw").glob("phantom_xray-*"))
    for row in (0, len(dataset.images) // 2, len(dataset.images) - 1):
        np.testing.assert_array_equal(
            dataset.images[row], decode(raw / dataset.cohort.frame["path"].iloc[row])
        )


def test_duplicates_share_a_group_and_a_part(work: Path) -> None:
    frame = make().cohort.frame.set_index("image_id")
    copies = frame.dropna(subset="duplicate_of")
    pairs = [(i, j) for i, j in copies["duplicate_of"].items() if j in frame.index]
    assert pairs
    assert all(frame.loc[i, "group_id"] == frame.loc[j, "group_id"] for i, j in pairs)


def test_the_second_call_reads_what_the_first_wrote(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make()
    monkeypatch.setattr(store, "decode_all", lambda *_: pytest.fail("decoded again"))
    assert make().folder == first.folder


def test_the_digest_is_of_the_contents(work: Path) -> None:
    first = make()
    assert make(seed=2).digest == first.digest  # other folds, same images
    assert make(seed=2).folds.digest != first.folds.digest
    assert make(age_max=60).digest != first.digest


SMALL = PhantomSpec(n_patients=30, size=32, images_per_patient=1, seed=4)


@contextmanager
def told_otherwise(monkeypatch: pytest.MonkeyPatch, **columns: Any) -> Iterator[None]:
    """Let the phantoms' layout tell other values for some columns."""
    from radtransfer.data.formats import phantom

    def read_cohort(root: Path, options: Any) -> Any:
        whole = original(root, options)
        return whole.assign(**{name: change(whole.frame) for name, change in columns.items()})

    original = phantom.read_cohort
    with monkeypatch.context() as patch:
        patch.setattr(phantom, "read_cohort", read_cohort)
        yield


def digest_with(monkeypatch: pytest.MonkeyPatch, work: Path, **columns: Any) -> str:
    """Digest of a small dataset whose layout tells other values for some columns."""
    with told_otherwise(monkeypatch, **columns):
        shutil.rmtree(work / "curated", ignore_errors=True)
        return make(phantom=SMALL, image_size=32, n_folds=2).digest


def test_whatever_a_model_may_use_is_in_the_digest_and_nothing_else(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(column: str, value: Any) -> dict[str, Any]:
        return {
            column: lambda frame: frame.get(column, pd.Series(index=frame.index)).mask(
                frame.index == 3, value
            )
        }

    as_is = digest_with(monkeypatch, work)
    for column, value in {
        "age_years": 61.0,
        "sex": None,
        "view": "lateral",
        "site": "elsewhere",
        "patient_id": "another",
        "slice_fraction": 0.25,
    }.items():
        assert digest_with(monkeypatch, work, **other(column, value)) != as_is, column
    # other sources have other files for the same images
    for column, value in {"file_bytes": 17, "remark": "none", "slice_fraction": None}.items():
        assert digest_with(monkeypatch, work, **other(column, value)) == as_is, column


def test_what_the_raw_files_were_is_recorded(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make(phantom=SMALL, image_size=24, n_folds=2)
    raw = next((work / "raw").glob("phantom_xray-*"))
    frame = dataset.cohort.frame
    assert frame["file_bytes"].tolist() == [(raw / path).stat().st_size for path in frame["path"]]
    assert set(frame["height"]) == set(frame["width"]) == {32}
    assert frame["quality_warning"].isna().all()
    # what the layout knows better is left alone; a file of many images tells nothing of one
    known = {"file_bytes": lambda frame: pd.array([7, None] * (len(frame) // 2), dtype="Int64")}
    digest_with(monkeypatch, work, **known, frame=lambda frame: pd.array(range(len(frame)), dtype="Int64"))
    (folder,) = (work / "curated").glob("phantom_xray-*")
    cohort = CuratedDataset.open(folder).cohort.frame
    assert set(cohort["file_bytes"].dropna()) == {7}
    assert cohort["file_bytes"].isna().any()


def test_official_parts(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parts(frame: pd.DataFrame) -> pd.Series:
        numbers = frame["patient_id"].astype(int)
        part = pd.Series(np.where(numbers % 4, "train", "test"), index=frame.index, dtype="str")
        # copies are of other patients: some leak, which only the pixels show
        return part.mask(numbers == 7, None)

    def folds(frame: pd.DataFrame) -> pd.Series:
        return (frame["patient_id"].astype(int) % 4 - 1).mask(lambda fold: fold < 0).astype("Int64")

    official: dict[str, Any] = {"split": "official", "age_min": 0, "age_max": 120}
    with told_otherwise(monkeypatch, official_split=parts):
        whole = make(age_min=0, age_max=120)
        with pytest.raises(LeakageError, match=r"official split of phantom_xray leaks: \d of"):
            make(**official)
        repaired = make(**official | {"split": "official_without_leaks"})
    frame = repaired.cohort.frame
    steps = {step.reason: step.n_images for step in repaired.flow.steps}
    assert steps["no official part"] > 0
    assert steps[LEAKS] > 0
    assert len(frame) == len(repaired.images) == len(whole.images) - steps["no official part"] - steps[LEAKS]
    np.testing.assert_array_equal(repaired.images, whole.images[whole.index(frame["image_id"].tolist())])
    assert set(repaired.holdout.ids("test")) == set(frame.loc[parts(frame) == "test", "image_id"])
    assert set(repaired.folds.table["image_id"]) == set(repaired.holdout.ids("train"))
    assert repaired.digest != whole.digest

    spec = replace(SPEC, n_near_duplicates=0)
    with told_otherwise(monkeypatch, official_split=parts, official_fold=folds):
        given = make(**official, phantom=spec)
    proposed = given.cohort.frame.set_index("image_id")["official_fold"]
    assert given.folds.table.set_index("image_id")["fold"].equals(
        proposed[given.folds.table["image_id"]].astype(int)
    )
    with pytest.raises(InputError, match="neither an official split nor folds"):
        make(**official, phantom=replace(spec, seed=9))
    with pytest.raises(InputError, match="did you mean 'official'"):
        make(split="oficial")


def test_excluded_images_are_kept_for_inspection(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from radtransfer.data.formats import phantom

    black = np.zeros((32, 32), np.uint8)
    bar = black.copy()
    bar[:, 12:20] = 250

    def read_image(root: Path, row: Any) -> Any:
        if row["patient_id"] == "00003":
            return black
        if row["patient_id"] == "00004":
            raise DecodeError("damaged")
        if row["patient_id"] == "00005":
            return 255 - decode(root / row["path"])
        return np.pad(decode(root / row["path"]), ((0, 120), (0, 0))) if row["patient_id"] == "00006" else bar

    monkeypatch.setattr(phantom, "read_image", read_image)
    monkeypatch.setattr(quality, "MAX_CLIPPED", 1.0)
    none = (np.empty((0, 2), np.intp), np.empty(0), np.empty(0, dtype=bool))
    monkeypatch.setattr(store, "find_duplicates", lambda images, **_: Duplicates(*none, len(images[0])))
    dataset = make(phantom=SMALL, image_size=32, n_folds=2, age_min=0, age_max=120)
    excluded = dataset.excluded.set_index("patient_id")
    assert excluded["reason"].to_dict() == {
        "00003": quality.EMPTY,
        "00004": decoding.DOES_NOT_DECODE,
        "00006": quality.STRIP,
    }
    assert dataset.flow.final.n_images == len(dataset.images) == dataset.flow.start.n_images - 3
    assert not dataset.excluded_thumbnails[:2].any()
    strip = dataset.excluded_thumbnails[2]
    assert strip.shape == (64, 64)
    assert strip[:10].any()  # the whole height is shown
    assert not strip[:, :26].any()  # between black borders
    assert excluded.loc["00006", ["height", "width"]].tolist() == [152, 32]
    assert excluded.loc["00004", "height"] is pd.NA
    warned = dataset.cohort.frame.set_index("patient_id")["quality_warning"].dropna()
    assert warned.to_dict() == {"00005": quality.INVERTED}


def test_an_altered_file_is_refused(work: Path) -> None:
    whole = make(phantom=SMALL, image_size=32, n_folds=2).folder
    names = {path.name for path in whole.iterdir()} - {store.CHECKSUMS}
    assert names >= {"images.npy", "cohort.parquet", "assignment.parquet", "curation.json", "excluded.npy"}
    for name in names:
        folder = work / f"altered {name}"
        shutil.copytree(whole, folder)
        with (folder / name).open("r+b") as stream:
            stream.seek(-2, os.SEEK_END)
            stream.write(b"\x01")
        with pytest.raises(DataError, match=f"{name} is not what curation wrote"):
            CuratedDataset.open(folder)
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"{name} is missing"):
            CuratedDataset.open(folder)


def test_phantoms_and_real_data_are_not_mixed_up(work: Path) -> None:
    with pytest.raises(InputError, match="needs phantom"):
        make(phantom=None)
    with pytest.raises(InputError, match="leave phantom out"):
        curate("nih_pneumonia_1000", task="pneumonia", seed=1, phantom=SPEC)


def test_too_large_an_image_size_is_said_to_be_so(work: Path) -> None:
    with pytest.raises(InputError, match="shortest side below 49 px"):
        make(image_size=49)


def test_what_another_task_has_decoded_is_copied(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from radtransfer.data.formats import phantom

    def curated(**changes: Any) -> CuratedDataset:
        return make(phantom=spec, image_size=32, n_folds=2, **changes)

    spec = replace(SMALL, n_patients=100)
    original, decoded = phantom.read_image, []
    monkeypatch.setattr(
        phantom, "read_image", lambda root, row: decoded.append(row["image_id"]) or original(root, row)
    )
    young = curated(age_max=50)
    make(phantom=spec, image_size=24)  # other pixels
    decoded.clear()
    everybody = curated()
    there = set(young.cohort.frame["image_id"])
    assert len(there) > 20
    assert set(decoded) == set(everybody.cohort.frame["image_id"]) - there
    told = bytes_of(everybody.folder)
    shutil.rmtree(young.folder)
    shutil.rmtree(everybody.folder)
    assert bytes_of(curated().folder) == told
    shutil.rmtree(everybody.folder)
    (curated(age_max=60).folder / "images.npy").write_bytes(b"")  # damaged: passed over
    assert bytes_of(curated().folder) == told


@pytest.mark.parametrize("failure", [MemoryError("no 7 GB"), IndexError("no frame 3")])
def test_a_reader_that_fails_is_told_in_one_line(
    work: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    from radtransfer.data.formats import phantom

    def read_image(root: Path, row: Any) -> Any:
        if row["patient_id"] == "00007":
            raise failure
        return decode(root / row["path"])

    monkeypatch.setattr(phantom, "read_image", read_image)
    with pytest.raises(DataError) as error:
        make(phantom=SMALL, image_size=32)
    kind = type(failure).__name__
    assert str(error.value) == (
        f"image phantom_xray_00007_00 was not read from phantom_xray_00007_00.png: {kind}: {failure}"
    )


PROCESSES = """
import os, random, signal, sys, time
from pathlib import Path
from radtransfer.data import decoding, duplicates, fetch, store
from radtransfer.data.formats import load_format
from radtransfer.data.phantoms import PhantomSpec
from radtransfer.errors import RadtransferError

load_format("phantom")
decoding.CHUNK = 16
SPEC = PhantomSpec(n_patients=120, size=48, n_near_duplicates=2, seed=2)

def begin(work):
    "Curate in a child process; what was imported need not be imported again."
    pid = os.fork()
    if pid:
        return pid
    os.environ["RADTRANSFER_WORK"] = str(work)
    try:
        store.curate("phantom_xray", task="pneumonia", image_size=48, seed=1, phantom=SPEC)
    except RadtransferError as error:
        print(error, flush=True)
        os._exit(error.exit_status)
    os._exit(0)

def status(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def in_processes(script: str, *arguments: object, within: Sequence[str] = ()) -> str:
    done = subprocess.run(
        [*within, sys.executable, "-c", PROCESSES + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def the_dataset(work: Path) -> Path:
    """The one dataset in a work folder, nothing else being left there."""
    names = {path.name for path in (work / "curated").iterdir()} - {".locks"}
    assert len(names) == 1, names
    return work / "curated" / names.pop()


KILLED = """
whole, broken = map(Path, sys.argv[1:])
begun = time.monotonic()
assert status(begin(whole)) == 0
usual = time.monotonic() - begun
chunks, kills = 0, 0

def done():
    return len(list(broken.glob("curated/*.chunks/0*.npz")))

def ended_by_itself(pid):
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

while True:
    pid = begin(broken)
    if kills < 8:
        time.sleep(random.uniform(0, usual / 2))
        while kills >= 6 and not done() > chunks and not ended_by_itself(pid):
            time.sleep(0.01)  # the last two in the middle of decoding, however slow the machine
        os.kill(pid, signal.SIGKILL)
    if (ended := status(pid)) == 0:
        break
    assert ended == -signal.SIGKILL
    kills += 1
    left = done()
    assert left >= chunks, (left, chunks)
    chunks = left
print(kills, chunks)
"""


def test_killed_at_random_points_it_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    kills, chunks = map(int, in_processes(KILLED, tmp_path / "whole", tmp_path / "broken").split())
    assert kills >= 3
    assert chunks > 0  # some were left to go on from
    assert bytes_of(the_dataset(tmp_path / "broken")) == bytes_of(the_dataset(tmp_path / "whole"))


BY_PROCESSES = """
import psutil

whole, broken = map(Path, sys.argv[1:])
assert status(begin(whole)) == 0
decoding.FEW = 0
pid = begin(broken)
while not list(broken.glob("curated/*.chunks/0*.npz")):
    time.sleep(0.01)
workers = psutil.Process(pid).children(recursive=True)
os.kill(pid, signal.SIGKILL)
assert status(pid) == -signal.SIGKILL
assert workers
while any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers):
    time.sleep(0.1)  # until the test's time is over
assert status(begin(broken)) == 0
"""


def test_processes_that_decode_end_with_their_parent_and_lose_nothing(tmp_path: Path) -> None:
    in_processes(BY_PROCESSES, tmp_path / "whole", tmp_path / "broken")
    assert bytes_of(the_dataset(tmp_path / "broken")) == bytes_of(the_dataset(tmp_path / "whole"))


def test_an_error_in_a_process_is_told_as_it_is(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(row: Any) -> Any:
        raise DataError(f"no such frame of {row['image_id']}", hint="look again")

    cohort = work / "cohort.parquet"
    decoding.shelve(pd.DataFrame({"image_id": ["a", "b"], "path": ["a.png", "b.png"]}), cohort)
    monkeypatch.setattr(decoding, "FEW", 0)
    with pytest.raises(DataError, match=r"^no such frame of a \(look again\)$") as told:
        decoding.decode_all(fail, cohort, 32, work)
    assert told.value.hint == "look again"


def test_two_processes_at_once_make_one_dataset(tmp_path: Path) -> None:
    in_processes(
        "both = [begin(sys.argv[1]), begin(sys.argv[1])]; assert [*map(status, both)] == [0, 0]", tmp_path
    )
    CuratedDataset.open(the_dataset(tmp_path))


FETCHED = """
from radtransfer.data.store import curate

dataset = curate("clinic", task="fracture", image_size=32, n_folds=2, seed=1)
print(dataset.digest, len(dataset.images))
"""


def test_two_processes_that_fetch_and_curate_at_once_end_with_one_intact_copy(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    files = []
    monkeypatch.setenv("RADTRANSFER_ROOT", str(tmp_path))
    monkeypatch.delenv("RADTRANSFER_OFFLINE", raising=False)
    with serving() as server:
        for i in range(40):
            name = f"{'broken' if i % 4 > 1 else 'intact'}/p{i // 2}_{i % 2}.png"
            _, png = cv2.imencode(".png", rng.integers(0, 255, (40, 40), dtype=np.uint8))
            server.files[name] = content = png.tobytes()
            files.append({"path": name, "bytes": len(content), "sha256": sha256(content).hexdigest()})
        clinic = {
            "title": "A clinic",
            "modality": "xray",
            "licence": "MIT",
            "citation": "made here",
            "access": "open",
            "patient_id_field": "file name",
            "format": "folder",
            "options": {
                "task": "fracture",
                "classes": ["intact", "broken"],
                "patient": "(?P<patient>p[0-9]+)_",
            },
            "tasks": ["fracture"],
            "files": files,
            "sources": [{"kind": "url", "url": server.url}],
        }
        (tmp_path / "data_manifest.yaml").write_text(
            yaml.safe_dump({"version": 1, "datasets": {"clinic": clinic}, "weights": {}})
        )
        server.pace = 200  # a while for each file, so that they meet
        command = [sys.executable, "-c", FETCHED]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        told = [process.communicate(timeout=300)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert told[0] == told[1]
        assert told[0].split()[1] == "40"
        # neither brought anything twice, and nothing half-made is left
        assert sorted(path for path, _ in server.asked) == sorted(f"/{name}" for name in server.files)
    raw = work / "raw" / "clinic"
    stored = {path.relative_to(raw).as_posix(): path.read_bytes() for path in raw.rglob("*.png")}
    assert stored == server.files
    assert not list(raw.rglob("*.part"))
    assert CuratedDataset.open(the_dataset(work)).digest == told[0].split()[0]
    assert fetching.verify("clinic").ok


FULL = """
small, whole = map(Path, sys.argv[1:])
assert status(begin(whole)) == 0
os.system(f"mount -t tmpfs none {small}")
for room in ("600k", "1000k", "1400k", "1800k", "2200k"):
    os.system(f"mount -o remount,size={room} {small}")
    assert status(begin(small / "work")) == 1, room
    sys.stdout.flush()
os.system(f"mount -o remount,size=64m {small}")
assert status(begin(small / "work")) == 0
os.system(f"cp -r {small}/work {whole.parent}/copy")
"""


def test_a_full_disk_is_told_and_room_is_all_it_takes_to_go_on(tmp_path: Path) -> None:
    own_mounts = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*own_mounts, "true"], check=False).returncode:
        pytest.skip("this system lets users mount no small disk")
    small = tmp_path / "small"
    small.mkdir()
    told = in_processes(FULL, small, tmp_path / "whole", within=own_mounts).splitlines()
    assert len(told) == 5
    assert all(line.startswith("the disk is full: ") and "free some space" in line for line in told)
    for place in ("/raw/", ".npz was not written", "/complete was not written"):
        assert any(place in line for line in told), told
    assert bytes_of(the_dataset(tmp_path / "copy")) == bytes_of(the_dataset(tmp_path / "whole"))


def test_an_image_that_does_not_decode_is_counted(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from radtransfer.data.formats import phantom

    def read_image(root: Path, row: Any) -> Any:
        if row["path"].startswith("phantom_xray_00007"):
            raise DecodeError("damaged")
        return decode(root / row["path"])

    whole = make(seed=5)
    n = int(whole.cohort.frame["patient_id"].eq("00007").sum())
    monkeypatch.setattr(phantom, "read_image", read_image)
    shutil.rmtree(whole.folder)
    dataset = make(seed=5)
    (step,) = (step for step in dataset.flow.steps if step.reason == decoding.DOES_NOT_DECODE)
    assert n > 0
    assert (step.n_images, step.n_patients) == (n, 1)
    assert "00007" not in set(dataset.cohort.frame["patient_id"])


def test_an_altered_raw_file_is_a_data_error_with_a_hint(
    work: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADTRANSFER_MIRROR", str(shared_data))
    root = fetching.fetch("chestxray14_sample")
    image = next(root.glob("images_001/images/*.png"))
    content = image.read_bytes()
    image.chmod(0o644)
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    monkeypatch.delenv("RADTRANSFER_MIRROR")
    monkeypatch.setenv("RADTRANSFER_OFFLINE", "1")
    with pytest.raises(DataError, match=rf"{image.name}: expected sha256 .*radtransfer data fetch"):
        curate("chestxray14_sample", task="pneumonia", seed=1)


def test_duplicates_are_kept_and_stand_in_one_part(work: Path) -> None:
    spec = PhantomSpec(n_patients=60, images_per_patient=1, size=64, n_near_duplicates=3, seed=4)
    dataset = make(phantom=spec, image_size=64, n_folds=2, age_min=0, age_max=120)
    stored = dataset.duplicates
    assert stored.pairs.tolist() == find_duplicates(dataset.images).pairs.tolist()
    assert len(stored.pairs) == 3
    groups = dataset.cohort.frame["group_id"].to_numpy()
    assert (groups[stored.pairs[:, 0]] == groups[stored.pairs[:, 1]]).all()


@pytest.mark.parametrize(("dataset", "known"), [("nih_pneumonia_1000", True), ("brain_tumor_mri", False)])
def test_the_manifest_tells_whether_patients_are_known(tmp_path: Path, dataset: str, known: bool) -> None:
    assert CuratedDataset(tmp_path, {"dataset": dataset}).patients_known is known
