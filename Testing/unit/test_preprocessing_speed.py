"""What makes the preprocessing fast: smoothing, threads, findings that are remembered."""

import signal
import struct
import sys
import threading
import time

import numpy as np
import pytest
import SimpleITK as sitk

from disentangle import parallel
from disentangle.errors import Cancelled, InputError
from disentangle.parallel import in_parallel
from disentangle.preprocessing import PreprocessingConfig, prepare
from disentangle.preprocessing.masks import largest_filled
from disentangle.preprocessing.memory import Memory, content_key
from disentangle.preprocessing.resampling import resample, resample_part
from disentangle.preprocessing.smoothing import smooth
from disentangle.progress import Progress
from disentangle.study import Grid, Image, Study


@pytest.mark.parametrize("variance", [(0.23, 0.23, 0.23), (0.0, 0.9, 0.9), (0.02, 4.0, 10.0)])
def test_smoothing_gives_the_numbers_of_itk(variance):
    array = np.random.default_rng(0).random((37, 30, 41), dtype=np.float32)
    expected = sitk.DiscreteGaussian(sitk.GetImageFromArray(array), [*map(float, variance[::-1])], 32, 0.01, True)
    np.testing.assert_allclose(smooth(array, variance), sitk.GetArrayFromImage(expected), atol=1e-6)


def test_smoothing_of_nothing_is_the_array_itself():
    array = np.zeros((3, 4, 5), np.float32)
    assert smooth(array, (0, 0, 0)) is array


def test_a_wide_kernel_keeps_the_mean():
    assert smooth(np.full((5, 6, 7), 3.0, np.float32), (400.0, 0, 2000.0)) == pytest.approx(3.0, rel=1e-5)


def test_holes_are_filled_as_itk_fills_them():
    mask = np.random.default_rng(1).random((24, 26, 28)) > 0.45
    mask[:2] = mask[:, -1] = False
    labels = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))))
    expected = sitk.GetArrayFromImage(sitk.BinaryFillhole(labels == 1))[1:-1, 1:-1, 1:-1] > 0
    assert expected.sum() > (mask & expected).sum()
    np.testing.assert_array_equal(largest_filled(mask), expected)


def test_what_is_resampled_of_a_masked_image_does_not_depend_on_how_much_is_cut_out():
    generator = np.random.default_rng(2)
    array = generator.random((40, 44, 48), dtype=np.float32)
    mask = np.zeros(array.shape, bool)
    mask[12:25, 15:31, 10:30] = True
    affine = np.diag([2.0, 2.0, 2.0, 1.0])  # on coarser voxels, turned
    c, s = np.cos(0.3), np.sin(0.3)
    affine[:3, :3] = affine[:3, :3] @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    affine[:3, 3] = 5.0, -4.0, 1.0
    grid, image = Grid((22, 24, 26), affine), Image(array, np.eye(4))
    whole = resample(image.with_array(np.where(mask, array, 0)).to_sitk(), grid)
    assert (whole > 0).any()
    np.testing.assert_allclose(resample_part(image, grid, np.eye(4), mask), whole, atol=1e-6)
    nothing = np.zeros_like(mask)
    assert not resample_part(image, grid, np.eye(4), nothing).any()


@pytest.fixture(params=[1, 3])
def workers(request, monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: request.param)


def test_results_come_in_the_order_of_the_items(workers):
    def slow_first(item, progress):
        time.sleep(0.02 * (3 - item))
        progress("work", 1.0)
        return item * item

    seen = []
    progress = Progress(lambda stage, fraction, message: seen.append(fraction))
    assert in_parallel(slow_first, [1, 2, 3], progress) == [1, 4, 9]
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1.0)


def test_the_failure_is_raised_and_not_that_others_were_stopped(workers):
    def work(item, progress):
        if item == 2:
            raise InputError("the second is bad")
        for _ in range(100):
            time.sleep(0.002)
            progress("work", 0.5)

    with pytest.raises(InputError, match="the second is bad"):
        in_parallel(work, [1, 2, 3])


def test_a_cancelled_computation_stops_all_items(workers):
    began = time.monotonic()

    def work(item, progress):
        for _ in range(1000):
            time.sleep(0.005)
            progress("work", 0.5)

    with pytest.raises(Cancelled):
        in_parallel(work, [1, 2, 3], Progress(cancelled=lambda: time.monotonic() - began > 0.05))
    assert time.monotonic() - began < 1.0


@pytest.mark.skipif(sys.platform == "win32", reason="one cannot send Ctrl-C to a thread there")
def test_ctrl_c_stops_all_items_and_waits_for_none(monkeypatch):
    """It reaches the main thread only, and while this one waits."""
    monkeypatch.setattr(parallel, "cores", lambda: 3)
    stopped, may_end = [], threading.Event()

    def work(item, progress):
        if item == 1:
            time.sleep(0.05)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        may_end.wait(10)
        try:
            progress("work", 0.5)
        except Cancelled:
            stopped.append(item)
            raise

    began = time.monotonic()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background are deaf to it
    try:
        with pytest.raises(KeyboardInterrupt):
            in_parallel(work, [1, 2, 3])
    finally:
        signal.signal(signal.SIGINT, handler)
    assert time.monotonic() - began < 5
    may_end.set()
    while len(stopped) < 3 and time.monotonic() - began < 10:
        time.sleep(0.01)
    assert sorted(stopped) == [1, 2, 3]


def image(seed, sequence):
    k, j, i = np.mgrid[:24, :28, :26]
    ball = ((k - 12) ** 2 + (j - 14) ** 2 + (i - 13) ** 2 < 90).astype(np.float32)
    noise = np.random.default_rng(seed).random(ball.shape, dtype=np.float32)
    return Image(ball * (100 + 20 * noise + 3 * k), np.diag([6.0, 6.0, 6.0, 1.0]), sequence=sequence)


@pytest.fixture
def study():
    return Study({"T1": image(1, "T1"), "T2": image(2, "T2")})


PLAIN = PreprocessingConfig(spacing=(6.0,) * 3, pose="atlas", registration="auto")


def test_a_second_run_finds_what_the_first_one_did(study, tmp_path):
    first = prepare(study, PLAIN, memory=Memory(tmp_path))
    again = prepare(study, PLAIN, memory=Memory(tmp_path))  # another process: from disk
    registered = {step.sequence: step for step in again.steps if step.name == "register"}["T2"]
    assert registered.parameters["remembered"] is True
    assert again.grid.same_as(first.grid)
    for name in first.images:
        np.testing.assert_array_equal(again.images[name], first.images[name])


def test_other_voxels_another_place_and_other_settings_are_not_taken_for_the_same(study):
    same = image(1, "T1")
    assert content_key(same) == content_key(study["T1"])
    other = same.array.copy()
    other[12, 14, 13] += 1
    moved = same.affine.copy()
    moved[0, 3] += 1
    keys = {content_key(same), content_key(same.with_array(other)), content_key(Image(same.array, moved))}
    assert len(keys | {content_key("rigid", same), content_key("affine", same)}) == 5


def test_masks_are_stored_as_bits_and_come_back(tmp_path):
    mask = np.random.default_rng(0).random((5, 6, 7)) > 0.5
    Memory(tmp_path).remember("a", {"brain": mask, "metric": 0.5, "kind": "rigid", "nothing": None})
    found = Memory(tmp_path).recall("a")
    np.testing.assert_array_equal(found["brain"], mask)
    assert found["brain"].dtype == bool and float(found["metric"]) == 0.5 and str(found["kind"]) == "rigid"
    assert set(found) == {"brain", "metric", "kind"}


def test_an_entry_with_a_bad_sector_is_as_none_and_goes_away(tmp_path):
    Memory(tmp_path).remember("a", {"brain": np.random.default_rng(0).random((9, 9, 9)) > 0.5})
    entry = tmp_path / "a.npz"
    content = bytearray(entry.read_bytes())
    name, extra = struct.unpack("<HH", content[26:30])
    start = 30 + name + extra
    content[start : start + 6] = bytes(b ^ 0xFF for b in content[start : start + 6])  # zlib cannot begin with these
    entry.write_bytes(content)
    assert Memory(tmp_path).recall("a") is None
    assert not entry.exists()


def test_a_damaged_or_unwritable_memory_only_costs_time(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK nonsense")
    assert Memory(tmp_path).recall("a") is None
    assert not (tmp_path / "a.npz").exists()
    blocked = tmp_path / "file"
    blocked.write_text("")
    memory = Memory(blocked / "below")
    memory.remember("b", {"x": 1})
    assert int(memory.recall("b")["x"]) == 1
