"""Notebook 05: the editor with CDRL guidance and without, its edits and their videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm.auto import tqdm

from cdrl.core.files import read_array, read_json, write_array, write_json
from cdrl.core.settings import GeneratorConfig, stage_folder
from cdrl.core.stage import made_with
from cdrl.corpora import samples
from cdrl.corpora.adapters import crema_d_labels
from cdrl.corpora.store import Store
from cdrl.editing.pipeline import edit_clip, edit_clip_at, edit_video
from cdrl.editing.requests import load_requests
from cdrl.editors.base import ClipEditor, Editor
from cdrl.editors.constant_baseline import fit_constant
from cdrl.editors.image import fit_person
from cdrl.editors.loading import load_editor
from cdrl.evaluation.edit_tasks import Edits, TrueEdits
from cdrl.media import faces
from cdrl.media.encoding import write_video
from cdrl.media.video import read_video
from cdrl.models.field_network import WORKING_SIZE
from cdrl.models.image_editor import ImageEditor
from cdrl.representation.guidance import Guidance
from cdrl.stages.s00_corpus import has_truth
from cdrl.stages.s01_priors import open_features
from cdrl.stages.s05_training import (
    edits_actions,
    make_students,
    run_editor,
    train_variant,
    training_clips,
)
from cdrl.studio import corpus as studio
from cdrl.studio.acting import act
from cdrl.training.side_by_side import side_by_side

TRAINED = ("baseline", "cdrl")  # the variants of a run; the others are the study's
LOSSES = ("content", "emotion", "reconstruction", "cycle")  # terms that the results list
VIDEO_SIZE = 256  # pixels of a rendered frame
VIDEO_CROP = 224  # pixels of its face
VIDEO_RATE = 25.0  # Hz
LEVELS = 3  # intensity 1 is level 3
CAPTIONS = "captions.json"  # beside the videos: {file name: text}
REAL_EDIT = "real-1001-neutral-to-happy.mp4"
REAL_NOTE = (
    "synthetic: CREMA-D 1001 edited to happy; left source, middle edit, right his own happy clip"
)
REAL_CAPTION = "CREMA-D 1001 (ODbL): source, edit to happy, and his own happy clip (its own timing)"
FITTED_CAPTION = (
    "CREMA-D 1001 (ODbL): source, edit to happy fitted without his happy clip, and that clip "
    "(its own timing)"
)


def generate(run: Path, config: GeneratorConfig, out: Path) -> dict[str, float]:
    """Notebook 05: train the editor with CDRL and without, make every edit, write videos.

    Args:
        run: folder of the run.
        config: the stage's settings.
        out: the stage's folder.

    Returns:
        `spfem.EDITOR.VARIANT.loss.*`: the last values of the loss terms;
        `spfem.EDITOR.constant.left.*`: see `fit_constant`.
    """
    if edits_actions(config):
        with side_by_side(_make_constant, [(run, config, out)], config):
            make_students(run, config, out)

    with side_by_side(_make_references, [(run, config, out)], config) as beside:
        scores = _train_and_edit(run, config, "cdrl", out)

    [references] = beside
    numbers = _edits_in_videos(run, config.videos)
    with side_by_side(write_videos, [(run, numbers[1:])], config) as others:
        captions = write_videos(run, numbers[:1])
        captions |= edit_real_person(run, config, load_editor(out / "cdrl"))

    write_json(run / "videos" / CAPTIONS, captions | others[0])
    return references | scores


def _make_references(run: Path, config: GeneratorConfig, out: Path) -> dict[str, float]:
    """Make the edits that CDRL is compared with: the constant one, and that without guidance."""
    scores = _make_constant(run, config, out)
    return scores | _train_and_edit(run, config, "baseline", out)


def _make_constant(run: Path, config: GeneratorConfig, out: Path) -> dict[str, float]:
    """Make the constant edit where there are true edits, once; the scores of its fit."""
    edits = open_edits(run, config.size)
    if not isinstance(edits, TrueEdits):
        return {}

    scores = {}
    residuals = _fit_constant(training_clips(run), edits, out / "constant")
    for name, value in residuals.items():
        scores[f"spfem.{editor_name(config)}.constant.left.{name}"] = value
    return scores


def editor_name(config: GeneratorConfig) -> str:
    """Return what the scores of a stage's editor are called: actions or image.

    Args:
        config: the stage's settings.
    """
    return "actions" if edits_actions(config) else "image"


def editor_of_run(run: Path) -> str:
    """Return what the scores of a run's editor are called: actions or image.

    Args:
        run: folder of a run whose editor is trained.
    """
    editor = made_with(run, "generator", "editor", "image")
    return "actions" if editor == "actions" else "image"


def _train_and_edit(
    run: Path, config: GeneratorConfig, variant: str, out: Path
) -> dict[str, float]:
    """Train a variant and make its edits; the last values of its loss terms."""
    editor, history = train_variant(run, config, variant, out)
    last = history.tail(5).mean()
    scores = {}
    for term in LOSSES:
        scores[f"spfem.{editor_name(config)}.{variant}.loss.{term}"] = float(last[term])

    make_edits(open_edits(run, config.size), editor, out / variant / "outputs.npy")
    return scores


def _fit_constant(store: Store, edits: TrueEdits, out: Path) -> dict[str, float]:
    """Fit the constant edit and make its edits, once; what it leaves, see `fit_constant`."""
    residuals = out / "left.json"
    outputs = out / "outputs.npy"
    if not outputs.exists():
        constant, values = fit_constant(store)
        write_json(residuals, values)
        make_edits(edits, constant, outputs)

    return read_json(residuals, dict)


def open_edits(run: Path, size: int) -> Edits:
    """Open what is edited into what, with the true edits where the corpus has them.

    Args:
        run: folder of the run.
        size: side of the crops, pixels.
    """
    if not has_truth(run):
        return Edits(*load_requests(run), size)

    corpus = stage_folder(run, "corpus")
    return TrueEdits(Store(corpus / "report"), Store(corpus / "edits"), size)


def make_edits(edits: Edits, editor: Editor, out: Path) -> None:
    """Make every edit at the requested level, and write all crops, (N, S, S, 3) uint8.

    Args:
        edits: which clip becomes which emotion.
        editor: what makes them.
        out: an .npy file; nothing is done where it is there.
    """
    if out.exists():
        return

    edited = []
    for edit in tqdm(range(len(edits)), desc="edits", mininterval=2):
        edited += edit_at_scales(editor, edits, edit, [1.0])

    write_array(out, np.concatenate(edited))


def edit_at_scales(
    editor: Editor, edits: Edits, edit: int, scales: Sequence[float]
) -> list[np.ndarray]:
    """Make one edit at the requested level times some scales.

    An editor that looks at a clip before is told the clip's own emotion, where it has a label.

    Args:
        editor: what makes it.
        edits: which clip becomes which emotion.
        edit: its number.
        scales: of the intensity.

    Returns:
        (T, S, S, 3) uint8 crops for each scale.
    """
    source_emotion = edits.report.clips.emotion[edits.sources[edit]]
    is_known = isinstance(editor, ClipEditor) and source_emotion in editor.card.emotions
    return edit_clip_at(
        editor,
        edits.source(edit),
        edits.target_emotions[edit],
        [edits.intensity(edit, scale) for scale in scales],
        edits.frame_rate(edit),
        source_emotion if is_known else None,
    )


def edit_real_person(run: Path, config: GeneratorConfig, editor: Editor) -> dict[str, str]:
    """Make a real person happy: `RUN/videos/real-*.mp4`.

    It shows source, edit, and his own happy clip (other timing: it is no true edit).

    The facial-action editor starts from the neutral clip's own emotion, where it learnt that one.
    The image editor is fitted to his other clips first, never to his happy one.

    Args:
        run: folder of the run.
        config: the stage's settings.
        editor: stays as it is.

    Returns:
        {file name: caption}.
    """
    path = run / "videos" / REAL_EDIT
    if not path.exists():
        clips = {crema_d_labels(clip)["emotion"]: clip for clip in samples.sample_paths()}
        edited = run / "videos" / "alone.mp4"
        source_emotion = None
        if not edits_actions(config):
            editor = _fit_to_person(run, config, editor)
        elif "neutral" in editor.card.emotions:
            source_emotion = "neutral"
        edit_video(clips["neutral"], "happy", edited, editor=editor, source_emotion=source_emotion)
        _write_side_by_side([clips["neutral"], edited, clips["happy"]], path)
        edited.unlink()

    return {path.name: REAL_CAPTION if edits_actions(config) else FITTED_CAPTION}


def _fit_to_person(run: Path, config: GeneratorConfig, editor: Editor) -> Editor:
    """Fit the image editor to the samples' person, without his happy clip."""
    store = open_features(run, "real").store
    guidance = Guidance(run)
    image_editor = cast(ImageEditor, editor)
    fitted, _ = fit_person(
        image_editor, store, guidance, ("happy",), ("happy",), config.fit_steps, seed=config.seed
    )
    return fitted


def _write_side_by_side(clips: list[Path], out: Path) -> None:
    """Write clips side by side, as long as the first and with its sound; others stand still."""
    frames_of_clips = [read_video(clip).frames for clip in clips]
    positions = np.arange(len(frames_of_clips[0]))

    columns = []
    for frames in frames_of_clips:
        stopped = np.minimum(positions, len(frames) - 1)
        columns.append(frames[stopped])

    audio = read_video(clips[0]).audio
    write_video(out, np.concatenate(columns, 2), VIDEO_RATE, audio, {"comment": REAL_NOTE})


def edit_grid(run: Path, columns: int) -> tuple[np.ndarray, list[str]]:
    """Show the middle frames of some edits.

    Args:
        run: folder of the run.
        columns: most edits.

    Returns:
        (4, columns, S, S, 3) uint8 frames: source, baseline, cdrl and, where there is one, true
        edit; and a text for each column.
    """
    folder = stage_folder(run, "generator")
    outputs = [read_array(folder / name / "outputs.npy", 4, mapped=True) for name in TRAINED]
    edits = open_edits(run, outputs[0].shape[1])
    requests = edits.requests.clips

    grid = []
    texts = []
    for edit in _spread(len(edits), columns):
        middle = int(requests.num_frames.iloc[edit]) // 2
        row = edits.requests.frames(edit).start + middle

        cells = [edits.source(edit)[middle]]
        for crops in outputs:
            cells.append(crops[row])
        if isinstance(edits, TrueEdits):
            cells.append(edits.truth(edit)[middle])
        grid.append(cells)

        source_emotion = edits.report.clips.emotion[edits.sources[edit]]
        request = requests.iloc[edit]
        texts.append(f"{source_emotion} → {request.emotion} {request.intensity}")

    return np.array(grid).swapaxes(0, 1), texts


def _spread(total: int, number: int) -> np.ndarray:
    """Return at most `number` positions, evenly spread over `total`."""
    return np.linspace(0, total - 1, min(number, total)).astype(int)


def _edits_in_videos(run: Path, number: int) -> list[int]:
    """Choose the edits that get a video, at most so many, evenly spread."""
    edits = open_edits(run, WORKING_SIZE)
    return np.unique(_spread(len(edits), number)).tolist()


def write_videos(run: Path, numbers: Sequence[int]) -> dict[str, str]:
    """Write source and edit side by side, full frames with the source's sound: `RUN/videos/*.mp4`.

    A generated corpus shows the true edit too.

    Args:
        run: folder of the run.
        numbers: of the edits.

    Returns:
        {file name: caption}.
    """
    edits = open_edits(run, WORKING_SIZE)
    editor = run_editor(run, stage_folder(run, "generator") / "cdrl")
    folder = run / "videos"
    folder.mkdir(exist_ok=True)

    write_video_of_edit = _write_rendered if isinstance(edits, TrueEdits) else _write_real
    captions = {}
    for edit in numbers:
        path, caption = write_video_of_edit(edits, edit, editor, folder)
        captions[path.name] = caption
    return captions


def _write_rendered(edits: Edits, edit: int, editor: Editor, folder: Path) -> tuple[Path, str]:
    """Write source, edit and true edit of a rendered clip; return the file and its caption."""
    source: Any = edits.report.clips.iloc[edits.sources[edit]]
    request: Any = edits.requests.clips.iloc[edit]

    name = source["name"]
    path = folder / f"{name}-to-{request.emotion}-{request.intensity}.mp4"
    caption = (
        f"{source.emotion} to {request.emotion}, level {request.intensity}: source, edit, true edit"
    )
    if path.exists():
        return path, caption

    spec = studio.spec_of(name)
    performance = act(spec)
    frames, _ = studio.render_performance(spec, performance, VIDEO_SIZE)
    truth = studio.render_edit(spec, request.emotion, request.intensity, VIDEO_SIZE)

    edited = _edit_frames(editor, frames, name, edits.report.crop, request, VIDEO_RATE)
    columns = np.concatenate([frames, edited, truth], 2)
    note = {"comment": f"synthetic: {caption}"}
    write_video(path, columns, VIDEO_RATE, performance.audio, note)

    return path, caption


def _write_real(edits: Edits, edit: int, editor: Editor, folder: Path) -> tuple[Path, str]:
    """Write source and edit of a real clip; return the file and its caption."""
    number = int(edits.sources[edit])
    source: Any = edits.report.clips.iloc[number]
    request: Any = edits.requests.clips.iloc[edit]

    name = source["name"]
    path = folder / f"edit-{name}-to-{request.emotion}-{request.intensity}.mp4"
    caption = f"{source.emotion} to {request.emotion}, level {request.intensity}: source, edit"
    if path.exists():
        return path, caption

    rate = float(source.frame_rate)
    frames = read_video(Path(source.media), rate, require_audio=False).frames
    edited = _edit_frames(editor, frames, name, edits.report.crop, request, rate)

    columns = np.concatenate([frames, edited], 2)
    note = {"comment": f"synthetic: {caption}"}
    write_video(path, columns, rate, edits.report.sound(number), note)

    return path, caption


def _edit_frames(
    editor: Editor, frames: np.ndarray, name: str, crop: str, request: Any, rate: float
) -> np.ndarray:
    """Edit full frames, (T, H, W, 3) uint8: find the face, crop, edit, paste."""
    alignment = faces.align(frames, name=name, crop=crop)
    crops = faces.crop(frames, alignment, VIDEO_CROP)
    edited = edit_clip(editor, crops, request.emotion, request.intensity / LEVELS, rate)

    return faces.paste(frames, edited, alignment)
