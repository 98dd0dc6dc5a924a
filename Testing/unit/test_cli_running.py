"""What the command says when it is stopped."""

from __future__ import annotations

import io
import sys
from argparse import Namespace

import pytest

from disentangle.cli.running import run_command
from disentangle.errors import Cancelled


def test_a_name_that_the_code_page_of_a_redirected_output_lacks_ends_no_command(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    assert run_command(Namespace(command="batch", run=lambda options, console: console.say("\u0141ukasz: done"))) == 0
    assert written.getvalue().split() == [b"\\u0141ukasz:", b"done"]


def said_when(stop: BaseException, capsys) -> str:
    def run(options, console):
        raise stop

    assert run_command(Namespace(command="train", run=run)) == 1
    return capsys.readouterr().err


def test_a_reason_to_have_stopped_is_said(capsys):
    assert said_when(Cancelled("last.ckpt keeps the state."), capsys) == (
        "disentangle train: last.ckpt keeps the state.\n"
    )


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Cancelled()])
def test_without_a_reason_nothing_was_left_behind(capsys, stop):
    assert said_when(stop, capsys) == "disentangle train: stopped; no unfinished output was left behind.\n"
