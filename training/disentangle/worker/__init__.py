"""The worker: a process that computes for a panel, stays warm between runs, and never outlives its parent.

``python -m disentangle.worker`` speaks **protocol 1**: JSON objects, one per line, UTF-8. Requests arrive on stdin,
events leave on stdout; nothing else is ever written to stdout (what libraries print goes to stderr). Arrays travel as
``.npy`` files in folders that both sides see (``codec.py``).

Requests (``id`` is any string that the client chooses):

=============================================  ======================================================================
``{"request": "check", "id", "devices": b}``   which Python, packages and, where ``b``, devices there are
``{"request": "predict", "id", ...}``          run a bundle on a study: ``bundle`` (name or folder), ``study`` and
                                               ``output`` (folders of ``codec.py``), and where wanted ``segment``,
                                               ``synthesize``, ``factors``, ``cross_reconstructions``,
                                               ``probabilities``, ``device``
``{"request": "cancel", "id"}``                stop that request, queued or running
``{"request": "close"}``                       end after the running request; so does the end of stdin, at once
=============================================  ======================================================================

Events:

=====================================================  ==============================================================
``{"event": "ready", "protocol": 1, ...}``             first line, with ``version``, ``python``, ``pid``
``{"event": "progress", "id", "stage", "fraction",     at most some 20 a second
"message"}``
``{"event": "log", "text"}``                           made by the client from lines on stderr
``{"event": "result", "id", ...}``                     ``output`` of a prediction, ``check`` of a check
``{"event": "cancelled", "id"}``                       it was stopped; nothing of it is left
``{"event": "error", "id", "kind", "message",          ``kind``: "input" (the user's), "failure" (a defect), and from
"details"}``                                           the client "crash" and "start"; ``message`` is one sentence
=====================================================  ==============================================================

Every request ends in exactly one of result, cancelled, error. Requests run one after the other.

On the client's side use :class:`~disentangle.worker.client.WorkerClient`, which needs no Qt and no torch.
"""

PROTOCOL = 1

__all__ = ["PROTOCOL"]
