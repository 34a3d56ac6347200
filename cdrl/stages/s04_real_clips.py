"""The real sample clips in notebook 04: the run's encoders before and after a fit, on clips that had no part in the fit."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.torch import load_file

from cdrl.core.errors import InputError
from cdrl.core.results import read_results
from cdrl.core.settings import ContentConfig, EmotionConfig, from_dict, stage_folder
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.evaluation import estimate, retrieval, swap
from cdrl.evaluation.probe_splits import frame_table
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.features import Features
from cdrl.representation.content import embed_content, sound_units
from cdrl.representation.emotion import EmotionSampler, embed_clips
from cdrl.representation.finetune import fit_content, fit_emotion, only
from cdrl.representation.guidance import load_encoder
from cdrl.representation.pairs import PairSampler
from cdrl.stages.s01_priors import open_features
from cdrl.stages.s04_speech import matching

TRIPLES = 400  # of the image swap, per fold
BLOCK = 12  # frames, half a second: what the bootstrap draws again, since neighbours share their windows
LEFT_OUT = "left out real.fitted, real.gain"


@dataclass(frozen=True)
class Fold:
    """Two clips that are left out of a fit together, and what is asked of them.

    Attributes:
        clips: their numbers. looked_for: for either clip (T,) its rows, the (S,) rows of the other, and (T,) where in those each
            moment is. triples: of the image swap, both ways.
    """

    clips: tuple[int, int]
    looked_for: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    triples: swap.Triples


def real_scores(run: Path, config) -> tuple[dict, list[str]]:
    """What six clips of one actor and one sentence say of a run's encoders, as trained and fitted to the other clips of the six.

    Args:
        config: `ProbeConfig`.

    Returns:
        Rows real.{retrieval_r1,swap_image,emotion_nearest} of the encoders as trained, real.fitted.* on clips that were left out of
        the fit, real.gain.* the paired difference, real.raw.* of the raw features; real.{content,raw}.{aligned,unaligned}, mean
        cosines of all pairs of clips. And a line for what is left out.
    """
    clips = open_features(run, "real")
    try:
        folds = draw_folds(clips, config.seed)
    except InputError as error:
        return {}, [f"left out real: {error}"]
    encoder, emotion_folder = (
        load_encoder(ContentEncoder, stage_folder(run, "content")),
        stage_folder(run, "emotion"),
    )
    windows = clips.windows(np.arange(len(clips.store)), ("mouth", "face"), 5)
    raw = retrieval.standardise(np.concatenate([x.flatten(1).numpy() for x in windows], 1))
    content = embed_content(encoder, clips)
    emotional, text = (
        load_encoder(EmotionEncoder, emotion_folder),
        load_file(emotion_folder / "targets.safetensors")["text"],
    )
    measured = {"real.raw": speech_measures(folds, [raw] * len(folds))}
    measured["real"] = speech_measures(folds, [content] * len(folds)) | {
        "emotion_nearest": _nearest(emotional, text, clips)
    }
    fitted, lines = _fitted(run, clips, folds, config, encoder, emotional)
    measured |= {"real.fitted": fitted} if fitted else {}
    rows = {
        f"{prefix}.{name}": estimate.row(measure, groups, config.seed, chance=chance)
        for prefix, found in measured.items()
        for name, (measure, groups, chance) in found.items()
    }
    for name, (measure, groups, _) in fitted.items():
        rows[f"real.gain.{name}"] = estimate.paired_difference(
            measure, measured["real"][name][0], groups, config.seed
        )
    return rows | agreement("real.content", content, clips) | agreement(
        "real.raw", raw, clips
    ), lines


def draw_folds(clips: Features, seed: int = 0) -> list[Fold]:
    """Every clip in one fold, with one of another emotion: six clips make three folds, and for each four clips are left to fit to.

    Raises:
        InputError: fewer than two clips, or moments that cannot be aligned.
    """
    table, (moments, alike) = clips.store.clips, matching(clips)
    if len(table) < 2:
        raise InputError(
            f"{len(table)} real clip{'s' * (len(table) != 1)}: a moment of one has to be found in another"
        )
    order = table.sort_values("emotion", kind="stable").index.tolist()
    folds, rows = (
        [],
        [np.arange(len(clips.store))[clips.store.frames(clip)] for clip in range(len(table))],
    )
    for one, two in zip(order[: len(order) // 2], order[len(order) // 2 :]):
        here = table.index.isin((one, two))
        alone = table.assign(
            speaker=table["name"], emotion=table["emotion"].where(here, "left out")
        )  # no other speaker: each clip is one
        triples = swap.draw_triples(alone, frame_table(table), TRIPLES, seed, moments, alike)
        found = [
            (rows[a], rows[b], moments(a, b))
            for a, b in ((one, two), (two, one))
            if moments(a, b) is not None
        ]
        folds.append(Fold((one, two), found, triples))
    return folds


def speech_measures(folds: list[Fold], codes: list[np.ndarray]) -> dict:
    """Retrieval and swap of one code per fold, each (N, D), over all folds.

    Returns:
        {"retrieval_r1", "swap_image"}: the measure, what its bootstrap draws again, and its chance. A moment that is looked for both
        ways is drawn together with its neighbours within half a second.
    """
    hits, chance, wins, groups = [], [], [], {"hit": [], "win": []}
    for fold, code in zip(folds, codes, strict=True):
        unit = retrieval.unit_rows(code)
        for query, shelf, path in fold.looked_for:
            hit, by_lot = retrieval.hits(unit[query], unit[shelf], path, len(shelf))
            hits, chance = [*hits, *hit], [*chance, *by_lot]
            groups["hit"].extend(np.minimum(query, shelf[np.round(path).astype(int)]) // BLOCK)
        wins.extend(swap.wins(lambda image, audio, code=code: code[image], fold.triples))
        groups["win"].extend(np.minimum(fold.triples.anchor, fold.triples.right) // BLOCK)
    return {
        "retrieval_r1": (estimate.mean_of(hits), np.array(groups["hit"]), float(np.mean(chance))),
        "swap_image": (estimate.mean_of(wins), np.array(groups["win"]), 0.5),
    }


def _nearest(encoder: EmotionEncoder, text: np.ndarray, clips: Features) -> tuple:
    """Whether the own label's prompt, of eight, is the nearest to each clip: as `speech_measures`; a clip is drawn again as a whole."""
    found = (embed_clips(encoder, clips) @ np.asarray(text).T).argmax(1)
    hits = found == clips.store.clips["emotion"].map(emotion_index).to_numpy()
    return estimate.mean_of(hits), np.arange(len(hits)), 1 / len(EMOTIONS)


def _fitted(
    run: Path,
    clips: Features,
    folds: list[Fold],
    config,
    encoder: ContentEncoder,
    emotional: EmotionEncoder,
) -> tuple[dict, list]:
    """The measures after the fit, each fold by encoders fitted to the clips outside it; or nothing, and the reason."""
    train = open_features(run, "train")
    seen = set(zip(train.store.clips["corpus"], train.store.clips["speaker"]))
    if not config.fit_steps:
        return {}, [f"{LEFT_OUT}: probe.fit_steps is 0"]
    if seen & set(zip(clips.store.clips["corpus"], clips.store.clips["speaker"])):
        return {}, [f"{LEFT_OUT}: the encoders were trained on clips of this actor already"]
    made = read_results(stage_folder(run, "emotion"))["stages"]
    ccrl, cerl = (
        from_dict(ContentConfig, made["content"]["config"]),
        from_dict(EmotionConfig, made["emotion"]["config"]),
    )
    pairs, units = (
        pd.read_parquet(stage_folder(run, "content") / "pairs.parquet"),
        sound_units(train, ccrl),
    )
    codes, nearest = [], np.full(len(clips.store.clips), np.nan)
    try:
        before = PairSampler(train, pairs, replace(ccrl, batch=max(1, ccrl.batch // 2)))
        emotions = EmotionSampler(train, replace(cerl, batch=max(1, cerl.batch // 2)))
        for fold in folds:
            part = only(clips, [clip for clip in range(len(nearest)) if clip not in fold.clips])
            codes.append(
                embed_content(
                    fit_content(encoder, part, before, units, ccrl, config.fit_steps), clips
                )
            )
            turned, text = fit_emotion(
                emotional,
                part,
                emotions,
                made["priors"]["config"]["language"],
                cerl,
                config.fit_steps,
            )
            nearest[list(fold.clips)] = _nearest(turned, text, only(clips, list(fold.clips)))[
                0
            ].sums[:, 0]
    except InputError as error:
        return {}, [f"{LEFT_OUT}: {error}"]
    return speech_measures(folds, codes) | {
        "emotion_nearest": (estimate.mean_of(nearest), np.arange(len(nearest)), 1 / len(EMOTIONS))
    }, []


def agreement(prefix: str, code: np.ndarray, clips: Features) -> dict:
    """Mean cosine of the (N, D) `code` along the aligned moments of all pairs of clips, and of unaligned ones, as rows."""
    unit, found, store = retrieval.unit_rows(code), {"aligned": [], "unaligned": []}, clips.store
    moments, rows = (
        matching(clips)[0],
        [np.arange(len(store))[store.frames(clip)] for clip in range(len(store.clips))],
    )
    for one in range(len(rows)):
        for two in range(one):
            if moments(one, two) is None:
                continue
            partner = rows[two][np.round(moments(one, two)).astype(int)]
            found["aligned"].append((unit[rows[one]] * unit[partner]).sum(1).mean())
            found["unaligned"].append((unit[rows[one]] @ unit[rows[two]].T).mean())
    return {
        f"{prefix}.{name}": {"value": float(np.mean(values)), "pairs": len(values)}
        for name, values in found.items()
    }
