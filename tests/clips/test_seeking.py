"""Long files: the frames reached from keyframes are those of a whole decode, bit for bit, or seeking is not used."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from clipfiles import number_of, write
from hypothesis import given
from hypothesis import strategies as st

from todre.clips import open_clip
from todre.clips.frames import WORTH_SEEKING, decode_by_seeking, decode_whole, seeking_pays
from todre.clips.source import open_source
from todre.clips.survey import Survey, decoding_cost, frame_numbers, survey

LONG = WORTH_SEEKING + 37
FILES = {
    "b-frames.mp4": ("libx264", {"bf": "3", "g": "25"}),
    "open-gop.mkv": ("libx264", {"bf": "3", "x264-params": "open-gop=1:keyint=20"}),
    "a.ts": ("libx264", {"g": "25"}),
    "a.avi": ("mpeg4", {"bf": "2", "g": "15"}),
    "vp9.webm": ("libvpx-vp9", {"g": "30", "cpu-used": "8", "deadline": "realtime"}),
}


@pytest.fixture(scope="module", params=FILES)
def long_file(request, tmp_path_factory):
    codec, options = FILES[request.param]
    return write(tmp_path_factory.mktemp("long") / request.param, LONG, codec=codec, options=options)


def silent(done, total):
    pass


def test_seeking_equals_decoding_everything(long_file):
    wanted = frame_numbers(LONG, 6)
    with open_source(long_file) as source:
        found = survey(source)
    with open_source(long_file) as source:
        whole = decode_whole(source, wanted, found.count, silent)
    with open_source(long_file) as source:
        assert seeking_pays(source, found, wanted)
        reached = decode_by_seeking(source, found, wanted, silent)
    assert whole.total == LONG
    if long_file.suffix == ".ts":  # no index, and so no exact arrival
        assert reached is None
        return
    assert (reached.total, reached.last) == (whole.total, whole.last)
    assert reached.kept.keys() == whole.kept.keys()
    for number, shown in reached.kept.items():
        assert shown.time == whole.kept[number].time
        assert np.array_equal(np.asarray(shown.picture), np.asarray(whole.kept[number].picture))


def test_long_files_open_right_either_way(long_file):
    steps = []
    clip = open_clip(long_file, 6, progress=lambda done, total: steps.append((done, total)))
    assert clip.indices == frame_numbers(LONG, 6)
    assert [number_of(frame) for frame in clip.frames] == list(clip.indices)
    assert clip.timestamps == pytest.approx([number / 25 for number in clip.indices], abs=1e-3)
    assert steps[-1][0] == steps[-1][1]


def test_a_file_where_seeking_pays_decodes_little(tmp_path):
    steps = []
    path = write(tmp_path / "a.mp4", LONG, options={"g": "25"})
    open_clip(path, 4, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(number, 4) for number in range(1, 5)]


def test_packets_without_times_of_their_own(tmp_path):
    """MPEG programme streams state the time of some packets only; the frames' numbers give all of them."""
    path = write(tmp_path / "a.mpg", LONG, codec="mpeg2video", options={"bf": "2", "g": "15"})
    with open_source(path) as source:
        found = survey(source)
        assert found.times == ()
        assert not seeking_pays(source, found, frame_numbers(LONG, 6))
    clip = open_clip(path, 6)
    assert [number_of(frame) for frame in clip.frames] == list(clip.indices) == list(frame_numbers(LONG, 6))
    assert clip.timestamps == pytest.approx([number / 25 for number in clip.indices])


def test_one_keyframe_makes_seeking_useless(tmp_path):
    path = write(tmp_path / "a.mp4", LONG, options={"g": "9999", "sc_threshold": "0"})
    with open_source(path) as source:
        assert not seeking_pays(source, survey(source), frame_numbers(LONG, 8))
    assert [number_of(frame) for frame in open_clip(path, 8).frames] == list(frame_numbers(LONG, 8))


def test_a_keyframe_that_is_not_there_ends_the_attempt(tmp_path):
    path = write(tmp_path / "a.mp4", LONG, options={"g": "25"})
    with open_source(path) as source:
        found = survey(source)
    lying = replace(found, keys=tuple(sorted(found.times[::7])))
    with open_source(path) as source:
        assert decode_by_seeking(source, lying, frame_numbers(LONG, 8), silent) is None


@given(st.integers(1, 400), st.integers(1, 60))
def test_chosen_frames_spread_evenly(total, wanted):
    numbers = frame_numbers(total, wanted)
    assert len(numbers) == min(total, wanted)
    assert numbers[0] == 0
    assert numbers[-1] < total
    gaps = {there - here for here, there in pairwise(numbers)}
    assert all(gap >= 1 for gap in gaps)
    assert not gaps or max(gaps) - min(gaps) <= 1


@given(st.data())
def test_cost_counts_every_packet_that_is_decoded_once(data):
    """Against a count of the packets that a decoder would be fed, group by group."""
    sizes = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=8))
    order, keys = [], []
    for size in sizes:  # within a group after a keyframe, decoding order is any order of presentation
        start = len(order)
        keys.append(start)
        order += [start, *data.draw(st.permutations(range(start + 1, start + size)))]
    found = Survey(
        tuple(range(len(order))), len(order), tuple(keys), {t: p for p, t in enumerate(order)}, len(order), 0, False
    )
    wanted = data.draw(st.sets(st.integers(0, len(order) - 1), min_size=1))
    fed = set()
    for time in wanted:
        key = max(k for k in keys if k <= time)
        fed |= set(range(order.index(key), order.index(time) + 1))
    assert decoding_cost(found, wanted) == len(fed)
