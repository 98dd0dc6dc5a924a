"""The qt module of the bench has PythonQt's manners and refuses what Slicer refuses."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from bench import dialogs, signals


@pytest.fixture
def qt(slicer_bench: Any) -> Any:
    import qt

    return qt


def test_properties_are_attributes(qt: Any) -> None:
    label = qt.QLabel("before")
    label.text = "after"
    assert label.text == "after"
    combo = qt.QComboBox()
    combo.addItems(["T1", "T2"])
    combo.currentIndex = 1
    assert (combo.currentText, combo.count, combo.enabled) == ("T2", 2, True)


def test_name_means_object_name(qt: Any) -> None:
    label = qt.QLabel()
    label.name = "title"
    assert label.objectName == "title"


@pytest.mark.parametrize("name", ["txt", "setTxt", "snapTo", "value"])
def test_unknown_names_are_refused_when_read_and_when_set(qt: Any, name: str) -> None:
    label = qt.QLabel()
    with pytest.raises(AttributeError):
        getattr(label, name)
    with pytest.raises(AttributeError):
        setattr(label, name, 1)


def test_methods_cannot_be_overwritten_and_read_only_properties_not_set(qt: Any) -> None:
    with pytest.raises(AttributeError, match="overwritten"):
        qt.QLabel().setText = "x"
    with pytest.raises(AttributeError, match="not writable"):
        qt.QComboBox().count = 3


def test_properties_refuse_values_of_another_type(qt: Any) -> None:
    with pytest.raises(AttributeError, match="does not accept"):
        qt.QLabel().text = 5
    with pytest.raises(AttributeError, match="does not accept"):
        qt.QPushButton().enabled = "yes"


def test_paths_must_be_text(qt: Any, tmp_path: Any) -> None:
    with pytest.raises(TypeError, match="str"):
        qt.QFileInfo(tmp_path)


def test_signals_connect_by_signature_and_cut_surplus_arguments(qt: Any) -> None:
    button = qt.QPushButton()
    button.checkable = True
    calls: list[Any] = []
    button.connect("clicked(bool)", lambda checked: calls.append(checked))
    button.connect("clicked(bool)", lambda: calls.append("none"))
    button.connect("clicked()", lambda *args: calls.append(args))
    button.clicked.connect(lambda checked=None: calls.append(("default", checked)))
    button.click()
    assert calls == [True, "none", (), ("default", True)]


def test_a_disconnected_function_is_not_called(qt: Any) -> None:
    button = qt.QPushButton()
    calls: list[int] = []

    def called() -> None:
        calls.append(1)

    button.connect("clicked()", called)
    assert button.disconnect("clicked()", called)
    button.click()
    assert calls == []


def test_a_signal_that_does_not_exist_is_refused(qt: Any) -> None:
    with pytest.raises(AttributeError, match="no signal"):
        qt.QPushButton().connect("pushed()", print)
    with pytest.raises(AttributeError, match="no signal"):
        qt.QPushButton().connect("clicked(QString)", print)


def test_an_exception_in_a_slot_is_recorded(qt: Any) -> None:
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert "ZeroDivisionError" in signals.uncaught.pop()


def test_enum_values_are_ints_and_combine(qt: Any) -> None:
    label = qt.QLabel()
    label.alignment = qt.Qt.AlignRight | qt.Qt.AlignTop
    assert label.alignment == qt.Qt.AlignRight | qt.Qt.AlignTop == 0x22
    with pytest.raises(AttributeError):
        _ = qt.Qt.AlignMiddle


def test_names_of_qt_6_that_qt_5_lacks_are_refused(qt: Any) -> None:
    with pytest.raises(AttributeError):
        _ = qt.QRegExp
    with pytest.raises(AttributeError):
        _ = qt.QLabel().resources


def test_wrappers_compare_by_object_and_do_not_inherit(qt: Any) -> None:
    widget = qt.QWidget()
    label = qt.QLabel(widget)
    assert label.parent() == widget
    assert widget.findChildren(qt.QLabel) == [label]
    assert type(label) is qt.QLabel
    assert not isinstance(label, qt.QWidget)


def test_python_classes_may_derive_and_get_virtual_calls(qt: Any, slicer_bench: Any) -> None:
    class Counter(qt.QObject):
        def __init__(self) -> None:
            super().__init__()
            self.seen = 0

        def eventFilter(self, watched: Any, event: Any) -> bool:
            self.seen += 1
            return False

    widget, counter = qt.QWidget(), Counter()
    widget.installEventFilter(counter)
    widget.show()
    slicer_bench.application.processEvents()
    assert counter.seen > 0


def test_what_qt_6_gives_up_and_errors_in_virtual_functions_are_recorded(qt: Any, slicer_bench: Any) -> None:
    from PySide6 import QtCore, QtTest

    class Filter(qt.QObject):
        def eventFilter(self, watched: Any, event: Any) -> bool:
            if event.type() == qt.QEvent.MouseButtonPress:
                event.globalPos()
            return False

    widget, own = qt.QWidget(), Filter()
    widget.installEventFilter(own)
    with contextlib.suppress(DeprecationWarning):
        QtTest.QTest.mousePress(widget._native, QtCore.Qt.MouseButton.LeftButton)
    assert "globalPos() const' is marked as deprecated" in signals.uncaught.pop()


def test_timers_run_in_the_event_loop(qt: Any, wait_until: Any) -> None:
    ticks: list[str] = []
    timer = qt.QTimer()
    timer.setInterval(5)
    timer.timeout.connect(lambda: ticks.append("repeated"))
    timer.start()
    qt.QTimer.singleShot(1, lambda: ticks.append("single"))
    wait_until(lambda: ticks.count("repeated") > 2 and "single" in ticks)
    timer.stop()
    with pytest.raises(AttributeError):
        timer.singleShot = True


def test_settings_come_back_as_text(qt: Any) -> None:
    qt.QSettings().setValue("Disentangle/Cpu", True)
    assert qt.QSettings().value("Disentangle/Cpu") == "true"
    assert qt.QSettings().value("Disentangle/Nothing") is None


def test_a_question_without_answer_fails_and_with_answer_is_recorded(qt: Any) -> None:
    import slicer

    with pytest.raises(dialogs.UnansweredDialog):
        slicer.util.confirmOkCancelDisplay("Really?")
    dialogs.answer(qt.QMessageBox.Cancel)
    assert not slicer.util.confirmOkCancelDisplay("Really?")
    slicer.util.errorDisplay("It failed.")
    assert dialogs.shown[-1].text == "It failed."
