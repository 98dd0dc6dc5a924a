"""The papers whose systems the models are of, as both modules name them in their acknowledgement."""

from __future__ import annotations

from ..mrml.text import _

PAPERS = {
    "margindis": "J. Ouyang, E. Adeli, K. M. Pohl, Q. Zhao, G. Zaharchuk, Representation Disentanglement for "
    "Multi-modal Brain MRI Analysis, IPMI 2021",
    "dafnet": "A. Chartsias, G. Papanastasiou, C. Wang, S. Semple, D. E. Newby, R. Dharmakumar, S. A. Tsaftaris, "
    "Disentangle, Align and Fuse for Multimodal and Semi-Supervised Image Segmentation, IEEE TMI 40 (2021)",
    "ucd": "X. Liu, F. Xing, G. El Fakhri, J. Woo, A Unified Conditional Disentanglement Framework for Multimodal "
    "Brain MR Image Translation, ISBI 2021",
    "mmsdnet": "A. Chartsias et al., Multimodal Cardiac Segmentation Using Disentangled Representation Learning, "
    "STACOM 2019",
    "dalace": "J. Yang et al., Domain-Agnostic Learning with Anatomy-Consistent Embedding, ICCV Workshops 2019",
}
"""System -> its paper."""


def acknowledgement() -> str:
    """What the modules acknowledge; a model's own card names its paper and its data, too."""
    first, *others = PAPERS.values()
    return _("Method of the model for brains: {first}.<br><br>Models of other systems: {others}.").format(
        first=first, others="; ".join(others)
    )
