"""What a panel can ask of the worker, and what has become of it: plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..mrml.outputs import Outputs
from ..mrml.studies import StudyNodes

if TYPE_CHECKING:
    from ..inference import Result
    from ..study import Image


@dataclass(frozen=True)
class Wanted:
    """What a run shall compute; the fields are those of the worker's request.

    Attributes:
        bundle: name or folder of the model.
        device: "auto", "cpu", "cuda", "mps".
        fast: the model's fast mode, where the CPU computes and has OpenVINO.
        segment, factors, cross_reconstructions, uncertainty: which results.
        synthesize: target sequences.
        leave_out_target: a target that is there is made from the others and compared with the real one.
        point: LPS mm; the slices around it are shown first.
        confirmed: sequences whose images the user has looked at; what they look like is no doubt.
    """

    bundle: str
    device: str = "auto"
    segment: bool = False
    factors: bool = False
    cross_reconstructions: bool = False
    synthesize: tuple[str, ...] = ()
    uncertainty: bool = False
    leave_out_target: bool = False
    point: tuple[float, float, float] | None = None
    fast: bool = False
    confirmed: tuple[str, ...] = ()


@dataclass(eq=False)
class Task:
    """What the worker is asked for, and its outcome.

    Attributes:
        error: why there is none.
        done: whether it is over.
    """

    error: Exception | None = None
    done: bool = False


@dataclass(eq=False)
class Run(Task):
    """A run of a model on a study.

    Attributes:
        inputs: the study.
        wanted: what was asked for.
        examples: target -> image, of any subject, whose appearance it takes.
        change: looks at the result before its nodes are made, and may change it (edited segments are kept so).
        outputs: the nodes; None until it has finished.
        report: the predictor's report.
        session: by what the worker knows this run; "" once it has ended without result.
        styles: target -> default modality factor.
        learns: whether the model can learn from corrections.
        findings: whether it has told lesions from healthy tissue.
        learnt: how many times it has, of this study; its answers are then no longer the installed model's.
    """

    inputs: StudyNodes = None
    wanted: Wanted = None
    examples: Mapping[str, Image] = field(default_factory=dict)
    change: Callable[[Result], None] | None = None
    outputs: Outputs | None = None
    report: dict[str, Any] | None = None
    session: str = ""
    styles: dict[str, list[float]] = field(default_factory=dict)
    learns: bool = False
    findings: bool = False
    learnt: int = 0

    def result(self) -> Outputs:
        """The nodes.

        Raises:
            InputError: bad input. Cancelled: the user stopped it. RuntimeError: the worker failed.
        """
        if self.error is not None:
            raise self.error
        if self.outputs is None:
            raise RuntimeError("the run has not finished")
        return self.outputs


@dataclass(eq=False)
class Job(Task):
    """Any other request that takes a while.

    Attributes:
        request: its fields; ``output`` and, with ``sends``, ``study`` are filled in.
        sends: what the worker shall read (images, arrays, dictionaries of such); None sends nothing.
        title: what the log says.
        reads: whether ``answer["content"]`` shall hold what the worker wrote.
        answer: the worker's result event.
    """

    request: dict[str, Any] = field(default_factory=dict)
    sends: Any = None
    title: str = ""
    reads: bool = True
    answer: dict[str, Any] | None = None

    def result(self) -> dict[str, Any]:
        """The worker's answer.

        Raises:
            InputError: bad input. Cancelled: the user stopped it. RuntimeError: the worker failed.
        """
        if self.error is not None:
            raise self.error
        if self.answer is None:
            raise RuntimeError("the job has not finished")
        return self.answer
