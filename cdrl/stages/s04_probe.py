"""Notebook 04: every score of the two embeddings, with the rows beside it and the controls."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed, parallel_config

from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import MOUTH_INDEX, VISEMES
from cdrl.corpora.store import Store
from cdrl.evaluation import controls, dependence, estimate, leakage, retrieval, swap
from cdrl.evaluation.probe_splits import frame_table
from cdrl.evaluation.projection import map_quality, umap_map
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.features import Features
from cdrl.representation.content import embed_content
from cdrl.representation.emotion import embed_clips, embed_emotion
from cdrl.representation.guidance import load_encoder
from cdrl.stages.notes import write_notes
from cdrl.stages.s01_priors import open_features
from cdrl.stages.s04_real_clips import real_scores
from cdrl.stages.s04_speech import Speech


def probe(run: Path, config, out: Path) -> dict:
    """Notebook 04: every score of the two embeddings on people and sentences that nothing was trained on.

    Writes embeddings and map coordinates; a later call reads them.

    Returns:
        content.*, content_av.*, emotion.*, raw.*, hsic.*, rank.*, control.*, real.*: each with chance, interval and n. On a corpus
        without truth the scores that need it are missing, and `notes.json` says which and why.
    """
    features = open_features(run, "report")
    store = features.store
    frames = frame_table(
        store.clips,
        *(store.truth[name][:] for name in ("viseme", "phoneme") if name in store.truth),
    )
    clips = halved(store.clips) if "viseme" in store.truth else store.clips
    corpus = leakage.Corpus(clips, frames, config.seed, config.fit_frames)
    speech = Speech(features, corpus, config)
    content_folder, emotion_folder = stage_folder(run, "content"), stage_folder(run, "emotion")
    encoder, emotional = (
        load_encoder(ContentEncoder, content_folder),
        load_encoder(EmotionEncoder, emotion_folder),
    )
    content, emotion = embed_content(encoder, features), embed_emotion(emotional, features)
    heard = embed_content(encoder, features, audio_rows=np.arange(len(store)))
    raw = np.concatenate([features.face[:], features.mouth[:]], 1).astype(np.float32)
    save = {
        "content": content,
        "emotion": emotion,
        "emotion_clip": embed_clips(emotional, features),
    }
    seen = np.concatenate([features.language[:], features.mouth[:]], 1).astype(np.float32)
    known, *found = side_by_side(
        config.workers,
        delayed(leakage.raw_results)(raw, corpus, {"speaker": False}),
        delayed(leakage.emotion_scores)(emotion, corpus, seen),
        delayed(leakage.content_scores)(heard, corpus, prefix="content_av"),
        delayed(leakage.permuted_scores)(
            leakage.content_scores, content, corpus, "control.permuted.content"
        ),
    )
    found += side_by_side(
        config.workers,
        delayed(leakage.content_scores)(raw, corpus, prefix="raw", known=known),
        delayed(leakage.content_scores)(content, corpus, known),
    )
    rows = {name: cells for part in found for name, cells in part.items()}
    rows |= speech_rows(features, corpus, encoder, config, "content", speech)
    rows |= compare_rows(features, corpus, speech)
    rows |= control_rows(run, features, corpus, config, speech)
    rows, lines = without_truth(rows, corpus, speech) if speech.dtw else (rows, [])
    real, left_out = real_scores(run, config)
    rows |= real
    if lines + left_out:
        write_notes(out, lines + left_out)
    rows["hsic.content_emotion"] = dependence.hsic(
        content, emotion, frames["clip"].to_numpy(), seed=config.seed
    )
    scores = estimate.lines(rows) | {
        "rank.content": dependence.effective_rank(content),
        "rank.emotion": dependence.effective_rank(emotion),
    }
    for name in ("content", "emotion"):
        coordinates, chosen = umap_map(save[name], config.seed, n_frames=config.map_points)
        np.save(out / f"map_{name}.npy", coordinates)
        np.save(out / f"map_{name}_rows.npy", chosen)
        scores |= {
            f"map.{name}.{key}": value
            for key, value in map_quality(save[name][chosen], coordinates).items()
        }
    for name, values in save.items():
        np.save(out / f"{name}.npy", values.astype(np.float16))
    return scores


def side_by_side(workers: int, *calls) -> list:
    """Results of joblib's delayed calls, each in a process of one thread: probes gain little from more."""
    with parallel_config(backend="loky", inner_max_num_threads=1):
        return Parallel(n_jobs=workers)(calls)


def halved(clips: pd.DataFrame) -> pd.DataFrame:
    """Clips with a column `fit`: the people who say the first speaker's sentences fit the probes, the others score."""
    first = clips.loc[clips.speaker == min(clips.speaker), "sentence"]
    return clips.assign(fit=clips.sentence.isin(first))


def without_truth(rows: dict, corpus, speech: Speech) -> tuple[dict, list[str]]:
    """Rows that say something on a corpus without truth, and a line for each kind of score that is left out."""
    asked = [(name, False) for name in ("viseme", "emotion", "speaker")]
    asked += [(name, True) for name in ("emotion", "intensity", "sentence", "speaker")]
    reasons = {(factor, per_clip): corpus.lacks(factor, per_clip) for factor, per_clip in asked}
    lines = [
        f"left out {name}{' per clip' if clip else ''}: {reason}"
        for (name, clip), reason in reasons.items()
        if reason
    ]
    empty = sorted(name for name, cells in rows.items() if not np.isfinite(cells["value"]))
    lines += (
        [
            f"left out {', '.join(empty)}: no clip of that kind scores, or there is nothing to divide by"
        ]
        if empty
        else []
    )
    lines += [
        "moments are matched by DTW on the audio prior (retrieval_dtw_r1, swap_image_dtw): no phone times are known"
    ]
    alone = corpus.clips["sentence"].nunique() == 1 and not corpus.lacks("emotion", True)
    lines += (
        ["emotion is probed with other people and the same one sentence: there is no other"]
        if alone
        else []
    )
    rows = {name: cells for name, cells in rows.items() if name not in empty}
    known = {
        name: {k: v for k, v in cells.items() if not isinstance(v, float) or np.isfinite(v)}
        for name, cells in rows.items()
    }
    return known, lines + speech.left_out


def speech_rows(features: Features, corpus, encoder, config, prefix: str, speech: Speech) -> dict:
    """Retrieval and the two swaps of one content encoder: image only, and with the right audio as `PREFIX_av`."""
    rows, guided = {}, partial(_embed_pair, encoder, features)
    for name, embed in (
        (prefix, lambda image, audio: embed_content(encoder, features, image)),
        (f"{prefix}_av", guided),
    ):
        rows |= speech.rows(name, embed)
        rows[f"{name}.swap_audio"] = swap.swap_audio(embed, corpus.frames, seed=config.seed)
    return rows


def _embed_pair(encoder, features, image, audio):
    return embed_content(encoder, features, image, audio)


def compare_rows(features: Features, corpus, speech: Speech) -> dict:
    """The same retrieval and swap for the raw features and, where known, the true mouth coefficients, over five frames."""
    store, frames = features.store, corpus.frames
    everything = np.arange(len(store))
    mouth, face = (x.flatten(1).numpy() for x in features.windows(everything, ("mouth", "face"), 5))
    candidates = {"raw": np.concatenate([mouth, face], 1)}
    if "coefficients" in store.truth:
        truth = np.asarray(store.truth["coefficients"][:], np.float32)[:, MOUTH_INDEX]
        clip = frames["clip"].to_numpy()
        first, last = np.searchsorted(clip, clip, "left"), np.searchsorted(clip, clip, "right") - 1
        around = np.clip(everything[:, None] + np.arange(-2, 3), first[:, None], last[:, None])
        candidates["truth"] = truth[around].reshape(len(truth), -1)
    rows = {}
    for name, values in candidates.items():
        values = retrieval.standardise(values)
        rows |= speech.rows(name, lambda image, audio, v=values: v[image])
    return rows


def control_rows(run: Path, features: Features, corpus, config, speech: Speech) -> dict:
    """Constant and noise images, shuffled pairs, a head that was never trained."""
    folder, rows = stage_folder(run, "content"), {}
    torch.manual_seed(config.seed)
    untrained = ContentEncoder(
        **{
            "face": features.face.shape[1],
            "mouth": features.mouth.shape[1],
            "audio": features.audio.shape[1],
        }
    ).eval()
    for name, encoder in (
        ("shuffled", load_encoder(ContentEncoder, folder / "shuffled")),
        ("untrained", untrained),
    ):
        code = embed_content(encoder, features)
        rows |= speech.rows(f"control.{name}.content", lambda image, audio, c=code: c[image])
    for kind in ("constant", "noise"):
        blank = controls.without_information(features, kind, seed=1)
        code = embed_content(load_encoder(ContentEncoder, folder / kind), blank)
        rows |= leakage.content_scores(code, corpus, prefix=f"control.{kind}.content")
        code = embed_emotion(
            load_encoder(EmotionEncoder, stage_folder(run, "emotion") / kind), blank
        )
        if corpus.lacks("emotion", True):
            continue
        rows[f"control.{kind}.emotion.emotion"] = corpus.read(
            code, "emotion", per_clip=True, kinds=("linear",)
        ).row(seed=config.seed)
    return rows


def factors_of_frames(run: Path, rows: np.ndarray) -> dict:
    """Labels of the (n,) frames `rows` of the reporting store, for the colours of a map: {name: (n,)}."""
    store = Store(stage_folder(run, "corpus") / "report")
    labels = {
        name: store.per_frame(name)[rows]
        for name in ("emotion", "speaker", "sentence", "intensity")
    }
    return (
        {"viseme": np.array(VISEMES)[store.truth["viseme"][:][rows]], **labels}
        if "viseme" in store.truth
        else labels
    )


def known(scores: dict, names: list[str]) -> list[str]:
    """Those of the names that a run has scored, in order; what is lacking is told by `read_notes`."""
    return [name for name in names if name in scores]


def bars(scores: dict, names: list[str]) -> tuple:
    """What `score_bars` draws: the names that were scored, and for each (N,) value, chance, low, high and n, nan where there is none."""
    names = known(scores, names)
    return names, *(
        [scores.get(name + part, float("nan")) for name in names]
        for part in ("", ".chance", ".low", ".high", ".n")
    )
