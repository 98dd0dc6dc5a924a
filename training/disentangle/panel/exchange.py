"""What goes to the worker and comes back from it, as files: functions that a thread runs, without Qt and MRML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..mrml.segments import checksums
from .tasks import Job, Run

if TYPE_CHECKING:
    from ..inference import Result


def sending_run(run: Run, folder: Callable[[], Path]) -> Callable[[], dict[str, Any]]:
    """A function that writes what a run reads and returns its request.

    Args:
        folder: gives an empty folder that panel and worker see.
    """
    study, output, preview = folder() / "study", folder() / "result", folder() / "preview"
    fields = {name: getattr(run.wanted, name) for name in run.wanted.__dataclass_fields__}
    fields.update(request="predict", study=study, output=output, synthesize=list(run.wanted.synthesize))
    if run.wanted.point is None:
        del fields["point"]
    else:
        fields.update(point=list(run.wanted.point), preview=preview)
    if run.examples:
        fields["examples"] = folder() / "examples"

    def write() -> dict[str, Any]:
        from ..study import Study, check_image
        from ..worker.codec import write_study  # here: the first import takes a moment, which the thread has

        for image in (*run.inputs.study.images.values(), *run.examples.values()):
            check_image(image)
        write_study(run.inputs.study, study)
        if run.examples:
            write_study(Study(dict(run.examples)), fields["examples"])
        return fields

    return write


def receiving_run(run: Run, event: dict[str, Any]) -> Callable[[], Result]:
    """A function that reads a run's result and lets ``run.change`` look at it."""

    def read() -> Result:
        from ..worker.codec import read_result

        result = read_result(event["output"])
        if result.segmentation is not None:
            values = [info.value for info in result.classes if info.value]
            result.report["checksums"] = checksums(result.segmentation.array, values)
        if run.examples:
            result.report["examples"] = {target: image.source for target, image in run.examples.items()}
        if run.change is not None:
            run.change(result)
        return result

    return read


def sending_job(job: Job, folder: Callable[[], Path]) -> Callable[[], dict[str, Any]]:
    """A function that writes what a job sends and returns its request; arguments as for :func:`sending_run`."""
    fields = dict(job.request)
    if job.reads:
        fields["output"] = folder() / "answer"
    if job.sends is not None:
        fields["study"] = folder() / "study"

    def send() -> dict[str, Any]:
        if job.sends is not None:
            from ..worker.codec import write

            write(job.sends, fields["study"])
        return fields

    return send


def receiving_job(job: Job, event: dict[str, Any]) -> Callable[[], Any]:
    """A function that reads what the worker wrote for a job; None where it wrote nothing."""
    from ..worker.codec import read

    return lambda: read(event["output"]) if job.reads and "output" in event else None
