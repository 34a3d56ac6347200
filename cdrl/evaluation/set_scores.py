"""FAD and CSIM, distances between sets of frames: on the kit's networks, and on the papers' where a user names their weights."""

from collections.abc import Callable, Iterable

import numpy as np

from cdrl.evaluation.edit_evaluation import tensor
from cdrl.evaluation.estimate import Estimate
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.realism import (
    frechet_distance,
    load_published,
    published_features,
    set_similarity,
)

# Score -> the network that it is computed on, as `SetReader.read` names it.
KIT = {"frechet.identity": "identity", "similarity.judge_a": "judge_a"}
PUBLISHED = {"fad": "face", "csim": "expression"}
_FRECHET = ("frechet.identity", "fad")
ENOUGH = 2  # frames per feature that a covariance is estimated from


class SetReader:
    """What every network of FAD and CSIM says of crops.

    Args:
        judges: with `identity` and `judge_a`. config: `arcface` and `efficient_face` name files of weights, or are empty.
    """

    def __init__(self, judges: Judges, config):
        named = {"face": config.arcface, "expression": config.efficient_face}
        self.judges, self.published = (
            judges,
            {kind: load_published(kind, path) for kind, path in named.items() if path},
        )

    def read(self, frames: np.ndarray, kit: bool = True) -> dict:
        """(T, S, S, 3) uint8 -> {network: (T, D)}; without `kit` the published networks alone."""
        images = tensor(frames)
        mine = (
            {
                "identity": self.judges.identity(images),
                "judge_a": self.judges.features("judge_a", images),
            }
            if kit
            else {}
        )
        return mine | {
            kind: published_features(network, frames) for kind, network in self.published.items()
        }


def published_scores(
    prefix: str,
    outputs: Callable[[int], np.ndarray],
    edits_,
    reader: SetReader,
    originals: list[dict],
) -> tuple[dict, list[str]]:
    """`set_scores` of edits with a true edit, on the published networks: every edit keeps its own timing, so the protocol is `intra`.

    Args:
        outputs: number of an edit -> (T, S, S, 3) uint8. edits_: `cdrl.evaluation.edit_evaluation.Edits`. originals: of `read_originals`.
    """
    seen = [reader.read(outputs(k), kit=False) for k in range(len(edits_))]
    return set_scores(
        prefix,
        seen,
        edits_.requests.clips.assign(protocol="intra"),
        edits_.report.clips,
        originals,
        PUBLISHED,
    )


def read_originals(crops: Iterable[np.ndarray], reader: SetReader) -> list[dict]:
    """What the published networks say of each untouched clip, (T, S, S, 3) uint8."""
    return [reader.read(frames, kit=False) for frames in crops]


def set_scores(
    prefix: str, seen: list[dict], wanted, clips, originals: list[dict], scores: dict
) -> tuple[dict, list[str]]:
    """FAD and CSIM per protocol and emotion, and their plain mean over emotions, as in the release's tables.

    The real set is the untouched frames of the SOURCE actors in the target emotion. FAD pools the actors, CSIM is a mean over them.

    Args:
        seen: features of each edit, {network: (T, D)}. wanted: the table of edits. clips: of the report. originals: features of each
            of its clips. scores: {score: network}; those whose network was not asked are skipped.

    Returns:
        Rows `PREFIX.SCORE.PROTOCOL[.EMOTION]`, and lines of what had too few frames.
    """
    rows, lines = {}, []
    scores = {name: network for name, network in scores.items() if network in seen[0]}
    for protocol in sorted(set(wanted.protocol)):
        for name, network in scores.items():
            found, few, enough = {}, [], ENOUGH * seen[0][network].shape[1]
            for emotion in sorted(set(wanted.emotion[wanted.protocol == protocol])):
                mine = np.flatnonzero((wanted.protocol == protocol) & (wanted.emotion == emotion))
                who = wanted.speaker.to_numpy()[mine]
                real = {
                    actor: np.flatnonzero((clips.emotion == emotion) & (clips.speaker == actor))
                    for actor in sorted(set(who))
                }
                real = {
                    actor: np.concatenate([originals[clip][network] for clip in numbers])
                    for actor, numbers in real.items()
                    if len(numbers)
                }
                made = {
                    actor: np.concatenate([seen[k][network] for k in mine[who == actor]])
                    for actor in sorted(set(who))
                }
                if name not in _FRECHET:
                    each = [set_similarity(real[actor], made[actor]) for actor in real]
                    found |= {emotion: float(np.mean(each))} if each else {}
                elif min(sum(map(len, part.values())) for part in (made, real)) >= enough:
                    found[emotion] = frechet_distance(
                        np.concatenate(list(real.values())), np.concatenate(list(made.values()))
                    )
                else:
                    few.append(emotion)
            if few:
                lines.append(
                    f"left out {name} of {protocol} edits to {', '.join(few)}: fewer than {enough} frames, made or real"
                )
            rows |= {
                f"{prefix}.{name}.{protocol}.{emotion}": Estimate(value)
                for emotion, value in found.items()
            }
            if found:
                rows[f"{prefix}.{name}.{protocol}"] = Estimate(
                    float(np.mean(list(found.values()))), details={"emotions": len(found)}
                )
    return rows, lines
