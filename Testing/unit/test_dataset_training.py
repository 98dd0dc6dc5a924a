"""Published data sets from their trees through training, scoring of the test part and a bundle with their licence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from set_trees import write_brats, write_chaos, write_lits

from disentangle.bundles import LicenseError
from disentangle.cli import main
from disentangle.datasets.layouts import layout
from disentangle.datasets.published import DataSet, data_sets, only_labelled, preprocessing_of_sets
from disentangle.datasets.splits import with_annotations
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.learning.config import load_config
from disentangle.learning.data import Data, load_data
from disentangle.learning.evaluation import evaluate
from disentangle.learning.export import export, license_of
from disentangle.learning.lineage import trained_on_before
from disentangle.learning.protocols import create, run
from disentangle.learning.protocols.cohort import for_all
from disentangle.learning.protocols.runs import Repetition, Runs
from disentangle.preprocessing import PreprocessingConfig

TRAINING = {"steps": 2, "warmup": 1, "log_every": 1, "validate_every": 2, "validation_batches": 1, "ema": None}


def trained(tmp_path, **config):
    """final.ckpt of ``disentangle train`` with a configuration."""
    config = {"name": "run", "output": str(tmp_path), "training": TRAINING} | config
    config["data"] |= {"cache": str(tmp_path / "cache")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", str(tmp_path / "config.yaml"), "-q"]) == 0
    return tmp_path / "run" / "final.ckpt"


def test_brats_is_trained_on_and_its_test_part_scored(tmp_path):
    root = tmp_path / "BraTS2020"
    for n in range(1, 6):
        write_brats(root / f"BraTS20_Training_{n:03d}", ("flair", "t1", "t1ce", "t2"))
    system = {"sequences": ["T1", "T2"], "width": 0.05, "decoder_hidden": 16, "head_channels": [4, 4], "pool_size": 8}
    checkpoint = trained(
        tmp_path,
        system={"name": "margindis", **system},
        preprocessing={"spacing": [2, 2, 2], "size_multiple": 8, "margin_mm": 2},
        data={"dataset": {"layout": "brats2020", "folder": str(root), "fold": 1, "annotated": 0.5}},
        sampling={"batch": 2, "sizes": [[32, 32]]},
    )
    record = json.loads((checkpoint.parent / "run.json").read_text())
    (trained_on,), (source,) = record["data"], record["data sets"]
    fold = json.loads((tmp_path / "splits" / source["split"].rpartition("/")[2]).read_text())["folds"][1]
    assert sorted(trained_on["subjects"]) == sorted(fold["training"]) and record["validation"] == fold["validation"]
    assert trained_on["name"] == "3 subjects of BraTS 2020" and "Menze" in trained_on["citation"]
    scored = evaluate(checkpoint, quiet=True)
    assert [s["name"] for s in scored["subjects"]] == fold["test"] and "cross" in scored["mean"]
    # Half of three persons, rounded: two keep their masks.
    training = load_data(load_config(tmp_path / "run" / "config.yaml")).training
    assert sum(bool((s.labels == 7).any()) for s in training) == 2


def test_chaos_is_trained_on_in_its_published_split_and_its_licence_goes_with_the_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("DISENTANGLE_HOME", str(tmp_path / "home"))
    for number in (31, 10, 15, 39):
        write_chaos(tmp_path, number, slices=4)
    chosen = {"layout": "chaos", "folder": str(tmp_path), "pairs": "position", "include": ["31", "10", "15", "39"]}
    checkpoint = trained(
        tmp_path,
        system={
            "name": "dafnet",
            "sequences": ["T1in", "T2SPIR"],
            "classes": "abdomen",
            "size": [48, 48],
            "width": 0.06,
        },
        preprocessing={"spacing": [1, 1, 1]},
        data={"dataset": chosen},
        sampling={"kind": "pairs", "batch": 2, "sizes": [[48, 48]]},
    )
    record = json.loads((checkpoint.parent / "run.json").read_text())
    assert record["data"][0]["subjects"] == ["15", "39"] and record["validation"] == ["31"]
    assert record["data sets"][0]["split"] == "published"
    bundle = export(checkpoint, tmp_path / "chaos-mr")
    assert bundle.card["license"] == {"name": "CC BY-NC-SA 4.0", "permissive": False}
    assert "Kavur" in bundle.card["training"]["data"][0]["citation"]
    # What inference repeats.
    expected = PreprocessingConfig.from_dict(preprocessing_of_sets([DataSet("chaos", ".")]) | {"spacing": [1, 1, 1]})
    assert bundle.preprocessing == expected.to_dict() and expected.own_slices and expected.normalization == "slice"
    (scored,) = evaluate(checkpoint, quiet=True)["subjects"]
    assert scored["name"] == "10" and "T1in+T2SPIR on T2SPIR" in scored["dice"]
    with pytest.raises(LicenseError, match="not a permissive licence"):
        evaluate(bundle.path, quiet=True)
    bundle.agree()
    setting = f"data.dataset={json.dumps(chosen)}"
    again = evaluate(bundle.path, [setting, f"data.cache={tmp_path / 'cache'}"], quiet=True)
    assert [s["name"] for s in again["subjects"]] == ["10"]
    # Neither does it get lost where training goes on with other data.
    assert (
        license_of([*trained_on_before(str(bundle.path)), {"name": "phantoms", "seeds": [1, 2]}])["permissive"] is False
    )
    assert trained_on_before(str(checkpoint)) == record["data"]


def subject(name: str, found: str, labels: np.ndarray | None = None) -> Subject:
    labels = np.zeros((3, 2, 2), np.uint8) if labels is None else labels
    image, mask = labels.astype(np.float16), np.ones(labels.shape, bool)
    about = layout(found).about() | {"subject": name, "slices": {"CT": [4, 5, 6]}}
    return Subject(name, name, {"CT": image}, mask, labels, (1.0, 1.0, 1.0), found, about, {"CT": labels})


def test_the_most_restrictive_licence_of_several_sets_counts():
    phantom = replace(subject("p", "lits"), source="phantom", about={"seed": 3})
    about = Data([subject("a", "lits"), subject("b", "lits"), subject("c", "task03"), phantom], []).about()
    assert [entry["name"] for entry in about] == [
        "2 subjects of LiTS 2017",
        "1 subjects of Decathlon Task03_Liver",
        "1 digital brain phantoms",
    ]
    assert license_of(about) == {"name": "CC BY-NC-ND 4.0", "permissive": False}
    assert license_of(about[2:])["permissive"] is True


def test_annotations_hidden_by_sequence_are_hidden_everywhere():
    labels = np.ones((3, 2, 2), np.uint8)
    both = replace(subject("a", "lits", labels), sequence_labels={"CT": labels, "T1": 2 * labels})
    (cut,) = with_annotations([both], {"CT": 0.0})
    assert (cut.sequence_labels["CT"] == 255).all() and (cut.labels == 2).all()
    (cut,) = with_annotations([both], {"CT": 0.0, "T1": 0.0})
    assert (cut.labels == 255).all()


def test_labelled_slices_alone():
    labels = np.zeros((3, 2, 2), np.uint8)
    labels[1] = 1
    cut = only_labelled(subject("a", "lits", labels))
    assert cut.images["CT"].shape == cut.sequence_labels["CT"].shape == (1, 2, 2)
    assert cut.about["slices"] == {"CT": [5]} and cut.mask.all()
    unknown = subject("a", "lits", np.full((3, 2, 2), 255, np.uint8))
    assert only_labelled(unknown) is unknown


def test_a_list_of_sets_shares_one_preprocessing():
    sets = data_sets([{"layout": "lits", "folder": "a"}, {"layout": "chaos", "folder": "b", "pairs": "none"}])
    settings = preprocessing_of_sets(sets)
    assert settings["normalization"] == "slice" and settings["spacing"] == [1.5] * 3
    assert settings["window"] == [-150.0, 250.0] and PreprocessingConfig.from_dict(settings).own_slices
    config = load_config({"data": {"dataset": {"layout": "ixi", "folder": "a"}}})
    assert config["data"]["phantoms"] is None and config["data"]["studies"] is None and not config["preprocessing"]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"layout": "lits"}, "needs a folder"),
        ({"layout": "lits", "folder": "x", "subject": 1}, 'no setting "data.dataset.subject"'),
        ({"layout": "lists", "folder": "x"}, 'no data set layout "lists"'),
        ([{"layout": "lits", "folder": "x"}, {"layout": "ixi", "folder": "x"}], "cannot be mixed"),
        ("brats", "a section with layout and folder"),
        ({"layout": "lits", "folder": "x", "slices": "some"}, 'slices is "some"'),
    ],
)
def test_a_mistake_in_the_section_is_a_sentence(entry, sentence):
    with pytest.raises(InputError, match=sentence):
        load_config({"data": {"dataset": entry}})


def test_what_does_not_fit_the_set_is_a_sentence(tmp_path):
    write_chaos(tmp_path, 15, slices=3)
    system = {"sequences": ["T1in", "T2SPIR"], "classes": "abdomen"}
    entry = {"layout": "chaos", "folder": str(tmp_path)}

    def load(**changes):
        data = {"dataset": entry | changes, "cache": str(tmp_path / "c")}
        load_data(load_config({"output": str(tmp_path), "system": system, "data": data}))

    with pytest.raises(InputError, match="published split of CHAOS MR names"):
        load(pairs="position")
    with pytest.raises(InputError, match="Subject 15 of CHAOS MR: The expert pairs of CHAOS volume 15 do not fit"):
        load(include=["15"])
    with pytest.raises(InputError, match="the split has the folds 0 to 2"):
        load(include=["15"], fold=3)
    with pytest.raises(InputError, match="cannot be split into 5 folds"):
        load(split=str(tmp_path / "s.json"))
    with pytest.raises(InputError, match="CHAOS MR has no PET"):
        load(sequences=["PET"])
    with pytest.raises(InputError, match="by sequence is for unregistered sets and T1in, T2SPIR"):
        load(annotated={"T1": 0.5})
    system["sequences"] = ["FLAIR"]
    with pytest.raises(InputError, match="but the system reads FLAIR"):
        load()


def test_dalace_learns_from_two_sets_of_other_people(tmp_path):
    write_lits(tmp_path / "lits", 6)
    numbers = ["31", "10", "15", "39"]
    for number in numbers:
        write_chaos(tmp_path / "chaos", int(number), slices=4)
    chaos = {"layout": "chaos", "folder": str(tmp_path / "chaos"), "include": numbers, "pairs": "none"}
    lits = {"layout": "lits", "folder": str(tmp_path / "lits"), "slices": "labelled"}
    system = {"name": "dalace", "sequences": ["CT", "T1in"], "domains": {"CT": ["CT"], "MR": ["T1in"]}}
    checkpoint = trained(
        tmp_path,
        system={**system, "classes": ["background", "liver"], "width": 0.07, "segmentor_width": 0.07, "scales": 2},
        preprocessing={"spacing": [0.5, 0.5, 1], "normalization": "percentile"},
        data={"dataset": [lits, chaos]},
        sampling={"kind": "unpaired", "batch": 2, "sizes": [[32, 32]], "domains": system["domains"]},
    )
    record = json.loads((checkpoint.parent / "run.json").read_text())
    assert [len(entry["subjects"]) for entry in record["data"]] == [3, 2]
    assert license_of(record["data"]) == {"name": "CC BY-NC-ND 4.0", "permissive": False}
    data = load_data(load_config(tmp_path / "run" / "config.yaml"), parts=["training", "test"])
    # Four slices, of which two show the liver.
    assert {len(s.mask) for s in data.training} == {2, 4} and {len(s.mask) for s in data.test} == {4}
    assert all(s.images.get("CT", np.zeros(1)).min() >= -1 for s in data.training)


def test_a_protocol_scores_the_test_part_of_each_fold(tmp_path):
    numbers = ["31", "10", "15", "39"]
    for number in numbers:
        write_chaos(tmp_path, int(number), slices=4)
    entry = {"layout": "chaos", "folder": str(tmp_path), "pairs": "position", "include": numbers}
    content = {
        "protocol": "E001-I",
        "name": "chaos",
        "report": str(tmp_path / "reports"),
        "folds": [0, 1],
        "methods": {
            "copy": {"train": False, "mode": "copy"},
            "DAFNet": {"train": False, "changes": {"system": {"sequences": ["{target}"]}}},
        },
        "only": ["copy"],
        "system": {"name": "dafnet", "sequences": ["T1in", "T2SPIR"], "classes": "abdomen", "size": [48, 48]},
        "preprocessing": {"spacing": [1, 1, 1]},
        "data": {"dataset": entry, "cache": str(tmp_path / "cache")},
        "output": str(tmp_path),
    }
    report = json.loads(run(content, say=lambda line: None).with_suffix(".json").read_text())
    assert {(s["fold"], s["subject"]) for s in report["scores"]} == {(0, "10"), (1, "15"), (1, "39")}
    protocol = create({**content, "only": None, "data": {"dataset": [entry]}})
    method, condition = protocol.settings.methods[1], protocol.settings.conditions[0]
    config = Runs(protocol.settings, print).config(method, condition, Repetition(1, 1), None, "T2SPIR")
    assert config["data"]["dataset"] == [entry | {"fold": 1}] and config["system"]["sequences"] == ["T2SPIR"]
    assert for_all(config, protocol.settings)["system"]["sequences"] == ["T1in", "T2SPIR"]
