"""What the panels' run button does, without Qt: the state machine, and the runner with a played worker."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from disentangle.errors import Cancelled, InputError  # noqa: E402
from disentangle.inference import Result  # noqa: E402
from disentangle.mrml.studies import study_from_nodes  # noqa: E402
from disentangle.panel import recognizer as recognizer_module  # noqa: E402
from disentangle.panel import runner as runner_module  # noqa: E402
from disentangle.panel.background import Background  # noqa: E402
from disentangle.panel.collector import FullCollections  # noqa: E402
from disentangle.panel.run_state import RunController, RunState  # noqa: E402
from disentangle.panel.runner import Runner  # noqa: E402
from disentangle.panel.summary import summarize  # noqa: E402
from disentangle.panel.tasks import Job, Wanted  # noqa: E402
from disentangle.panel.worker_link import WorkerLink  # noqa: E402
from disentangle.worker.codec import read_study, write_result  # noqa: E402


class TestController:
    @pytest.fixture
    def clock(self):
        return SimpleNamespace(now=100.0)

    @pytest.fixture
    def controller(self, clock):
        return RunController(lambda: clock.now)

    def test_the_button_says_why_it_cannot_be_pressed(self, controller):
        controller.block("Choose a volume.")
        assert not controller.view.enabled
        assert controller.view.tooltip == "Choose a volume."
        controller.block("")
        assert controller.view.enabled
        assert controller.view.button == "Apply"

    def test_while_it_runs_the_button_cancels(self, controller):
        controller.begin_check()
        controller.begin_run()
        view = controller.view
        assert (view.button, view.enabled, view.busy, view.percent) == ("Cancel", True, True, 0)

    def test_progress_never_goes_back(self, controller):
        controller.begin_check()
        controller.begin_run()
        controller.progress("prepare", 0.5, "registering")
        controller.progress("prepare", 0.3)
        assert controller.view.percent == 50

    def test_time_left_is_told_when_there_is_something_to_go_by(self, controller, clock):
        controller.begin_check()
        controller.begin_run()
        clock.now += 30.0
        controller.progress("network", 0.25, "computing")
        assert controller.view.status == "computing (about 90 s left)"
        controller.progress("network", 0.05, "computing")

    def test_cancelling_waits_for_the_worker(self, controller):
        controller.begin_check()
        controller.begin_run()
        controller.cancel()
        assert controller.state is RunState.CANCELLING
        assert not controller.view.enabled
        controller.progress("network", 0.9)
        assert controller.view.percent is None
        controller.stopped()
        assert controller.view.enabled
        assert controller.view.status == "Cancelled; nothing was changed."

    def test_what_was_done_before_a_cancelled_run_is_said_once(self, controller):
        controller.begin_check()
        controller.kept = "Cancelled; 2 of 3 studies are done."
        controller.stopped()
        assert controller.view.status == "Cancelled; 2 of 3 studies are done."
        controller.begin_check()
        controller.stopped()
        assert controller.view.status == "Cancelled; nothing was changed."

    def test_a_failure_is_told_and_another_run_can_start(self, controller):
        controller.begin_check()
        controller.fail("The file is empty; choose another one.")
        assert controller.view.status == "The file is empty; choose another one."
        assert controller.view.enabled
        controller.begin_check()
        assert controller.busy

    def test_two_runs_at_once_are_refused(self, controller):
        controller.begin_check()
        with pytest.raises(RuntimeError):
            controller.begin_check()

    def test_listeners_see_every_change_and_the_log(self, controller):
        views, lines = [], []
        controller.listen(views.append, lines.append)
        controller.begin_check()
        controller.log("a line")
        assert views[-1].busy
        assert lines[-1] == "a line"


class TestFullCollections:
    @pytest.fixture(autouse=True)
    def threshold(self):
        before = gc.get_threshold()
        gc.set_threshold(700, 10, 10)
        yield
        gc.set_threshold(*before)

    def test_they_wait_for_the_last_of_two_runs(self):
        collections, one, two = FullCollections(), object(), object()
        collections.hold(one, True)
        collections.hold(two, True)
        collections.hold(one, False)
        assert gc.get_threshold()[:2] == (700, 10)
        assert gc.get_threshold()[2] > 10_000
        collections.hold(two, False)
        assert gc.get_threshold() == (700, 10, 10)

    def test_nothing_changes_for_who_holds_nothing(self):
        FullCollections().hold(object(), False)
        assert gc.get_threshold() == (700, 10, 10)

    def test_what_somebody_else_sets_meanwhile_stays(self):
        collections = FullCollections()
        collections.hold(self, True)
        gc.set_threshold(500, 5, 5)
        collections.hold(self, False)
        assert gc.get_threshold() == (500, 5, 5)

    def test_objects_of_a_run_that_die_young_are_collected(self):
        collections = FullCollections()
        collections.hold(self, True)
        before = gc.get_stats()
        for _ in range(30_000):
            ring: list = []
            ring.append(ring)
        after = gc.get_stats()
        collections.hold(self, False)
        assert after[0]["collected"] > before[0]["collected"]
        assert after[2]["collections"] == before[2]["collections"]


@pytest.mark.parametrize(
    ("confidence", "sentence"),
    [
        ({"study": 0.98, "input": 0.98}, "The inputs look like what they are used as (98 %)."),
        (
            {"study": 0.3, "input": 0.3},
            "The inputs hardly look like what they are used as (30 %); check the assignment.",
        ),
        (
            {"study": 0.882, "input": 0.98, "segmentation": 0.9},
            "Confidence 88% (input 98%, segmentation 90%).",
        ),
        ({}, None),
    ],
)
def test_confidence_is_told_of_segmentations_and_not_of_synthetic_images(confidence, sentence):
    (*said, _model) = summarize({"confidence": confidence}).splitlines()
    assert said == ([sentence] if sentence else [])


class PlayedWorker:
    """Stands where WorkerClient does; a test says what it answers."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.requests: list[dict] = []
        self.events: list[dict] = []
        self.cancelled: list[str] = []
        self.closed = False

    def folder(self) -> Path:
        path = self.root / f"folder{len(list(self.root.iterdir()))}"
        path.mkdir()
        return path

    def discard(self, folder: Path) -> None:
        import shutil

        shutil.rmtree(folder)

    def submit(self, request: dict) -> str:
        self.requests.append(dict(request))
        return str(len(self.requests))

    def poll(self) -> list[dict]:
        events, self.events = self.events, []
        return events

    def cancel(self, name: str) -> None:
        self.cancelled.append(name)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def scene():
    scene = slicer.vtkMRMLScene()
    yield scene
    scene.Clear(1)


@pytest.fixture
def inputs(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")
    slicer.util.updateVolumeFromArray(node, np.arange(120, dtype=np.float32).reshape(4, 5, 6))
    return study_from_nodes({"T1": node})


@pytest.fixture
def worker(tmp_path):
    return PlayedWorker(tmp_path)


class AtOnce:
    """Stands where Background does; threads would make the tests wait."""

    busy = False

    def start(self, function, then, failed):
        try:
            value = function()
        except Exception as error:
            failed(error)
        else:
            then(value)

    def poll(self):
        pass

    wait = poll


@pytest.fixture(autouse=True)
def no_threads(monkeypatch):
    monkeypatch.setattr(runner_module, "Background", AtOnce)


def make_runner(scene, worker, own=True):
    controller = RunController()
    link = WorkerLink(lambda python: worker, lambda: "python", lambda python: own)
    runner = Runner(scene, controller, link)
    controller.begin_check()
    return runner


def ids(scene):
    return [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())]


WANTED = Wanted("brain-mr", synthesize=("FLAIR",))


class TestRunner:
    def test_a_result_becomes_nodes_and_its_folders_go(self, scene, inputs, worker, tmp_path):
        runner, ended = make_runner(scene, worker), []
        run = runner.start(inputs, WANTED, ended.append)
        request = worker.requests[0]
        assert np.array_equal(read_study(request["study"])["T1"].array, inputs.study["T1"].array)
        assert request["bundle"] == "brain-mr"
        assert request["synthesize"] == ["FLAIR"]
        report = {"bundle": {"name": "brain-mr"}, "warnings": []}
        write_result(Result(synthesized={"FLAIR": inputs.study["T1"]}, report=report), request["output"])
        worker.events = [
            {"event": "progress", "id": "1", "stage": "network", "fraction": 0.5, "message": "computing"},
            {"event": "result", "id": "1", "output": str(request["output"])},
        ]
        runner.poll()  # takes the result
        assert runner.busy
        for _ in range(20):  # makes the nodes, a few at a time
            runner.poll()
        assert ended == [run]
        assert run.result().synthetic["FLAIR"].GetName() == "FLAIR (synthetic)"
        assert runner.controller.state is RunState.FINISHED
        while runner.waiting:  # a thread deletes them
            runner.poll()
        assert list(tmp_path.iterdir()) == []

    def test_a_difference_says_what_was_fitted(self, scene, inputs, worker):
        runner, image = make_runner(scene, worker), inputs.study["T1"]
        run = runner.start(inputs, WANTED)
        request = worker.requests[0]
        result = Result(synthesized={"FLAIR": image}, differences={"FLAIR": image}, report={"bundle": {}})
        write_result(result, request["output"])
        worker.events = [{"event": "result", "id": "1", "output": str(request["output"])}]
        while runner.busy:
            runner.poll()
        node = run.result().differences["FLAIR"]
        assert node.GetName() == "FLAIR synthetic minus real"
        assert "fitted to the real one by slope and offset" in node.GetDescription()

    def test_cancelling_leaves_the_scene_as_it_was(self, scene, inputs, worker):
        before = ids(scene)
        runner = make_runner(scene, worker)
        run = runner.start(inputs, WANTED)
        runner.cancel()
        assert worker.cancelled == ["1"]
        assert runner.busy
        worker.events = [{"event": "cancelled", "id": "1"}]
        runner.poll()
        assert not runner.busy
        assert ids(scene) == before
        with pytest.raises(Cancelled):
            run.result()

    def test_bad_input_is_an_input_error_with_the_workers_sentence(self, scene, inputs, worker):
        before = ids(scene)
        runner = make_runner(scene, worker)
        run = runner.start(inputs, WANTED)
        message = "T1 does not overlap; choose another volume."
        worker.events = [{"event": "error", "id": "1", "kind": "input", "message": message, "details": ""}]
        runner.poll()
        with pytest.raises(InputError, match="does not overlap"):
            run.result()
        assert runner.controller.view.status == message
        assert ids(scene) == before

    def test_a_damaged_result_fails_the_run_and_leaves_the_scene(self, scene, inputs, worker, tmp_path):
        before = ids(scene)
        runner = make_runner(scene, worker)
        run = runner.start(inputs, WANTED)
        worker.events = [{"event": "result", "id": "1", "output": str(tmp_path / "nowhere")}]
        runner.poll()
        with pytest.raises(InputError, match="incomplete or damaged"):
            run.result()
        assert ids(scene) == before

    def test_another_interpreter_is_checked_once(self, scene, inputs, worker):
        runner = make_runner(scene, worker, own=False)
        runner.start(inputs, WANTED)
        assert [r["request"] for r in worker.requests] == ["check"]
        worker.events = [{"event": "result", "id": "1", "check": {"ok": True, "message": ""}}]
        runner.poll()
        assert [r["request"] for r in worker.requests] == ["check", "predict"]
        worker.events = [{"event": "cancelled", "id": "2"}]
        runner.poll()
        runner.controller.begin_check()
        runner.start(inputs, WANTED)
        assert worker.requests[-1]["request"] == "predict"

    def test_an_interpreter_that_lacks_something_is_reported(self, scene, inputs, worker):
        runner = make_runner(scene, worker, own=False)
        run = runner.start(inputs, WANTED)
        message = "/opt/python lacks torch>=2.2; install it there, or choose another interpreter."
        worker.events = [{"event": "result", "id": "1", "check": {"ok": False, "message": message}}]
        runner.poll()
        with pytest.raises(InputError, match="lacks torch"):
            run.result()
        assert runner.controller.state is RunState.FAILED

    def test_a_second_run_is_refused_while_one_is_under_way(self, scene, inputs, worker):
        runner = make_runner(scene, worker)
        runner.start(inputs, WANTED)
        with pytest.raises(InputError, match="under way"):
            runner.start(inputs, WANTED)

    def test_closing_ends_a_run_as_cancelled(self, scene, inputs, worker):
        runner = make_runner(scene, worker)
        run = runner.start(inputs, WANTED)
        runner.close()
        assert worker.closed
        assert run.done
        assert runner.controller.state is RunState.IDLE

    def test_cancelling_while_nodes_are_made_takes_them_away(self, scene, inputs, worker, monkeypatch):
        before = ids(scene)
        monkeypatch.setattr(runner_module, "STEP_SECONDS", -1.0)  # one node at a poll
        runner = make_runner(scene, worker)
        run = runner.start(inputs, WANTED)
        result = Result(synthesized={"FLAIR": inputs.study["T1"], "T2": inputs.study["T1"]}, report={"bundle": {}})
        write_result(result, worker.requests[0]["output"])
        worker.events = [{"event": "result", "id": "1", "output": str(worker.requests[0]["output"])}]
        runner.poll()
        runner.poll()
        assert len(ids(scene)) > len(before)
        runner.cancel()
        assert run.done
        assert ids(scene) == before

    def test_the_slices_on_screen_are_shown_and_go_again(self, scene, inputs, worker, tmp_path, monkeypatch):
        from types import SimpleNamespace as Some

        from disentangle import bundles
        from disentangle.bundles import ClassInfo
        from disentangle.study import Image
        from disentangle.worker.codec import write

        classes = [ClassInfo(0, "background", (0, 0, 0)), ClassInfo(1, "lesion", (255, 0, 0))]
        bundle = Some(classes=classes, card={"islands": {"classes": [1], "share": 0.05, "ml": 0.2}})
        monkeypatch.setattr(bundles, "find_bundle", lambda name: bundle)
        said: list[str] = []
        view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
        before = ids(scene)
        runner = make_runner(scene, worker)
        runner.controller.listen(lambda _view: None, said.append)
        runner.start(inputs, WANTED)
        slab = write(Image(np.ones((2, 5, 6), np.uint8), np.eye(4)), tmp_path / "slab")
        worker.events = [{"event": "preview", "id": "1", "output": str(slab)}]
        runner.poll()
        shown = scene.GetNodeByID(view.GetLabelVolumeID())
        assert shown.GetName() == "Disentangle preview"
        assert not shown.GetSaveWithScene()
        assert any("Small pieces at the edge of these slices may go" in line for line in said)
        worker.events = [{"event": "cancelled", "id": "1"}]
        runner.poll()
        assert ids(scene) == before
        assert not view.GetLabelVolumeID()

    def test_a_job_brings_back_what_the_worker_wrote(self, scene, worker):
        from disentangle.worker.codec import read, write

        runner, ended = make_runner(scene, worker), []
        job = runner.work(Job(request={"request": "compare"}, sends={"spacing": [1.0, 1.0, 2.0]}), ended.append)
        request = worker.requests[0]
        assert read(request["study"]) == {"spacing": [1.0, 1.0, 2.0]}
        write({"dice": 0.5}, request["output"])
        worker.events = [{"event": "result", "id": "1", "output": str(request["output"]), "more": 1}]
        runner.poll()
        assert ended == [job]
        assert (job.result()["content"], job.result()["more"]) == ({"dice": 0.5}, 1)

    def test_quick_questions_are_answered_beside_a_run(self, scene, inputs, worker):
        runner, answers = make_runner(scene, worker), []
        runner.start(inputs, WANTED)
        runner.link.ask({"request": "draw"}, answers.append)
        worker.events = [{"event": "result", "id": "2", "output": "slice.npy"}]
        runner.poll()
        assert [event["output"] for event in answers] == ["slice.npy"]
        assert runner.busy


class ManyFiles:
    """What a thread does that handles many files: steps at each of which it lets go of the interpreter lock."""

    def __init__(self) -> None:
        self.steps, self.enough = 0, False

    def __call__(self) -> int:
        while not self.enough:
            time.sleep(0.0001)
            self.steps += 1
        return self.steps

    def at_a_poll(self, poll: Callable[[], None]) -> int:
        """Steps from one poll to the next, the median of some. Slicer's event loop waits in C++ and keeps the
        interpreter lock; so does usleep, called like this."""
        event_loop, found = ctypes.PyDLL(None), []
        for _ in range(9):
            before = self.steps
            event_loop.usleep(6_000)  # longer than a thread waits before it asks for the lock
            poll()
            found.append(self.steps - before)
        self.enough = True
        return sorted(found)[4]


@pytest.mark.skipif(sys.platform == "win32", reason="the C library has no usleep")
class TestThreadsBesideSlicersEventLoop:
    def test_a_thread_handles_many_files_at_a_poll(self):
        files, background, done = ManyFiles(), Background(), []
        background.start(files, done.append, done.append)
        assert files.at_a_poll(background.poll) > 4, "left to itself, one"
        while background.busy:
            background.poll()
        assert done == [files.steps]

    def test_many_files_are_deleted_at_a_poll(self, worker):
        files, deleted = ManyFiles(), []
        link = WorkerLink(lambda python: worker, lambda: "python", lambda python: True)
        worker.discard = lambda folder: deleted.append((folder, files()))
        link.open()
        link.discard([worker.root])
        assert files.at_a_poll(link.poll) > 4
        while link.discarding:
            link.poll()
        assert deleted == [(worker.root, files.steps)]


def test_the_runner_wants_to_be_polled_until_folders_are_deleted(scene, worker):
    runner, may = make_runner(scene, worker), threading.Event()
    worker.discard = lambda folder: may.wait()
    runner.connect()
    runner.link.discard([worker.folder()])
    runner.poll()
    assert not runner.busy
    assert runner.waiting
    may.set()
    while runner.waiting:
        runner.poll()
    runner.link.discard([worker.folder()])
    runner.close()
    assert not runner.waiting, "nothing is left to a thread that gets no more turns"


class TestRecognizer:
    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch):
        monkeypatch.setattr(recognizer_module, "Background", AtOnce)

    def made(self, worker, own=True, ready=True):
        link = WorkerLink(lambda python: worker, lambda: "python", lambda python: own)
        return link, recognizer_module.Recognizer(link, link.open, lambda: ready)

    def test_what_was_seen_is_known_until_the_volume_changes(self, inputs, worker):
        link, recognizer = self.made(worker)
        node, told = inputs.nodes["T1"], []
        assert recognizer.look([node], lambda: told.append(1))
        looks = {"sequence": "T2", "confidence": 0.97}
        worker.events = [{"event": "result", "id": "1", "recognised": {node.GetID(): looks}}]
        link.poll()
        assert (told, recognizer.looks_of(node), recognizer.busy) == ([1], looks, False)
        assert not recognizer.look([node], lambda: None), "it is known"
        slicer.util.updateVolumeFromArray(node, np.zeros((4, 5, 6), np.float32))
        assert recognizer.looks_of(node) is None

    def test_another_interpreter_is_checked_before_it_is_given_images(self, inputs, worker):
        link, recognizer = self.made(worker, own=False)
        recognizer.look(inputs.nodes.values(), lambda: None)
        assert [r["request"] for r in worker.requests] == ["check"]
        worker.events = [{"event": "result", "id": "1", "check": {"ok": True}}]
        link.poll()
        assert [r["request"] for r in worker.requests] == ["check", "recognize"]

    def test_nobody_is_asked_where_something_is_lacking(self, inputs, worker):
        _link, recognizer = self.made(worker, ready=False)
        told = []
        recognizer.look(inputs.nodes.values(), lambda: told.append(1))
        assert (told, worker.requests) == ([1], [])

    def test_a_run_does_not_wait_for_it(self, inputs, worker):
        link, recognizer = self.made(worker)
        recognizer.look(inputs.nodes.values(), lambda: None)
        recognizer.stop()
        assert worker.cancelled == ["1"]
        worker.events = [{"event": "result", "id": "1", "recognised": {}}]
        link.poll()
        assert recognizer.looks_of(inputs.nodes["T1"]) is None
        assert recognizer.look(inputs.nodes.values(), lambda: None), "it can be looked at again"

    def test_the_files_are_written_by_the_thread_that_imports_what_it_needs(self, inputs, worker, monkeypatch):
        """The first import of the codec takes half a second, in which Slicer would stand still."""
        _link, recognizer = self.made(worker)
        waiting = []
        later = SimpleNamespace(busy=False, poll=lambda: None, start=lambda *work: waiting.append(work))
        monkeypatch.setattr(recognizer, "_background", later)
        monkeypatch.delitem(sys.modules, "disentangle.worker.codec")
        recognizer.look(inputs.nodes.values(), lambda: None)
        (_ready, then, _failed) = waiting.pop()
        then(True)
        assert "disentangle.worker.codec" not in sys.modules
        (write, then, _failed) = waiting.pop()
        then(write())
        assert "disentangle.worker.codec" in sys.modules
        assert worker.requests[0]["request"] == "recognize"

    def test_a_failure_is_not_tried_again(self, inputs, worker):
        link, recognizer = self.made(worker)
        recognizer.look(inputs.nodes.values(), lambda: None)
        worker.events = [{"event": "error", "id": "1", "kind": "crash", "message": "It stopped."}]
        link.poll()
        assert not recognizer.look(inputs.nodes.values(), lambda: None)
