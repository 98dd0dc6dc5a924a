"""Sample data: digital subjects made on demand, and a public study, in Slicer's Sample Data module."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import slicer

from ..mrml.text import _

CATEGORY = "Disentangle"
_PUBLIC = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
_TUMOUR = "998cb522173839c78657f4bc0ea907cea09fd04e44601f17c82ea27927937b95"
"""SHA-256 of MRBrainTumor1 (RegLib_C01_1.nrrd), as Slicer's own Sample Data module names it."""
PHANTOMS = {
    _("Digital glioma, four MR sequences"): (("T1", "T1Gd", "T2", "FLAIR"), "glioma"),
    _("Digital MS lesions, without T1Gd"): (("T1", "T2", "FLAIR"), "ms"),
}
"""Name of a source -> its sequences, its lesions. The name is what users see: Slicer lets modules register no other
title (SampleDataLogic.registerCustomSampleDataSource has no ``sampleDescription``)."""
_TUMOUR_NAME = _("Brain tumour of a patient, T1")


_SUBJECTS = {"glioma": "Digital glioma", "ms": "Digital MS"}
"""Lesions -> the first words of the volumes' names."""


def register(icon: Path) -> None:
    """Offer the samples; called when the application has started.

    Args:
        icon: picture that stands for them.
    """
    import SampleData

    known = getattr(slicer.modules, "sampleDataSources", {}).get(CATEGORY, [])
    if any(source.sampleName in PHANTOMS for source in known):
        return  # the other module has done it
    for name in PHANTOMS:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            uris="",
            fileNames="",
            nodeNames=name,
            thumbnailFileName=str(icon),
            customDownloader=load_phantom_sample,
        )
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=_TUMOUR_NAME,
        uris=_PUBLIC + _TUMOUR,
        fileNames="RegLib_C01_1.nrrd",
        nodeNames="MRBrainTumor1 T1",
        checksums=f"SHA256:{_TUMOUR}",
        thumbnailFileName=str(icon),
    )


def load_phantom_sample(source: Any) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Make the digital subject of a sample-data source and load it; some ten seconds."""
    sequences, lesions = PHANTOMS[source.sampleName]
    return list(phantom_nodes(sequences, lesions).values())


def phantom_nodes(
    sequences: Iterable[str] = ("T1", "T1Gd", "T2", "FLAIR"),
    lesions: str = "glioma",
    seed: int = 5,
    spacing: float = 1.5,
) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """A digital subject as volumes of the scene: sequence -> volume node; the first one is shown. It is a patient of
    its own, and no two volumes get the same name, whatever the scene holds.

    Example::

        from disentangle.panel.sample_data import phantom_nodes
        nodes = phantom_nodes(lesions="ms")
    """
    from ..mrml.hierarchy import make_patient, put_into
    from ..mrml.volumes import fill_volume
    from ..phantoms import create_phantom

    with slicer.util.WaitCursor():
        study = create_phantom("brain", seed, spacing=spacing, lesions=lesions).study
        nodes, subject = {}, _SUBJECTS.get(lesions, "Digital subject")
        place = make_patient(slicer.mrmlScene, subject)
        for name in sequences:
            title = slicer.mrmlScene.GenerateUniqueName(f"{subject} {name}")
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", title)
            fill_volume(node, study[name].array, study[name].affine)
            node.CreateDefaultDisplayNodes()
            put_into(place, node)
            nodes[name] = node
    slicer.util.setSliceViewerLayers(background=next(iter(nodes.values())), fit=True)
    return nodes
