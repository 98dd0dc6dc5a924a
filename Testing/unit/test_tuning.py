"""The process that converts a model in the background stands back behind everything else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from disentangle.inference import plan
from disentangle.worker import tuning
from disentangle.worker.tuning import SWITCH, Tuner


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """(process, arguments) of each process that was started; it does nothing but wait for its parent."""
    processes: list = []
    start = subprocess.Popen

    def popen(command: list[str], **arguments) -> subprocess.Popen:
        process = start([sys.executable, "-S", "-c", "input()"], **arguments)
        processes.append((process, arguments))
        return process

    monkeypatch.setattr(tuning.subprocess, "Popen", popen)
    yield processes
    for process, _ in processes:
        process.stdin.close()
        process.wait()


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="this system has no such priorities")
def test_a_conversion_has_a_lower_priority_and_runs_no_code_between_fork_and_exec(started) -> None:
    Tuner()._start("checksum", "bundle")
    ((process, arguments),) = started
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(own + 10, 19)
    assert arguments.get("preexec_fn") is None


def test_a_priority_that_may_not_be_changed_is_no_reason_not_to_convert(started, monkeypatch) -> None:
    def refuse(*arguments) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", refuse, raising=False)
    tuner = Tuner()
    tuner._start("checksum", "bundle")
    assert tuner._busy and started


def test_a_request_puts_a_conversion_off(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[SimpleNamespace] = []

    def timer(idle_s: float, function, arguments) -> SimpleNamespace:
        made = SimpleNamespace(start=lambda: None, cancel=lambda: timers.remove(made))
        timers.append(made)
        return made

    monkeypatch.setenv(SWITCH, "1")
    monkeypatch.setattr(tuning.threading, "Timer", timer)
    monkeypatch.setattr(plan, "worth_converting", lambda *arguments: True)
    bundle = SimpleNamespace(checksum="c", path="p")
    tuner = Tuner()
    tuner.put_off()  # nothing is planned
    tuner.consider(SimpleNamespace(networks=SimpleNamespace(bundle=bundle, device="cpu", backend="auto")))
    assert len(timers) == 1
    tuner.put_off()
    assert timers == []
