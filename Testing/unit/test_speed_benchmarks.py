"""The benchmarks of speed tell what their figures are: phases that add up, medians, limits, turns, circumstances."""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from disentangle.phantoms import create_phantom
from disentangle.preprocessing import registration, smoothing
from disentangle.preprocessing.resampling import resample, transform_of
from disentangle.study import Grid
from tiny_bundle import tiny_bundle


@pytest.fixture
def benchmark(monkeypatch, repository):
    """Imports a module of the benchmarks, which find each other in their folder."""
    folder = repository / "training" / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


# -- what a report tells about its measurement -------------------------------------------------------------------------


def test_medians_are_taken_of_every_number_of_equally_built_results(benchmark):
    median_of = benchmark("measuring").median_of
    turns = [{"a": {"s": 3.0}, "name": "torch", "none": None}, {"a": {"s": 1.0}, "none": 4.0}, {"a": {"s": 2.0}}]
    assert median_of(turns) == {"a": {"s": 2.0}, "name": "torch", "none": 4.0}
    assert median_of([None, None]) is None


def test_a_report_says_when_on_what_and_with_which_code_it_was_measured(benchmark):
    with benchmark("measuring").measured(
        "speed.py", ["--only", "native", "--output", "/elsewhere/x"], repeats=3
    ) as block:
        assert "load_average" not in block
    assert block["command"] == "python training/benchmarks/speed.py --only native"
    assert set(block) == {
        *("command", "date", "commit", "machine", "versions", "repeats", "load_average", "seconds"),
    }
    assert len(block["load_average"]) == 2 and block["date"].startswith("20") and "cores" in block["machine"]


def test_a_command_names_no_place_of_one_machine(benchmark, tmp_path):
    command_of = benchmark("measuring").command_of
    assert command_of("speed.py", ["--native", str(tmp_path / "study"), "--repeats", "1"]).endswith(
        "speed.py --native study --repeats 1"
    )


# -- whole runs --------------------------------------------------------------------------------------------------------


def test_phases_of_a_run_follow_on_each_other_and_add_up(benchmark, monkeypatch):
    whole_runs = benchmark("whole_runs")
    clock = whole_runs.Clock()
    clock.began = 0.0
    events = {"register": 1, "mask": 2, "resample": 5, "normalize": 7, "network": 9, "recognize": 14, "results": 15}
    for stage, at in [*events.items(), ("normalize", 8), ("network", 13)]:
        monkeypatch.setattr(whole_runs.time, "perf_counter", lambda at=at: float(at))
        clock(stage, 0.0, "")
    phases = clock.phases(18.0)
    assert phases == {
        **{"lay": 5, "resample": 2, "normalise": 1, "wait": 1, "network": 5},
        **{"recognise": 1, "results": 3},
    }


def test_a_phase_that_a_run_leaves_out_takes_no_time(benchmark):
    clock = benchmark("whole_runs").Clock()
    clock.began, clock.first = 0.0, {"load": 0.1, "results": 2.0}
    phases = clock.phases(3.0)
    assert phases["lay"] == 2.0 and phases["results"] == 1.0
    assert sum(phases.values()) == 3.0


def test_steps_of_several_sequences_are_told_together_and_by_the_slowest(benchmark):
    steps = [
        {"name": "register", "seconds": 1.0},
        {"name": "register", "seconds": 2.5},
        {"name": "bias field", "seconds": 1},
    ]
    assert benchmark("whole_runs").step_seconds(steps) == {
        "register": {"sum": 3.5, "slowest": 2.5},
        "bias_field": {"sum": 1.0, "slowest": 1},
    }


def test_the_share_of_files_normalisation_and_write_back_is_of_a_run_from_files_to_files(benchmark):
    whole_runs = benchmark("whole_runs")
    seconds = dict.fromkeys(("read", *whole_runs.PHASES, "write"), 1.0)
    assert whole_runs.shares(seconds) == {"io_normalisation_write_back": 0.444, "with_resampling": 0.556}


def test_a_run_of_a_tiny_study_is_told_from_files_to_files(benchmark, tmp_path):
    whole_runs, digital = benchmark("whole_runs"), benchmark("digital_studies")
    bundle = tiny_bundle(tmp_path / "tiny")
    head = create_phantom("brain", 1, spacing=8.0).study
    folder = digital.registered_study(head, (20, 30, 30), 8.0).write(tmp_path / "study")
    found = whole_runs.whole_run(str(folder), "torch", str(bundle.path), runs=("first", "second"))
    for run in ("first", "second"):
        assert set(found[run]) == {*whole_runs.PHASES, "total"}
        assert sum(found[run][phase] for phase in whole_runs.PHASES) == pytest.approx(found[run]["total"])
    assert found["whole"] == pytest.approx(found["read"] + found["first"]["total"] + found["write"])
    assert set(found["steps"]) == {"register", "mask", "resample", "normalize"}
    assert found["second"]["network"] == 0 and found["first"]["network"] > 0
    assert found["backend"] == "torch" and "torch" in found["imported"]
    json.dumps(found)


def test_everything_asks_for_all_that_a_run_can_give(benchmark):
    bundle = SimpleNamespace(classes=[1], targets=["T1", "T2"])
    asked = benchmark("whole_runs").wishes(bundle)["everything"]
    assert asked.pop("synthesize") == ["T1", "T2"]
    assert set(asked) == {"segment", "factors", "cross_reconstructions", "probabilities", "uncertainty"}
    assert all(asked.values())


# -- limits ------------------------------------------------------------------------------------------------------------


def test_limits_are_judged_by_the_report_and_missing_figures_are_none(benchmark):
    targets = benchmark("speed_targets")
    report = {
        "import": {"import disentangle": 0.4},
        "cancel": {"registered": {"worst": 0.2}},
        "interactive": {"openvino": {"warm, prepared, first factors": None}},
        "networks": {"ratios": {targets.NNUNET: {"whole_run": 12.0}}},
    }
    judged = {row["figure"]: (row["value"], row["met"]) for row in targets.judged(report)}
    assert judged["import disentangle, s"] == (0.4, False)
    assert judged["cancelling a registered study, worst, s"] == (0.2, True)
    assert judged["nnU-Net over a whole run, exact"] == (12.0, True)
    assert judged["visible slice, factors, s"] == (None, None)


def test_torch_is_needless_in_a_compiled_run_only_and_monai_everywhere(benchmark):
    targets = benchmark("speed_targets")
    runs = {"torch": {"imported": ["torch"]}, "openvino": {"imported": ["openvino", "torch"]}}
    assert targets._imported({"registered": runs, "native": {**runs, "openvino": {"imported": ["monai"]}}}) == 2.0


def test_moments_of_the_limits_are_those_that_are_timed(benchmark):
    targets, interactive = benchmark("speed_targets"), benchmark("interactive")
    report = {"interactive": {b: dict.fromkeys(interactive.MOMENTS, 0.01) for b in ("torch", "openvino")}}
    rows = [row for row in targets.judged(report) if row["figure"].startswith(("visible", "style", "cold"))]
    assert len(rows) == 6 and all(row["met"] for row in rows)


# -- the worker --------------------------------------------------------------------------------------------------------


def test_classes_and_factors_of_the_first_slices_are_told_apart(benchmark):
    shown = benchmark("asking").shown
    assert shown({"event": "preview", "output": "x"}) == "classes"
    assert shown({"event": "preview_images", "kind": "factors", "output": "x"}) == "factors"
    assert shown({"event": "progress", "stage": "network"}) is None


def test_a_study_that_nobody_has_seen_lies_a_little_elsewhere(benchmark):
    asking, study = benchmark("asking"), create_phantom("brain", 1, spacing=12.0).study
    moved = asking.unseen(study)
    shift = moved.first.affine - study.first.affine
    assert 0 < np.abs(shift).max() < 1e-3 and np.array_equal(moved.first.array, study.first.array)


class Client:
    """Of a worker that sends a progress at once, and ends a request at the second look or when it is cancelled."""

    def __init__(self, folder):
        self.place, self.discarded, self.cancelled, self.looks = folder, [], [], 0

    def folder(self):
        return self.place

    def submit(self, request):
        return "1"

    def poll(self):
        self.looks += 1
        if self.looks == 1:
            return [{"event": "progress", "id": "1", "stage": "network"}]
        return [{"event": "cancelled" if self.cancelled else "result", "id": "1"}]

    def cancel(self, name):
        self.cancelled.append(name)

    def discard(self, folder):
        self.discarded.append(folder)


@pytest.mark.parametrize("moment", [0.0, 60.0])
def test_a_request_that_has_ended_leaves_nothing_in_shared_memory(benchmark, monkeypatch, tmp_path, moment):
    asking, client = benchmark("asking"), Client(tmp_path)
    monkeypatch.setattr(asking, "write_study", lambda study, folder: None)
    study = create_phantom("brain", 1, spacing=12.0).study
    told = asking.Asker(client, study).stop_after(moment)
    assert isinstance(told, tuple) == bool(client.cancelled) == (moment == 0.0)
    assert client.discarded == [tmp_path]


class SlowThenQuick:
    """An asker whose runs take 10 s at first and 4 s later; it is stopped after 0.1 s."""

    def __init__(self) -> None:
        self.stopped: list[float] = []

    def __call__(self, client, study, **fields):
        return self

    def ask(self, **wanted):
        return SimpleNamespace(seconds=10.0)

    def stop_after(self, seconds, **wanted):
        if seconds >= 4.0:
            return 4.0
        self.stopped.append(seconds)
        return 0.1 + 0.01 * len(self.stopped), "network"


def test_runs_are_cancelled_at_moments_spread_over_the_time_that_they_take(benchmark, monkeypatch):
    cancelling, asker = benchmark("cancelling"), SlowThenQuick()
    monkeypatch.setattr(cancelling, "Asker", asker)
    monkeypatch.setattr(cancelling, "WorkerClient", nullcontext)
    monkeypatch.setattr(cancelling, "unseen", lambda study: study)
    monkeypatch.setattr(cancelling.Study, "from_folder", lambda folder: folder)
    found = cancelling.cancelled({"native": "here"}, "tiny", 10)["native"]
    assert len(found["moments"]) == 10 and {row["backend"] for row in found["moments"]} == {"torch", "openvino"}
    assert asker.stopped[-2:] == pytest.approx([0.85 * 4.0, 0.95 * 4.0])  # by the time that they took in the end
    assert found["worst"] == 0.2 and found["median"] == pytest.approx(0.155)


# -- turns, peers, layers ----------------------------------------------------------------------------------------------


def test_jobs_take_turns_and_only_long_steady_ones_are_not_warmed_up(benchmark):
    turns, ran = benchmark("turns"), []

    def job(name):
        return lambda: ran.append(name) or 0.5

    jobs = {
        "whole run": turns.Job(job("whole run")),
        "peer": turns.Job(job("peer"), 8.0, "one patch of 8", steady=True),
    }
    seconds, rounds = turns.in_turns(jobs, 2, lambda: len(ran))
    assert ran == ["whole run", "whole run", "peer", "whole run", "peer"]
    assert seconds == {"whole run": [0.5, 0.5], "peer": [4.0, 4.0]} and rounds == [0, 1, 3]


def test_peers_are_compared_with_whole_runs_and_with_networks(benchmark):
    comparisons = benchmark("comparisons")
    seconds = {comparisons.NNUNET: 90.0, comparisons.WHOLE: 6.0, "openvino, 4 sequences": 2.0}
    assert comparisons.ratios(seconds, "4 sequences") == {comparisons.NNUNET: {"whole_run": 15.0, "networks": 45.0}}


def test_layers_are_measured_by_what_as_many_cores_reach(benchmark):
    layers = benchmark("layers")
    runs = [{"Convolution": 2.0, "Reorder": 1.0}, {"Convolution": 4.0}, {"Convolution": 3.0, "Reorder": 1.0}]
    one = layers.summary(runs, 0.24, 1, 100.0)
    assert one["share_of_peak_in_convolutions"] == 0.8 and one["share_of_time_in_convolutions"] == 0.75
    assert layers.summary(runs, 0.24, 2, 200.0)["share_of_peak_in_convolutions"] == 0.8
    whole = layers.whole_slice({"anatomy-T1": one, "segment": one}, 4, 1, 100.0)
    assert whole["share_of_peak_in_convolutions"] == 0.8 and whole["gflop"] == 1.2


def test_a_yardstick_that_a_layer_exceeds_is_named(benchmark):
    rows = {"segment": {"share_of_peak_in_convolutions": 1.07}, "anatomy-T1": {"share_of_peak_in_convolutions": 0.6}}
    assert benchmark("layers").beyond({"bundle": "b", "one core": {"programs": rows}}) == ["segment, one core"]


def test_the_yardstick_is_the_best_of_several_rounds_by_kind(benchmark):
    rounds = [{"product": 70.04, "convolution": 80.0}, {"product": 75.0, "convolution": 60.0}]
    assert benchmark("yardstick").best(rounds) == {"product": 75.0, "convolution": 80.0}


# -- plain settings ----------------------------------------------------------------------------------------------------


def test_plain_settings_hold_inside_only(benchmark):
    plain, parallel = benchmark("plain"), importlib.import_module("disentangle.parallel")
    before, cores = registration._SAMPLES, parallel.cores
    with plain.plain_settings():
        assert registration._SAMPLES[4.0] / 80_000 == 0.5 and parallel.cores() == 1
    assert registration._SAMPLES is before and parallel.cores is cores


def test_plain_smoothing_gives_the_numbers_of_todays(benchmark):
    array = np.random.default_rng(0).random((12, 14, 16)).astype(np.float32)
    variance = (0.5, 0.0, 1.5)
    found = benchmark("plain").discrete_gaussian(array, variance)
    assert np.allclose(found, smoothing.smooth(array, variance), atol=0.01)


def test_native_heads_lie_as_their_poses_say(benchmark):
    digital, bench = benchmark("digital_studies"), benchmark("registration")
    head = create_phantom("brain", 1, spacing=6.0).study
    study, poses = digital.native_study(head, 6.0), digital.native_poses(head)
    name = study.available[-1]
    back, header = (resample(study[name].to_sitk(), head[name].grid, pose) for pose in (poses[name], None))
    alike = [np.corrcoef(values.ravel(), head[name].array.ravel())[0, 1] for values in (back, header)]
    assert alike[0] > 0.9 > alike[1] + 0.1
    reference = study.available[0]
    truth = {n: transform_of(pose @ np.linalg.inv(poses[reference])) for n, pose in poses.items()}
    right = SimpleNamespace(study=study, reference=reference, transforms=truth)
    assert bench.worst_error(right, poses) == pytest.approx(0, abs=1e-6)
    as_headers = {n: transform_of(np.eye(4)) for n in poses}
    assert bench.worst_error(SimpleNamespace(**{**vars(right), "transforms": as_headers}), poses) > 3


def test_preparing_is_compared_in_turns(benchmark, monkeypatch):
    bench, ways = benchmark("registration"), []

    def prepared(study, config, way):
        ways.append(way)
        return None, {"seconds": {"plain": 10.0, "today": 4.0}[way], "cpu_seconds": 4.0}

    monkeypatch.setattr(bench, "prepared", prepared)
    found = bench.preparation(None, None, 2)
    assert ways == ["today", "plain", "today", "plain", "today"] and found["ratio"] == 0.4
    assert found["today"] == {"seconds": 4.0, "cpu_seconds": 4.0, "error_mm": None}


# -- the command -------------------------------------------------------------------------------------------------------


def test_parts_that_are_not_measured_anew_stay_in_the_report(benchmark, monkeypatch, tmp_path, capsys):
    speed, output = benchmark("speed"), tmp_path / "speed.json"
    output.write_text(json.dumps({"native": {"old": 1}, "import": {"import disentangle": 9.0}}), encoding="utf-8")
    monkeypatch.setattr(speed, "own_cache", lambda bundle, folder: None)
    monkeypatch.setattr(speed, "setting_of", lambda options, scratch: None)
    monkeypatch.setitem(speed.PARTS, "import", lambda setting: {"import disentangle": 0.1})
    assert speed.main(["--only", "import", "--output", str(output)]) == 0
    written = json.loads(output.read_text(encoding="utf-8"))
    assert written["native"] == {"old": 1} and written["import"]["import disentangle"] == 0.1
    assert written["import"]["measured"]["command"].endswith("speed.py --only import")
    assert next(row for row in written["limits"] if row["figure"] == "import disentangle, s")["met"]
    assert "not measured" in capsys.readouterr().out


def test_a_benchmark_fills_no_cache_of_the_user(benchmark, monkeypatch, tmp_path):
    speed, user, own = benchmark("speed"), tmp_path / "user", tmp_path / "own"
    monkeypatch.setenv("DISENTANGLE_CACHE", str(user))
    programs = user / "compiled" / "tiny"
    programs.mkdir(parents=True)
    (programs / "segment.xml").touch()
    (user / "findings").mkdir()
    convert = importlib.import_module("disentangle.inference.backends.convert")
    monkeypatch.setattr(convert, "convert", lambda bundle: SimpleNamespace(folder=programs))
    bundle = tiny_bundle(tmp_path / "tiny")
    monkeypatch.setenv("DISENTANGLE_COMPILE", "0")
    speed.own_cache(str(bundle.path), own)
    assert importlib.import_module("disentangle.resources").cache_folder() == own
    assert (own / "compiled" / "tiny" / "segment.xml").is_file() and not (own / "findings").exists()


def test_costs_are_those_of_ever_more_sequences_and_of_other_voxels(benchmark, monkeypatch, tmp_path):
    speed, digital = benchmark("speed"), benchmark("digital_studies")
    folder = tmp_path / "study"
    create_phantom("brain", 1, spacing=12.0).study.write(folder)
    options = SimpleNamespace(
        registered=folder, native=folder, bundle="b", repeats=1, compile=False, few=True, only=["costs"]
    )
    setting = speed.setting_of(options, tmp_path)
    assert list(setting.sequences) == ["1 sequences", "2 sequences", "3 sequences", "4 sequences"]
    assert setting.sequences["4 sequences"] == folder and not setting.sizes
    extents = {name: np.array(shape) * spacing for name, (shape, spacing) in digital.SIZES.items()}
    assert all(np.allclose(extent, (155, 240, 240), atol=6) for extent in extents.values())


def test_a_grid_of_another_voxel_size_shows_the_same_brain(benchmark):
    digital, head = benchmark("digital_studies"), create_phantom("brain", 1, spacing=6.0).study
    volumes = []
    for size in (6.0, 10.0):
        study = digital.registered_study(head, tuple(round(n / size) for n in (155, 240, 240)), size)
        volumes.append(float((study.first.array > 0).sum()) * size**3)
        assert isinstance(study.first.grid, Grid)
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)
