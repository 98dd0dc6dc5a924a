"""The worker: a process that computes for a panel, stays warm between runs, and never outlives its parent.

``python -m disentangle.worker`` speaks **protocol 1**: JSON objects, one per line, UTF-8. Requests arrive on stdin,
events leave on stdout; nothing else is ever written to stdout (what libraries print goes to stderr). Arrays travel as
``.npy`` files in folders that both sides see (``codec.py``, ``workspace.py``): on Linux in shared memory (/dev/shm)
where they fit, else, and elsewhere, in the folder for temporary files.

Requests (``id`` is any string that the client chooses):

=============================================  ======================================================================
``{"request": "check", "id", "devices": b}``   which Python, packages and, where ``b``, devices there are
``{"request": "predict", "id", ...}``          run a bundle on a study: ``bundle`` (name or folder), ``study`` and
                                               ``output`` (folders of ``codec.py``), and where wanted ``segment``,
                                               ``synthesize``, ``factors``, ``cross_reconstructions``,
                                               ``probabilities``, ``uncertainty``, ``leave_out_target``,
                                               ``confirmed``, ``sensitivity``, ``device``, ``backend`` ("auto",
                                               "torch", "openvino", "compile"), ``fast``, ``threads`` (of the CPU;
                                               all cores where it is left out), ``precision`` ("fp32", "bf16");
                                               ``examples`` (a folder of ``codec.py``: images whose appearance the
                                               targets take); ``point`` (LPS mm: these slices come first) and
                                               ``preview`` (folder for them)
``{"request": "draw", "id", ...}``             one slice in another appearance: ``session``, ``slice`` or ``point``,
                                               ``anatomy`` (sequence, or "fused"), ``style`` (numbers), ``units``
                                               ({sequence: weight}), ``output`` (an ``.npy`` file)
``{"request": "redraw", "id", ...}``           the same of every slice; ``output`` is a folder
``{"request": "subset", "id", ...}``           segmentations from some sequences: ``session``, ``subsets`` (lists of
                                               sequences), ``output``
``{"request": "sensitivity", "id", ...}``      the segmentation with another ``sensitivity`` to lesions, in which what
                                               was drawn into ``study`` (an image ``shown``, see "adapt" for 255)
                                               stays: ``session``, ``output``
``{"request": "disagreement", "id", ...}``     how far the sequences disagree about ``targets``, or about a drawing in
                                               ``style`` (numbers): ``session``, ``output``
``{"request": "scores", "id", ...}``           figures of disentanglement: ``session``, ``output``
``{"request": "adapt", "id", ...}``            learn from ``study`` (images ``corrected``, in which 255 marks voxels
                                               that teach nothing, and ``original``): ``session``, ``output``. It
                                               stays in force for predictions of the same study alone; another study
                                               and a batch get the installed model
``{"request": "undo", "id", "session"}``       forget the last adaptation
``{"request": "save", "id", "session",         store the adapted model among the user's own
"name"}``
``{"request": "compare", "id", "study"}``      scores of masks: a folder with ``pairs`` and ``spacing``
``{"request": "recognize", "id", "study"}``    what images look like: a folder with images by any names. The result's
                                               ``recognised``: name -> ``sequence``, ``confidence`` (0 to 1),
                                               ``probabilities``, ``orientation`` ("upright", "upside down", ...)
``{"request": "model", "id", "action",         "add" (copy a bundle, a folder or a zip, among the user's own after
"path"}``                                      checking it) or "verify" (check everything about one)
``{"request": "batch", "id", ...}``            a study from files to files: ``folder`` or ``files`` ([sequence, path]
                                               each), ``time_point``, ``output``, the fields of "predict";
                                               ``source``, the one sequence to read; ``study``, images by target
                                               whose appearance these take; with ``resume`` it is left out where its
                                               results are there, of this model and of this kind
``{"request": "cancel", "id"}``                stop that request, queued or running
``{"request": "close"}``                       end after the running request; so does the end of stdin, at once
=============================================  ======================================================================

Events:

=====================================================  ==============================================================
``{"event": "ready", "protocol": 1, ...}``             first line, with ``version``, ``python``, ``pid``
``{"event": "progress", "id", "stage", "fraction",     at most some 20 a second
"message"}``
``{"event": "log", "text"}``                           made by the client from lines on stderr
``{"event": "preview", "id", "output"}``               class values of the slices that came first, of a prediction
                                                       under way that segments: an image
``{"event": "preview_images", "id", "kind",            what else was asked for of these slices, before anything is
"output"}``                                            rebuilt; ``kind`` "factors": the images of the anatomy
                                                       channels by sequence, "synthesized": an image by target. The
                                                       folders are named as ``preview`` with the kind behind it
``{"event": "result", "id", ...}``                     ``output`` and ``session`` of a prediction, and ``learnt``, how
                                                       many adaptations it was made with; ``check`` of a check; of the
                                                       others what they were asked for
``{"event": "cancelled", "id"}``                       it was stopped; nothing of it is left
``{"event": "error", "id", "kind", "message",          ``kind``: "input" (the user's), "failure" (a defect), and from
"details"}``                                           the client "crash" and "start"; ``message`` is one sentence
=====================================================  ==============================================================

Every request ends in exactly one of result, cancelled, error. Requests run one after the other.

On the client's side use :class:`~disentangle.worker.client.WorkerClient`, which needs no Qt and no torch.
"""

PROTOCOL = 1

__all__ = ["PROTOCOL"]
