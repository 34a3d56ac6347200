"""The clock of a file: one rising time for packets, pictures and sound.

Timestamps are the only truth. Recordings that were joined byte for byte start their clock anew;
here the second continues where the first ended. Sound runs evenly between timestamps that are
written coarsely, and moves where they say that it does.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

import av

from cdrl.core.errors import InputError

# A clock that falls by more than this within one stream (s) belongs to another recording.
JOINT_SECONDS = 0.5
# A stream's packets may lie this much (s) before those of another stream of the same time.
LARGEST_LEAD = 1.0
# A picture is shown at least this long (s) after the one before, whatever its timestamp says; less
# where the pictures of a file follow each other faster.
SHORTEST_STEP = 0.001
# Sound may be this far (s) from its timestamp, which containers round and recorders let tremble.
LARGEST_DRIFT = 0.008
# A jump as long as this (s) is believed at once; a shorter one when what follows agrees with it.
CLEAR_JUMP = 0.1
PIECES_ASKED = 5  # pieces of sound that follow and have to agree
# Sound that is missing for longer than this (s) is no pause: the clock is broken.
LONGEST_SILENCE = 3600.0

Item = TypeVar("Item")


class PacketTimes(NamedTuple):
    """When a packet begins and ends, s; None where it has no timestamp."""

    start: float | None
    end: float | None


class PacketClock:
    """Turns the timestamps of joined recordings into one rising clock.

    Another recording begins where a stream's clock falls back. All streams of a recording share
    what is added to their timestamps; one that a recording lacks joins in again later.
    """

    def __init__(self) -> None:
        self.shifts = [0.0]  # seconds added to the first, second, ... recording
        self.recordings: dict[int, int] = {}  # number of each stream's present recording
        self.latest: dict[int, float] = {}  # each stream's latest decoding time, unshifted
        self.following: dict[int, float] = {}  # the decoding time that would follow it, shifted
        self.end = 0.0  # of everything so far, shifted
        # Streams that came to a recording too late for it, and their first decoding time there.
        self.doubtful: dict[int, float] = {}

    def correct(self, packet: av.Packet) -> PacketTimes:
        """Shift the timestamps of a packet; packets come in the order of the file.

        Args:
            packet: of any stream; it is changed in place.

        Returns:
            When it begins and ends on the rising clock.
        """
        ticks = packet.dts if packet.dts is not None else packet.pts
        if ticks is None:
            return PacketTimes(None, None)
        time_base = packet.time_base
        stream = packet.stream.index
        seconds = float(ticks * time_base)
        self._follow(stream, seconds)

        shift = self.shifts[self.recordings[stream]]
        duration = float((packet.duration or 0) * time_base)
        self.following[stream] = seconds + shift + duration
        shift_ticks = round(shift / time_base)
        if shift_ticks:
            if packet.pts is not None:
                packet.pts += shift_ticks
            if packet.dts is not None:
                packet.dts += shift_ticks

        start_ticks = packet.pts if packet.pts is not None else packet.dts
        assert start_ticks is not None
        start = float(start_ticks * time_base)
        end = start + duration
        self.end = max(self.end, end)
        return PacketTimes(start, end)

    def _follow(self, stream: int, seconds: float) -> None:
        """Note the decoding time of a stream's packet, and whether another recording begins."""
        latest = self.latest.get(stream)
        self.latest[stream] = seconds
        if latest is not None and seconds >= latest - JOINT_SECONDS:
            return
        later = range(self.recordings.get(stream, -1) + 1, len(self.shifts))
        if not later:
            self._begin_recording(stream, seconds)
            return

        def distance(recording: int) -> float:
            return abs(seconds + self.shifts[recording] - self.end)

        recording = min(later, key=distance)
        self.recordings[stream] = recording
        if seconds + self.shifts[recording] < self.end - JOINT_SECONDS:
            self.doubtful[stream] = seconds

    def _begin_recording(self, stream: int, seconds: float) -> None:
        """Let another recording begin with a stream's packet.

        A stream that came too late for the former recording, just before, belongs to this one.
        """
        self.shifts.append(self.following[stream] - seconds)
        present = len(self.shifts) - 1
        self.recordings[stream] = present
        for other, start in self.doubtful.items():
            if self.latest[other] - start < LARGEST_LEAD:
                self.recordings[other] = present
        self.doubtful.clear()

    @property
    def num_joints(self) -> int:
        """How often another recording began."""
        return len(self.shifts) - 1


class PictureClock:
    """Gives every picture a time later than that of the one before.

    Args:
        frame_seconds: from one picture to the next where timestamps are missing.
    """

    def __init__(self, frame_seconds: float) -> None:
        self.frame_seconds = frame_seconds
        self.shortest_step = min(SHORTEST_STEP, frame_seconds / 4)
        self.previous: float | None = None

    def time(self, stated: float | None) -> float:
        """When a picture is shown, s.

        Args:
            stated: its timestamp, s; None where it has none.
        """
        if self.previous is None:
            seconds = stated or 0.0
        elif stated is None:
            seconds = self.previous + self.frame_seconds
        else:
            seconds = max(stated, self.previous + self.shortest_step)
        self.previous = seconds
        return seconds


class SoundPiece(NamedTuple, Generic[Item]):
    """A piece of sound before it has a place.

    Attributes:
        stated: its timestamp, s; None where it has none.
        length: s.
        item: what is played.
    """

    stated: float | None
    length: float
    item: Item


class PlacedSound(NamedTuple, Generic[Item]):
    """A piece of sound and its place.

    Attributes:
        seconds: when it begins.
        continues: whether it begins where the piece before ended.
        item: what is played.
    """

    seconds: float
    continues: bool
    item: Item


class SoundClock(Generic[Item]):
    """Gives pieces of sound their places; a few pieces are held back.

    A piece follows the one before unless its timestamp, and those of the pieces after it, say
    that sound is missing or overlaps.

    Args:
        name: of the file, for errors.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: deque[SoundPiece[Item]] = deque()
        self.end: float | None = None  # of the pieces that have a place, s

    def add(self, piece: SoundPiece[Item]) -> list[PlacedSound[Item]]:
        """Take the next piece in the order of the file.

        Args:
            piece: of the sound.

        Returns:
            The pieces that have a place now.

        Raises:
            InputError: where the clock leaps by more than an hour.
        """
        self.waiting.append(piece)
        if len(self.waiting) <= PIECES_ASKED:
            return []
        return [self._place_first()]

    def finish(self) -> list[PlacedSound[Item]]:
        """The pieces that are still held."""
        return [self._place_first() for _ in range(len(self.waiting))]

    def _place_first(self) -> PlacedSound[Item]:
        jump = 0.0 if self.end is None else _jump(self.end, self.waiting)
        if jump > LONGEST_SILENCE:
            raise InputError(
                f"{self.name}: no sound for {jump:.0f} s from {self.end:.1f} s on; its clock is "
                "broken: convert it to mp4"
            )
        piece = self.waiting.popleft()
        continues = self.end is not None and jump == 0.0
        if self.end is None:
            self.end = piece.stated or 0.0
        start = self.end + jump
        self.end = start + piece.length
        return PlacedSound(start, continues, piece.item)


def place_sound(name: str, pieces: Iterable[SoundPiece[Item]]) -> Iterator[PlacedSound[Item]]:
    """Give pieces of sound their places, see `SoundClock`.

    Args:
        name: of the file, for errors.
        pieces: in the order of the file.
    """
    clock: SoundClock[Item] = SoundClock(name)
    for piece in pieces:
        yield from clock.add(piece)
    yield from clock.finish()


def _jump(end: float, waiting: Iterable[SoundPiece]) -> float:
    """How far the first piece lies from the end of what has been placed, s; 0 where it follows.

    Args:
        end: of what has been placed, s.
        waiting: the piece and those after it.
    """
    first, *_ = waiting
    if first.stated is None:
        return 0.0
    first_drift = first.stated - end
    if abs(first_drift) <= LARGEST_DRIFT:
        return 0.0
    if abs(first_drift) >= CLEAR_JUMP:
        return first_drift

    smallest = first_drift
    position = end
    for piece in waiting:
        if piece.stated is not None:
            drift = piece.stated - position
            if drift * first_drift <= 0:
                return 0.0
            smallest = min(smallest, drift, key=abs)
        position += piece.length
    return smallest if abs(smallest) > LARGEST_DRIFT else 0.0
