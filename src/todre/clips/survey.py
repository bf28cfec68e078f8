"""Facts from the packets of a video stream: number of frames, times, keyframes.

Nothing is decoded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass

from todre.clips.source import Source


@dataclass(frozen=True)
class Survey:
    """The packets of a video stream that are meant to be shown.

    Attributes:
        times: presentation time of each packet in the stream's time base, in the order of presentation; empty unless
            every packet has a time of its own.
        end: when the last frame ends, in the stream's time base, as far as the file states it.
        keys: presentation times of the keyframes, in the order of presentation.
        places: presentation time of a packet → its place (from 0) in the order of decoding.
        count: number of packets. In almost every file, this is the number of frames; only decoding tells for certain.
        reached: seconds at which the last packet of any stream ends.
        damaged: whether the demuxer found a packet that is incomplete.
    """

    times: tuple[int, ...]
    end: int
    keys: tuple[int, ...]
    places: dict[int, int]
    count: int
    reached: float
    damaged: bool


def survey(source: Source) -> Survey:
    """Read all packets of the file once, and record those of its video stream.

    Raises:
        av.FFmpegError: the container is damaged.
    """
    times: list[int | None] = []
    keys: list[int] = []
    end, reached, damaged = 0, 0.0, False
    # Joined parts of recordings look incomplete even where nothing is missing.
    joined = source.container.format.name == "mpegts"
    for packet in source.container.demux():
        if packet.pts is not None:
            last = packet.pts + (packet.duration or 0)
            reached = max(reached, float(last * packet.time_base))
        if packet.stream_index != source.stream.index or packet.size == 0 or packet.is_discard:
            continue  # a packet of another stream, the flush at the end, or a packet that an edit list cuts away
        damaged = damaged or (packet.is_corrupt and not joined)
        times.append(packet.pts)
        if packet.pts is not None:
            end = max(end, last)
            if packet.is_keyframe:
                keys.append(packet.pts)
    places = {time: place for place, time in enumerate(times) if time is not None}
    if len(places) < len(times):  # a packet has no time, or two packets have one time
        return Survey((), 0, (), {}, len(times), reached, damaged)
    return Survey(tuple(sorted(places)), end, tuple(sorted(keys)), places, len(times), reached, damaged)


def frame_numbers(total: int, count: int) -> tuple[int, ...]:
    """Numbers (from 0) of the frames to take: ⌊i · total / count⌋ for each i.

    All frames are taken where the clip has no more than `count`. Each frame taken begins an equal share of the clip.
    The video processors of transformers take the same frames with `num_frames`.

    Args:
        total: number of frames in the whole clip.
        count: number of frames to take.
    """
    if count >= total:
        return tuple(range(total))
    return tuple(number * total // count for number in range(count))


def decoding_cost(packets: Survey, numbers: Collection[int]) -> int:
    """How many packets must be decoded to reach the frames in `numbers` (from 0).

    Decoding starts at the keyframe before each frame.
    """
    cost, reached, key_reached = 0, -1, None
    for time in (packets.times[number] for number in sorted(numbers)):
        key = key_before(packets, time)
        if key is None:
            return packets.count
        start, place = packets.places[key], packets.places[time]
        if key != key_reached:
            reached, key_reached = start - 1, key
        cost, reached = cost + max(place - reached, 0), max(place, reached)
    return cost


def key_before(packets: Survey, time: int) -> int | None:
    """Time of the last keyframe shown at or before `time`; None if there is none."""
    place = bisect_right(packets.keys, time)
    return packets.keys[place - 1] if place else None
