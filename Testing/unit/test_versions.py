"""Cached subjects are known by the code that made them."""

from __future__ import annotations

import pytest

from disentangle.datasets.phantoms import load_phantoms
from disentangle.datasets.versions import code_version, fingerprint
from disentangle.phantoms import phantom_kinds, phantom_module
from disentangle.preprocessing import PreprocessingConfig

HEART = """'Hearts.'
from ..errors import InputError
from . import shapes

def heart():
    return 1
"""
SOURCES = {
    "": "VERSION = 1",
    "errors": "class InputError(Exception):\n    '''A sentence.'''\n",
    "phantoms": "from .heart import heart\n",
    "phantoms.heart": HEART,
    "phantoms.shapes": "SIZE = 2\n'''In mm.'''\n",
    "phantoms.brain": "def brain():\n    return 3\n",
    "study": "from .grid import Grid\n",
    "study.grid": "from .. import VERSION\nclass Grid: pass\n",
}


def version(starts=("phantoms.heart",), alone=(), **changed: str) -> str:
    return fingerprint(SOURCES | {k.replace("__", "."): v for k, v in changed.items()}, tuple(starts), tuple(alone))


def test_a_statement_changes_the_version_of_what_goes_through_it():
    assert version(phantoms__heart=HEART.replace("1", "2")) != version()
    assert version(phantoms__shapes="SIZE = 3") != version()
    assert version(errors="class InputError(ValueError): pass") != version()


def test_what_is_not_imported_does_not_count():
    assert version(phantoms__brain="") == version()
    assert version(phantoms="from .brain import brain") == version()
    assert version(["phantoms"], phantoms__brain="") == version(["phantoms"])
    assert version(["study"], study__grid="") != version(["study"])
    assert fingerprint(SOURCES | {"": ""}, ("study",)) != version(["study"])


def test_explanations_and_layout_do_not_count():
    explained = '"""Another\nsentence."""\n# why\nfrom ..errors import (\n    InputError,\n)\nfrom . import shapes\n'
    explained += 'def heart():\n    """One."""\n    return (1)\n'
    assert version(phantoms__heart=explained) == version()
    assert version(phantoms__shapes="SIZE = 2") == version()


def test_modules_alone_count_without_their_imports():
    alone = version(["phantoms.brain"], ["phantoms.heart"])
    assert version(["phantoms.brain"], ["phantoms.heart"], phantoms__shapes="") == alone
    assert version(["phantoms.brain"], ["phantoms.heart"], phantoms__heart="") != alone
    with pytest.raises(ValueError, match=r"no module phantoms\.foot"):
        version(["phantoms.foot"])


def test_every_kind_of_phantom_has_a_version_of_its_own():
    assert len({code_version((phantom_module(kind),)) for kind in phantom_kinds()}) == len(phantom_kinds())


def test_a_phantom_is_made_again_when_its_code_has_changed(tmp_path, monkeypatch):
    settings = PreprocessingConfig(spacing=8.0, pose="reference")

    def load() -> int:
        load_phantoms([1], {"size": [32, 32], "slices": 3}, [], settings, tmp_path, kind="heart")
        return len(list(tmp_path.glob("*.npz")))

    assert [load(), load()] == [1, 1]
    monkeypatch.setattr("disentangle.datasets.phantoms.code_version", lambda *modules: "another")
    assert load() == 2
