"""Yang et al. (DALACE): domain adaptation, domain-agnostic and joint learning, ablation (method-spec, section 5f)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...datasets.volumes import Subject
from ...losses import UNLABELLED
from ...metrics.overlap import dice, hd95
from .figures import image_grid, labelled
from .predictions import segmentation
from .protocol import Picture, Protocol, Scores, TableSpec
from .runs import Models, slug


class CrossDomainSegmentation(Protocol):
    """Tables 1-4: volumetric Dice of a structure in domains of which only some are annotated.

    The mode "as SEQUENCE" shows a model every image under the name of that sequence: a U-Net of CT applied to MR.
    """

    options: ClassVar[dict[str, Any]] = {"domains": {}, "structure": "liver"}
    """domains: name -> sequences that are scored in it; a domain's figure is the mean over its sequences."""

    @property
    def tables(self) -> tuple[TableSpec, ...]:  # type: ignore[override]
        what = self.chosen["structure"]
        return (
            TableSpec("dice", f"Dice of the {what}", 3, self.settings.protocol, note="Over whole volumes."),
            TableSpec("sequences", f"Dice of the {what} by sequence", 3, ranked=False, quantity="Dice"),
            TableSpec("hd95", "95th percentile Hausdorff distance in mm", 1, ranked=False),
        )

    def score(self, models: Models, subject: Subject) -> Scores:
        scores: Scores = {"dice": {}, "sequences": {}, "hd95": {}}
        for domain, sequences in self.domains(models).items():
            values = []
            for sequence in sequences:
                truth = subject.sequence_labels.get(sequence, subject.labels)
                if sequence not in subject.images or (truth == UNLABELLED).all():
                    continue
                found, wanted = self.predicted(models, subject, sequence), truth == self.value(models, sequence)
                values.append(dice(found, wanted))
                scores["sequences"][sequence] = values[-1]
                if wanted.any():  # a distance that does not exist would count as a miss
                    scores["hd95"][f"{sequence} HD95"] = hd95(found, wanted, subject.spacing)
            if values:
                scores["dice"][f"{domain} Dice"] = float(np.nanmean(values))
        return scores

    def domains(self, models: Models) -> dict[str, Sequence[str]]:
        """Domain -> the sequences that are scored, those of the condition alone where it names any."""
        targets = models.condition.targets
        chosen = self.chosen["domains"] or {s: [s] for s in self.settings.common.get("system", {}).get("sequences", [])}
        found = {d: [s for s in names if targets is None or s in targets] for d, names in chosen.items()}
        return {d: names for d, names in found.items() if names}

    def value(self, models: Models, sequence: str) -> int:
        """The label value of the structure."""
        classes = models.system(target=sequence).capabilities.classes
        return classes.index(self.chosen["structure"])

    def predicted(self, models: Models, subject: Subject, sequence: str) -> np.ndarray:
        """The structure (K, J, I), bool, on the slices of a sequence."""
        system, name = models.system(target=sequence), sequence
        mode = models.method.mode or ""
        if mode.startswith("as "):
            name = mode.removeprefix("as ")
            subject = replace(subject, images={name: subject.images[sequence]})
        return segmentation(system, subject, [name], name, "single") == self.value(models, sequence)

    def draw(
        self, models: Mapping[tuple[str, str], Models], subjects: Sequence[Subject], folder: Path
    ) -> list[Picture]:
        pictures = []
        for condition in dict.fromkeys(c for _, c in models):
            chosen = {label: m for (label, c), m in models.items() if c == condition}
            first, rows, names = next(iter(chosen.values())), [], []
            scored = dict.fromkeys(s for found in self.domains(first).values() for s in found)
            # Unpaired sets have subjects of other sequences too.
            subject = next((s for s in subjects if set(scored) & set(s.images)), None)
            if subject is None:
                continue
            for sequence in scored:
                if sequence not in subject.images:
                    continue
                truth = subject.sequence_labels.get(sequence, subject.labels) == self.value(first, sequence)
                k = int(truth.sum(axis=(1, 2)).argmax())
                image = subject.images[sequence][k].astype(np.float32)
                limits = tuple(np.percentile(image, (0.5, 99.5)))
                found = [self.predicted(m, subject, sequence)[k] for m in chosen.values()]
                rows.append([image, *[labelled(image, mask * 1, limits) for mask in (truth[k], *found)]])
                names.append(sequence)
            file = folder / f"labels{'-' + slug(condition) if condition else ''}.png"
            image_grid(file, rows, names, ["image", "truth", *chosen], condition)
            pictures.append(Picture(file.name, f"The {self.chosen['structure']} on one slice of {subject.name}."))
        return pictures
