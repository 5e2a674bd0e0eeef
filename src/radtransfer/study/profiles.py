"""Profiles: every notebook's parameters, checked before anything runs.

A profile is one YAML file in ``profiles/``. Papermill would only warn about a misspelt parameter
and run the notebook with its default; here each notebook has a typed schema, and an unknown name,
a wrong type or a value out of range is refused with the nearest valid name.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from radtransfer import paths
from radtransfer.ablation.design import AUGMENTATIONS
from radtransfer.data.manifest import load_manifest
from radtransfer.data.phantoms import PhantomSpec
from radtransfer.errors import InputError, unknown_name
from radtransfer.training.runs import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

T = TypeVar("T")

Age = Annotated[int, Field(ge=0, le=120)]
TaskName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fraction = Annotated[float, Field(gt=0, lt=0.5)]
FoldsUsed = Annotated[int, Field(ge=1, le=20)] | None
InputSize = Annotated[int, Field(ge=16, le=1024)]
ImageSize = Annotated[int, Field(ge=16, le=2048)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Level = Annotated[float, Field(gt=0.5, lt=1)]

CHEXPERT = "chexpert_readers"

BACKBONES = tuple(dict.fromkeys(spec.backbone for spec in NETWORKS.values()))

STUDY_DIR = "STUDY_DIR"
"""The one parameter that the driver sets and no profile may."""


def _known(kind: str, names: list[str], known: Iterable[str]) -> list[str]:
    valid = list(known)
    for name in names:
        if name not in valid:
            raise unknown_name(kind, name, valid)
    if len(set(names)) < len(names):
        raise ValueError(f"a {kind} is named twice")
    return names


def _ascending(edges: list[int]) -> list[int]:
    if edges != sorted(set(edges)):
        raise ValueError("edges do not ascend")
    return edges


Edges = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(_ascending)]

NetworkNames = Annotated[
    list[str], Field(min_length=1), AfterValidator(lambda names: _known("network", names, NETWORKS))
]


class NotebookParameters(BaseModel):
    """Base of the schemas: types are not coerced, unknown names are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Manifest ids whose data the notebook reads."""
        return ()

    @property
    def uses_weights(self) -> bool:
        """Whether the notebook loads pretrained weights of the manifest."""
        return False


class TaskParameters(BaseModel):
    """A task of ``01_data_curation``.

    Attributes
    ----------
    dataset : str
        Manifest id of the images.
    phantom : dict or None
        What to draw, fields of :class:`radtransfer.data.phantoms.PhantomSpec`; None for real images.
    image_size : int or None
        Side of the stored square, pixels, where it is not that of the other tasks.
    age_min, age_max : int or None
        Ages included, where they are not those of the other tasks.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    dataset: str
    phantom: dict[str, Any] | None = None
    image_size: ImageSize | None = None
    age_min: Age | None = None
    age_max: Age | None = None

    @field_validator("dataset")
    @classmethod
    def _dataset_exists(cls, value: str) -> str:
        return load_manifest().dataset(value).id

    @field_validator("phantom")
    @classmethod
    def _phantom_is_valid(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            types = get_type_hints(PhantomSpec)
            for name in value.keys() & types:
                try:
                    TypeAdapter(types[name]).validate_python(value[name], strict=True)
                except ValidationError as error:
                    raise ValueError(f"{name}: {_problem(error.errors()[0], types)}") from None
            PhantomSpec.from_dict(value)
        return value

    @model_serializer(mode="wrap")
    def _as_given(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialise(self).items() if name in self.model_fields_set}


class ExaminedParameters(TaskParameters):
    """A task that is examined for leaks and shortcuts, and not studied.

    Attributes
    ----------
    task : str
        One of the dataset's tasks; beside it the attributes of :class:`TaskParameters`.
    """

    task: TaskName


class CurationParameters(NotebookParameters):
    """``01_data_curation``: which images, which patients, which folds."""

    TASKS: Annotated[dict[TaskName, TaskParameters], Field(min_length=1)]
    EXAMINED_ONLY: dict[TaskName, ExaminedParameters]
    IMAGE_SIZE: ImageSize
    AGE_MIN: Age
    AGE_MAX: Age
    TEST_FRACTION: Annotated[float, Field(gt=0, le=0.5)]
    N_FOLDS: Annotated[int, Field(ge=2, le=20)]
    SEED: Seed

    @model_validator(mode="after")
    def _parts_agree(self) -> CurationParameters:
        if twice := sorted(self.TASKS.keys() & self.EXAMINED_ONLY.keys()):
            raise ValueError(f"{twice[0]} stands in TASKS and in EXAMINED_ONLY")
        examined = [(own.task, name, own) for name, own in self.EXAMINED_ONLY.items()]
        for task, name, own in [*((task, task, own) for task, own in self.TASKS.items()), *examined]:
            dataset = load_manifest().dataset(own.dataset)
            if task not in dataset.tasks:
                raise unknown_name(f"task of {dataset.id}", task, dataset.tasks)
            if own.phantom is not None:
                spec = PhantomSpec.from_dict(own.phantom)
                if (spec.dataset, spec.task) != (dataset.id, task):
                    raise ValueError(
                        f"{name}.phantom describes {spec.task} of {spec.dataset}, not of {dataset.id}"
                    )
            elif dataset.access == "generated":
                raise ValueError(f"{name}.phantom is missing: {dataset.id} has to be drawn")
            low = self.AGE_MIN if own.age_min is None else own.age_min
            high = self.AGE_MAX if own.age_max is None else own.age_max
            if low > high:
                raise ValueError(f"{name}: the lowest age {low} is above the highest {high}")
        return self

    @property
    def datasets(self) -> tuple[str, ...]:
        """Manifest ids whose data the notebook reads."""
        return tuple(
            dict.fromkeys(own.dataset for own in chain(self.TASKS.values(), self.EXAMINED_ONLY.values()))
        )


class BaselineParameters(NotebookParameters):
    """``02_traditional_baselines``: which classical learners and shortcuts.

    ``FOLDS_USED`` is how many of the folds are scored, all by default; ``FOLDS_USED_OF`` that of a task where
    it differs.
    """

    BASELINES: Annotated[list[str], Field(min_length=1)]
    VALIDATION_FRACTION: Fraction
    FOLDS_USED: FoldsUsed
    FOLDS_USED_OF: dict[str, FoldsUsed]
    SEED: Seed

    @field_validator("BASELINES")
    @classmethod
    def _baselines_exist(cls, value: list[str]) -> list[str]:
        from radtransfer.baselines import BASELINES

        return _known("baseline", value, BASELINES)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that it names."""
        return tuple(self.FOLDS_USED_OF)


class TransferParameters(NotebookParameters):
    """``03_transfer_learning``: which networks, and how they are trained.

    ``NETWORKS_OF`` names the networks of a task that has not those of ``NETWORKS``. ``INPUT_SIZE_OF`` gives
    the input side of a network, ``"mobilenet_frozen"``, or of a network in one task,
    ``"haemorrhage.mobilenet_frozen"``, which goes before; ``FINETUNE_LEARNING_RATE_OF`` likewise its first
    rate of fine-tuning. The folds scored are those of the baselines.
    """

    NETWORKS: NetworkNames
    NETWORKS_OF: dict[str, NetworkNames]
    INPUT_SIZE: InputSize
    INPUT_SIZE_OF: dict[str, InputSize]
    VIEWS: Annotated[int, Field(ge=0, le=64)]
    EPOCHS: Annotated[int, Field(ge=1, le=500)]
    PATIENCE: Annotated[int, Field(ge=1, le=500)]
    BATCH_SIZE: Annotated[int, Field(ge=1, le=1024)]
    LEARNING_RATE: LearningRate
    FINETUNE_LEARNING_RATE: LearningRate
    FINETUNE_LEARNING_RATE_OF: dict[str, LearningRate]
    DROPOUT: Annotated[float, Field(ge=0, lt=1)]
    VALIDATION_FRACTION: Fraction
    FOLDS_USED: FoldsUsed
    FOLDS_USED_OF: dict[str, FoldsUsed]
    SEED: Seed

    @model_validator(mode="after")
    def _settings_are_of_networks(self) -> TransferParameters:
        everywhere = dict.fromkeys(chain(self.NETWORKS, *self.NETWORKS_OF.values()))
        for key in chain(self.INPUT_SIZE_OF, self.FINETUNE_LEARNING_RATE_OF):
            task, _, name = key.rpartition(".")
            known = self.NETWORKS_OF.get(task, self.NETWORKS) if task else everywhere
            if name not in known:
                raise unknown_name(f"network of {task}" if task else "network", name, known)
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that it names."""
        single = chain(self.INPUT_SIZE_OF, self.FINETUNE_LEARNING_RATE_OF)
        named = filter(None, (key.rpartition(".")[0] for key in single))
        return tuple(dict.fromkeys(chain(self.NETWORKS_OF, named, self.FOLDS_USED_OF)))

    @property
    def uses_weights(self) -> bool:
        """Whether the notebook loads pretrained weights of the manifest."""
        return True


class EvaluationParameters(NotebookParameters):
    """``04_evaluation``: how intervals are made."""

    N_RESAMPLES: Annotated[int, Field(ge=100, le=100_000)]
    LEVEL: Level
    SEED: Seed


class AblationParameters(EvaluationParameters):
    """``05_ablation``: one network of one task, and what is changed of it, one factor at a time.

    ``FINE_TUNED`` blocks are trained where "fine-tuned" is said without a number. ``STAGES`` are all blocks
    of the backbone, in order, under names. A factor whose list is empty is left out. Heads and last blocks
    are trained in ``FOLDS_USED`` folds, whole networks, which take longest, in ``FOLDS_WHOLE``.
    ``DEPTHS_ELSEWHERE`` names tasks in which the head, the last blocks and all blocks are trained too, with
    the side of the input there; ``FOLDS_USED_OF`` is in how many folds, where it is not ``FOLDS_USED``.
    ``SOURCE`` is the task that the medical start was trained for. ``WATTS`` is what the machine is assumed to
    draw while it trains.
    """

    TASK: TaskName
    BACKBONE: Annotated[str, AfterValidator(lambda name: _known("backbone", [name], BACKBONES)[0])]
    INPUT_SIZE: InputSize
    VIEWS: Annotated[int, Field(ge=0, le=64)]
    EPOCHS: Annotated[int, Field(ge=1, le=500)]
    PATIENCE: Annotated[int, Field(ge=1, le=500)]
    BATCH_SIZE: Annotated[int, Field(ge=1, le=1024)]
    LEARNING_RATE: LearningRate
    FINETUNE_LEARNING_RATE: LearningRate
    WHOLE_LEARNING_RATE: LearningRate
    DROPOUT: Annotated[float, Field(ge=0, lt=1)]
    VALIDATION_FRACTION: Fraction
    N_SEEDS: Annotated[int, Field(ge=1, le=100)]
    FOLDS_USED: FoldsUsed
    FOLDS_USED_OF: dict[TaskName, FoldsUsed]
    FOLDS_WHOLE: FoldsUsed
    FINE_TUNED: Annotated[int, Field(ge=1)]
    DEPTHS: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    DEPTHS_ELSEWHERE: dict[TaskName, InputSize]
    STAGES: Annotated[dict[TaskName, Annotated[list[str], Field(min_length=1)]], Field(min_length=2)]
    RETRAINED: bool
    RESOLUTIONS: list[InputSize]
    RESOLUTIONS_FINETUNED: list[InputSize]
    AUGMENTATIONS: Annotated[
        list[str], AfterValidator(lambda names: _known("augmentation", names, AUGMENTATIONS))
    ]
    VIEWS_TRIED: list[Annotated[int, Field(ge=0, le=64)]]
    DROPOUTS: list[Annotated[float, Field(ge=0, lt=1)]]
    HEADS: list[list[Annotated[int, Field(ge=1, le=10_000)]]]
    RECIPES: bool
    SHARES: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
    SOURCE: TaskName
    WATTS: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _usual_values_are_tried(self) -> AblationParameters:
        if self.FINE_TUNED not in self.DEPTHS:
            raise ValueError(f"FINE_TUNED: {self.FINE_TUNED} is not among DEPTHS")
        for tried, usual in (
            ("RESOLUTIONS", self.INPUT_SIZE),
            ("RESOLUTIONS_FINETUNED", self.INPUT_SIZE),
            ("VIEWS_TRIED", self.VIEWS),
            ("DROPOUTS", self.DROPOUT),
        ):
            values = getattr(self, tried)
            if values and usual not in values:
                raise ValueError(f"{tried}: {usual}, the usual value, is not among them")
        for task in self.FOLDS_USED_OF:
            if task not in self.DEPTHS_ELSEWHERE:
                raise ValueError(f"FOLDS_USED_OF: {task} is not among DEPTHS_ELSEWHERE")
        if self.SOURCE == self.TASK:
            raise ValueError("SOURCE: the task itself is no other domain")
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that it names."""
        return tuple(dict.fromkeys((self.TASK, self.SOURCE, *self.DEPTHS_ELSEWHERE)))

    @property
    def uses_weights(self) -> bool:
        """Whether the notebook loads pretrained weights of the manifest."""
        return True


class HoldoutParameters(EvaluationParameters):
    """``06_holdout``: how intervals are made; all else is as it was in the folds."""

    @property
    def uses_weights(self) -> bool:
        """Whether the notebook loads pretrained weights of the manifest."""
        return True


class SubgroupParameters(EvaluationParameters):
    """``08_bias_subgroups``: which task, how images are grouped, and which gap counts as none.

    Bands of age (years) and follow-up number begin at the edges. A group with fewer than ``MINIMUM_PATIENTS``
    patients of either class is suppressed; one with fewer than ``MINIMUM_VALIDATION`` validation images of
    either has no threshold of its own.
    """

    TASK: TaskName
    AGE_EDGES: Edges
    FOLLOW_UP_EDGES: Edges
    MINIMUM_PATIENTS: Annotated[int, Field(ge=2)]
    MINIMUM_VALIDATION: Annotated[int, Field(ge=1)]
    MARGIN: Annotated[float, Field(gt=0, lt=1)]
    N_PERMUTATIONS: Annotated[int, Field(ge=99, le=1_000_000)]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that it names."""
        return (self.TASK,)


class ProtocolParameters(EvaluationParameters):
    """``07_leakage_and_shortcuts``: which mistakes are made on which data, and what learns.

    ``EXAMINED`` are data beside the study's tasks. ``OFFICIAL`` names those whose published split is judged,
    ``BY_IMAGE`` those dealt by image, with the correlations of similar images that stand for one patient.
    ``RESTRICTED`` gives the narrower task of data, ``MATCHED`` the column that their classes are matched by,
    ``ELSEWHERE`` two collections that are tested by models of each other, or none. ``FURTHER_LEARNERS`` names
    more of them by data, such as shortcuts; ``DISAGREEMENT``, by task, properties that may mislead a model.
    The first of ``LEARNERS`` is the one that figures show.
    """

    EXAMINED: dict[TaskName, ExaminedParameters]
    OFFICIAL: list[str]
    BY_IMAGE: dict[str, list[Annotated[float, Field(gt=0, lt=1)]]]
    RESTRICTED: dict[str, str]
    MATCHED: dict[str, str]
    ELSEWHERE: Annotated[list[str], Field(max_length=2)]
    DISAGREEMENT: dict[str, list[str]]
    LEARNERS: Annotated[list[str], Field(min_length=1)]
    FURTHER_LEARNERS: dict[str, list[str]]
    INPUT_SIZE: InputSize
    N_FOLDS: Annotated[int, Field(ge=2, le=20)]
    VALIDATION_FRACTION: Fraction

    @model_validator(mode="after")
    def _names_are_known(self) -> ProtocolParameters:
        from radtransfer.data.leakage import NAMES, QUANTITIES
        from radtransfer.protocols.arms import LEARNERS

        for learners in (self.LEARNERS, *self.FURTHER_LEARNERS.values()):
            _known("learner", learners, LEARNERS)
        for properties in self.DISAGREEMENT.values():
            _known("property", properties, (*QUANTITIES, *NAMES))
        if len(self.ELSEWHERE) == 1:
            raise ValueError("ELSEWHERE names one collection, two are needed")
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of the study that it names."""
        named = chain(
            self.OFFICIAL, self.BY_IMAGE, self.RESTRICTED, self.MATCHED, self.ELSEWHERE, self.FURTHER_LEARNERS
        )
        others = (name for name in named if name not in self.EXAMINED)
        return tuple(dict.fromkeys(chain(others, self.DISAGREEMENT)))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Manifest ids of what it examines beside the study's tasks."""
        return tuple(dict.fromkeys(own.dataset for own in self.EXAMINED.values()))

    @property
    def uses_weights(self) -> bool:
        """Whether the notebook loads pretrained weights of the manifest."""
        return True


class ReaderStudyParameters(NotebookParameters):
    """``09_reader_study``: whose readings, which findings, and the margin of non-inferiority."""

    SOURCE: Literal["chexpert", "phantom"]
    FINDINGS: Annotated[list[str], Field(min_length=1)] | None
    MARGIN: Annotated[float, Field(gt=0, lt=0.5)]
    N_RESAMPLES: Annotated[int, Field(ge=100, le=100_000)]
    LEVEL: Level
    SEED: Seed

    @property
    def datasets(self) -> tuple[str, ...]:
        """Manifest ids whose data the notebook reads."""
        return (CHEXPERT,) if self.SOURCE == "chexpert" else ()


class StatisticsParameters(EvaluationParameters):
    """``10_statistics``: as in the evaluation, whose decisions and intervals it takes over."""


class ExplanationParameters(EvaluationParameters):
    """``11_explanations``: which networks are explained, and on how many images.

    ``NETWORK_OF`` names the network that is explained in each binary task, ``COMPARED_OF`` others whose
    Grad-CAM is held against its own. ``BOXES_FROM`` names the dataset whose list holds the experts' boxes of
    a task, where the task's own cohort has none. The numbers of images are those of
    :class:`radtransfer.explain.cases.CaseRules`.
    """

    NETWORK_OF: Annotated[dict[TaskName, str], Field(min_length=1)]
    COMPARED_OF: dict[TaskName, NetworkNames]
    BOXES_FROM: dict[TaskName, str]
    BOXED: Annotated[int, Field(ge=2, le=10_000)]
    CHECKED: Annotated[int, Field(ge=2, le=1000)]
    RANDOM: Annotated[int, Field(ge=1, le=100)]
    CHOSEN: Annotated[int, Field(ge=1, le=100)]

    @field_validator("NETWORK_OF")
    @classmethod
    def _networks_exist(cls, value: dict[str, str]) -> dict[str, str]:
        _known("network", list(dict.fromkeys(value.values())), NETWORKS)
        return value

    @property
    def networks(self) -> dict[str, tuple[str, ...]]:
        """Networks that it needs, by task."""
        return {task: (name, *self.COMPARED_OF.get(task, ())) for task, name in self.NETWORK_OF.items()}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that it names."""
        return tuple(dict.fromkeys(chain(self.NETWORK_OF, self.COMPARED_OF, self.BOXES_FROM)))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Manifest ids whose data the notebook reads."""
        return tuple(dict.fromkeys(self.BOXES_FROM.values()))

    @property
    def uses_weights(self) -> bool:
        """Whether the notebook loads pretrained weights of the manifest."""
        return True


class UtilityParameters(EvaluationParameters):
    """``12_clinical_utility``: operating points, conformal sets, simulations.

    ``SENSITIVITY`` and ``SPECIFICITY`` are fixed on validation images; conformal sets may miss ``ALPHA`` of
    a class. The queue is simulated ``N_REPLICATES`` times with ``N_STUDIES`` studies, the costs are drawn
    ``N_DRAWS`` times.
    """

    SENSITIVITY: Annotated[float, Field(gt=0.5, lt=1)]
    SPECIFICITY: Annotated[float, Field(gt=0.5, lt=1)]
    ALPHA: Fraction
    N_STUDIES: Annotated[int, Field(ge=100, le=1_000_000)]
    N_REPLICATES: Annotated[int, Field(ge=2, le=1000)]
    N_DRAWS: Annotated[int, Field(ge=100, le=100_000)]


class ClaimsParameters(NotebookParameters):
    """``13_claims``: nothing to choose, the ledger takes over recorded numbers."""


@dataclass(frozen=True)
class Notebook:
    """A notebook of the study.

    Attributes
    ----------
    name : str
        File name in ``notebooks/`` without its ending.
    schema : type of NotebookParameters
        What its tagged cell and every profile must hold.
    needs : tuple of str
        Notebooks whose records it reads.
    reads : tuple of str
        Further files it reads, relative to the project.
    """

    name: str
    schema: type[NotebookParameters]
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Source of the notebook."""
        return paths.notebooks_dir() / f"{self.name}.ipynb"


NOTEBOOKS: dict[str, Notebook] = {
    notebook.name: notebook
    for notebook in (
        Notebook("01_data_curation", CurationParameters),
        Notebook("02_traditional_baselines", BaselineParameters, ("01_data_curation",)),
        Notebook("03_transfer_learning", TransferParameters, ("01_data_curation",)),
        Notebook(
            "04_evaluation",
            EvaluationParameters,
            ("01_data_curation", "02_traditional_baselines", "03_transfer_learning"),
        ),
        Notebook("05_ablation", AblationParameters, ("01_data_curation",)),
        Notebook(
            "06_holdout",
            HoldoutParameters,
            ("01_data_curation", "02_traditional_baselines", "03_transfer_learning"),
        ),
        Notebook(
            "07_leakage_and_shortcuts",
            ProtocolParameters,
            ("01_data_curation", "02_traditional_baselines", "03_transfer_learning"),
            ("book/claims.yaml",),
        ),
        Notebook(
            "08_bias_subgroups",
            SubgroupParameters,
            ("01_data_curation", "02_traditional_baselines", "03_transfer_learning"),
        ),
        Notebook("09_reader_study", ReaderStudyParameters),
        Notebook(
            "10_statistics",
            StatisticsParameters,
            ("01_data_curation", "02_traditional_baselines", "03_transfer_learning"),
        ),
        Notebook(
            "11_explanations",
            ExplanationParameters,
            ("01_data_curation", "03_transfer_learning"),
        ),
        Notebook(
            "12_clinical_utility",
            UtilityParameters,
            (
                "01_data_curation",
                "02_traditional_baselines",
                "03_transfer_learning",
                "09_reader_study",
            ),
            ("book/assumptions.yaml",),
        ),
        Notebook(
            "13_claims",
            ClaimsParameters,
            (
                "01_data_curation",
                "02_traditional_baselines",
                "03_transfer_learning",
                "04_evaluation",
                "05_ablation",
                "08_bias_subgroups",
                "09_reader_study",
                "12_clinical_utility",
            ),
            ("book/claims.yaml",),
        ),
    )
}
"""Notebooks in the order they run, each after those it needs."""


class _ProfileFile(BaseModel):
    """The YAML file as it stands."""

    model_config = ConfigDict(extra="forbid", strict=True)

    description: str
    publishable: bool = False
    offline: bool = False
    at_once: Annotated[int, Field(ge=1, le=64)] = 1
    notebooks: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


@dataclass(frozen=True)
class Profile:
    """A validated profile.

    Attributes
    ----------
    name : str
        File name in ``profiles/`` without its ending.
    description : str
        What it is for, in one line.
    publishable : bool
        Whether ``radtransfer publish`` accepts its results.
    offline : bool
        Whether its notebooks are kept from the network (``RADTRANSFER_OFFLINE=1``).
    at_once : int
        Notebooks that may be executed at a time, each when those it needs are complete. One where times are
        results.
    notebooks : mapping of str to NotebookParameters
        Parameters of each notebook, in the order they run.
    path : Path
        The file it was read from.
    """

    name: str
    description: str
    publishable: bool
    offline: bool
    at_once: int
    notebooks: Mapping[str, NotebookParameters]
    path: Path


def profile_names() -> list[str]:
    """Names of the profiles there are."""
    return sorted(path.stem for path in paths.profiles_dir().glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """Read and check a profile.

    Parameters
    ----------
    name : str
        ``tiny``, ``quick``, ``published``, ``full`` or any further file in ``profiles/``.

    Returns
    -------
    Profile
        With its notebooks in the order they run.

    Raises
    ------
    InputError
        If there is no such profile, or it names something unknown, of the wrong type or out of
        range. All problems are told at once.
    """
    known = profile_names()
    if name not in known:
        raise unknown_name("profile", name, known)
    path = paths.profiles_dir() / f"{name}.yaml"
    where = f"profiles/{path.name}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
    try:
        file = _check(TypeAdapter(_ProfileFile), content, known=_ProfileFile.model_fields)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Profile(
        name=name,
        description=file.description,
        publishable=file.publishable,
        offline=file.offline,
        at_once=file.at_once,
        notebooks=_check_notebooks(file.notebooks, where=where),
        path=path,
    )


def _check_notebooks(given: dict[str, dict[str, Any]], *, where: str) -> dict[str, NotebookParameters]:
    for name in given:
        if name not in NOTEBOOKS:
            raise InputError(f"{where}: {unknown_name('notebook', name, NOTEBOOKS)}")
    checked: dict[str, NotebookParameters] = {}
    problems = []
    for name, notebook in NOTEBOOKS.items():
        if name not in given:
            continue
        try:
            checked[name] = check_parameters(notebook, given[name])
        except InputError as error:
            problems.append(f"{name}: {error}")
        missing = [need for need in notebook.needs if need not in given]
        if missing:
            problems.append(f"{name} needs {', '.join(missing)}, which the profile does not run")
    problems += _across(checked)
    if problems:
        raise InputError(f"{where}: {'; '.join(problems)}")
    return checked


def _across(notebooks: Mapping[str, NotebookParameters]) -> list[str]:
    """Problems that no single notebook's schema can see."""
    curation = notebooks.get("01_data_curation")
    if not isinstance(curation, CurationParameters):
        return []
    problems = []
    folds_used = {}
    for name, parameters in notebooks.items():
        if isinstance(parameters, BaselineParameters | TransferParameters):
            folds_used[name] = (parameters.FOLDS_USED, parameters.FOLDS_USED_OF)
            used = max(filter(None, (parameters.FOLDS_USED, *parameters.FOLDS_USED_OF.values())), default=0)
            if used > curation.N_FOLDS:
                problems.append(f"{name}: FOLDS_USED {used} is above N_FOLDS {curation.N_FOLDS}")
        if isinstance(parameters, AblationParameters):
            folds = (parameters.FOLDS_USED, parameters.FOLDS_WHOLE, *parameters.FOLDS_USED_OF.values())
            used = max(filter(None, folds), default=0)
            if used > curation.N_FOLDS:
                problems.append(f"{name}: {used} folds are above N_FOLDS {curation.N_FOLDS}")
        for task in getattr(parameters, "tasks", ()):
            if task not in curation.TASKS:
                problems.append(f"{name}: {unknown_name('task', task, curation.TASKS)}")
    training, explaining = notebooks.get("03_transfer_learning"), notebooks.get("11_explanations")
    if isinstance(training, TransferParameters) and isinstance(explaining, ExplanationParameters):
        for task, names in explaining.networks.items():
            trained = training.NETWORKS_OF.get(task, training.NETWORKS)
            problems += [
                f"11_explanations: {unknown_name(f'network of {task}', name, trained)}"
                for name in names
                if name not in trained
            ]
    first, *others = folds_used or [""]
    problems += [
        f"{name}: scores other folds than {first}, so that their models could not be compared"
        for name in others
        if folds_used[name] != folds_used[first]
    ]
    return problems


def check_parameters(notebook: Notebook, given: Mapping[str, Any]) -> NotebookParameters:
    """Check a notebook's parameters against its schema.

    Parameters
    ----------
    notebook : Notebook
        Whose schema applies.
    given : mapping of str to value
        Parameters by name; all of the schema, without ``STUDY_DIR``.

    Returns
    -------
    NotebookParameters
        The checked values.

    Raises
    ------
    InputError
        Naming every wrong parameter, and for an unknown one the nearest that exists.
    """
    if STUDY_DIR in given:
        raise InputError(f"{STUDY_DIR} is set by the driver", hint="leave it out")
    return _check(TypeAdapter(notebook.schema), given, known=notebook.schema.model_fields)


def _check(adapter: TypeAdapter[T], value: object, *, known: Iterable[str]) -> T:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise InputError("; ".join(_problem(part, known) for part in error.errors())) from None


def _problem(error: Any, known: Iterable[str]) -> str:
    """One of pydantic's errors as a person would put it."""
    name = ".".join(str(part) for part in error["loc"] if part not in ("int", "none"))
    given = error["input"]
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        *outer, last = name.split(".")
        if outer:  # only tasks have parameters of their own
            return str(unknown_name(f"parameter of {'.'.join(outer)}", last, TaskParameters.model_fields))
        return str(unknown_name("parameter", name, known))
    if error["type"] in ("missing", "missing_argument"):
        return f"{name} is missing"
    if isinstance(cause := error.get("ctx", {}).get("error"), Exception):
        return f"{name}: {cause}" if name else str(cause)
    if error["type"] == "too_short":
        return f"{name} is empty"
    text = error["msg"].replace("Input should be a valid ", "should be ").replace("Input ", "")
    hint = ""
    if error["type"] == "float_type" and isinstance(given, str) and _is_number(given):
        hint = f" (YAML reads {given} as text: write {float(given)!r} or {given.replace('e', '.0e')})"
    return f"{name} = {given!r} {text}{hint}".removeprefix(" = ")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def declared_parameters(notebook: Notebook) -> dict[str, Any]:
    """Names and defaults that a notebook's own ``parameters`` cell declares.

    The cell is read, not executed: each line assigns a literal to a name.

    Parameters
    ----------
    notebook : Notebook
        Whose source is read.

    Returns
    -------
    dict
        Default by name, ``STUDY_DIR`` included.

    Raises
    ------
    InputError
        If the notebook is absent or damaged, has no such cell or more than one, or the cell holds
        anything but literals.
    """
    where = f"notebooks/{notebook.path.name}"
    try:
        content = json.loads(notebook.path.read_text(encoding="utf-8"))
        cells = [
            "".join(cell["source"])
            for cell in content["cells"]
            if "parameters" in cell.get("metadata", {}).get("tags", [])
        ]
    except FileNotFoundError:
        raise InputError(f"there is no {where}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where} is not a notebook: {error}") from None
    if len(cells) != 1:
        raise InputError(f"{where} has {len(cells)} cells tagged 'parameters'", hint="tag exactly one")
    try:
        return dict(_literal(statement) for statement in ast.parse(cells[0]).body)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{where}: the parameters cell holds more than NAME = literal: {error}") from None


def _literal(statement: ast.stmt) -> tuple[str, Any]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, ast.literal_eval(value)
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            return name, ast.literal_eval(value)
    raise ValueError(f"line {statement.lineno}: {ast.unparse(statement)}")


def check_notebook(notebook: Notebook) -> None:
    """Check that a notebook's own parameters cell agrees with its schema in names and types.

    Parameters
    ----------
    notebook : Notebook
        Whose source is read.

    Raises
    ------
    InputError
        If they disagree; says in which name.
    """
    where = f"notebooks/{notebook.path.name}"
    declared = declared_parameters(notebook)
    if not isinstance(declared.pop(STUDY_DIR, None), str):
        raise InputError(f"{where} does not declare {STUDY_DIR}", hint=f'add {STUDY_DIR} = "..."')
    try:
        check_parameters(notebook, declared)
    except InputError as error:
        raise InputError(f"{where}: {error}", hint="see study/profiles.py") from None
