"""The edit half of the study: one job is one host, one variant and one seed; what all jobs share is made first.

A host is one entry of `HOSTS`: (work, settings, row, seed, edits) -> what makes an edit, and its losses. All variants of a host get
the same steps, batch, start, people and settings of the dial; baseline and cdrl of the image host two further weights each.
"""

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cdrl.baselines.released.guidance import ReleasedGuidance, train_released
from cdrl.core.checkpoint import checksum, weights_path
from cdrl.core.files import write_json
from cdrl.core.settings import (
    ContentConfig,
    EmotionConfig,
    GeneratorConfig,
    StudyConfig,
    config_hash,
    edit_hash,
)
from cdrl.corpora.store import Store
from cdrl.editing.pipeline import edit_clip
from cdrl.editors import manipulator as coefficients
from cdrl.editors.actions import RENDERER, ActionEditor, load_renderer
from cdrl.editors.constant import fit_constant
from cdrl.editors.image import VARIANTS, train_image_editor
from cdrl.editors.paired import WEIGHTS, train_paired_image_editor
from cdrl.evaluation import estimate
from cdrl.evaluation.edit_evaluation import (
    LISTED,
    TrueEdits,
    dials_of,
    load_references,
    read_references,
    save_references,
    statistics,
    statistics_of,
    sweep,
    variant_rows,
)
from cdrl.evaluation.judges import Judges
from cdrl.priors.actions import READER
from cdrl.representation.content import train_content
from cdrl.representation.emotion import train_emotion
from cdrl.representation.guidance import Guidance
from cdrl.studio import edits as studio_edits
from cdrl.study.action_jobs import (
    Expected,
    Rendered,
    coefficient_settings,
    make_students,
    tracked_readings,
    tracker_folder,
    trained_host,
)
from cdrl.study.curve_jobs import SCORES, best_curves, read_pairs
from cdrl.study.jobs import encoder_folder, features_of, pairs_of
from cdrl.study.rows import EDIT

SHARED = {
    "references": "references.npz",
    "tracked": "{tracker}/tracked.npz",
    "guidance": "guidance/{}/03_emotion",
    "released": "released/{}/model.safetensors",
    "students": "{tracker}/students/{}/model.safetensors",
    "curves": "curves.npz",
}
TRACKED = ("coefficient", "drawn")  # one host shown in two ways; who comes second finds it trained
RENDERED = (128, 96)  # pixels of the frame and of the crop, as in the study's corpora
NOT_PICTURES = tuple(name for name in LISTED if name not in ("psnr", "mouth_l1", "identity"))


def edit_place(work: Path, config: StudyConfig) -> Path:
    """Folder of everything that edits with these settings share; other settings, losses or start have another."""
    settings = (
        *encoder_settings(config, 0),
        generator_settings(config, 0),
        coefficient_settings(config, 0),
    )
    known = [
        [config_hash(each) for each in settings],
        VARIANTS,
        WEIGHTS,
        coefficients.VARIANTS,
        checksum(weights_path("generator_start")),
    ]
    return Path(work) / f"edit_{edit_hash(config, known)}"


def encoder_settings(config: StudyConfig, seed: int) -> tuple[ContentConfig, EmotionConfig]:
    """Those of the method's own rows, so that encoders that are there are not trained again."""
    return ContentConfig(steps=config.content_steps, pairs=config.pairs, seed=seed), EmotionConfig(
        steps=config.emotion_steps, seed=seed
    )


def generator_settings(
    config: StudyConfig, seed: int, change: dict | None = None
) -> GeneratorConfig:
    """The same for every variant, unless the row is about a weight."""
    weights = {name: value for name, value in (change or {}).items() if name != "variant"}
    return GeneratorConfig(
        size=config.edit_size,
        steps=config.edit_steps,
        batch=config.edit_batch,
        seed=seed,
        **weights,
    )


def edit_job_path(place: Path, name: str, seed: int) -> Path:
    """Where the scores of one job lie; its statistics beside them, as .npz. With another tracker or renderer its jobs are done again."""
    used = {"coefficient": (READER,), "drawn": (READER, RENDERER)}.get(name.partition(".")[0], ())
    return (
        Path(place)
        / "jobs"
        / ".".join([name, str(seed), *(checksum(weights_path(each))[:8] for each in used), "json"])
    )


def carry_jobs(source: Path, target: Path) -> None:
    """Copy finished jobs that `target` lacks: they are small, and a study goes on where its results are, on another machine too."""
    for scores in sorted(Path(source).glob("*.json")):
        if not (target / scores.name).exists():
            target.mkdir(parents=True, exist_ok=True)
            for path in (
                scores.with_suffix(".npz"),
                scores,
            ):  # the scores last: they say that a job is done
                partial = target / f"{path.name}.partial"
                shutil.copyfile(path, partial)
                partial.replace(target / path.name)


def opened(work: Path, config: StudyConfig) -> TrueEdits:
    """The reporting people's clips and true edits."""
    return TrueEdits(
        Store(Path(work) / config.split),
        Store(edit_place(work, config) / "truth"),
        config.edit_size,
    )


def prepare(work: Path, config: StudyConfig, jobs: list) -> list[list[tuple]]:
    """Render the true edits that the jobs need, and list what is left to be made by `make_shared`, one process each.

    The true edits of the training people are rendered, and read, for the variants `paired` alone.

    Returns:
        Lists of (what, seed), each of which needs those before it.
    """
    place, names = edit_place(work, config), {variant_of(name) for _, name, _ in jobs}
    wanted = [("truth", Store(work / config.split), config.edits)] if names else []
    wanted += [("paired", Store(work / "train"), config.edit_pairs)] if "paired" in names else []
    for name, store, number in wanted:
        if not (place / name / "store.json").exists():
            studio_edits.generate_edits(
                store,
                studio_edits.draw_edits(store, number),
                place / name,
                *RENDERED,
                config.workers,
            )

    def seeds(*hosts: str) -> list[int]:
        return sorted(
            {
                seed
                for _, name, seed in jobs
                if name.partition(".")[0] in hosts
                and variant_of(name) in VARIANTS.keys() - {"released"}
            }
        )

    first = [("references", 0)] if names else []
    first += [("tracked", 0)] if any(name.startswith("coefficient.") for _, name, _ in jobs) else []
    first += [("curves", 0)] if any(name == "curves.paired" for _, name, _ in jobs) else []
    first += [("guidance", seed) for seed in seeds("image", *TRACKED)]
    first += [
        ("released", seed)
        for seed in sorted({seed for _, name, seed in jobs if variant_of(name) == "released"})
    ]
    phases = [first, [("students", seed) for seed in seeds(*TRACKED)]]
    return [[item for item in phase if not shared_path(place, *item).exists()] for phase in phases]


def shared_path(place: Path, what: str, seed: int = 0) -> Path:
    """Where `make_shared` leaves something; what depends on the tracker lies in a folder of that tracker."""
    return Path(place) / SHARED[what].format(seed, tracker=tracker_folder(place).name)


def make_shared(work: Path, config: StudyConfig, what: str, seed: int) -> None:
    """What several jobs read: the networks' view of the truth, of sources tracked and rendered, and for one seed the encoders."""
    place, work = edit_place(work, config), Path(work)
    if what == "references":
        return save_references(
            read_references(opened(work, config), Judges()), place / "references.npz"
        )
    if what == "tracked":
        found = tracked_readings(opened(work, config), Judges())
        return save_references(
            {"another": np.zeros(0), "source": found, "truth": found}, shared_path(place, what)
        )
    if what == "curves":
        return read_pairs(
            Store(work / "train"), Store(place / "paired"), config.edit_size, place / "curves.npz"
        )
    if what == "students":
        make_students(
            work,
            config,
            seed,
            place / "guidance" / str(seed),
            shared_path(place, what, seed).parent,
        )
        return None
    train = features_of(work, "train", "actions")
    content, emotion = encoder_settings(config, seed)
    pairs = pairs_of(work, ContentConfig(pairs=config.pairs, seed=seed))
    if what == "released":
        train_released(
            train,
            pairs,
            "embedded",
            (config.released_steps, config.emotion_steps),
            seed,
            place / "released" / str(seed),
        )
        return None
    folders = {
        "02_content": encoder_folder(work, "content", content),
        "03_emotion": encoder_folder(work, "emotion", emotion),
    }
    if not (folders["02_content"] / "model.safetensors").exists():
        train_content(train, pairs, content, folders["02_content"])
    if not (folders["03_emotion"] / "model.safetensors").exists():
        train_emotion(train, emotion, "embedded", folders["03_emotion"])
    for name, folder in folders.items():
        link = place / "guidance" / str(seed) / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(folder.resolve())


def variant_of(name: str) -> str:
    """How a row is trained.

    >>> variant_of("image.cdrl"), variant_of("image.cdrl_half")
    ('cdrl', 'cdrl')
    """
    return (EDIT[name].change or {}).get("variant", name.partition(".")[2])


def image_host(
    work: Path, config: StudyConfig, name: str, seed: int, edits: TrueEdits
) -> tuple[Callable, dict]:
    """The image host trained as the row says: (number of an edit, dial) -> edited crops (T, S, S, 3) uint8, and its losses."""
    place, settings, variant = (
        edit_place(work, config),
        generator_settings(config, seed, EDIT[name].change),
        variant_of(name),
    )
    store, folder = Store(Path(work) / "train"), place / "hosts" / f"{name}.{seed}"
    if variant == "constant":
        edit, left = fit_constant(store)
        return partial(_edited, edit, edits), {
            f"left.{name}": value for name, value in left.items()
        }
    if variant == "paired":
        wanted = Store(place / "paired")
        number = {name: k for k, name in enumerate(store.clips.name)}
        origin = np.array([number[studio_edits.source_of(name)] for name in wanted.clips.name])
        generator, history = train_paired_image_editor(
            store, wanted, origin, settings, folder, settings.start
        )
    elif variant == "released":
        guidance = ReleasedGuidance(place / "released" / str(seed))
        audio = features_of(Path(work), "train", "actions").audio
        generator, history = train_image_editor(
            store, guidance, settings, variant, folder, settings.start, audio
        )
    else:
        generator, history = train_image_editor(
            store,
            Guidance(place / "guidance" / str(seed)),
            settings,
            variant,
            folder,
            settings.start,
        )
    return partial(_edited, generator, edits), losses_of(history)


def _edited(generator, edits: TrueEdits, edit: int, dial: float) -> np.ndarray:
    return edit_clip(generator, edits.source(edit), edits.target[edit], edits.intensity(edit, dial))


def action_manipulator(
    work: Path, config: StudyConfig, name: str, seed: int, edits: TrueEdits
) -> tuple[Callable, dict]:
    """The coefficient host trained as the row says, its edits rendered with the true person, pose and light; see `image_host`."""
    host, history = trained_host(work, config, variant_of(name), seed, edit_place(work, config))
    return Rendered(edits, host), losses_of(history)


def drawn_host(
    work: Path, config: StudyConfig, name: str, seed: int, edits: TrueEdits
) -> tuple[Callable, dict]:
    """The same coefficient host on pixels alone: tracked in the source's crops, drawn on them by the committed neural renderer."""
    host, history = trained_host(work, config, variant_of(name), seed, edit_place(work, config))
    return partial(_edited, ActionEditor(host, load_renderer()), edits), losses_of(history)


def losses_of(history) -> dict:
    """The last values of every term, and by how much the sum still moved: the last quarter's mean less the one's before it, as a share."""
    terms = history.drop(columns="step")
    quarter = max(1, len(terms) // 4)
    before, last = (
        terms.total.iloc[-2 * quarter : -quarter].mean(),
        terms.total.iloc[-quarter:].mean(),
    )
    return {f"loss.{name}": float(value) for name, value in terms.tail(5).mean().items()} | {
        "loss.total.change": float(last / before - 1)
    }


HOSTS = {"image": image_host, "coefficient": action_manipulator, "drawn": drawn_host}


def edit_job(work: Path, config: StudyConfig, name: str, seed: int) -> None:
    """Train one variant of one host with one seed, make every edit at every setting of its dial, and write what the networks say."""
    torch.manual_seed(seed)
    begin, place = time.monotonic(), edit_place(work, config)
    host = name.partition(".")[0]
    edits, references = opened(work, config), load_references(place / "references.npz")
    scores, judges, losses = NOT_PICTURES if host == "coefficient" else LISTED, Judges(), {}
    nothing = (
        load_references(shared_path(place, "tracked"))["source"]
        if host == "coefficient"
        else references["source"]
    )
    if variant_of(name) == "copy_source":
        curve, dials = [statistics(edits.source, edits, references, judges, name, scores)], [1.0]
    elif name == "curves.truth":
        curve, dials = [statistics_of(references["truth"], edits, references, SCORES)], [1.0]
    elif host == "curves":
        found = best_curves(
            edits, [reading["curves"] for reading in references["source"]], place / "curves.npz"
        )
        curve, dials = (
            [statistics_of([{"curves": one} for one in found], edits, references, SCORES)],
            [1.0],
        )
    elif variant_of(name) == "tracked":
        curve, dials = [statistics_of(nothing, edits, references, scores)], [1.0]
    elif variant_of(name) == "expected":
        curve, dials = [statistics(Expected(edits), edits, references, judges, name, scores)], [1.0]
    else:
        edit, losses = HOSTS[host](Path(work), config, name, seed, edits)
        trained, dials = time.monotonic() - begin, [0.0, *dials_of(config.edit_sweep)]
        plain = statistics(lambda k: edit(k, 1.0), edits, references, judges, name, scores)
        curve = sweep(
            statistics_of(nothing, edits, references),
            plain,
            dials[1:],
            edit,
            edits,
            references,
            judges,
            name,
        )
        losses["seconds"] = trained
    path = edit_job_path(place, name, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{dial:g}/{score}": sums
        for dial, found in zip(dials, curve, strict=True)
        for score, sums in found.items()
    }
    np.savez_compressed(path.with_suffix(".partial.npz"), **arrays)
    path.with_suffix(".partial.npz").replace(path.with_suffix(".npz"))
    rows = variant_rows(f"spfem.{name}", curve[dials.index(1.0)], references, edits, seed)
    lines = estimate.lines(rows) | {f"spfem.{name}.{key}": value for key, value in losses.items()}
    write_json(path, {"scores": lines, "seconds": round(time.monotonic() - begin, 1)})
