"""Settings of the wrong type or size are refused in a sentence that names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from disentangle.cli import main
from disentangle.errors import InputError
from disentangle.learning import train as training
from disentangle.learning.config import load_config
from disentangle.learning.protocols.settings import load_protocol

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"
PROTOCOL = {
    "protocol": "E000-1",
    "methods": {"one": {}, "two": {}},
    "conditions": {"all": {"changes": {"training": {"steps": 5}}}, "50": {}},
}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps=abc", "training.steps must be a whole number, not 'abc'"),
        ("training.steps=1.5", "training.steps must be a whole number, not 1.5"),
        ("training.steps=true", "training.steps must be a whole number, not True"),
        ("training.steps=null", "training.steps must be a whole number, not None"),
        ("training.steps=0", "training.steps is 0; give a whole number from 1 on"),
        ("training.steps=-5", "training.steps is -5; give a whole number from 1 on"),
        ("training.log_every=0", "training.log_every is 0"),
        ("training.accumulate=0", "training.accumulate is 0"),
        ("training.validate_every=0", "training.validate_every is 0"),
        ("training.ema=slow", "training.ema must be a number, not 'slow'"),
        ("training.max_minutes=long", "training.max_minutes must be a number"),
        ("training.patience=0.5", "training.patience must be a whole number"),
        ("training.init_from=3", "training.init_from must be a text"),
        ("training.resume=/a/final.ckpt", "training.resume must be true or false, not '/a/final.ckpt'"),
        ("training.resume=1", "training.resume must be true or false, not 1"),
        ("training.schedule=cosin", "training.schedule is cosin; use one of constant, cosine, plateau"),
        ("training.precision=8", "training.precision is 8; use one of auto"),
        ("training.precision=64-true", "training.precision is 64-true; use one of auto, 32-true, bf16-mixed"),
        ("training.precision=bf16-true", "training.precision is bf16-true; use one of auto, 32-true, bf16-mixed"),
        ("training.precision=16", "training.precision is 16, .* harm to the weights; use bf16-mixed or 32-true"),
        ("training.precision=16-mixed", "training.precision is 16-mixed, .*; use bf16-mixed or 32-true"),
        ("training.precision=16-true", "training.precision is 16-true, .*; use bf16-mixed or 32-true"),
        ("training.ramps.latent=5", r"training.ramps.latent must be two steps"),
        ("training.stages.generator=[0]", r"training.stages.generator must be two steps"),
        ("training=5", "training must be a section of settings, not 5"),
        ("training=null", "training must be a section of settings, not None"),
        ("sampling=5", "sampling must be a section of settings, not 5"),
        ("preprocessing.spacing=wide", "section preprocessing has a value that it cannot have"),
        ("seed=abc", "seed must be a whole number, not 'abc'"),
        ("seed=-1", "seed is -1; give a whole number from 0 on"),
        ("name=2024", "name must be a text, not 2024; numbers that are texts need quotes"),
        ("system.sequences=T1", "system.sequences must be a list, not 'T1'"),
        ("system.classes=5", "system.classes must be a text, not 5"),
        ("data.phantoms.subjects=-1", "data.phantoms.subjects is -1"),
        ("data.phantoms=many", "data.phantoms must be a section of settings, not 'many'"),
        ("data.studies.include=a*", "data.studies.include must be a list"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_refused_by_name(override, message):
    with pytest.raises(InputError, match=message):
        load_config({}, [override])


def test_values_of_a_like_type_are_taken():
    config = load_config(
        {"system": {"sequences": ("T1", "T2"), "classes": ["background", "organ"]}},
        [
            "training.ema=null",
            "training.checkpoint_minutes=1",
            "training.images_every=null",
            "training.max_minutes=5",
            "training.precision=32",
            "training.ramps.latent=[0.5, 10]",
            "data.studies=null",
            "preprocessing.spacing=2",
        ],
    )
    assert config["training"]["ema"] is None
    assert config["training"]["max_minutes"] == 5
    assert config["training"]["ramps"] == {"latent": [0.5, 10]}
    assert config["data"]["studies"] is None


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_our_own_configurations_have_the_right_types(path):
    assert load_protocol(path) if path.name.startswith(("e0", "brain-mr-")) else load_config(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("system.width=wide", "setting width of a system is 'wide'"),
        ("system.anatomy_dim=3", "no setting anatomy_dim"),
        ("system.weights=[1]", "system has a value"),
        ("sampling.batch=abc", "sampling.batch must be a whole number, not 'abc'"),
        ("sampling.sizes=5", "sampling.sizes must be a list, not 5"),
        ("sampling.sizes=[5]", "section sampling has a value"),
    ],
)
def test_what_only_the_system_or_the_sampling_can_tell_is_a_sentence_too(tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        training.train(CONFIGS / "margindis-phantom-64.yaml", [f"output={tmp_path}", override], quiet=True)


def test_the_command_ends_with_2_and_one_sentence(tmp_path, capsys):
    config = str(CONFIGS / "margindis-phantom-64.yaml")
    assert main(["train", config, f"output={tmp_path}", "training.steps=abc"]) == 2
    assert capsys.readouterr().err == (
        "disentangle train: The setting training.steps must be a whole number, not 'abc'.\n"
    )


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "5"])
def test_a_file_that_holds_no_settings_is_no_configuration(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="holds no settings"):
        load_config(tmp_path / "x.yaml")


def test_a_file_that_is_no_text_is_no_configuration(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\xfa\x00")
    with pytest.raises(InputError, match="not valid YAML"):
        load_config(tmp_path / "x.yaml")


# -- protocols ---------------------------------------------------------------------------------------------------------


def test_one_seed_fold_method_or_condition_is_a_list_of_one():
    settings = load_protocol(PROTOCOL, ["seeds=3", "folds=0", "only=two", "only_conditions=50"])
    assert settings.seeds == (3,)
    assert settings.folds == (0,)
    assert [m.label for m in settings.methods] == ["two"]
    assert [c.name for c in settings.conditions] == ["50"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=abc", r"seeds must be a list of whole numbers, such as \[1, 2\], not 'abc'"),
        ("seeds=[]", "seeds must be a list"),
        ("seeds=null", "seeds must be a list"),
        ("seeds=[true]", "seeds must be a list"),
        ("folds=[a]", "folds must be a list of whole numbers"),
        ("only=foo", 'no method "foo"; it has one, two'),
        ("only={one: 1}", r"only must be a list of names, such as \[A, B\]"),
        ("only_conditions=none", 'no condition "none"'),
        ("conditions=5", "conditions must be a section of settings, not 5"),
        ("test=5", "test must be a section of settings, not 5"),
        ("test.phantoms=abc", "test.phantoms must be a whole number, not 'abc'"),
        ("options=[1]", r"options must be a section of settings, not \[1\]"),
        ("title=5", "title must be a text, not 5"),
        ("training=5", "training must be a section of settings, not 5"),
        ("system=5", "system must be a section of settings, not 5"),
        ("methods.one.changes=5", "methods.one.changes must be a section of settings, not 5"),
        ("methods.one.changes.training.steps=abc", "training.steps must be a whole number"),
        ("methods.one.conditions={a: 1}", "methods.one.conditions must be a list of names"),
        ("conditions.all.changes.training.steps=0", "training.steps is 0"),
    ],
)
def test_a_wrong_value_in_a_protocol_file_is_a_sentence(override, message):
    with pytest.raises(InputError, match=message):
        load_protocol(PROTOCOL, [override])


def test_a_single_condition_of_a_method_and_a_single_target_are_no_letters():
    settings = load_protocol(PROTOCOL, ["methods.one.conditions=all", "conditions.all.targets=LGE"])
    assert settings.methods[0].conditions == ("all",)
    assert settings.conditions[0].targets == ("LGE",)


def test_sections_of_a_test_that_are_empty_by_default_may_hold_anything():
    settings = load_protocol({**PROTOCOL, "test": {"phantoms": 2, "arguments": {"sequences": ["T1"]}}})
    assert settings.test == {"phantoms": 2, "arguments": {"sequences": ["T1"]}}
