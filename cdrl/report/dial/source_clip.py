"""One source clip of the dial: its face crops and sound, and their form for a browser."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from PIL import Image

from cdrl.core.errors import InputError
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.inspection import CropsJob, in_worker, read_face_clip

SIDE = 160  # pixels of the crops that are shown and edited
LEAST_SIDE = 64  # pixels that the generator needs
LONGEST = 10.0  # seconds of a clip
COLUMNS = 8  # of the sprite sheet that holds a clip's frames
BARS = 160  # of the waveform


@dataclass(frozen=True, eq=False)  # compared by identity: fields are cached by clip
class SourceClip:
    """One source clip.

    Attributes:
        name: of its file, or of the clip in its corpus.
        note: what it is, in words.
        crops: (T, H, H, 3) uint8.
        frame_rate: Hz.
        sound: (S,) samples at 16 kHz, or none.
        mouth_box: (4,) left, top, right, bottom in the crop, 0 to 1.
    """

    name: str
    note: str
    crops: np.ndarray
    frame_rate: float
    sound: np.ndarray
    mouth_box: np.ndarray

    def sprite_sheet(self, quality: int = 82) -> bytes:
        """All frames as one WebP, `COLUMNS` a row, row after row.

        Args:
            quality: of the WebP, 0 to 100.
        """
        num_frames, side = self.crops.shape[:2]
        rows = -(-num_frames // COLUMNS)
        num_empty = rows * COLUMNS - num_frames
        filler = np.repeat(self.crops[-1:], num_empty, 0)
        cells = np.concatenate([self.crops, filler])
        grid = cells.reshape(rows, COLUMNS, side, side, 3)
        pixel_rows = grid.transpose(0, 2, 1, 3, 4)
        sprites = pixel_rows.reshape(rows * side, COLUMNS * side, 3)

        buffer = io.BytesIO()
        Image.fromarray(sprites).save(buffer, "WEBP", quality=quality)
        return buffer.getvalue()

    def mp3(self) -> bytes:
        """The sound as an mp3; empty for silence."""
        if not np.any(self.sound):
            return b""

        samples = np.asarray(self.sound, np.float32)[None]
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp3") as container:
            stream = container.add_stream("libmp3lame", rate=AUDIO_RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate = AUDIO_RATE
            packets = [*stream.encode(frame), *stream.encode(None)]
            container.mux(packets)
        return buffer.getvalue()

    def waveform(self) -> list[float]:
        """The sound as `BARS` heights, 0 to 1; none for silence."""
        if not np.any(self.sound):
            return []

        loudness = np.abs(self.sound)
        parts = np.array_split(loudness, BARS)
        peaks = np.array([part.max() for part in parts])
        heights = np.round(peaks / peaks.max(), 2)
        return heights.tolist()


def source_clip_from_file(path: Path, crop: str, note: str, isolated: bool = False) -> SourceClip:
    """Read a video file of one face, at most `LONGEST` seconds.

    Args:
        path: the file.
        crop: how the face is cropped, as the generator needs it: "aligned" or "released".
        note: what the clip is, in words.
        isolated: whether to read it in a process of its own, which a damaged file may end without
            harm.

    Raises:
        InputError: a file that cannot be read, shows no face or two, or is longer.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such video file")
    job = CropsJob(path, crop, SIDE, longest=LONGEST)
    clip = in_worker(read_face_clip, job, path) if isolated else read_face_clip(job)
    return SourceClip(
        name=path.stem,
        note=note,
        crops=clip.crops,
        frame_rate=clip.frame_rate,
        sound=clip.sound,
        mouth_box=clip.mouth_box,
    )


def shortened(clip: SourceClip, seconds: float) -> SourceClip:
    """The beginning of a clip, one frame or more.

    Args:
        clip: the whole clip.
        seconds: that are kept.
    """
    num_frames = max(1, round(seconds * clip.frame_rate))
    num_samples = round(num_frames / clip.frame_rate * AUDIO_RATE)
    return replace(clip, crops=clip.crops[:num_frames], sound=clip.sound[:num_samples])


def enlarged(crops: np.ndarray) -> np.ndarray:
    """Resize crops that are smaller than the generator needs.

    Args:
        crops: (T, H, H, 3) uint8.
    """
    if crops.shape[1] >= LEAST_SIDE:
        return crops

    size = (LEAST_SIDE, LEAST_SIDE)
    larger = []
    for crop in crops:
        picture = Image.fromarray(crop).resize(size, Image.Resampling.BICUBIC)
        larger.append(np.asarray(picture))
    return np.stack(larger)
