"""Profiles are refused before anything runs, with the nearest valid name."""

from __future__ import annotations

from typing import Any

import pytest
from small_project import PARAMETERS, Project

from radtransfer.errors import InputError
from radtransfer.study.profiles import (
    NOTEBOOKS,
    Notebook,
    check_notebook,
    check_parameters,
    declared_parameters,
    load_profile,
    profile_names,
)


@pytest.mark.parametrize("name", ["tiny", "quick", "published", "full"])
def test_the_shipped_profiles_and_notebooks_agree(name: str) -> None:
    profile = load_profile(name)
    assert list(profile.notebooks) == list(NOTEBOOKS)
    for notebook in NOTEBOOKS.values():
        check_notebook(notebook)
    assert profile.publishable == (name in ("published", "full"))
    assert profile.offline == (name == "tiny")


def test_notebooks_come_after_those_they_need() -> None:
    names = list(NOTEBOOKS)
    for notebook in NOTEBOOKS.values():
        assert all(names.index(need) < names.index(notebook.name) for need in notebook.needs)


def test_an_unknown_profile_is_refused_with_the_nearest(project: Project) -> None:
    assert profile_names() == ["small"]
    with pytest.raises(InputError, match=r"unknown profile 'smal' \(did you mean 'small'\?\)"):
        load_profile("smal")


def test_values_arrive_as_written(project: Project) -> None:
    tasks = {
        "pneumonia": {"dataset": "phantom_xray", "phantom": {"n_patients": 40, "auc": 1 / 1.25}},
        "haemorrhage": {"dataset": "phantom_ct", "phantom": {"modality": "ct"}, "age_min": 30},
    }
    project.set_parameters(IMAGE_SIZE=96, TASKS=tasks)
    parameters = load_profile("small").notebooks["01_data_curation"]
    # what a task does not name is not filled in: the common value holds
    assert parameters.model_dump() == PARAMETERS["01_data_curation"] | {"IMAGE_SIZE": 96, "TASKS": tasks}
    assert set(parameters.datasets) == {"phantom_xray", "phantom_ct"}


def task(name: str = "pneumonia", **changes: Any) -> dict[str, Any]:
    """Curate one task from phantoms of the chest."""
    return {"TASKS": {name: {"dataset": "phantom_xray", "phantom": {}} | changes}}


WRONG = [
    # notebook, parameters, what is said
    ("01_data_curation", {"IMAGE_SIZ": 64}, r"unknown parameter 'IMAGE_SIZ' \(did you mean 'IMAGE_SIZE'\?\)"),
    ("01_data_curation", {"STUDY_DIR": "x"}, r"STUDY_DIR is set by the driver"),
    ("01_data_curation", {"IMAGE_SIZE": "64"}, r"IMAGE_SIZE = '64' should be integer"),
    ("01_data_curation", {"IMAGE_SIZE": 64.0}, r"IMAGE_SIZE = 64.0 should be integer"),
    ("01_data_curation", {"SEED": True}, r"SEED = True should be integer"),
    ("01_data_curation", {"IMAGE_SIZE": 8}, r"IMAGE_SIZE = 8 should be greater than or equal to 16"),
    ("01_data_curation", {"TEST_FRACTION": 0.6}, r"TEST_FRACTION = 0.6 should be less than or equal to 0.5"),
    ("01_data_curation", {"AGE_MIN": 81}, r"pneumonia: the lowest age 81 is above the highest 80"),
    ("01_data_curation", task(age_max=17), r"pneumonia: the lowest age 18 is above the highest 17"),
    ("01_data_curation", task(age_max=130), r"TASKS.pneumonia.age_max = 130 should be less"),
    ("01_data_curation", {"TASKS": {}}, r"TASKS is empty"),
    ("01_data_curation", {"TASKS": {"pneumonia": {}}}, r"TASKS.pneumonia.dataset is missing"),
    ("01_data_curation", task(dataset="phantom_xry"), r"'phantom_xry' \(did you mean 'phantom_xray'"),
    ("01_data_curation", task("haemorrhage"), r"unknown task of phantom_xray 'haemorrhage'"),
    ("01_data_curation", task(agemin=3), r"unknown parameter of TASKS.pneumonia 'agemin' .*'age_min'"),
    ("01_data_curation", task(phantom={"n_patient": 9}), r"did you mean 'n_patients'\?"),
    ("01_data_curation", task(phantom={"n_patients": "9"}), r"n_patients: '9' should be integer"),
    ("01_data_curation", task(phantom={"auc": 1.5}), r"phantom auc is 1.5"),
    ("01_data_curation", task(phantom={"modality": "ct"}), r"describes haemorrhage of phantom_ct, not of"),
    ("01_data_curation", task(phantom={"task": "bacterial"}), r"phantom describes bacterial of phantom_xray"),
    ("01_data_curation", task(phantom=None), r"pneumonia.phantom is missing: phantom_xray has to be"),
    ("01_data_curation", task(image_size=8), r"TASKS.pneumonia.image_size = 8 should be greater"),
    (
        "01_data_curation",
        {"EXAMINED_ONLY": {"x": {"dataset": "phantom_ct", "task": "tumour", "phantom": {}}}},
        r"unknown task of phantom_ct 'tumour'",
    ),
    (
        "01_data_curation",
        {"EXAMINED_ONLY": {"pneumonia": {"dataset": "phantom_xray", "task": "pneumonia", "phantom": {}}}},
        r"pneumonia stands in TASKS and in EXAMINED_ONLY",
    ),
    ("02_traditional_baselines", {"BASELINES": []}, r"BASELINES is empty"),
    ("02_traditional_baselines", {"BASELINES": ["metdata"]}, r"did you mean 'metadata'\?"),
    ("02_traditional_baselines", {"BASELINES": ["metadata"] * 2}, r"a baseline is named twice"),
    ("02_traditional_baselines", {"FOLDS_USED": 4}, r"FOLDS_USED 4 is above N_FOLDS 3"),
    ("02_traditional_baselines", {"FOLDS_USED_OF": {"pnemonia": 2}}, r"did you mean 'pneumonia'\?"),
    ("03_transfer_learning", {"NETWORKS": ["vgg16_frzen"]}, r"did you mean 'vgg16_frozen'\?"),
    ("03_transfer_learning", {"NETWORKS_OF": {"pneumonia": ["vgg"]}}, r"unknown network 'vgg'"),
    ("03_transfer_learning", {"NETWORKS_OF": {"pneumonia": []}}, r"NETWORKS_OF.pneumonia is empty"),
    ("03_transfer_learning", {"NETWORKS_OF": {"pnemonia": ["vgg16_frozen"]}}, r"did you mean 'pneumonia'\?"),
    ("03_transfer_learning", {"INPUT_SIZE_OF": {"vgg16_frozen": 64}}, r"unknown network 'vgg16_frozen'"),
    ("03_transfer_learning", {"INPUT_SIZE_OF": {"tumour.custom_cnn_scratch": 64}}, r"unknown task 'tumour'"),
    (
        "03_transfer_learning",
        {"INPUT_SIZE_OF": {"pneumonia.vgg16_frozen": 64}},
        r"unknown network of pneumonia 'vgg16_frozen'",
    ),
    (
        "03_transfer_learning",
        {"FINETUNE_LEARNING_RATE_OF": {"vgg16_finetuned": 0.001}},
        r"unknown network 'vgg16_finetuned'",
    ),
    ("03_transfer_learning", {"LEARNING_RATE": "1e-4"}, r"YAML reads 1e-4 as text: write 0.0001 or 1.0e-4"),
    ("03_transfer_learning", {"DROPOUT": 1.0}, r"DROPOUT = 1.0 should be less than 1"),
]


@pytest.mark.parametrize(("notebook", "values", "said"), WRONG, ids=[str(case[1]) for case in WRONG])
def test_a_wrong_parameter_is_refused(
    project: Project, notebook: str, values: dict[str, Any], said: str
) -> None:
    project.set_parameters(notebook, **values)
    with pytest.raises(InputError, match=said) as refusal:
        load_profile("small")
    assert str(refusal.value).startswith(f"profiles/small.yaml: {notebook}: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("changes", [{"FOLDS_USED": 2}, {"FOLDS_USED_OF": {"pneumonia": 2}}])
def test_baselines_and_networks_score_the_same_folds(project: Project, changes: dict[str, Any]) -> None:
    names = ("01_data_curation", "02_traditional_baselines", "03_transfer_learning")
    notebooks = {name: dict(PARAMETERS[name]) for name in names}
    notebooks["02_traditional_baselines"] |= changes
    project.write_profile(notebooks=notebooks)
    with pytest.raises(InputError, match="03_transfer_learning: scores other folds than 02_traditional"):
        load_profile("small")
    notebooks["03_transfer_learning"] |= changes
    project.write_profile(notebooks=notebooks)
    assert load_profile("small").notebooks["03_transfer_learning"].model_dump() == notebooks[names[2]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"FOLDS_USED_OF": {"tumour": 2}}, "FOLDS_USED_OF: tumour is not among DEPTHS_ELSEWHERE"),
        ({"FINE_TUNED": 3}, "FINE_TUNED: 3 is not among DEPTHS"),
        ({"SOURCE": "pneumonia"}, "SOURCE: the task itself"),
    ],
)
def test_an_ablation_that_contradicts_itself_is_refused(changes: dict[str, Any], said: str) -> None:
    notebook = NOTEBOOKS["05_ablation"]
    given = {name: value for name, value in declared_parameters(notebook).items() if name != "STUDY_DIR"}
    assert given["TASK"] == "pneumonia"
    check_parameters(notebook, given)
    with pytest.raises(InputError, match=said):
        check_parameters(notebook, given | changes)


def test_every_problem_is_told_at_once(project: Project) -> None:
    parameters = PARAMETERS["01_data_curation"] | {"SEED": -1, "N_FOLDS": 1}
    del parameters["TASKS"]
    project.write_profile(notebooks={"01_data_curation": parameters})
    with pytest.raises(InputError, match=r"TASKS is missing; N_FOLDS = 1 .*; SEED = -1 "):
        load_profile("small")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"notebooks": {"01_data_curatoin": {}}}, r"did you mean '01_data_curation'\?"),
        ({"notebooks": {}}, r"notebooks is empty"),
        (
            {"notebooks": {"02_traditional_baselines": PARAMETERS["02_traditional_baselines"]}},
            r"needs 01_data_curation, which the profile does not run",
        ),
        ({"ofline": True}, r"unknown parameter 'ofline' \(did you mean 'offline'\?\)"),
        ({"offline": "yes please"}, r"offline = 'yes please' should be boolean"),
    ],
)
def test_a_wrong_profile_is_refused(project: Project, changes: dict[str, Any], said: str) -> None:
    project.write_profile(**changes)
    with pytest.raises(InputError, match=said):
        load_profile("small")


@pytest.mark.parametrize("text", ["a: [", "", "just words"])
def test_a_file_that_is_no_profile_is_refused(project: Project, text: str) -> None:
    (project.root / "profiles" / "small.yaml").write_text(text)
    with pytest.raises(InputError, match=r"^profiles/small\.yaml"):
        load_profile("small")


def test_the_parameters_cell_is_read_without_executing_it(project: Project, curation: Notebook) -> None:
    project.write_notebook(parameters="A: int = -3\nB = {'x': [1, None, True]}\nC = 'text'  # a comment")
    assert declared_parameters(curation) == {
        "STUDY_DIR": "work/study/small",
        "A": -3,
        "B": {"x": [1, None, True]},
        "C": "text",
    }


@pytest.mark.parametrize(
    ("notebook", "said"),
    [
        ({"parameters": "A = open('/etc/passwd')"}, r"more than NAME = literal"),
        ({"parameters": "import os"}, r"line 2: import os"),
        ({"parameters": "A ="}, r"more than NAME = literal"),
        ({"tags": ()}, r"has 0 cells tagged 'parameters'"),
        ({"parameters": PARAMETERS["01_data_curation"] | {"IMAGESIZE": 3}}, r"did you mean 'IMAGE_SIZE'"),
        ({"parameters": PARAMETERS["01_data_curation"] | {"SEED": "one"}}, r"SEED = 'one' should be integer"),
        ({"parameters": {"IMAGE_SIZE": 64}}, r"TASKS is missing"),
    ],
)
def test_a_notebook_that_disagrees_with_its_schema_is_refused(
    project: Project, curation: Notebook, notebook: dict[str, Any], said: str
) -> None:
    project.write_notebook(**notebook)
    with pytest.raises(InputError, match=said) as refusal:
        check_notebook(curation)
    assert str(refusal.value).startswith("notebooks/01_data_curation.ipynb")


def test_an_absent_or_damaged_notebook_is_refused(project: Project, curation: Notebook) -> None:
    curation.path.write_text("{")
    with pytest.raises(InputError, match="is not a notebook"):
        check_notebook(curation)
    curation.path.unlink()
    with pytest.raises(InputError, match=r"there is no notebooks/01_data_curation\.ipynb"):
        check_notebook(curation)
