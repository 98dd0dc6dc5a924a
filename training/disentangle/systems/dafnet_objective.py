"""What DAFNet and MMSDNet minimise (method-spec 2b): the generator's terms, and those of its discriminators."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from .. import losses
from ..networks.style import sample_style
from .adversaries import Adversaries
from .base import Batch, System
from .views import View, draw, select, together, total


class Objective(System):
    """The losses of a system whose networks a subclass makes.

    Attributes:
        weights: of the terms. cross_entropy: beta, of the cross-entropy within L_sup.
        regression_anatomy: "same" or "encoded", see :class:`.DAFNet`.
        style_encoder: E_M. segmentor: h, or None. adversaries: D_M and D_I.
    """

    weights: dict[str, float]
    cross_entropy: float
    regression_anatomy: str
    style_encoder: nn.Module
    segmentor: nn.Module | None
    adversaries: Adversaries

    WEIGHTS: ClassVar[dict[str, float]] = {
        "kl": 0.1,
        "segmentation": 10.0,
        "mask_adversarial": 1.0,
        "reconstruction": 1.0,
        "image_adversarial": 1.0,
        "style_regression": 1.0,
        "displacement": 0.0,
    }
    """Published weights of the terms L_KL, L_sup, L_adv^M, L_rec, L_adv^I and L_rec^z. "displacement" is not
    published: the mean square by which the transformer moves its control points, in units of the image's extent. Where
    a sequence has no labels, its anatomies may lie anywhere as long as the transformer brings them back to those of the
    others: a short training ends there, unless moving costs a little."""
    CROSS_ENTROPY = 0.01
    """Published weight beta of the cross-entropy within L_sup."""
    STYLED = ("own",)
    """Branches with a modality factor of their own; the others take that of the target's own anatomy."""
    JOINT_REGRESSION = True
    """L_rec^z is part of the generator's update."""

    def anatomy(self, image: Tensor, sequence: str) -> Tensor:
        """Anatomy (B, C, H, W) of an image (B, 1, H, W) of a sequence."""
        raise NotImplementedError

    def views(self, batch: Batch) -> list[View]:
        """Every anatomy that the losses look at, by target."""
        raise NotImplementedError

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms of method-spec 2b. Samples without labels of a sequence learn that sequence by the other
        terms, and by the labels of the other sequences, onto whose slices its anatomy is moved."""
        views, weights = self.views(batch), self.weights
        posteriors, styles = self.styles(views, batch)
        terms = {}
        if weights["kl"]:
            values = [losses.kl_standard_normal(mean, log_variance) for _, mean, log_variance in posteriors]
            terms["kl"] = total([view for view, _, _ in posteriors], values)
        if self.segmentor is not None:
            logits = together(self.segment, [view.anatomy for view in views])
            taught = [n for n, view in enumerate(views) if batch.labels_of(view.target) is not None]
            if weights["segmentation"] and taught:
                terms["segmentation"] = self.supervision([views[n] for n in taught], [logits[n] for n in taught], batch)
            if self.adversaries.masks is not None:
                masks = [x.softmax(1)[:, 1:] for x in logits]
                terms["mask_adversarial"] = self.adversaries.masks_pass(views, masks)
        images = together(self.decode, [view.anatomy for view in views], styles)
        if weights["reconstruction"]:
            pairs = [(image, batch.images[view.target]) for view, image in zip(views, images, strict=True)]
            terms["reconstruction"] = total(views, [(image - real).abs().mean((1, 2, 3)) for image, real in pairs])
        if self.adversaries.images is not None:
            terms["image_adversarial"] = self.adversaries.images_pass(views, images)
        if weights["style_regression"] and self.JOINT_REGRESSION:
            terms["style_regression"] = self.regression([view for view in views if view.branch == "own"])
        moved = [view for view in views if view.displacement is not None]
        if weights["displacement"] and moved:
            terms["displacement"] = total(moved, [view.displacement for view in moved])
        return {name: weights[name] * value for name, value in terms.items()}

    def styles(self, views: list[View], batch: Batch) -> tuple[list[tuple[View, Tensor, Tensor]], list[Tensor]]:
        """Views with a posterior of their own, its mean and log-variance; and a drawn style (B, Z) for every view."""
        styled = [view for view in views if view.branch in self.STYLED]
        found = together(self.style_encoder, [v.anatomy for v in styled], [batch.images[v.target] for v in styled])
        posteriors = [(view, *moments) for view, moments in zip(styled, found, strict=True)]
        of_target, styles, drawn = {}, [], [sample_style(*moments) for moments in found]
        for view in views:  # the own view of a target comes before its others
            if view.branch in self.STYLED:
                styles.append(drawn.pop(0))
                of_target.setdefault(view.target, styles[-1])
            else:
                styles.append(of_target[view.target])
        return posteriors, styles

    def supervision(self, views: list[View], logits: list[Tensor], batch: Batch) -> Tensor:
        """L_sup: joint Dice, and a little cross-entropy, of the views whose slice is annotated."""
        values, shares = [], []
        for view, x in zip(views, logits, strict=True):
            labels = batch.labels_of(view.target)
            value = losses.joint_dice(x, labels, self.capabilities.healthy)
            if self.cross_entropy:
                value = value + self.cross_entropy * losses.balanced_cross_entropy(x, labels)
            values.append(value)
            shares.append(view.share * losses.annotated(labels))
        return total(views, values, shares)

    def regression(self, views: list[View]) -> Tensor:
        """L_rec^z: a style drawn from the prior is found again in the image that it makes."""
        anatomies, size = [view.anatomy for view in views], self.config["style_dim"]
        styles = [torch.randn(len(anatomy), size, device=anatomy.device) for anatomy in anatomies]
        images = together(self.decode, anatomies, styles)
        if self.regression_anatomy == "encoded":
            anatomies = [self.anatomy(image, view.target) for view, image in zip(views, images, strict=True)]
        found = together(self.style_encoder, anatomies, images)
        values = [(style - mean).abs().mean(1) for style, (mean, _) in zip(styles, found, strict=True)]
        return total(views, values)

    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """D_M and D_I,i on real masks and images, and on what the generator now makes of this batch.

        The fakes of a sequence are drawn at random, sample by sample, from its views. All discriminators share one
        update (the code makes one of D_M per sequence); the D_I,i have no parameter in common.
        """
        judges, terms = self.adversaries, {}
        masks, images = self._fakes(batch)
        available = {target: batch.available[target] for target in images}
        if judges.masks is not None:
            real = []
            for target, there in available.items():
                labels = batch.labels_of(target)
                if labels is not None:
                    mask = torch.stack([labels == c for c in range(1, len(self.capabilities.classes))], dim=1)
                    real.append((mask.to(masks[target].dtype), losses.annotated(labels) & there))
            terms["mask_discriminator"] = judges.mask_loss(real, [(masks[t], available[t]) for t in masks])
        if judges.images is not None:
            terms["image_discriminators"] = judges.image_loss(batch.images, images, available)
        return terms

    @torch.no_grad()
    def _fakes(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Soft masks (B, L, H, W) and reconstructions (B, 1, H, W) by sequence, from one of its views per sample."""
        views = self.views(batch)
        _, styles = self.styles(views, batch)
        masks, images = {}, {}
        for target in dict.fromkeys(view.target for view in views):
            theirs = [n for n, view in enumerate(views) if view.target == target and view.judged]
            pick = draw([views[n] for n in theirs])
            anatomy = select([views[n].anatomy for n in theirs], pick)
            images[target] = self.decode(anatomy, select([styles[n] for n in theirs], pick))
            if self.adversaries.masks is not None:
                masks[target] = self.segment(anatomy).softmax(1)[:, 1:]
        return masks, images
