"""Compare the kit's speed with that of peers, or of the plain way, side by side in one run.

    python scripts/compare_speed.py --work runs/speed
    python scripts/compare_speed.py --work runs/speed --only losses,probes --again

Each row is measured by turns (kit, peer, kit, peer, ...) in seconds of the processor with one
numeric thread, so that what else the machine does matters little. A ratio is the peer's time over
the kit's: above 1 the kit is faster. Each part is written into results/speed/speed.json when it is
done, and a part that is there is left out; the table is results/speed/README.md.
The kit needs none of the peers. Into an environment of their own, with the kit:

    pip install pytorch-metric-learning lightly vtk pyrender imageio

What is not installed is left out by name: `not run`.
"""

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are loaded

import importlib
import importlib.metadata
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import torch
import torch.nn.functional as F
from measure_edit import write_long_video

from cdrl.baselines.released.networks import ReleasedContent
from cdrl.baselines.released.training import ContentObjective as ReleasedObjective
from cdrl.baselines.released.training import ContentSampler, small_released
from cdrl.core.checkpoint import freeze
from cdrl.core.files import atomic_path, read_json, write_json
from cdrl.core.paths import data_root, repository_root
from cdrl.core.settings import ContentConfig
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.batches import load_images
from cdrl.corpora.store import Store
from cdrl.corpora.store_sums import CARD
from cdrl.evaluation.probes import fit_probes
from cdrl.losses.contrastive import info_nce, supervised_contrastive
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.encoding import write_video
from cdrl.media.video import Clip, read_video
from cdrl.priors.features import Features, extract
from cdrl.priors.vision import vision_prior
from cdrl.representation.ccrl import TERMS, ContentObjective, sound_units
from cdrl.representation.components import build_content_encoder
from cdrl.representation.pairs import PairSampler, find_pairs
from cdrl.studio.corpus import generate, smoke_specs
from cdrl.studio.head import load_head
from cdrl.studio.people import sample_person
from cdrl.studio.render import person_model, render
from cdrl.training.loop import LoopConfig, loop_config, train

RESULTS = repository_root() / "results" / "speed"
RECORD = RESULTS / "speed.json"
MEMORY_LIMIT = 5 << 30  # bytes of address space that a loss may take beyond what is taken already
MEMORY = "memory"
RATE = 25  # Hz
CAMERA_DISTANCE = 6.0  # dm before the face, of the peers that draw it
CAMERA_ANGLE = 0.5  # radians
REPEATS = (2, 5)  # timings of a row, fewest and most
BUDGET = 8.0  # seconds of the processor for the timings of a row
SHORTEST = 0.1  # seconds of the processor that one timing takes at least

Call = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        what: is compared.
        kit: what the kit does.
        peer: what does the same.
        kit_seconds: of the processor, each time it was measured.
        peer_seconds: likewise; empty where it was not run.
        not_run: why the peer was not run.
        note: half a sentence on the comparison.
    """

    what: str
    kit: str
    peer: str
    kit_seconds: list[float]
    peer_seconds: list[float]
    not_run: str = ""
    note: str = ""


# --- timing ---------------------------------------------------------------------------------------


def seconds_of(call: Call, times: int = 1) -> float:
    """Seconds of the processor that a call takes, children that it waits for included."""
    me = psutil.Process()
    children = me.cpu_times()
    begin = time.process_time()
    for _ in range(times):
        call()
    seconds = time.process_time() - begin
    children_after = me.cpu_times()
    seconds += children_after.children_user - children.children_user
    seconds += children_after.children_system - children.children_system
    return seconds / times


def by_turns(kit: Call, peer: Call) -> tuple[list[float], list[float]]:
    """Time two calls by turns.

    Each is called once before, to warm up; where both together take longer than `BUDGET`, that call
    is the first timing, and one more follows.

    Args:
        kit: the kit's.
        peer: the other.

    Returns:
        Seconds of the kit's call, and of the other: as often as `BUDGET` allows.
    """
    kit_first = max(seconds_of(kit), 1e-6)
    peer_first = max(seconds_of(peer), 1e-6)
    if kit_first + peer_first > BUDGET:
        return [kit_first, seconds_of(kit)], [peer_first, seconds_of(peer)]

    kit_times = max(1, round(SHORTEST / kit_first))
    peer_times = max(1, round(SHORTEST / peer_first))
    a_round = kit_times * kit_first + peer_times * peer_first
    kit_seconds = []
    peer_seconds = []
    for _ in range(round(float(np.clip(BUDGET / a_round, *REPEATS)))):
        kit_seconds.append(seconds_of(kit, kit_times))
        peer_seconds.append(seconds_of(peer, peer_times))
    return kit_seconds, peer_seconds


def missing(package: str) -> str:
    """Why a peer cannot be run; "" where it can."""
    try:
        importlib.import_module(package)
    except Exception as error:  # a renderer without a screen raises what it likes
        return f"not installed ({type(error).__name__})"
    return ""


# --- CCRL step ------------------------------------------------------------------------------------


def studio_features(work: Path) -> Features:
    """Features of 112 rendered clips of 96-pixel crops, made once."""
    folder = work / "store"
    if not (folder / CARD).exists():
        generate(smoke_specs(), folder, "train", workers=1)
    return extract(Store(folder), work / "features")


class _NoisySampler:
    """Draws noise in place of images and sound, for the size of the paper.

    Args:
        batch: triplets.
        side: of the images.
        audio: length of a frame's audio vector.
    """

    def __init__(self, batch: int, side: int, audio: int):
        self.batch = batch
        self.side = side
        self.audio = audio

    def __call__(self, random: np.random.Generator) -> dict[str, list[torch.Tensor]]:
        images = []
        audio = []
        for _ in range(3):
            pixels = random.random((self.batch, 3, self.side, self.side), dtype=np.float32)
            images.append(torch.from_numpy(pixels))
            vector = random.random((self.batch, 1, self.audio), dtype=np.float32)
            audio.append(torch.from_numpy(vector))
        return {"images": images, "audio": audio}


def kit_step(features: Features, config: ContentConfig) -> Call:
    """The steps of the kit's CCRL that its settings say, sampling included."""
    torch.manual_seed(0)
    sampler = PairSampler(features, find_pairs(features, config), config)
    encoder, _ = build_content_encoder(config, features)
    units = sound_units(features, config)
    objective = ContentObjective(encoder, config, len(sampler.speakers), units)
    loop = loop_config(config, TERMS)

    def call() -> None:
        train(objective, objective, sampler, loop)

    return call


def released_step(network: ReleasedContent, sampler: Any, steps: int) -> Call:
    """So many steps of the release's CCRL, sampling included."""
    objective = ReleasedObjective(network)
    loop = LoopConfig(steps=steps, learning_rate=1e-4, weight_decay=0.0, weights={"loss": 1.0})

    def call() -> None:
        train(objective, objective, sampler, loop)

    return call


def measure_step(work: Path) -> list[Row]:
    """A training step of CCRL, the kit's default and the release's, at the same frames."""
    features = studio_features(work)
    rows = []

    steps = 5
    config = ContentConfig(pairs=60, steps=steps)
    frames = 2 * config.batch * config.moments
    pairs = find_pairs(features, config)
    network = small_released(features.audio.shape[1])
    sampler = ContentSampler(features, pairs, frames // 3)
    kit = kit_step(features, config)
    peer = released_step(network, sampler, 2)
    kit_seconds, peer_seconds = by_turns(kit, peer)
    rows.append(
        Row(
            f"CCRL step, {frames} frames, 96 px",
            "default: from features computed before",
            "as released, on the kit's small image encoder",
            [value / steps for value in kit_seconds],
            [value / 2 for value in peer_seconds],
            note="it encodes its images in each step, the kit once before (features, below)",
        )
    )

    small = ContentConfig(pairs=60, batch=3, moments=8, steps=steps)
    frames = 2 * small.batch * small.moments
    torch.manual_seed(0)
    large = ReleasedContent()
    freeze(large.image)
    kit = kit_step(features, small)
    peer = released_step(large, _NoisySampler(frames // 3, 224, 512), 1)
    kit_seconds, peer_seconds = by_turns(kit, peer)
    rows.append(
        Row(
            f"CCRL step, {frames} frames (16 triplets, the release's batch)",
            "default: from features computed before",
            "as released, IResNet-50 at 224 px, random weights",
            [value / steps for value in kit_seconds],
            peer_seconds,
            note="the network of the paper's size on larger pictures, encoded in each step",
        )
    )
    return rows


# --- losses ---------------------------------------------------------------------------------------


def with_gradient(loss: Callable[[torch.Tensor], torch.Tensor], embedding: torch.Tensor) -> Call:
    """A call of a loss and of its gradient; it returns the loss."""

    def call() -> float:
        leaf = embedding.detach().requires_grad_()
        value = loss(leaf)
        value.backward()
        return float(value.detach())

    return call


def limited(kit: Call, peer: Call) -> tuple[list[float], list[float], str]:
    """`by_turns` where the peer may ask for no more than `MEMORY_LIMIT`; why it was not run."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY_LIMIT, hard)
    )
    try:
        values = (kit(), peer())
        if abs(values[0] - values[1]) > 1e-4 * abs(values[0]):
            raise ValueError(f"two losses of one name differ: {values}")
        return *by_turns(kit, peer), ""
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    seconds, _ = by_turns(kit, kit)
    return seconds, [], f"{MEMORY}: more than {MEMORY_LIMIT >> 30} GB"


Loss = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class LossBatch:
    """What the losses are compared on.

    Attributes:
        batch: B.
        embedding: (2 B, 128); rows i and i + B are views of the same.
        classes: (2 B,) seven labels.
    """

    batch: int
    embedding: torch.Tensor
    classes: torch.Tensor

    def nt_xent(self, embedding: torch.Tensor) -> torch.Tensor:
        """NT-Xent by the kit's InfoNCE."""
        unit = F.normalize(embedding, dim=1)
        positive = torch.arange(2 * self.batch).roll(self.batch)
        valid = ~torch.eye(2 * self.batch, dtype=torch.bool)
        return info_nce(unit, unit, positive, 0.5, valid).mean()

    def supcon(self, embedding: torch.Tensor) -> torch.Tensor:
        """SupCon of the kit."""
        unit = F.normalize(embedding, dim=1)
        return supervised_contrastive(unit, self.classes, 0.1).mean()


def losses_of_metric_learning(data: LossBatch) -> dict[str, Loss]:
    """Name -> loss of pytorch-metric-learning."""
    from pytorch_metric_learning.losses import NTXentLoss, SupConLoss

    views = torch.arange(data.batch).repeat(2)
    nt_xent = NTXentLoss(temperature=0.5)
    supcon = SupConLoss(temperature=0.1)
    return {
        "NT-Xent": lambda embedding: nt_xent(embedding, views),
        "SupCon": lambda embedding: supcon(embedding, data.classes),
    }


def losses_of_lightly(data: LossBatch) -> dict[str, Loss]:
    """Name -> loss of lightly, which has no SupCon."""
    from lightly.loss import NTXentLoss

    nt_xent = NTXentLoss(temperature=0.5)
    return {"NT-Xent": lambda embedding: nt_xent(*embedding.split(data.batch))}


def measure_losses(work: Path) -> list[Row]:
    """NT-Xent and SupCon, value and gradient, of 2 B vectors of 128 numbers."""
    rows = []
    peers = {
        "pytorch_metric_learning": (losses_of_metric_learning, ("NT-Xent", "SupCon")),
        "lightly": (losses_of_lightly, ("NT-Xent",)),
    }
    for batch in (64, 128, 256, 512, 1024, 2048):
        random = torch.Generator().manual_seed(batch)
        embedding = torch.randn(2 * batch, 128, generator=random)
        data = LossBatch(batch, embedding, torch.arange(2 * batch) % 7)
        kit_losses = {"NT-Xent": data.nt_xent, "SupCon": data.supcon}
        for package, (losses_of_peer, names) in peers.items():
            reason = missing(package)
            losses = {} if reason else losses_of_peer(data)
            for name in names:
                kit = with_gradient(kit_losses[name], embedding)
                if reason:
                    result = (by_turns(kit, kit)[0], [], reason)
                else:
                    result = limited(kit, with_gradient(losses[name], embedding))
                rows.append(Row(f"{name}, B {batch}", "kit", package, *result))
                print(rows[-1].what, package, rows[-1].not_run, flush=True)
    return rows


# --- features -------------------------------------------------------------------------------------


def measure_features(work: Path) -> list[Row]:
    """Face and mouth features of clips: a batch of 256 frames, a clip, a frame at a time."""
    features = studio_features(work)
    store = features.store
    prior = vision_prior(("face_backbone", "mouth_backbone"))
    clips = range(24)
    boxes = torch.from_numpy(store.mouth_boxes())
    of_clips = [np.arange(len(store))[store.frames(clip)] for clip in clips]
    all_rows = np.concatenate(of_clips)
    batched = np.array_split(all_rows, -(-len(all_rows) // 256))
    alone = [rows[:1] for rows in of_clips for _ in range(4)]

    def run(parts: list[np.ndarray]) -> Call:
        @torch.no_grad()
        def call() -> None:
            for rows in parts:
                prior(load_images(store, rows), boxes[rows])

        return call

    rows = []
    kit_seconds, peer_seconds = by_turns(run(batched), run(of_clips))
    rows.append(
        Row(
            "face and mouth features, a frame",
            "256 frames at once",
            f"a clip at a time ({len(all_rows) / len(of_clips):.0f} frames)",
            per_frame(kit_seconds, len(all_rows)),
            per_frame(peer_seconds, len(all_rows)),
        )
    )
    kit_seconds, peer_seconds = by_turns(run(batched), run(alone))
    rows.append(
        Row(
            "face and mouth features, a frame",
            "256 frames at once",
            "a frame at a time",
            per_frame(kit_seconds, len(all_rows)),
            per_frame(peer_seconds, len(alone)),
        )
    )
    return rows


# --- edit -----------------------------------------------------------------------------------------


def write_source(path: Path, width: int, height: int, seconds: float) -> None:
    """Write the sample forwards and backwards at a size, 16:9 with black beside the person."""
    sample = data_root() / "samples" / "1001_DFA_NEU_XX.flv"
    if path.exists():
        return
    if width * 9 == height * 16:
        write_long_video(path, sample, seconds / 60, height)
        return
    clip = read_video(sample, require_audio=True)
    pictures = []
    for picture in clip.frames:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        pictures.append(frame.reformat(width, height).to_ndarray(format="rgb24"))
    swing = cycle(pictures + pictures[-2:0:-1])
    num_frames = round(seconds * RATE)
    sound = np.resize(clip.audio, round(num_frames / RATE * AUDIO_RATE))
    write_video(path, list(islice(swing, num_frames)), RATE, sound)


def run_command(*words: str) -> None:
    """Run a command of the kit.

    Raises:
        CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "cdrl.cli.main", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def edit(source: Path, out: Path) -> Call:
    """A call of `cdrl edit`."""

    def call() -> None:
        out.unlink(missing_ok=True)
        words = ("--emotion", "happy", "--from", "neutral", "--out", str(out))
        run_command("edit", str(source), *words)

    return call


def decode_and_encode(source: Path, out: Path) -> Call:
    """A call that reads a file and writes it again, by the code of the kit's edit."""

    def call() -> None:
        clip: Clip = read_video(source)
        write_video(out, clip.frames, clip.frame_rate, clip.audio)

    return call


def measure_edit(work: Path) -> list[Row]:
    """`cdrl edit` of two seconds, beside decoding and encoding alone, and its start."""
    rows = []
    start = work / "start.mp4"
    write_source(start, 480, 360, 0.2)
    kit_seconds, peer_seconds = by_turns(
        edit(start, work / "edited.mp4"),
        lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True),
    )
    rows.append(
        Row("start: an edit of five frames", "cdrl edit", "import torch", kit_seconds, peer_seconds)
    )
    start_seconds = float(np.median(kit_seconds))
    for width, height in ((480, 360), (960, 720), (1280, 720)):
        source = work / f"source_{width}x{height}.mp4"
        write_source(source, width, height, 2.0)
        kit_seconds, peer_seconds = by_turns(
            edit(source, work / "edited.mp4"), decode_and_encode(source, work / "copied.mp4")
        )
        note = "the edit includes its start"
        what = f"edit of 2 s at {width}x{height}"
        rows.append(
            Row(what, "cdrl edit", "decoding, encoding", kit_seconds, peer_seconds, note=note)
        )
        without = [value - start_seconds for value in kit_seconds]
        what = f"{what}, without the start"
        rows.append(Row(what, "cdrl edit", "decoding, encoding", without, peer_seconds))
    return rows


# --- probes ---------------------------------------------------------------------------------------


def code(rank: int, dimensions: int, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) float32 of 15 classes that overlap, in `rank` directions; labels (N,)."""
    random = np.random.default_rng(0)
    centres = random.normal(0, 2.4 / rank**0.5, (15, rank))  # as far apart at any rank
    axes = random.normal(0, 1, (rank, dimensions)) / rank**0.5
    random = np.random.default_rng([1, seed])
    labels = random.integers(0, 15, number)
    inner = centres[labels] + random.normal(0, 1, (number, rank))
    return (inner @ axes).astype(np.float32), labels


def plain_probe(kind: str) -> Any:
    """The same classifier as somebody writes it down with scikit-learn."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    models = {
        "linear": LogisticRegression(max_iter=500),
        "knn": KNeighborsClassifier(20, metric="cosine"),
        "mlp": MLPClassifier(
            (128,), early_stopping=True, n_iter_no_change=5, random_state=0, max_iter=100
        ),
    }
    return make_pipeline(StandardScaler(), models[kind])


def measure_probes(work: Path) -> list[Row]:
    """Each probe, fitted on 50,000 frames and scored on 5,000."""
    rows = []
    # What a content embedding is like, and what a backbone gives, which the network is slow on.
    codes = {
        "64 numbers of rank 12": (12, 64, ("linear", "knn", "mlp")),
        "256 numbers of full rank": (256, 256, ("linear", "knn")),
    }
    for name, (rank, dimensions, kinds) in codes.items():
        fit = code(rank, dimensions, 50_000, 1)
        scored = code(rank, dimensions, 5_000, 2)
        for kind in kinds:
            what = f"{kind} probe of 50,000 frames, {name}"
            rows.append(compare_probe(what, kind, fit, scored))
            print(what, rows[-1].note, flush=True)
    return rows


def compare_probe(
    what: str, kind: str, fit: tuple[np.ndarray, np.ndarray], scored: tuple[np.ndarray, np.ndarray]
) -> Row:
    """A probe of the kit beside scikit-learn's plain call.

    Args:
        what: is compared, for the table.
        kind: of the probe.
        fit: features (N, D) and labels (N,) that fit.
        scored: those that are scored.
    """
    accuracy = {}

    def kit() -> None:
        accuracy["kit"] = fit_probes(*fit, *scored, (kind,)).score[kind]

    def peer() -> None:
        features, labels = scored
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predicted = plain_probe(kind).fit(*fit).predict(features)
        accuracy["peer"] = float(np.mean(predicted == labels))

    kit_seconds, peer_seconds = by_turns(kit, peer)
    note = f"accuracy {accuracy['kit']:.3f}, {accuracy['peer']:.3f}"
    return Row(what, "fit_probes", "scikit-learn", kit_seconds, peer_seconds, note=note)


# --- renderer -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Acted:
    """A head and how it moves.

    Attributes:
        coefficients: (T, 52).
        vertices: (T, V, 3) float32 of the mesh, dm.
        triangles: (F, 3).
        uv: (V, 2) in [0, 1].
        texture: (H, W, 4) uint8.
    """

    coefficients: np.ndarray
    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    texture: np.ndarray


def acted_head(num_frames: int) -> Acted:
    """A head of the studio with random actions."""
    random = np.random.default_rng(0)
    coefficients = np.clip(random.uniform(-0.2, 0.3, (num_frames, len(ACTIONS))), 0, 1)
    person = sample_person(0)
    model = person_model(person, 1)
    actions = load_head().actions
    vertices = np.repeat(model.vertices[None], num_frames, 0)
    for action in range(len(ACTIONS)):
        part = slice(actions.offsets[action], actions.offsets[action + 1])
        moves = coefficients[:, action, None, None] * actions.deltas[part]
        vertices[:, actions.vertex_ids[part]] += moves
    height, width = model.texture.shape[:2]
    return Acted(
        coefficients=coefficients,
        vertices=np.ascontiguousarray(vertices, np.float32),
        triangles=np.ascontiguousarray(model.triangles, np.int64),
        uv=(model.uv / (width, height)).astype(np.float32),
        texture=model.texture,
    )


def kit_rendering(acted: Acted, size: int) -> Call:
    """The clip by the studio's renderer."""
    num_frames = len(acted.coefficients)
    pose = np.zeros((num_frames, 6))
    gaze = np.zeros((num_frames, 2))
    return lambda: render(0, acted.coefficients, pose, gaze, 0, size)


def vtk_rendering(acted: Acted, size: int) -> Call:
    """The moved mesh by VTK: one texture, one light, 2x2 samples, the pixels read back."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy

    cells = np.insert(acted.triangles, 0, 3, axis=1).ravel()
    triangles = vtk.vtkCellArray()
    triangles.SetCells(len(acted.triangles), numpy_to_vtkIdTypeArray(cells, deep=True))
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(acted.vertices[0], deep=True))
    mesh = vtk.vtkPolyData()
    mesh.SetPoints(points)
    mesh.SetPolys(triangles)
    mesh.GetPointData().SetTCoords(numpy_to_vtk(acted.uv, deep=True))

    image = vtk.vtkImageData()
    height, width, channels = acted.texture.shape
    image.SetDimensions(width, height, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(acted.texture.reshape(-1, channels), deep=True))
    texture = vtk.vtkTexture()
    texture.SetInputData(image)
    mapper = vtk.vtkPolyDataMapper()
    mapper.SetInputData(mesh)
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    actor.SetTexture(texture)

    scene = vtk.vtkRenderer()
    scene.AddActor(actor)
    camera = scene.GetActiveCamera()
    camera.SetPosition(0, 0, CAMERA_DISTANCE)
    camera.SetFocalPoint(0, 0, 0)
    camera.SetViewAngle(np.degrees(CAMERA_ANGLE))
    scene.ResetCameraClippingRange()
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(4)
    window.SetSize(size, size)
    window.AddRenderer(scene)
    pixels = vtk.vtkUnsignedCharArray()

    def call() -> np.ndarray:
        frames = []
        for vertices in acted.vertices:
            points.SetData(numpy_to_vtk(vertices, deep=True))
            points.Modified()
            window.Render()
            window.GetPixelData(0, 0, size - 1, size - 1, 0, pixels, 0)
            frames.append(vtk_to_numpy(pixels).reshape(size, size, 3)[::-1].copy())
        return np.stack(frames)

    return call


def pyrender_rendering(acted: Acted, size: int) -> Call:
    """The moved mesh by pyrender: one texture, one light, the pixels read back."""
    import pyrender
    from PIL import Image

    renderer = pyrender.OffscreenRenderer(size, size)
    texture = pyrender.Texture(source=Image.fromarray(acted.texture), source_channels="RGBA")
    material = pyrender.MetallicRoughnessMaterial(baseColorTexture=texture)
    pose = np.eye(4)
    pose[2, 3] = CAMERA_DISTANCE

    def call() -> np.ndarray:
        frames = []
        for vertices in acted.vertices:
            primitive = pyrender.Primitive(
                positions=vertices,
                normals=vertices,
                texcoord_0=acted.uv * (1, -1) + (0, 1),  # it counts rows from below
                indices=acted.triangles,
                material=material,
            )
            scene = pyrender.Scene()
            scene.add(pyrender.Mesh([primitive]))
            scene.add(pyrender.PerspectiveCamera(yfov=CAMERA_ANGLE), pose=pose)
            scene.add(pyrender.DirectionalLight(intensity=3.0), pose=pose)
            frames.append(renderer.render(scene)[0])
        return np.stack(frames)

    return call


def measure_rendering(work: Path) -> list[Row]:
    """A frame of a talking head of 128 and of 256 pixels."""
    os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
    rows = []
    num_frames = 50
    acted = acted_head(num_frames)
    # Once VTK has opened its context, pyrender opens none.
    peers = {"pyrender": pyrender_rendering, "vtk": vtk_rendering}
    for package, make in peers.items():
        for size in (128, 256):
            kit = kit_rendering(acted, size)
            what = f"a rendered frame of {size} pixels"
            reason = missing(package)
            if not reason:
                try:
                    peer = make(acted, size)
                    if peer().std() < 1:
                        reason = "it draws an empty picture here"
                except Exception as error:  # no screen, no driver
                    reason = f"does not start here ({type(error).__name__})"
            if reason:
                seconds, _ = by_turns(kit, kit)
                rows.append(
                    Row(what, "studio", package, per_frame(seconds, num_frames), [], reason)
                )
                continue
            kit_seconds, peer_seconds = by_turns(kit, peer)
            rows.append(
                Row(
                    what,
                    "studio",
                    f"{package}, OpenGL in software",
                    per_frame(kit_seconds, num_frames),
                    per_frame(peer_seconds, num_frames),
                    note="the peer is given the moved mesh, and casts no sky light",
                )
            )
    return rows


def per_frame(seconds: list[float], num_frames: int) -> list[float]:
    return [value / num_frames for value in seconds]


# --- results --------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Path], list[Row]]] = {
    "step": measure_step,
    "losses": measure_losses,
    "features": measure_features,
    "edit": measure_edit,
    "probes": measure_probes,
    "rendering": measure_rendering,
}
NO_PEERS = ("decoding, encoding", "import torch")  # parts of what the kit does
PEERS = ("pytorch-metric-learning", "lightly", "scikit-learn", "vtk", "pyrender", "torch")


def table(record: dict[str, Any]) -> list[str]:
    """Lines of the table of ratios.

    Args:
        record: content of `results/speed/speed.json`.
    """
    lines = [
        "| what | the kit | peer | kit, ms | peer, ms | ratio (least to greatest) | |",
        "|---|---|---|---|---|---|---|",
    ]
    for part in PARTS:
        for row in record["parts"].get(part, {}).get("rows", []):
            lines.append(table_row(row))
    return lines


def table_row(row: dict[str, Any]) -> str:
    """One line of the table, of a `Row` as it is stored."""
    kit = np.array(row["kit_seconds"])
    begin = f"| {row['what']} | {row['kit']} | {row['peer']} | {milliseconds(np.median(kit))} | "
    if row["not_run"]:
        return f"{begin}not run: {row['not_run']} | | |"
    peer = np.array(row["peer_seconds"])
    # By turns, so each ratio is of two timings that followed each other.
    ratios = peer / kit
    ratio = np.median(peer) / np.median(kit)
    is_peer = row["peer"] not in NO_PEERS
    faster = "**the peer is faster**" if is_peer and ratios.max() < 1 else ""
    remark = "; ".join(filter(None, (faster, row["note"])))
    spread = f"{number(ratio)} ({number(ratios.min())} to {number(ratios.max())})"
    return f"{begin}{milliseconds(np.median(peer))} | {spread} | {remark} |"


def milliseconds(seconds: float) -> str:
    return number(1000 * seconds)


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def page(record: dict[str, Any]) -> str:
    """The text of results/speed/README.md.

    Args:
        record: content of `results/speed/speed.json`.
    """
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    head = (
        "# Speed beside peers\n\n"
        "Made by `python scripts/compare_speed.py`, which says how. Times are of the processor, "
        "with one numeric thread, medians of two to five timings by turns; they were taken while "
        f"others used the same {record['cores']} cores. A ratio is the peer's time over the kit's: "
        "above 1 "
        "the kit is faster. Rows beside decoding and encoding have no peer: their ratio says what "
        "part of an edit those are.\n\n"
    )
    lines = [*table(record), "", f"Versions: {versions}."]
    not_run = [part for part in PARTS if part not in record["parts"]]
    if not_run:
        lines.append(f"Parts of the script that were not run: {', '.join(not_run)}.")
    return head + "\n".join(lines) + "\n"


def versions() -> dict[str, str]:
    """Package -> version, of those that are installed."""
    installed = {}
    for name in PEERS:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def load_record() -> dict[str, Any]:
    """What has been measured, empty where nothing has."""
    if RECORD.exists():
        return read_json(RECORD, fields={"parts": dict})
    return {"parts": {}}


def main() -> None:
    """Measure the parts that are asked for and not there; write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("runs/speed"), help="folder for clips")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--again", action="store_true", help="also what is measured already")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for part in arguments.only.split(","):
        if arguments.again or part not in load_record()["parts"]:
            rows = PARTS[part](arguments.work)
            record = load_record()  # anew: another call may have measured another part
            record["parts"][part] = {"rows": [vars(row) for row in rows]}
            write_json(RECORD, record | {"cores": os.cpu_count(), "versions": versions()})
    record = load_record()
    with atomic_path(RESULTS / "README.md") as temporary:
        temporary.write_text(page(record))
    print("\n".join(table(record)))


if __name__ == "__main__":
    main()
