"""What a video stream holds, read from its packets alone: how many frames, shown when, after which keyframes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass

from todre.clips.source import Source


@dataclass(frozen=True)
class Survey:
    """The packets of a video stream that are meant to be shown.

    Attributes:
        times: presentation time of each packet in the stream's time base, in the order of presentation; empty
            unless every packet has one of its own.
        end: when the last frame ends, in the same unit, as far as that is stated.
        keys: the keyframes' times, in the order of presentation.
        places: time → place in the order of decoding.
        count: number of packets: of the frames too, in almost every file; decoding tells.
        reached: seconds at which the last packet of any stream ends.
        damaged: the demuxer found a packet that is incomplete.
    """

    times: tuple[int, ...]
    end: int
    keys: tuple[int, ...]
    places: dict[int, int]
    count: int
    reached: float
    damaged: bool


def survey(source: Source) -> Survey:
    """Read all packets of the file once, and note those of its video stream.

    Raises:
        av.FFmpegError: the container is damaged.
    """
    times: list[int | None] = []
    keys: list[int] = []
    end, reached, damaged = 0, 0.0, False
    joined = source.container.format.name == "mpegts"  # parts of recordings, joined, look incomplete and may be whole
    for packet in source.container.demux():
        if packet.pts is not None:
            last = packet.pts + (packet.duration or 0)
            reached = max(reached, float(last * packet.time_base))
        if packet.stream_index != source.stream.index or packet.size == 0 or packet.is_discard:
            continue  # of another stream, the flush at the end, or cut away by an edit list
        damaged = damaged or (packet.is_corrupt and not joined)
        times.append(packet.pts)
        if packet.pts is not None:
            end = max(end, last)
            if packet.is_keyframe:
                keys.append(packet.pts)
    places = {time: place for place, time in enumerate(times) if time is not None}
    if len(places) < len(times):  # a packet without a time, or two with the same
        return Survey((), 0, (), {}, len(times), reached, damaged)
    return Survey(tuple(sorted(places)), end, tuple(sorted(keys)), places, len(times), reached, damaged)


def chosen(total: int, wanted: int) -> tuple[int, ...]:
    """The frames to look at: frame ⌊i · total / wanted⌋ for each i, or all of them where there are no more.

    Each begins an equal share of the clip. It is what the video processors of transformers do with `num_frames`.
    """
    if wanted >= total:
        return tuple(range(total))
    return tuple(number * total // wanted for number in range(wanted))


def decoding_cost(found: Survey, wanted: Collection[int]) -> int:
    """Packets that must be decoded to reach the frames numbered `wanted`, each from the keyframe before it."""
    cost, reached, key_reached = 0, -1, None
    for time in (found.times[number] for number in sorted(wanted)):
        key = key_before(found, time)
        if key is None:
            return found.count
        start, place = found.places[key], found.places[time]
        if key != key_reached:
            reached, key_reached = start - 1, key
        cost, reached = cost + max(place - reached, 0), max(place, reached)
    return cost


def key_before(found: Survey, time: int) -> int | None:
    """The latest keyframe that is shown no later than `time`."""
    place = bisect_right(found.keys, time)
    return found.keys[place - 1] if place else None
