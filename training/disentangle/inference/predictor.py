"""The predictor: a bundle and a study in, everything that the model can say about it out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..bundles import Bundle, find_bundle
from ..errors import InputError
from ..preprocessing import Memory, PreparedStudy, PreprocessingConfig, prepare, study_key, surely_same
from ..progress import Progress, ProgressCallback
from ..sequences import canonical
from ..study import Image, Study
from .brain import find_brain
from .confidence import recognise_study
from .devices import check_device_name
from .images import Output
from .networks import Networks
from .plan import check_backend, in_half
from .result import Result
from .rules import Rules
from .run import Run
from .sensitivity import checked

if TYPE_CHECKING:
    from .answers import Answers
    from .backends import Network
    from .recognition import Recognition
    from .run import PreviewImages
    from .session import Session


class Predictor:
    """Runs a bundle on studies. The system is loaded on the first run and stays for the next ones.

    Args:
        bundle: a bundle, its name, or its folder.
        device: "auto", "cpu", "cuda", "cuda:n" or "mps"; a device that is not there falls back to the CPU with a
            warning in the report.
        threads: CPU threads of torch for the whole process; None leaves them as they are.
        batch_size: slices at once, at most; None as the device suggests.
        memory: of what registration and masks found in images before; None takes the one in the user's cache folder.
        backend: "torch"; "openvino" (the CPU, exact; converts the bundle on first use); "auto" takes the faster one of
            those that are ready, see :func:`~disentangle.inference.plan.choose_plan`; "compile" (torch.compile, which
            takes over a minute in every new process; PyTorch as it is where that fails).
        fast: the fast mode, where the model has one and the CPU computes: anatomies and labels in 8-bit integers, with
            the loss that the model's card states. Elsewhere the exact mode, with a warning in the report.
        precision: "fp32", or "bf16": PyTorch on a GPU computes in bfloat16 where that does little harm (autocast).

    Raises:
        InputError: no such bundle, device, backend or precision.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Bundle,
        device: str = "auto",
        threads: int | None = None,
        batch_size: int | None = None,
        memory: Memory | None = None,
        backend: str = "auto",
        fast: bool = False,
        precision: str = "fp32",
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else find_bundle(bundle)
        in_half(precision, "cpu")  # is there such a precision?
        self.networks = Networks(
            self.bundle, check_device_name(device), check_backend(backend), threads, fast, precision
        )
        self.batch_size = batch_size
        self.config = PreprocessingConfig.from_dict(self.bundle.preprocessing)
        self.memory = Memory.of_user() if memory is None else memory
        self._prepared: tuple[str, PreparedStudy] | None = None
        self._keyed: tuple[Study, str] | None = None
        self._recognised: dict[str, Recognition] | None = None
        self._answers: Answers | None = None
        self.last: tuple[Run, Image | None] | None = None

    def run(
        self,
        study: Study,
        segment: bool | None = None,
        synthesize: Sequence[str] = (),
        factors: bool = False,
        cross_reconstructions: bool = False,
        probabilities: bool = False,
        reference_images: Mapping[str, Image] | None = None,
        style_images: Mapping[str, Image] | None = None,
        progress: Progress | ProgressCallback | None = None,
        cancelled: Callable[[], bool] | None = None,
        uncertainty: bool = False,
        leave_out_target: bool = False,
        point: Sequence[float] | None = None,
        preview: Callable[[Image], None] | None = None,
        confirmed: Sequence[str] = (),
        preview_images: Callable[[str, PreviewImages], None] | None = None,
        sensitivity: float = 1.0,
    ) -> Result:
        """Run on one study. Afterwards :attr:`session` answers further questions about it.

        Args:
            study: sequences that the bundle does not know are left out with a warning.
            segment: fused segmentation; None segments where the model can.
            synthesize: sequences to make, also of those that are there.
            factors: anatomy channels, modality factor and self-reconstruction per sequence.
            cross_reconstructions: every anatomy in every appearance.
            probabilities: also class probabilities on the grid of the first input.
            reference_images: real images to score the synthesised ones with.
            style_images: images, of any subject, whose appearance a synthesised sequence takes.
            progress: a ``Progress``, or a callback ``(stage, fraction, message)`` whose fraction runs from 0 to 1 over
                the whole run; the stages are "load", those of the preprocessing ("register", "mask", "resample",
                "normalize"), "network", "recognize" and "results".
            cancelled: polled often; True stops with ``Cancelled``.
            uncertainty: also the entropy of the class probabilities, and of whether a voxel is of a lesion.
            leave_out_target: a target that is there is made from the other sequences, and the real one is its
                reference. A study that has nothing else makes it from itself.
            point: LPS mm in the space of the first input; the slices around it come first.
            preview: receives the class values of the first slices (a slab of the working grid, in the space of the
                first input) as soon as they are there, where ``segment`` is asked for.
            confirmed: sequences that somebody has looked at: whatever their images look like, they are not doubted.
            preview_images: receives what else was asked for of the same slices, likewise, before anything is rebuilt:
                "factors" and the anatomy channels of every sequence that is read there, "synthesized" and the image
                of every target.
            sensitivity: the odds of a lesion are taken for so many times what the model says; above 1 for more and
                larger lesions, below 1 for fewer.

        Raises:
            InputError: nothing in the study can be used, the model cannot do what was asked, or the input is bad.
            Cancelled: asked to stop.
        """
        if not isinstance(progress, Progress):
            progress = Progress(progress, cancelled)
        self.last = None  # frees the study before
        run = Run(self, study, progress, frozenset(canonical(name) for name in confirmed))
        run.sensitivity = checked(sensitivity)
        targets = self._targets(synthesize)
        segment = bool(self.bundle.classes) if segment is None else segment
        if segment and not self.bundle.classes:
            raise InputError(f"The model {self.bundle.name} does not segment; choose one whose card lists classes.")
        references = _by_target("A reference", reference_images, targets)
        examples = _by_target("An example", style_images, targets)
        run.select()
        detail = Rules.of_card(self.bundle.card).detail
        tissues = detail.by_tissue(targets) if detail is not None and self.bundle.classes else ()
        run.begin(segment or bool(tissues))
        prepared = run.prepare()
        run.load()
        from .engine import Wanted

        wanted = Wanted(segment, targets, run.styles(examples), factors, cross_reconstructions, tissues)
        if leave_out_target:
            references = {**run.own_references(targets), **references}
        volumes = run.infer(wanted, leave_out_target, point, preview, preview_images)
        result = Output(run, prepared, volumes, wanted).result(probabilities, references, uncertainty)
        self.last = run, result.segmentation
        return result

    @property
    def session(self) -> Session | None:
        """The last study that was run, ready for further questions; None before the first run."""
        from .session import Session

        return None if self.last is None else Session(*self.last)

    def _targets(self, names: Sequence[str]) -> tuple[str, ...]:
        targets = tuple(dict.fromkeys(canonical(name) for name in names))
        for target in targets:
            if target not in self.bundle.targets:
                known = ", ".join(self.bundle.targets) or "nothing"
                raise InputError(f"The model {self.bundle.name} cannot synthesise {target}; it can synthesise {known}.")
        return targets

    def prepared(self, study: Study, reference: str | None, progress: Progress) -> PreparedStudy:
        """The study as the model reads it. One with the content of the last one is the last one."""
        key = f"{reference} {self._key(study)}"
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = self._answers = self._recognised = None  # frees the study before
            self._prepared = key, prepare(study, self.config, reference, progress, self.memory, self.find_brain)
        return replace(self._prepared[1], study=study)

    def _key(self, study: Study) -> str:
        """:func:`study_key`, without reading a voxel where the last study had the same arrays, to which nobody could
        write: what could be written to when its digest was made may be something else by now."""
        if self._keyed is not None and surely_same(study, self._keyed[0]):
            return self._keyed[1]
        self._keyed = None  # frees the study before
        key = study_key(study)
        if surely_same(study, study):
            self._keyed = study, key
        return key

    def recognised(self, prepared: PreparedStudy, progress: Progress) -> dict[str, Recognition]:
        """What the sequences look like of what the last call of :meth:`prepared` gave."""
        if self._recognised is None:
            self._recognised = recognise_study(prepared, progress)
        return self._recognised

    def find_brain(self, image: Image) -> np.ndarray | None:
        """See :func:`.brain.find_brain`; PyTorch and compiled programs do not mix."""
        return find_brain(image, compiled=self.networks.compiled)

    def answers(self, network: Network, mask: np.ndarray) -> Answers:
        """What a network has said about the study of the last call of :meth:`prepared`, whose mask is given; a model
        that learns says something else each time."""
        from .answers import Answers

        if self._answers is None or not self._answers.of(network) or self.networks.adapted:
            self._answers = Answers(network, mask)
        return self._answers


def _by_target(what: str, images: Mapping[str, Image] | None, targets: Sequence[str]) -> dict[str, Image]:
    """Images by canonical sequence, each of a sequence that is to be made."""
    found = {canonical(name): image for name, image in (images or {}).items()}
    for target in found:
        if target not in targets:
            raise InputError(f"{what} of {target} was given, but {target} is not to be made; ask for it too.")
    return found
