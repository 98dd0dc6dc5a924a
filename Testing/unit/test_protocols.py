"""Protocols train every method once, score it on subjects of its own, and report beside the printed numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from balls import SMALLEST, ball, load_balls

from disentangle.baselines.copying import copied
from disentangle.cli import main
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.learning import train as training
from disentangle.learning.checkpoints import load_checkpoint, save_checkpoint
from disentangle.learning.config import load_config
from disentangle.learning.data import Data, sampling_of
from disentangle.learning.protocols import PROTOCOLS, analyses, cohort, create, e001, figures, published, run
from disentangle.learning.protocols.runs import Repetition, Runs
from disentangle.learning.protocols.settings import load_protocol
from disentangle.registry import create as create_system
from disentangle.registry import settings_of

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"

TINY = {
    "name": "tiny",
    "system": {**SMALLEST, "style_dim": 4},
    "sampling": {"batch": 2, "sizes": [[32, 32]]},
    "training": {"steps": 10, "warmup": 1, "validate_every": 10, "validation_batches": 1, "images_every": None},
    "test": {"phantoms": 2},
    "methods": {"Conv+NA": {"changes": {"system": {"conditioning": "separate"}}}, "CondConv+Sim": {}},
}


@pytest.fixture
def balls(monkeypatch):
    """Balls to train on and two more to test on."""
    monkeypatch.setattr(training, "load_data", load_balls)
    monkeypatch.setattr(cohort, "load_data", lambda config, progress: Data([], [ball(n) for n in (30, 31)]))


@pytest.fixture
def tiny(tmp_path, balls):
    """The tiny protocol file's content, writing below tmp_path."""
    return lambda protocol, **more: {
        **TINY, "protocol": protocol, "output": str(tmp_path / "runs"), "report": str(tmp_path / "reports"), **more
    }  # fmt: skip


def test_a_protocol_is_trained_scored_and_reported_by_one_command(tiny, tmp_path, capsys, monkeypatch):
    import yaml

    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny("E000-1", compare="BraTS", seeds=[1, 2])), encoding="utf-8")
    assert main(["evaluate", str(file), "training.steps=6"]) == 0
    folder = tmp_path / "reports" / "tiny"
    assert str(folder / "report.md") in capsys.readouterr().out
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    cross = report["tables"]["cross"]
    assert set(cross["rows"]) == {"Conv+NA", "CondConv+Sim"}
    assert cross["rows"]["Conv+NA"]["T1 PSNR"]["n"] == 2
    assert cross["best against second"]["T1 PSNR"]["n"] == 2
    assert report["models"]["Conv+NA"][""]["steps"] == 6
    # Only the table that is measured as the paper measures may stand beside its numbers.
    assert report["tables"]["paper"]["paper"]["Conv+NA"]["T2 SSIM"] == ".621"
    assert cross["paper"] == {}
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "[27.304]" in text
    assert text.startswith("# E000-1 on digital brains\n")
    assert "p = " in text
    for figure in report["figures"]:
        assert (folder / figure["file"]).stat().st_size > 1000
        assert figure["file"] in text
    assert {f["file"] for f in report["figures"]} >= {"matrix-conv+na.png", "box-cross-psnr.png", "box-cross-ssim.png"}

    def no_training(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("disentangle.learning.reuse.train", no_training)
    assert run(file, ["training.steps=6"], say=lambda line: None) == folder / "report.md"
    with pytest.raises(InputError, match=r"training\.steps=6, but 7 is wanted"):
        run(file, ["training.steps=7"], say=lambda line: None)


def organs(config, progress=None) -> Data:
    """Two subjects to test on, of the kind and with the sequences that a configuration names: boxes in boxes."""
    kind = (config["data"]["phantoms"] or {}).get("kind", "brain")
    sequences = [*config["system"]["sequences"], *{"brain-pet": ["PET"], "heart": ["cine", "LGE"]}.get(kind, [])]
    sequences = [*dict.fromkeys([*sequences, *config["data"]["phantoms"]["arguments"].get("sequences", [])])]
    stacks = kind in ("heart", "abdomen")
    labels = np.zeros((2, 64, 64), np.uint8)
    for value in (1, 2, 3, 5, 6, 7) if not stacks else (1, 2):
        labels[:, 8 + 3 * value : 56 - 3 * value, 12 + 2 * value : 50 - 2 * value] = value
    mask = np.ones(labels.shape, bool) if stacks else labels > 0
    subjects = []
    for n in range(2):
        noise = np.random.default_rng(n).normal(0, 0.1, (len(sequences), *labels.shape))
        images = {
            s: np.where(mask, np.tanh((k - 1.0) * labels / 4 + x), 0)
            for k, (s, x) in enumerate(zip(sequences, noise, strict=True))
        }
        images = {s: x.astype(np.float16) for s, x in images.items()}
        own = {s: np.roll(labels, n, axis=1) for s in sequences} if stacks else {}
        about = {"seed": n}
        subjects.append(Subject(f"o{n}", f"o{n}", images, mask, labels, (1.0, 1.0, 4.0), "phantom", about, own))
    return Data(subjects, subjects)


def untrained(config, **_):
    """A checkpoint as training leaves it, of a system that has learned nothing."""
    settings = dict(config["system"])
    if "representation" in settings_of(settings["name"]):
        other = load_checkpoint(config["training"]["init_from"])["system"]
        settings["representation"] = {"name": other["name"], **other["config"]}
    system = create_system(settings.pop("name"), **settings)
    described = {"system": {"name": system.name, "config": system.config}, "weights": system.state_dict()}
    path = Path(config["output"]) / config["name"] / "final.ckpt"
    path.parent.mkdir(parents=True)
    return save_checkpoint(path, {**described, "average": None, "iteration": 1, "seconds": 0.0})


FILES = [*sorted(path.stem for path in CONFIGS.glob("e0*.yaml")), "brain-mr-ablation", "brain-mr-peers"]
ALIKE = {
    "brain-mr-ablation", "brain-mr-peers", "e000-crossreconstruction", "e001-table2", "e001-parts", "e001-table4",
    "e004-table1", "e004-table4",
}  # fmt: skip
"""Files whose methods are scored as those of another one, or by a test of their own."""
ONLY = {
    "e000-analyses": ["CondConv+Sim"],
    "e001-analyses": ["FiLM"],
    "e001-sizes": ["C = 4", "Z = 16"],
    "e001-table1": ["copy", "UNet-single", "Translation", "DAFNet, single input"],
}
"""Methods that stand for the rest."""
COLUMNS = {
    "e000-missing": {"all Dice", "-T1 Dice"},
    "e000-missing-pet": {"all PSNR", "-FLAIR SSIM"},
    "e001-table1": {"LGE 0 %", "cine 0 %", "LGE 100 %", "cine 100 %"},
    "e001-sizes": {"LGE", "cine", "least", "below 0.9"},
    "e001-table3": {"LGE 0 %", "LGE 100 %"},
    "e002-table1": {"L1", "PSNR", "FID"},
    "e002-table2": {"Dice"},
    "e003-table1": {"LGE MYO 25 %", "LGE avg 0 %"},
    "e004-table2": {"MR Dice"},
    "e004-table3": {"MR Dice", "CT Dice"},
}
"""Columns that a report must have, named as the paper's table has them."""


@pytest.mark.parametrize("name", FILES)
def test_every_model_of_a_protocol_file_can_be_made(name):
    settings = create(CONFIGS / f"{name}.yaml").settings
    runs = Runs(settings, print)
    for method in settings.methods:
        for condition in settings.conditions if method.trains and not method.of else ():
            if method.conditions is not None and condition.name not in method.conditions:
                continue
            for source, target in runs.pairs(method, condition):
                needed = dict.fromkeys(method.needs(), "x.ckpt")
                config = runs.config(method, condition, Repetition(1), source, target, needed)
                system = dict(config["system"])
                if "white matter" not in system.get("classes", ()):
                    assert system.get("healthy", [0]) == [0]
                if "representation" not in settings_of(system["name"]):  # or else it comes with a checkpoint
                    with torch.device("meta"):
                        made = create_system(system.pop("name"), **system)
                    sampling_of(config, made.capabilities)


@pytest.mark.parametrize("name", sorted(set(FILES) - ALIKE))
def test_every_protocol_file_scores_all_of_its_methods(name, tmp_path, monkeypatch):
    monkeypatch.setattr("disentangle.learning.reuse.train", untrained)
    monkeypatch.setattr(cohort, "load_data", organs)
    monkeypatch.setattr("disentangle.learning.protocols.e000.load_data", organs)
    changes = [f"output={tmp_path / 'runs'}", f"report={tmp_path}", f"name={name}", "system.width=0.0625"]
    if "analyses" in name:
        changes += ["options.samples=12", "options.permutations=5", "system.style_dim=3"]
    monkeypatch.setattr(figures, "_DPI", 30)
    # Registration and active contours have tests of their own, and take seconds.
    monkeypatch.setattr(e001, "PROPAGATIONS", dict.fromkeys(e001.PROPAGATIONS, copied))
    changes += [f"only={json.dumps(ONLY[name])}"] if name in ONLY else []
    run(CONFIGS / f"{name}.yaml", changes, say=lambda line: None)
    report = json.loads((tmp_path / name / "report.json").read_text(encoding="utf-8"))
    settings = create(CONFIGS / f"{name}.yaml", changes).settings
    expected = {m.label for m in settings.methods}
    rows = {method for table in report["tables"].values() for method in table["rows"]}
    if name == "e000-missing-pet":  # a representation that does not know PET
        expected -= {"MarginDis"}
        assert "MarginDis" not in rows
    if name == "e000-missing":  # networks of three sequences lack the fourth, whatever else is missing
        three = {m: set(row) for m, row in report["tables"]["dice"]["rows"].items() if m.startswith("without ")}
        assert three == {m: {f"-{m.split()[1]} Dice"} for m in three}
    if name == "e002-table2":  # translators have no row of their own
        expected -= {label for m in settings.methods for label in m.needs()}
    assert expected <= rows
    assert {c for t in report["tables"].values() for row in t["rows"].values() for c in row} >= COLUMNS.get(name, set())
    assert report["figures"] or "missing" in name
    if name == "e002-table1":
        (caption,) = (f["caption"] for f in report["figures"] if f["file"] == "artefact-ucd.png")
        assert re.search(r"T1 with stripes .* translated into T2; \d+% of their contrast passes on", caption)
    if "analyses" in name:
        (row,) = report["tables"]["factors"]["rows"].values()
        assert {"sequence from z", "sequence from f(s)", "subject from f(s)", "dCor² null 95 %"} <= set(row)
        kinds = {f["file"].split("-")[-1] for f in report["figures"]}
        assert kinds >= {"z.png", "s.png", "factors.png", "matrix.png"}
        assert any("traversal" in f["file"] for f in report["figures"])
    if settings.compare:
        assert any(table["paper"] for table in report["tables"].values())


def test_weights_of_the_right_partner_are_drawn_from_the_logs_of_a_training(tmp_path):
    arguments = {"size": [48, 48], "spacing": [3.0, 3.0, 12.0], "slices": 5}
    overrides = [
        f"output={tmp_path / 'runs'}",
        f"report={tmp_path}",
        f"data.cache={tmp_path / 'cache'}",
        f"data.phantoms.arguments={json.dumps(arguments)}",
        "data.phantoms.subjects=2",
        "data.phantoms.validation=1",
        "test.phantoms=1",
        "system.width=0.0625",
        "system.size=[48,48]",
        "sampling.sizes=[[48,48]]",
        "sampling.batch=2",
        "training.steps=2",
        "training.log_every=1",
        "training.validate_every=2",
        'only=["learned pairs"]',
        "conditions={}",
    ]
    run(CONFIGS / "e001-table3.yaml", overrides, say=lambda line: None)
    report = json.loads((tmp_path / "e001-table3" / "report.json").read_text(encoding="utf-8"))
    assert "pair-weights.png" in [f["file"] for f in report["figures"]]
    steps, weights = analyses.logged(tmp_path / "runs" / "learned-pairs-s1", "right_pair_weight")
    assert steps == [1, 2] and all(0 < w < 1 for w in weights)
    assert analyses.draw_pair_weights({"unet": tmp_path}, tmp_path / "none.png") == []


def test_a_style_that_tells_nothing_has_the_variance_of_its_prior():
    settings = create(CONFIGS / "e001-sizes.yaml").settings
    config = Runs(settings, print).config(settings.method("Z = 4"), settings.conditions[0], Repetition(1))
    system = create_system(**config["system"]).eval()
    subjects = organs(config).training
    with torch.no_grad():
        system.style_encoder.log_variance.weight.zero_()
        system.style_encoder.log_variance.bias.copy_(torch.tensor([0.0, -1.0, -2.0, 0.0]))
    assert analyses.style_variances(system, subjects) == pytest.approx(np.exp([0, -1, -2, 0]), rel=1e-5)


def test_a_report_names_the_data_that_was_tested_on():
    one = replace(ball(1), source="phantom", about={"kind": "heart"})
    real = replace(one, source="brats2018", about={"source": "BraTS 2018"})
    assert cohort.kinds([one, one]) == "digital hearts"
    assert cohort.kinds([real, real, replace(one, source="study")]) == "BraTS 2018 and real studies"
    brain = replace(one, about={}, images={"T1": one.mask, "PET": one.mask})
    assert cohort.kinds([brain, real]) == "digital brains with PET and BraTS 2018"


def test_a_protocol_file_with_mistakes_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="Unknown protocol"):
        create({**TINY, "protocol": "E9"})
    with pytest.raises(InputError, match="names its protocol"):
        load_protocol(TINY)
    with pytest.raises(InputError, match="no option"):
        create({**TINY, "protocol": "E000-1", "options": {"colour": 1}})
    for name, options, sentence in (
        ("E000-2", {"samples": "many"}, "options.samples must be a whole number, not 'many'"),
        ("E000-2", {"permutations": None}, "options.permutations must be a whole number, not None"),
        ("E000-3", {"subsets": "some"}, 'Unknown subsets "some"'),
        ("E002-1", {"artefact": ["T1"]}, "names a source and a target"),
    ):
        with pytest.raises(InputError, match=sentence):
            create({**TINY, "protocol": name, "options": options})
    assert create({**TINY, "protocol": "E002-1", "options": {"artefact": None}}).chosen["artefact"] is None
    with pytest.raises(InputError, match="refers to"):
        load_protocol({**TINY, "protocol": "E000-1", "methods": {"a": {"of": "b"}}})
    with pytest.raises(InputError, match="no setting chnges"):
        load_protocol({**TINY, "protocol": "E000-1", "methods": {"a": {"chnges": {}}}})
    with pytest.raises(InputError, match="no method"):
        load_protocol({**TINY, "protocol": "E000-1", "only": ["b"]})
    with pytest.raises(InputError, match="no condition"):
        load_protocol({**TINY, "protocol": "E000-1", "conditions": {"0 %": {}}, "only_conditions": ["100 %"]})
    phantoms = load_config({"data": {"phantoms": {"first_seed": 1, "subjects": 4, "validation": 2}}})
    with pytest.raises(InputError, match="among those trained on"):
        cohort.test_subjects(phantoms, {"phantoms": 2, "first_seed": 3})


def test_a_run_may_be_limited_to_some_conditions():
    settings = load_protocol(CONFIGS / "e001-table1.yaml", ["only_conditions=[0 % LGE, 100 %]"])
    assert [c.name for c in settings.conditions] == ["100 %", "0 % LGE"]


def test_printed_numbers_are_found_by_method_and_column():
    table = published.table("E001-I")
    assert table.cell("DAFNet, multi input", "ERI LGE 0 %") == "74±04"
    assert table.numbers("DAFNet, multi input", "ERI LGE 0 %") == (74.0, 4.0)
    assert table.cell("UNet-single", "ERI LGE 0 %") is None
    assert set(PROTOCOLS) >= set(published.TABLES)


def test_a_method_that_names_sequences_has_a_model_for_each(tmp_path, monkeypatch):
    monkeypatch.setattr("disentangle.learning.reuse.train", untrained)
    settings = create(CONFIGS / "e001-table1.yaml", [f"output={tmp_path}"]).settings
    runs, (whole, none, _) = Runs(settings, print), settings.conditions
    single = runs.models(settings.method("UNet-single"), whole, Repetition(1))
    assert set(single.paths) == {(None, "cine"), (None, "LGE")}
    pairs = runs.models(settings.method("Translation"), whole, Repetition(1))
    assert set(pairs.paths) == {("cine", "LGE"), ("LGE", "cine")}
    config = runs.config(settings.method("Translation"), none, Repetition(1), "cine", "LGE")
    assert config["system"]["sequences"] == ["cine", "LGE"]
    assert config["system"]["annotated"] == ["cine"]
    assert config["sampling"]["annotated"] == {"LGE": 0}
    # "size" is DAFNet's alone: systems that do not know it do not get it.
    assert "size" not in config["system"]


def test_folds_leave_out_whole_persons_and_never_train_on_them(tmp_path):
    for name in ("a1", "a2", "b", "c", "d"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "study.json").write_text("{}", encoding="utf-8")
    studies = {"folder": str(tmp_path / "studies"), "same_subject": [["a1", "a2"]], "exclude": ["d"]}
    content = {**TINY, "protocol": "E000-1", "data": {"studies": studies, "phantoms": None}, "test": {"studies": 2}}
    protocol = create({**content, "folds": [0, 1]})
    runs, method = Runs(protocol.settings, print), protocol.settings.methods[0]
    excluded = [
        runs.config(method, protocol.settings.conditions[0], Repetition(1, fold))["data"]["studies"]["exclude"]
        for fold in (0, 1)
    ]
    assert excluded == [["d", "a1", "a2", "c"], ["d", "b"]]
    config = load_config({"data": content["data"]})
    assert cohort.left_out(config, 1, 2) == ["b"]
    with pytest.raises(InputError, match="too few"):
        cohort.left_out(config, 5, 6)


def test_peers_are_compared_on_every_subset_of_the_sequences(tiny, tmp_path, monkeypatch):
    def wounded(config, progress=None):
        balls_ = [ball(n) for n in (30, 31)]
        for b in balls_:  # the innermost tissue is taken for an edema
            b.labels[b.labels == 3] = 5
        return Data([], balls_)

    monkeypatch.setattr(cohort, "load_data", wounded)
    classes = {"classes": "brain", "healthy": [1, 2, 3]}
    methods = {
        "copy": {"train": False, "mode": "copy"},
        "histogram-matched copy": {"train": False, "mode": "histogram-matched copy"},
        "U-Net, zero-filled": {
            "changes": {"system": {"name": "standard", "sequences": ["T1", "T2"], "width": 0.06, **classes}}
        },
        "MarginDis": {"changes": {"system": {**TINY["system"], **classes}}},
    }
    file = tiny("peers", methods=methods, system={"name": "margindis", "sequences": ["T1", "T2"]})
    file["methods"]["U-Net, zero-filled"]["changes"]["sampling"] = {"batch": 2}
    path = run(file, ["training.steps=2"], say=lambda line: None)
    tables = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["tables"]
    made, found = tables["synthesis"]["rows"], tables["dice"]["rows"]
    assert set(made) == {"copy", "histogram-matched copy", "MarginDis"}
    # T1 and T2 have opposite contrast: a histogram matched in reverse order is the better copy.
    assert made["histogram-matched copy"]["T1 PSNR"]["mean"] > made["copy"]["T1 PSNR"]["mean"] + 5
    assert set(found) == {"U-Net, zero-filled", "MarginDis"}
    assert set(found["MarginDis"]) == {"whole tumour, 1 of 2", "whole tumour, 2 of 2"}
    assert (path.parent / "synthesis.png").is_file()


def test_a_peer_without_weights_must_be_a_copy(tiny):
    with pytest.raises(InputError, match="histogram-matched copy"):
        create(tiny("peers", methods={"register": {"train": False, "mode": "register"}}))
