"""Every parser of files from outside, with small valid files to begin from.

A case is a folder of files that its parser accepts, the names of those that are mutated, and the ways to
mutate them. Where it can, a mutation keeps checksums and containers right, so that it gets past the first
check.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import random
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mutations import Mutation, damage, damage_gzip, damage_png, damage_table, damage_text, damage_zip
from PIL import Image

from radtransfer.data import archives, deidentify, dicom, images, manifest, volumes
from radtransfer.data.delimited import read_delimited
from radtransfer.data.formats import load_format, read_cohort
from radtransfer.data.manifest import Dataset, FileEntry

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Real files, where the developers' folder is beside the checkout."""

PARSERS = (
    "png", "jpeg", "other images", "dicom", "deidentify", "mhd", "nifti", "delimited", "zip", "tar",
    "manifest", "checksum list", "chestxray14", "nih_pneumonia", "rsna_pneumonia", "luna16", "kermany",
    "phe_sich", "brain_tumor_mri", "medmnist", "folder", "table", "dicom folder", "nifti folder", "phantom",
)  # fmt: skip
"""Names of all cases."""

ROWS = 3
"""Images of a cohort that are read, too."""


@dataclass(frozen=True)
class Case:
    """A parser and valid files for it."""

    parse: Callable[[Path], None]
    files: Mapping[str, bytes]
    mutations: Mapping[str, tuple[Mutation, ...]] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    """Names that messages may give instead of the file's: of what is in it."""

    @property
    def names(self) -> set[str]:
        """Names of which one must stand in every message."""
        files = {Path(name).name for name in self.files}
        return {*files, *(name.removesuffix(".zip") for name in files), *self.inside}

    def write(self, folder: Path) -> None:
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def mutate(self, folder: Path, rng: random.Random) -> str:
        """Spoil one of the files; returns its name."""
        name = rng.choice(sorted(self.mutations))
        content = rng.choice(self.mutations[name])(self.files[name], rng)
        (folder / name).write_bytes(content)
        return name


def grey(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    """A smooth image with some noise."""
    ramp = np.add.outer(np.linspace(0, 120, shape[-2]), np.linspace(0, 100, shape[-1]))
    return np.broadcast_to(ramp, shape).astype(np.uint8) + rng.integers(0, 30, shape, dtype=np.uint8)


def encoded(image: np.ndarray[Any, Any], form: str, mode: str = "L", **options: Any) -> bytes:
    Image.fromarray(image).convert(mode).save(buffer := io.BytesIO(), form, **options)
    return buffer.getvalue()


def table(header: str, *rows: str) -> bytes:
    return "\n".join((header, *rows, "")).encode()


def real(name: str) -> list[bytes]:
    """A real file, if it is here."""
    path = SHARED / name
    return [path.read_bytes()] if path.is_file() else []


PNG: tuple[Mutation, ...] = (damage, damage_png)
TABLE: tuple[Mutation, ...] = (damage_table, damage_table, damage_table, damage)
TABLE_GZ: tuple[Mutation, ...] = (damage, partial(damage_gzip, inside=damage_table))
BINARY: tuple[Mutation, ...] = (damage,)


def image_cases(rng: np.random.Generator) -> dict[str, list[Case]]:
    pixels = grey(rng, 40, 32)

    def parse(folder: Path) -> None:
        decoded = images.decode(next(folder.iterdir()))
        assert decoded.dtype == np.uint8
        assert decoded.ndim == 2

    pngs = [encoded(pixels, "PNG", mode) for mode in ("L", "RGBA", "P", "1", "RGB", "LA")]
    jpegs = [
        *(
            encoded(pixels, "JPEG", mode, progressive=progressive)
            for mode in ("L", "RGB", "CMYK")
            for progressive in (False, True)
        ),
        *real("kermany_pneumonia_224/images/person1_virus_6.jpeg"),
    ]
    others = {form: [encoded(pixels, form)] for form in ("BMP", "TIFF", "GIF", "WEBP")}
    return {
        "png": [Case(parse, {"a.png": content}, {"a.png": PNG}) for content in pngs],
        "jpeg": [Case(parse, {"a.jpeg": content}, {"a.jpeg": BINARY}) for content in jpegs],
        "other images": [
            Case(parse, {f"a.{form.lower()}": content}, {f"a.{form.lower()}": BINARY})
            for form, contents in others.items()
            for content in contents
        ],
    }


def dicom_file(pixels: np.ndarray[Any, Any], **attributes: Any) -> bytes:
    """A small DICOM file; ``syntax`` picks how it is written."""
    from pydicom.dataset import Dataset as DicomDataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGBaseline8Bit

    syntax = attributes.pop("syntax", ExplicitVRLittleEndian)
    data = DicomDataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.5"
    data.PatientID, data.PatientAge, data.PatientSex, data.Modality = "p1", "058Y", "F", "CT"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.NumberOfFrames = pixels.shape[0] if pixels.ndim == 3 else 1
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = pixels.dtype.itemsize * 8
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.WindowCenter, data.WindowWidth = 40, 400
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 1.5], [1, 0, 0, 0, 1, 0]
    for name, value in attributes.items():
        setattr(data, name, value)
    data.PixelData = pixels.tobytes()
    if syntax == JPEGBaseline8Bit:
        data.PixelData = encapsulate([encoded(pixels, "JPEG")])
        data["PixelData"].VR = "OB"
    data.save_as(buffer := io.BytesIO(), enforce_file_format=True)
    return buffer.getvalue()


def dicom_files(rng: np.random.Generator) -> list[bytes]:
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

    small, deep = grey(rng, 16, 12), (grey(rng, 16, 12).astype(np.int16) * 8)
    return [
        dicom_file(deep),
        dicom_file(small, PhotometricInterpretation="MONOCHROME1", RescaleIntercept=0),
        dicom_file(np.stack([deep, deep, deep])),
        dicom_file(deep, syntax=ImplicitVRLittleEndian, PixelPaddingValue=0),
        dicom_file(deep, syntax=DeflatedExplicitVRLittleEndian),
        dicom_file(small, syntax=JPEGBaseline8Bit),
        *(
            content
            for content in real("luna16/cptac_lscc_dicom_sample/000040.dcm")
            if len(content) < 1_000_000
        ),
        *real("rsna_pneumonia_layout/stage_2_train_images/16d7f894-55d7-4d95-8957-d18987f0e981.dcm"),
    ]


def dicom_cases(rng: np.random.Generator) -> dict[str, list[Case]]:
    def parse(folder: Path) -> None:
        path = folder / "a.dcm"
        header = dicom.read_header(path)
        assert header.age_years is None or 0 <= header.age_years <= 120
        assert header.sex in ("F", "M", None)
        shown = dicom.read_frame(path)
        assert shown.dtype == np.uint8
        assert shown.ndim == 2

    def audit(folder: Path) -> None:
        deidentify.audit_folder(folder)

    files = dicom_files(rng)
    return {
        "dicom": [Case(parse, {"a.dcm": content}, {"a.dcm": BINARY}) for content in files],
        "deidentify": [Case(audit, {"a.dcm": content}, {"a.dcm": BINARY}) for content in files],
    }


MHD = b"""ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -10 -20 -30
CenterOfRotation = 0 0 0
ElementSpacing = 0.7 0.7 1.25
DimSize = 10 9 8
ElementType = MET_SHORT
ElementDataFile = 1.2.3.raw
"""
MHD_TOKENS = (
    "LIST", "LOCAL", "../../secret/canary.png", "/etc/passwd", "%d.raw 1 9 1", "1e9", "-1 9 8",
    "99999 99999 99999", "0 0 0", "MET_DOUBLE", "MET_STRING", "True", "nan nan nan", "inf", "", "4",
    "1 0 0 0 1 0 0 0 0", "9" * 400, "\x00",
)  # fmt: skip


def voxels(rng: np.random.Generator) -> bytes:
    return (grey(rng, 8, 9, 10).astype(np.int16) * 6 - 1000).astype("<i2").tobytes()


def nifti(rng: np.random.Generator) -> bytes:
    """A NIfTI-1 file, written by hand: 348 bytes of header, four of extension, voxels."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 10, 9, 8, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 0.7, 0.7, 1.25, 0, 0, 0, 0)
    struct.pack_into("<ff", header, 108, 352, 1)
    struct.pack_into("<hh", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, 0.7, 0, 0, -10, 0, 0.7, 0, -20, 0, 0, 1.25, -30)
    header[123] = 2
    header[344:348] = b"n+1\0"
    return bytes(header) + voxels(rng)


def volume_cases(rng: np.random.Generator) -> dict[str, list[Case]]:
    def parse(name: str, folder: Path) -> None:
        grid = volumes.read_grid(folder / name)
        assert min(grid.size) >= 1
        volumes.read_volume(folder / name)

    header: tuple[Mutation, ...] = (damage, partial(damage_text, tokens=MHD_TOKENS))
    plain = nifti(rng)
    return {
        "mhd": [
            Case(
                partial(parse, "1.2.3.mhd"),
                {"1.2.3.mhd": MHD, "1.2.3.raw": voxels(rng)},
                {"1.2.3.mhd": (*header, *header), "1.2.3.raw": BINARY},
            )
        ],
        "nifti": [
            Case(partial(parse, "a.nii"), {"a.nii": plain}, {"a.nii": BINARY}),
            Case(
                partial(parse, "a.nii.gz"),
                {"a.nii.gz": gzip.compress(plain)},
                {"a.nii.gz": (damage, damage_gzip)},
            ),
        ],
    }


def layout_case(
    name: str,
    files: Mapping[str, bytes],
    mutations: Mapping[str, tuple[Mutation, ...]],
    options: Mapping[str, Any] | None = None,
) -> Case:
    """Case that reads the cohort of a folder, and its first images."""

    entry = Dataset.model_construct(id="own", format=name, options=options or {}, modality="ct")

    def parse(folder: Path) -> None:
        layout, cohort = load_format(name), read_cohort(entry, folder)
        for row in cohort.frame.head(ROWS).to_dict("records"):
            image = layout.read_image(folder, row)
            assert image.dtype == np.uint8
            assert image.ndim == 2

    return Case(parse, files, mutations)


NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


def npz(**arrays: np.ndarray[Any, Any]) -> bytes:
    np.savez_compressed(buffer := io.BytesIO(), **arrays)
    return buffer.getvalue()


def layout_cases(rng: np.random.Generator) -> dict[str, list[Case]]:
    png, jpeg = encoded(grey(rng, 20, 20), "PNG"), encoded(grey(rng, 20, 20), "JPEG")
    dcm = dicom_file(grey(rng, 16, 12), Modality="CR")
    slices = [
        dicom_file(
            grey(rng, 16, 12).astype(np.int16), SOPInstanceUID=f"1.2.3.{i}", ImagePositionPatient=[0, 0, i]
        )
        for i in range(3)
    ]
    chest = layout_case(
        "chestxray14",
        {
            "Data_Entry_2017_v2020.csv": table(
                NIH_HEADER,
                "00000001_000.png,Cardiomegaly|Pneumonia,0,1,058Y,M,PA,2682,2749,0.143,0.143",
                "00000002_000.png,No Finding,0,2,81,F,AP,2500,2048,0.171,0.171",
                "00000003_000.png,Pneumonia,1,3,411,M,PA,2992,2991,0.143,0.143",
            ),
            **{f"images_001/images/0000000{i}_000.png": png for i in (1, 2, 3)},
            "train_val_list.txt": b"00000001_000.png\n00000002_000.png\n",
            "test_list.txt": b"00000003_000.png\n",
            "BBox_List_2017.csv": table(
                "Image Index,Finding Label,Bbox [x,y,w,h],,,", "00000001_000.png,Pneumonia,1.5,2,3,4,,,"
            ),
        },
        {},
    )
    rsna_labels = table("patientId,x,y,width,height,Target", "a,1.0,2.0,3.0,4.0,1", "b,,,,,0")
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("stage_2_train_labels.csv", rsna_labels)
    zipped_labels = buffer.getvalue()
    rsna = {
        "stage_2_train_images/a.dcm": dcm,
        "stage_2_train_images/b.dcm": dcm,
        "stage_2_detailed_class_info.csv": table("patientId,class", "a,Lung Opacity", "b,Normal"),
        "stage_2_train_images_dicom_headers.csv": table(
            "PatientID,PatientAge,PatientSex,ViewPosition", "a,058Y,F,PA", "b,411,U,AP"
        ),
        "pneumonia-challenge-dataset-mappings_2018.json": json.dumps(
            [
                {"subset_img_id": "a", "img_id": "00000001_000.png"},
                {"subset_img_id": "b", "img_id": "00000001_001.png"},
            ]
        ).encode(),
    }
    rsna_mutations: dict[str, tuple[Mutation, ...]] = {
        name: TABLE for name in rsna if name.endswith(".csv")
    } | {
        "stage_2_train_images/a.dcm": BINARY,
        "pneumonia-challenge-dataset-mappings_2018.json": (
            damage,
            partial(damage_text, tokens=("[", "null", "[]", "{}", "1", "[" * 9000)),
        ),
    }
    luna = layout_case(
        "luna16",
        {
            "subset0/1.2.3.mhd": MHD,
            "subset0/1.2.3.raw": voxels(rng),
            "annotations.csv": table(
                "seriesuid,coordX,coordY,coordZ,diameter_mm", "1.2.3,-8,-18,-26,4", "9.9,1,2,3,4"
            ),
            "candidates_V2.csv": table("seriesuid,coordX,coordY,coordZ,class", "1.2.3,-4,-15,-23,0"),
            "annotations_with_malignancy.csv": table(
                "seriesuid,coordX,coordY,coordZ,diameter_mm,mal_details", '1.2.3,-8,-18,-26,4,"[4, 5, 3]"'
            ),
        },
        {
            "subset0/1.2.3.mhd": (damage, partial(damage_text, tokens=MHD_TOKENS)),
            "subset0/1.2.3.raw": BINARY,
            "annotations.csv": TABLE,
            "candidates_V2.csv": TABLE,
            "annotations_with_malignancy.csv": TABLE,
        },
        {"patch_mm": 6, "patch_pixels": 16, "non_nodules_per_scan": 1},
    )
    names = ("person1_bacteria_1", "person2_virus_2", "IM-0001-0001")
    kermany = layout_case(
        "kermany",
        {
            **{f"images/{name}.jpeg": jpeg for name in names},
            "metadata.csv": table("image,official_split", *(f"images/{name}.jpeg,train" for name in names)),
        },
        {"metadata.csv": TABLE, "images/person1_bacteria_1.jpeg": BINARY},
    )
    sides = b"<xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>9</ymax>"
    voc = b"<annotation><object><bndbox>%s</bndbox></object></annotation>" % sides
    xml = partial(
        damage_text, tokens=("<", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "&b;", "<xmin>nan</xmin>", "\x00", "é")
    )
    lines = voc.replace(b"><", b">\n<")
    phe = [
        layout_case(
            "phe_sich",
            {
                **{f"images/phe_0001_0{i}.png": png for i in range(3)},
                "masks/phe_0001_01.png": png,
                "metadata.csv": table(
                    "image,patient_id,label,slice_index,mask,bbox_xmin,bbox_ymin,bbox_xmax,bbox_ymax,nonblack_frac,mask_bbox_disagree",
                    "images/phe_0001_00.png,0001,0,0,,,,,,0.5,0",
                    "images/phe_0001_01.png,0001,1,1,masks/phe_0001_01.png,1,2,30,40,0.5,0",
                    "images/phe_0001_02.png,0001,0,2,,,,,,0.5,0",
                ),
            },
            {"metadata.csv": TABLE, "images/phe_0001_00.png": PNG},
        ),
        layout_case(
            "phe_sich",
            {
                **{f"seg_dataset/images/train/0001_{i}.png": png for i in range(3)},
                **{f"merged_annotation/0001_{i}.xml": lines for i in range(2)},
            },
            {"merged_annotation/0001_0.xml": (damage, xml), "seg_dataset/images/train/0001_0.png": PNG},
        ),
    ]
    brain = layout_case(
        "brain_tumor_mri",
        {
            **{f"images/{i}.jpg": jpeg for i in range(3)},
            "metadata.csv": table(
                "image,source_file,near_dup_group",
                *(
                    f"images/{i}.jpg,Training/{kind}/{i}.jpg,{i}"
                    for i, kind in enumerate(("glioma", "notumor", "pituitary"))
                ),
            ),
        },
        {"metadata.csv": TABLE, "images/0.jpg": BINARY},
    )
    flat = {
        f"{part}_{kind}": grey(rng, 4, 28, 28)
        if kind == "images"
        else np.array([[0], [1], [1], [0]], np.uint8)
        for part in ("train", "val", "test")
        for kind in ("images", "labels")
    }
    solid = {
        name: array if name.endswith("labels") else grey(rng, 4, 6, 8, 8) for name, array in flat.items()
    }
    medmnist = [
        layout_case(
            "medmnist",
            {"a.npz": npz(**arrays)},
            {"a.npz": (damage, damage_zip)},
            {"task": "pneumonia"} | more,
        )
        for arrays, more in ((flat, {}), (solid, {"slices": "all"}))
    ]
    parquet = phantom_files()
    own = table(
        "file,who,age,sex,view,hospital,part,sick,grade",
        "x.png,p1,058Y,F,PA,A,train,1,low",
        "y/z.png,p2,411,U,AP,B,test,-1,high",
    )
    options = {
        "image": "file", "patient": "who", "age": "age", "sex": "sex", "view": "view", "site": "hospital",
        "split": "part",
        "labels": {
            "sick": {"column": "sick"},
            "grade": {"column": "grade", "classes": ["low", "mid", "high"]},
        },
    }  # fmt: skip
    nih = {
        "metadata.csv": table(
            "image,patient_id,age,sex,view,label,nih_Finding Labels,nih_Follow-up #,nih_Patient ID,"
            "nih_Patient Age,nih_Patient Gender,nih_View Position",
            "00000001_000.png,1,58,M,PA,1,Pneumonia,0,1,058Y,M,PA",
            "00000002_000.png,2,81,F,AP,0,No Finding,0,2,81,F,AP",
        ),
        "images/00000001_000.png": png,
        "images/00000002_000.png": png,
    }
    return {
        "chestxray14": [
            Case(
                chest.parse,
                chest.files,
                {name: TABLE for name in chest.files if name.endswith((".csv", ".txt"))}
                | {"images_001/images/00000001_000.png": PNG},
            )
        ],
        "nih_pneumonia": [
            layout_case("nih_pneumonia", nih, {"metadata.csv": TABLE, "images/00000001_000.png": PNG})
        ],
        "rsna_pneumonia": [
            layout_case(
                "rsna_pneumonia",
                rsna | {"stage_2_train_labels.csv": rsna_labels},
                rsna_mutations | {"stage_2_train_labels.csv": TABLE},
            ),
            layout_case(
                "rsna_pneumonia",
                rsna | {"stage_2_train_labels.csv.zip": zipped_labels},
                {"stage_2_train_labels.csv.zip": (damage, damage_zip)},
            ),
        ],
        "luna16": [luna],
        "kermany": [kermany],
        "phe_sich": phe,
        "brain_tumor_mri": [brain],
        "medmnist": medmnist,
        "folder": [
            layout_case(
                "folder",
                {
                    f"{part}/{name}/p{i}.png": png
                    for i, part in enumerate(("train", "test"))
                    for name in ("a", "b")
                },
                {"train/a/p0.png": PNG},
                {"task": "t", "classes": ["a", "b"], "patient": r"(?P<patient>p\d)"},
            )
        ],
        "table": [
            layout_case(
                "table",
                {f"a{suffix}": content, "x.png": png, "y/z.png": png},
                {f"a{suffix}": mutations},
                options,
            )
            for suffix, content, mutations in (
                (".csv", own, TABLE),
                (".csv.gz", gzip.compress(own), TABLE_GZ),
                (".tsv", own.replace(b",", b"\t"), (damage, partial(damage_table, separator="\t"))),
            )
        ],
        "dicom folder": [
            layout_case(
                "dicom",
                {f"{name}/{i}.dcm": content for i, content in enumerate(slices) for name in ("a",)}
                | {"b/9.dcm": dcm, "labels.csv": table("series,label", "1.2.3.5,1")},
                {"a/0.dcm": BINARY, "labels.csv": TABLE},
                {
                    "labels": {
                        "table": "labels.csv",
                        "key": "series",
                        "labels": {"sick": {"column": "label"}},
                    },
                    "labels_are_for": "SeriesInstanceUID",
                },
            )
        ],
        "nifti folder": [
            layout_case(
                "nifti",
                {
                    "sub-01/a.nii": nifti(rng),
                    "sub-02/b.nii.gz": gzip.compress(nifti(rng)),
                    "labels.csv": table("who,sick", "sub-01,1", "sub-02,0"),
                },
                {"sub-01/a.nii": BINARY, "sub-02/b.nii.gz": (damage, damage_gzip), "labels.csv": TABLE},
                {
                    "labels": {"table": "labels.csv", "key": "who", "labels": {"sick": {"column": "sick"}}},
                    "labels_are_for": "patient",
                    "patient": r"(?P<patient>sub-\d+)",
                },
            )
        ],
        "phantom": [layout_case("phantom", parquet, {"cohort.parquet": BINARY})],
    }


def phantom_files() -> dict[str, bytes]:
    import tempfile

    from radtransfer.data.formats import phantom
    from radtransfer.data.phantoms import PhantomSpec

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "phantoms"
        phantom.write(PhantomSpec(n_patients=4, images_per_patient=1, size=32, seed=0), root)
        return {path.name: path.read_bytes() for path in root.iterdir()}


def manifest_cases() -> dict[str, list[Case]]:
    entry = {
        "title": "A", "modality": "xray", "licence": "CC0-1.0", "citation": "B", "access": "open",
        "patient_id_field": "p", "native_size": [8, 8], "format": "phantom", "tasks": ["pneumonia"],
        "files": [{"path": "a.png", "bytes": 3, "sha256": "0" * 64}],
        "sources": [{"kind": "mirror", "folder": "a"}, {"kind": "url", "url": "https://example.org/"}],
    }  # fmt: skip
    text = yaml.safe_dump({"version": 1, "datasets": {"a": entry, "b": entry}})

    def parse(folder: Path) -> None:
        manifest.load_manifest(folder / "manifest.yaml")

    def parse_list(folder: Path) -> None:
        path = folder / "list.tsv"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        for file in manifest._read_list.__wrapped__(path, digest):
            assert (folder / file.path).resolve().is_relative_to(folder.resolve())

    listed = "path\tbytes\tsha256\tmember\n" + "".join(
        f"{name}\t3\t{'0' * 64}\tm{name}\n" for name in ("a.png", "sub/b.png")
    )
    own = (Path(__file__).parents[2] / "data_manifest.yaml").read_bytes()
    return {
        "manifest": [
            Case(parse, {"manifest.yaml": content}, {"manifest.yaml": (damage, damage_text, damage_text)})
            for content in (text.encode(), own)
        ],
        "checksum list": [
            Case(
                parse_list,
                {"list.tsv": listed.encode()},
                {"list.tsv": (damage, partial(damage_table, separator="\t"), damage_text)},
            )
        ],
    }


def delimited_cases() -> dict[str, list[Case]]:
    content = table("id,age,sex,label", "a,58,F,1", '"b, ""c""",411,U,-1', "d,,M,0")

    def parse(name: str, folder: Path) -> None:
        frame = read_delimited(folder / name, required=["id"])
        assert "id" in frame

    return {
        "delimited": [
            Case(partial(parse, "a.csv"), {"a.csv": content}, {"a.csv": TABLE}),
            Case(partial(parse, "a.csv.gz"), {"a.csv.gz": gzip.compress(content)}, {"a.csv.gz": TABLE_GZ}),
        ]
    }


MEMBERS = {"a.png": bytes(range(256)) * 8, "sub/b.csv": b"x,y\n1,2\n" * 50}


def archive_cases() -> dict[str, list[Case]]:
    files = tuple(
        FileEntry(path=name, bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
        for name, body in MEMBERS.items()
    )

    def parse(folder: Path) -> None:
        target = folder / "target"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        complete = False
        try:
            archives.unpack(folder / "r.bin", files, target, root="r/")
            complete = True
        finally:
            there = {
                path.relative_to(target).as_posix(): path for path in target.rglob("*") if not path.is_dir()
            }
            assert all(
                path.read_bytes() == MEMBERS[name] and not path.is_symlink() for name, path in there.items()
            )
            assert not complete or set(there) == set(MEMBERS)

    def tar(form: int) -> bytes:
        with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w", format=form) as archive:
            folder = tarfile.TarInfo("r")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            for name, body in {"other": b"o" * 3000, "long/" * 30: b"", **MEMBERS}.items():
                info = tarfile.TarInfo(f"r/{name}")
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
            link = tarfile.TarInfo("r/link")
            link.type, link.linkname = tarfile.SYMTYPE, "a.png"
            archive.addfile(link)
        return buffer.getvalue()

    def repack(unpack: Callable[[bytes], bytes], pack: Callable[[bytes], bytes]) -> Mutation:
        return lambda content, rng: pack(damage(unpack(content), rng))

    inside = ("the archive", *MEMBERS)  # the source is named by who asks for the archive
    zips = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(buffer := io.BytesIO(), "w", method) as archive:
            for name, body in {"other": b"o" * 3000, **MEMBERS}.items():
                archive.writestr(f"r/{name}", body)
        zips.append(buffer.getvalue())
    tars = [tar(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    packed = [
        (gzip.compress(tars[2]), repack(gzip.decompress, gzip.compress)),
        (bz2.compress(tars[2]), repack(bz2.decompress, bz2.compress)),
        (lzma.compress(tars[1], preset=0), repack(lzma.decompress, partial(lzma.compress, preset=0))),
    ]
    return {
        "zip": [Case(parse, {"r.bin": content}, {"r.bin": (damage, damage_zip)}, inside) for content in zips],
        "tar": [
            *(Case(parse, {"r.bin": content}, {"r.bin": BINARY}, inside) for content in tars),
            *(
                Case(parse, {"r.bin": content}, {"r.bin": (damage, mutation)}, inside)
                for content, mutation in packed
            ),
        ],
    }


@cache
def all_cases() -> dict[str, list[Case]]:
    """Cases by the parser's name; the same on every machine, real files apart."""
    rng = np.random.default_rng(0)
    cases = {
        **image_cases(rng),
        **dicom_cases(rng),
        **volume_cases(rng),
        **delimited_cases(),
        **layout_cases(rng),
        **manifest_cases(),
        **archive_cases(),
    }
    assert set(cases) == set(PARSERS)
    return cases
