"""What can be read from frozen embeddings by people and sentences the probe never saw: the wanted, and the leak.

A wanted factor is scored by the linear probe, an unwanted one by the HIGHEST of the three (`cdrl.evaluation.probes`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.evaluation.estimate import Estimate, estimate_score, mean_statistics
from cdrl.evaluation.probe_splits import clip_means, sample_frames, split_clips
from cdrl.evaluation.probes import PROBE_KINDS, ProbeResult, fit_probes, leak_share, spearman_probe

FACTORS = ("viseme", "phoneme", "sentence", "emotion", "intensity", "speaker")
FRAME_FACTORS = ("viseme", "phoneme")
WANTED = {"content": ("viseme", "phoneme", "sentence"), "emotion": ("emotion", "intensity")}
# At most this many frames fit a frame probe (fewer than 20,000 understate a leak) and at most this many score it:
# the three probes cost about 8 CPU seconds then, and the interval is over speakers anyway.
MAX_FIT, MAX_SCORE = 20_000, 6_000


@dataclass(frozen=True)
class ProbeCorpus:
    """What every score below reads: the clips, their frames, and how to sample them.

    Attributes:
        clips: speaker, sentence, emotion, intensity, num_frames and optionally fit, score (bool), one row per clip.
        frames: `frame_table` of these clips.
    """

    clips: pd.DataFrame
    frames: pd.DataFrame
    seed: int = 0
    max_fit: int = MAX_FIT
    max_score: int = MAX_SCORE

    def split_rows(self, factor: str, per_clip: bool) -> tuple[np.ndarray, np.ndarray]:
        """Rows (clips, or sampled frames) that fit and that score a probe of `factor`."""
        fit, score = split_clips(self.clips, factor, self.seed)
        if per_clip:
            return np.flatnonzero(fit), np.flatnonzero(score)
        clip = self.frames["clip"].to_numpy()
        return sample_frames(clip, fit, self.max_fit, self.seed), sample_frames(
            clip, score, self.max_score, self.seed
        )

    def missing_reason(self, factor: str, per_clip: bool) -> str:
        """Why a factor cannot be probed in these clips; "" where it can."""
        table = self.clips if per_clip else self.frames
        if factor not in table:
            return f"no truth about {factor} on this corpus"
        try:
            fit, score = self.split_rows(factor, per_clip)
        except InputError as error:
            return str(error)
        if factor == "intensity":
            fit, score = (
                rows[(table["emotion"] != "neutral").to_numpy()[rows]] for rows in (fit, score)
            )
        few = min(table[factor].iloc[rows].nunique() for rows in (fit, score))
        return "" if few > 1 else f"fewer than two values of {factor} to fit, or to score"

    def probe(
        self,
        features,
        factor: str,
        per_clip: bool = False,
        kinds=PROBE_KINDS,
        permuted: bool = False,
    ) -> ProbeResult:
        """Probe `factor` in (N, D) frame features, per frame or in clip means."""
        table = self.clips if per_clip else self.frames
        fit, score = self.split_rows(factor, per_clip)
        features = (
            clip_means(features, self.frames["clip"].to_numpy(), len(self.clips))
            if per_clip
            else features
        )
        labels, speakers = table[factor].to_numpy(), table["speaker"].to_numpy()
        parts = features[fit], labels[fit], features[score], labels[score]
        return fit_probes(*parts, kinds, speakers[score], self.seed, permuted)

    def probe_with_null(
        self, features, factor: str, per_clip: bool = False, kinds=PROBE_KINDS
    ) -> dict:
        """`read` as a row, and beside it what its predictions score without information.

        `null` is the mean of 199 relabellings, `null_low` to `null_high` the interval that holds 99 % of them (three
        probes are tried: 95 % would be too narrow).
        """
        result = self.probe(features, factor, per_clip, kinds)
        _, rows = self.split_rows(factor, per_clip)
        clip = rows if per_clip else self.frames["clip"].to_numpy()[rows]
        labels = (self.clips if per_clip else self.frames)[factor].to_numpy()[rows]
        drawn = relabelled(result.predicted[result.best], labels, clip, self.seed)
        low, high = np.quantile(drawn, [0.005, 0.995])
        estimate = result.estimate(seed=self.seed)
        return estimate.with_details(
            null=float(drawn.mean()), null_low=float(low), null_high=float(high)
        )

    def probe_intensity(self, features, per_clip: bool = True, permuted: bool = False) -> dict:
        """Spearman of intensity; neutral, which has one level only, is left out."""
        table = self.clips if per_clip else self.frames
        features = (
            clip_means(features, self.frames["clip"].to_numpy(), len(self.clips))
            if per_clip
            else features
        )
        dial = (table["emotion"] != "neutral").to_numpy()
        fit, score = (rows[dial[rows]] for rows in self.split_rows("intensity", per_clip))
        values, speakers = table["intensity"].to_numpy(), table["speaker"].to_numpy()
        parts = features[fit], values[fit], features[score], values[score]
        return spearman_probe(*parts, speakers[score], self.seed, permuted)


def content_scores(
    embedding,
    corpus: ProbeCorpus,
    raw=None,
    prefix: str = "content",
    permuted: bool = False,
    known: dict | None = None,
) -> dict[str, Estimate]:
    """The probe rows of a content embedding.

    Args:
        embedding: (N, D) per frame, its audio exchanged where it has one (with the right audio: prefix "content_av").
        raw: (N, E) the input features, for the share of the speaker leak that is left (or what `raw_results` read from
            them); no share where None.
        permuted: fit on shuffled labels (prefix "control.permuted.content"). known: what `raw_results` read from this embedding.

    Returns:
        `PREFIX.viseme` (linear), `.emotion`, `.emotion_clip`, `.speaker` (highest of three), `.speaker_share`; each a
        row with value, chance, low, high, n, n_fit, balanced, and the three probes' own accuracies. What the corpus lacks
        (`ProbeCorpus.missing_reason`) has no row.
    """
    seed, options, rows = corpus.seed, {"permuted": permuted}, {}
    if not corpus.missing_reason("viseme", False):
        rows["viseme"] = corpus.probe(embedding, "viseme", kinds=("linear",), **options).estimate(
            seed=seed
        )
    for name, per_clip in (("emotion", False), ("emotion_clip", True)):
        if not corpus.missing_reason("emotion", per_clip):
            rows[name] = corpus.probe(embedding, "emotion", per_clip=per_clip, **options).estimate(
                seed=seed
            )
    if corpus.missing_reason("speaker", False):
        return {f"{prefix}.{name}": cells for name, cells in rows.items()}
    speaker = known["speaker"] if known else corpus.probe(embedding, "speaker", **options)
    rows["speaker"] = speaker.estimate(seed=seed)
    if raw is not None:
        rows["speaker_share"] = leak_share(speaker, _of(raw, corpus, "speaker", False), seed)
    return {f"{prefix}.{name}": cells for name, cells in rows.items()}


def emotion_scores(
    embedding, corpus: ProbeCorpus, raw=None, prefix: str = "emotion", permuted: bool = False
) -> dict[str, Estimate]:
    """The probe rows of an emotion embedding.

    Args:
        embedding: (N, D) per frame; clip rows read the mean over the clip. raw, permuted: as in `content_scores`.

    Returns:
        `PREFIX.emotion` (clip, linear; `_2`, `_3`: only clips of that intensity, where neutral has none),
        `.emotion_frame` (linear), `.intensity` (Spearman), `.viseme` (frame), `.sentence`, `.speaker` (clip), highest
        of three, and `_share` of the last three: what is left of the raw features' excess over chance. What the corpus
        lacks (`ProbeCorpus.missing_reason`) has no row.
    """
    seed, options = corpus.seed, {"permuted": permuted}
    rows = {}
    if not corpus.missing_reason("emotion", True):
        emotion = corpus.probe(embedding, "emotion", per_clip=True, kinds=("linear",), **options)
        rows["emotion"] = emotion.estimate(seed=seed)
        for level in (2, 3):
            rows[f"emotion_{level}"] = _at_intensity(emotion, corpus, level)
        rows["emotion_frame"] = corpus.probe(
            embedding, "emotion", kinds=("linear",), **options
        ).estimate(seed=seed)
    if not corpus.missing_reason("intensity", True):
        rows["intensity"] = corpus.probe_intensity(embedding, **options)
    for factor in (
        name
        for name in ("viseme", "sentence", "speaker")
        if not corpus.missing_reason(name, name != "viseme")
    ):
        result = corpus.probe(embedding, factor, per_clip=factor != "viseme", **options)
        rows[factor] = result.estimate(seed=seed)
        if raw is not None:
            rows[f"{factor}_share"] = leak_share(
                result, _of(raw, corpus, factor, factor != "viseme"), seed
            )
    return {f"{prefix}.{name}": cells for name, cells in rows.items()}


def raw_results(raw, corpus: ProbeCorpus, factors: dict[str, bool]) -> dict[str, ProbeResult]:
    """Probe the input features once for many embeddings: factor -> read per clip? gives factor -> result."""
    return {
        factor: corpus.probe(raw, factor, per_clip)
        for factor, per_clip in factors.items()
        if not corpus.missing_reason(factor, per_clip)
    }


def _of(raw, corpus: ProbeCorpus, factor: str, per_clip: bool) -> ProbeResult:
    return raw[factor] if isinstance(raw, dict) else corpus.probe(raw, factor, per_clip)


def _at_intensity(result: ProbeResult, corpus: ProbeCorpus, level: int) -> dict:
    """The clip probe of emotion scored on one intensity; chance: the majority class of its fitting clips."""
    fit, score = corpus.split_rows("emotion", per_clip=True)
    strength, emotion = corpus.clips["intensity"].to_numpy(), corpus.clips["emotion"].to_numpy()
    keep = strength[score] == level
    names, counts = np.unique(emotion[fit][strength[fit] == level], return_counts=True)
    if not keep.any() or not len(names):
        nan = float("nan")
        return Estimate(nan, nan, nan, 0, nan)
    truth, guess = emotion[score][keep], result.predicted["linear"][keep]
    chance = float(np.mean(truth == names[counts.argmax()]))
    return estimate_score(
        mean_statistics(guess == truth),
        result.groups[keep],
        corpus.seed,
        chance=chance,
        balanced=float(
            np.mean([np.mean(guess[truth == name] == name) for name in np.unique(truth)])
        ),
        n_fit=result.n_fit,
        probe="linear",
    )


def permuted_scores(
    scores: Callable[..., dict[str, dict]],
    embedding,
    corpus: ProbeCorpus,
    prefix: str,
    draws: int = 5,
) -> dict[str, Estimate]:
    """`content_scores` or `emotion_scores` with probes fitted on permuted labels: a control, every row at chance.

    An embedding in few tight clusters gives each cluster one random label, so that one permutation may score far from
    chance: the mean over permutations (each on other frames, 5,000 at most) does not. Of three probes the highest MEAN
    counts.

    Args:
        scores: `content_scores` or `emotion_scores`. prefix: "control.permuted.content".

    Returns:
        Rows with value, chance (means over permutations), low, high (least and greatest permutation), n (permutations).
    """
    small = {"max_fit": min(5000, corpus.max_fit), "max_score": min(2500, corpus.max_score)}
    runs = [
        scores(
            embedding,
            replace(corpus, seed=corpus.seed + draw, **small),
            prefix=prefix,
            permuted=True,
        )
        for draw in range(draws)
    ]
    rows = {}
    for name in runs[0]:
        drawn = [found[name] for found in runs]
        kinds = [kind for kind in PROBE_KINDS if kind in drawn[0].details]
        values_of = {kind: [cells.details[kind] for cells in drawn] for kind in kinds}
        values_of = values_of or {"value": [cells.value for cells in drawn]}
        best = max(values_of, key=lambda kind: np.mean(values_of[kind]))
        values = values_of[best]
        chance = float(np.mean([cells.chance for cells in drawn]))
        rows[name] = Estimate(
            float(np.mean(values)), float(min(values)), float(max(values)), draws, chance
        ).with_details(probe=best)
    return rows


def leakage_matrix(
    embeddings: dict[str, np.ndarray],
    corpus: ProbeCorpus,
    factors: tuple[str, ...] = FACTORS,
    kinds: tuple[str, ...] = PROBE_KINDS,
) -> pd.DataFrame:
    """Which z holds which factor, per frame and in clip means.

    Args:
        embeddings: name -> (N, D) per frame; "content" and "emotion" have wanted factors (`WANTED`), any other name
            (the input features: the baseline) has neither wanted nor unwanted ones.
        factors: of `FACTORS`. Frames: all of them; clip means: those that a clip has one of.

    Returns:
        Tidy: z, factor, level (frame | clip), wanted (True, False or None), score, chance, corrected, low, high, n,
        n_fit, probe, p and one column per kind. `corrected` = (score - chance) / (1 - chance), 0 for a useless code, 1
        for a perfect one; intensity's score is Spearman's rho and stands as it is. `low`, `high` belong to `score`.
        `p`: share of 199 relabellings of the scored part (whole clips exchanged) that the same predictions fit as well
        or better.
    """
    table = []
    for name, features in embeddings.items():
        for factor in factors:
            for level in ("frame", "clip")[: 1 if factor in FRAME_FACTORS else 2]:
                wanted = factor in WANTED[name] if name in WANTED else None
                cells = _cell(features, corpus, factor, level == "clip", kinds, wanted)
                table.append(
                    {"z": name, "factor": factor, "level": level, "wanted": wanted, **cells}
                )
    return pd.DataFrame(table)


def _cell(features, corpus: ProbeCorpus, factor: str, per_clip: bool, kinds, wanted) -> dict:
    if factor == "intensity":
        cells = corpus.probe_intensity(features, per_clip)
        return {"score": cells.value, "corrected": cells.value, "probe": "ridge", **cells.numbers()}
    result = corpus.probe(features, factor, per_clip, kinds)
    cells = result.estimate("linear" if wanted and "linear" in kinds else None, corpus.seed)
    score, chance = cells.value, cells.chance
    _, rows = corpus.split_rows(factor, per_clip)
    clip = rows if per_clip else corpus.frames["clip"].to_numpy()[rows]
    labels = (corpus.clips if per_clip else corpus.frames)[factor].to_numpy()[rows]
    p = relabelling_p(result.predicted[cells.details["probe"]], labels, clip, corpus.seed)
    return {
        "score": score,
        "corrected": (score - chance) / (1 - chance),
        **cells.numbers(),
        "probe": cells.details["probe"],
        "p": p,
    }


def relabelled(
    predicted: np.ndarray, labels: np.ndarray, clip: np.ndarray, seed: int = 0, draws: int = 199
) -> np.ndarray:
    """(draws,) accuracies of fixed predictions under relabellings, whole clips exchanged: what they score without information.

    Args:
        predicted, labels: (n,). clip: (n,) the clip of each row; clips keep their own run of labels in order.
    """
    rng = np.random.default_rng([seed, 7006])
    runs = np.split(np.arange(len(clip)), np.flatnonzero(clip[1:] != clip[:-1]) + 1)
    constant = all(np.all(labels[run] == labels[run[0]]) for run in runs)
    found = []
    for _ in range(draws):
        order = rng.permutation(len(runs))
        if constant:  # one label a clip: exchange the labels, whatever the clips' lengths
            other = np.concatenate(
                [np.full(len(run), labels[runs[at][0]]) for run, at in zip(runs, order)]
            )
        else:
            other = labels[np.concatenate([runs[at] for at in order])]
        found.append(np.mean(predicted == other))
    return np.array(found)


def relabelling_p(
    predicted: np.ndarray, labels: np.ndarray, clip: np.ndarray, seed: int = 0, draws: int = 199
) -> float:
    """Share of relabellings (`relabelled`) that fixed predictions fit at least as well (the true one counted).

    Args:
        predicted, labels, clip: (n,), as there.

    Returns:
        p in [1 / (draws + 1), 1]; uniform for predictions that know nothing.
    """
    beaten = 1 + np.sum(
        relabelled(predicted, labels, clip, seed, draws) >= np.mean(predicted == labels)
    )
    return float(beaten / (draws + 1))


def selectivity(matrix: pd.DataFrame) -> dict[str, float]:
    """Mean corrected score of the wanted factors minus that of the unwanted, per z: 1 perfect, 0 useless."""
    judged = matrix[matrix["wanted"].notna()]
    means = judged.groupby(["z", judged["wanted"].astype(bool)])["corrected"].mean().unstack()
    return {str(z): float(line[True] - line[False]) for z, line in means.iterrows()}
