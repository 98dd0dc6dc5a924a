"""Compiled programs of systems that align anatomies themselves answer as PyTorch does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from converted import largest_difference, needs_openvino, relative_difference

from disentangle.bundles import Bundle, write_bundle
from disentangle.datasets.phantoms import preprocessing_of
from disentangle.inference import Predictor
from disentangle.inference.backends import store
from disentangle.inference.backends.choose import compiled_network
from disentangle.phantoms import HEART_CLASSES, create_phantom
from disentangle.systems import create

TRAINING = Path(__file__).resolve().parents[2] / "training"
PHANTOM = {"size": (64, 64), "spacing": (2.5, 2.5, 12.0)}
WANTED = {"synthesize": ["LGE"], "factors": True, "cross_reconstructions": True, "probabilities": True}

pytestmark = needs_openvino


def heart_bundle(folder: Path, name: str, **settings) -> Bundle:
    """A system of cine and LGE with random weights, whose transformer moves what it is shown."""
    torch.manual_seed(3)
    arguments = {"sequences": ("cine", "LGE"), "classes": HEART_CLASSES, "size": (64, 64), "width": 0.125, **settings}
    system = create(name, **arguments)
    system.set_default_styles({s: torch.randn(8) for s in arguments["sequences"]})
    if system.transformer is not None:
        torch.nn.init.normal_(system.transformer.offsets.weight, std=0.05)
    card = {"name": name, "license": {"name": "Apache-2.0", "permissive": True}}
    return write_bundle(folder, system, {**card, "preprocessing": preprocessing_of("heart", PHANTOM)})


@pytest.fixture(scope="module")
def study():
    return create_phantom("heart", 5, **PHANTOM).study


@pytest.fixture(
    scope="module",
    params=[("dafnet", {}), ("dafnet", {"decoder": "spade"}), ("mmsdnet", {"spatial_transformer": False})],
    ids=["dafnet", "dafnet, SPADE", "mmsdnet, not moved"],
)
def bundle(request, tmp_path_factory) -> Bundle:
    from disentangle.inference.backends.convert import convert

    name, settings = request.param
    found = heart_bundle(tmp_path_factory.mktemp("models") / name, name, **settings)
    assert convert(found).note == ""
    return found


def test_labels_agree_and_every_other_answer_differs_by_less_than_a_thousandth(bundle, study):
    predictors = [Predictor(bundle, device="cpu", backend=backend) for backend in ("torch", "openvino")]
    expected, found = (predictor.run(study, **WANTED) for predictor in predictors)
    assert found.report["backend"] == {"name": "openvino", "reason": "asked for"}
    assert np.mean(found.segmentation.array == expected.segmentation.array) >= 0.999
    assert largest_difference(found, expected) < 1e-3
    session = predictors[1].session
    ready = set(session.network._compiled)
    session.expect_drawing().result(timeout=60)
    assert set(session.network._compiled) == ready  # it has drawn already, by the same programs
    style = session.styles()["cine"] + 0.5
    drawn = [p.session.draw(3, "fused", style, {"cine": 1.0}) for p in predictors]
    assert relative_difference(drawn[1], drawn[0]) < 1e-3


def test_an_anatomy_is_moved_onto_the_first_sequence_by_a_program_where_the_system_does(bundle):
    made = store.read(bundle)
    moves = bundle.system().transformer is not None
    assert ("move" in made.programs) == moves
    network = compiled_network(made.folder, made.capabilities, made.styles)
    generator = np.random.default_rng(0)
    size = (2, 1, *made.capabilities.size)
    images = {n: generator.standard_normal(size, dtype=np.float32) for n in ("cine", "LGE")}
    factors = network.encode(images, np.ones(size, np.float32), styles=False)
    moved = network.align(factors, "cine")
    np.testing.assert_array_equal(moved.anatomy["cine"], factors.anatomy["cine"])
    assert np.array_equal(moved.anatomy["LGE"], factors.anatomy["LGE"]) != moves
    assert not factors.modality


def test_slices_of_a_heart_are_segmented_without_torch(bundle, study, tmp_path):
    study.write(tmp_path / "study")
    code = (
        "import sys; from disentangle import Predictor, Study\n"
        f"p = Predictor({str(bundle.path)!r}, device='cpu', backend='openvino')\n"
        f"p.run(Study.from_folder({str(tmp_path / 'study')!r}), synthesize=['LGE'])\n"
        "print([m for m in ('torch', 'scipy', 'monai') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TRAINING, check=False)
    assert done.stdout.strip() == "[]", done.stderr
