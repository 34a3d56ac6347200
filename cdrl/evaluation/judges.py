"""The networks that score and never supervise: two emotion judges, a tracker, an identity network.

Made from a torchvision architecture that no training network of the kit shares, on a third set of people and sentences
(`judge` split), from other seeds. They are of two families: judge_a, the tracker
(wider) and the identity network are ShuffleNet-v2, judge_b is MobileNet-v3. So judge_a and the tracker may share errors.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from sklearn.linear_model import LogisticRegression
from torch import nn

from cdrl.core.checkpoint import load_card, load_weights, save_weights
from cdrl.core.vocabulary import ACTIONS, SCORED_EMOTIONS
from cdrl.corpora import batches
from cdrl.corpora.store import Store
from cdrl.training.loop import LoopConfig, train

SIZE = 64  # the demo's generator writes 64 px crops; every video is judged at this size
# name -> torchvision architecture, training seed
NETWORKS = {
    "judge_a": ("shufflenet_v2_x0_5", 101),
    "judge_b": ("mobilenet_v3_small", 202),
    "tracker": ("shufflenet_v2_x1_0", 303),
    "identity": ("shufflenet_v2_x0_5", 404),
}


class FrameNet(nn.Module):
    """A torchvision classifier body with `outputs` numbers at its end.

    Example:
        FrameNet("shufflenet_v2_x0_5", 7)(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    """

    def __init__(self, architecture: str, outputs: int):
        super().__init__()
        self.body = getattr(torchvision.models, architecture)(weights=None, num_classes=outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) RGB in [0, 1], any size -> (B, outputs)."""
        if images.shape[-2:] != (SIZE, SIZE):
            images = F.interpolate(
                images, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
            )
        return self.body((images - 0.45) / 0.25)

    def last(self) -> nn.Linear:
        """The layer that gives the outputs."""
        return [layer for layer in self.body.modules() if isinstance(layer, nn.Linear)][-1]


class Judges:
    """All four networks, loaded, each called on the frames of one clip.

    Args:
        names: which to load.
    """

    def __init__(self, names: tuple = tuple(NETWORKS)):
        self.cards = {name: load_card(name) for name in names}
        self.nets = {
            name: load_weights(name, FrameNet(**card["model"])) for name, card in self.cards.items()
        }

    @torch.no_grad()
    def _run(self, name: str, frames: torch.Tensor) -> np.ndarray:
        return torch.cat([self.nets[name](part) for part in frames.split(128)]).numpy()

    def emotion(self, name: str, frames: torch.Tensor) -> np.ndarray:
        """(T, 3, H, W) RGB in [0, 1] -> (7,) probabilities over `SCORED_EMOTIONS`, the mean over frames; uniform is 1/7."""
        logits = torch.from_numpy(self._run(name, frames))[:, : len(SCORED_EMOTIONS)]
        return logits.softmax(1).mean(0).numpy()

    def track(self, frames: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """(T, 3, H, W) -> facial actions (T, 52), clipped to [0, 1], and landmarks (T, L, 2), relative to the crop."""
        out, card = self._run("tracker", frames), self.cards["tracker"]
        out = out * np.array(card["deviation"]) + np.array(card["mean"])
        coefficients, landmarks = out[:, : len(ACTIONS)], out[:, len(ACTIONS) :]
        return np.clip(coefficients, 0, 1).astype(np.float32), landmarks.reshape(
            len(out), -1, 2
        ).astype(np.float32)

    @torch.no_grad()
    def features(self, name: str, frames: torch.Tensor) -> np.ndarray:
        """(T, 3, H, W) -> (T, D): what a network's last layer reads."""
        net, kept = self.nets[name], []
        hook = net.last().register_forward_pre_hook(lambda layer, given: kept.append(given[0]))
        try:
            self._run(name, frames)
        finally:
            hook.remove()
        return torch.cat(kept).numpy()

    def identity(self, frames: torch.Tensor) -> np.ndarray:
        """(T, 3, H, W) -> (T, 64), unit norm; another frame of the same person is near 1."""
        return F.normalize(torch.from_numpy(self._run("identity", frames)), dim=1).numpy()


def train_reader(
    name: str, corpus: Store, work: Path, steps: int
) -> tuple[FrameNet, np.ndarray, np.ndarray]:
    """Train one network to read facial actions and landmarks from one crop, in units of their spread.

    Returns:
        The network, and mean and spread (52 + 2 L,) of its outputs over the corpus.
    """
    architecture, seed = NETWORKS[name]
    torch.manual_seed(seed)
    actions = corpus.truth["coefficients"][:].astype(np.float32)
    points = corpus.truth["landmarks"][:].astype(np.float32)
    target = np.concatenate([actions, points.reshape(len(points), -1)], 1)
    mean, deviation = target.mean(0), target.std(0) + 0.01
    model = FrameNet(architecture, target.shape[1])
    centre, scale = torch.from_numpy(mean), torch.from_numpy(deviation)

    def sample(random):
        rows = random.integers(0, len(corpus), 64)
        crops, moved = batches.augment(
            batches.load_images(corpus, rows), random, torch.from_numpy(points[rows])
        )
        wanted = torch.cat([torch.from_numpy(actions[rows]), moved.flatten(1)], 1)
        return crops, (wanted - centre) / scale

    def objective(batch):
        error = (model(batch[0]) - batch[1]).square()
        return {
            "actions": error[:, : len(ACTIONS)].mean(1),
            "landmarks": error[:, len(ACTIONS) :].mean(1),
        }

    config = LoopConfig(
        steps=steps,
        learning_rate=2e-3,
        seed=seed,
        save_every=500,
        weights={"actions": 1.0, "landmarks": 0.5},
    )
    train(model, objective, sample, config, work, name)
    return model, mean, deviation


def train_judge(
    name: str, corpus: Store, held_out: Store, out: Path, work: Path, steps: int = 4000
) -> dict:
    """Train one emotion judge: a body of its own learns to read facial actions, then emotion is read from those linearly.

    Emotion labels alone are memorised clip by clip; the actions are what a person it never met shares with those it did.

    Returns:
        The card; `scores.accuracy` is clip level (mean probability over frames) on the held-out people, chance 1/7.
    """
    reader, _, _ = train_reader(name, corpus, work, steps)
    clips = [c for c in range(len(corpus.clips)) if corpus.clips.emotion[c] in SCORED_EMOTIONS]
    rows = [np.arange(corpus.frames(c).start, corpus.frames(c).stop, 9) for c in clips]
    label = np.repeat(
        [SCORED_EMOTIONS.index(corpus.clips.emotion[c]) for c in clips], [len(r) for r in rows]
    )
    with torch.no_grad():
        seen = torch.cat([reader(batches.load_images(corpus, r)) for r in rows])[
            :, : len(ACTIONS)
        ].numpy()
    readout = LogisticRegression(C=0.01, max_iter=1000).fit(seen, label)
    judge = FrameNet(NETWORKS[name][0], len(SCORED_EMOTIONS)).eval()
    last, wanted = reader.last(), judge.last()
    judge.load_state_dict(
        {
            key: value
            for key, value in reader.state_dict().items()
            if value.shape == judge.state_dict()[key].shape
        },
        strict=False,
    )
    weight = torch.from_numpy(readout.coef_).float()
    with torch.no_grad():
        wanted.weight.copy_(weight @ last.weight[: len(ACTIONS)])
        wanted.bias.copy_(
            weight @ last.bias[: len(ACTIONS)] + torch.from_numpy(readout.intercept_).float()
        )
    shape = {"architecture": NETWORKS[name][0], "outputs": len(SCORED_EMOTIONS)}
    card = _card(name, shape, "actions and landmarks, then emotion labels", steps, corpus)
    card["scores"] = judge_scores(judge, held_out)
    save_weights(out / f"{name}.safetensors", judge, card)
    return card


@torch.no_grad()
def judge_scores(model: FrameNet, held_out: Store) -> dict:
    """Accuracy of a judge, per clip (mean probability over every third frame) and per frame; chance 1/7."""
    right, frame_right = [], []
    for clip in range(len(held_out.clips)):
        if held_out.clips.emotion[clip] in SCORED_EMOTIONS:
            wanted = SCORED_EMOTIONS.index(held_out.clips.emotion[clip])
            rows = np.arange(held_out.frames(clip).start, held_out.frames(clip).stop, 3)
            found = model(batches.load_images(held_out, rows))[:, : len(SCORED_EMOTIONS)].softmax(1)
            right.append(int(found.mean(0).argmax()) == wanted)
            frame_right.append(float((found.argmax(1) == wanted).float().mean()))
    return {
        "accuracy": round(float(np.mean(right)), 4),
        "chance": round(1 / 7, 4),
        "n_clips": len(right),
        "accuracy_frame": round(float(np.mean(frame_right)), 4),
    }


def train_tracker(corpus: Store, held_out: Store, out: Path, work: Path, steps: int = 4000) -> dict:
    """Train the tracker: facial actions and landmarks from one crop.

    Returns:
        The card; `scores.r2.*` per action, `scores.landmark_error` mean distance in percent of the crop's width.
    """
    model, mean, deviation = train_reader("tracker", corpus, work, steps)
    rows = np.sort(
        np.random.default_rng(0).choice(len(held_out), min(len(held_out), 6000), replace=False)
    )
    with torch.no_grad():
        found = (
            torch.cat(
                [model(batches.load_images(held_out, r)) for r in np.array_split(rows, 60)]
            ).numpy()
            * deviation
            + mean
        )
    truth = held_out.truth["coefficients"][rows].astype(np.float32)
    from cdrl.training.backbones import r2

    score = r2(truth, found[:, : len(ACTIONS)])
    distance = found[:, len(ACTIONS) :].reshape(len(rows), -1, 2) - held_out.truth["landmarks"][
        rows
    ].astype(np.float32)
    card = _card(
        "tracker",
        {"architecture": NETWORKS["tracker"][0], "outputs": len(mean)},
        "actions and landmarks",
        steps,
        corpus,
    )
    card |= {
        "mean": [round(float(v), 5) for v in mean],
        "deviation": [round(float(v), 5) for v in deviation],
    }
    card["scores"] = {
        "r2": round(float(np.nanmean(score)), 4),
        "n": len(rows),
        "landmark_error_percent": round(float(np.linalg.norm(distance, axis=-1).mean() * 100), 3),
        **{
            f"r2.{a}": round(float(s), 3)
            for a, s in zip(ACTIONS, score, strict=True)
            if np.isfinite(s)
        },
    }
    save_weights(out / "tracker.safetensors", model, card)
    return card


def train_identity(
    corpus: Store, held_out: Store, out: Path, work: Path, steps: int = 3000
) -> dict:
    """Train the identity network: scaled cosine softmax over the judges' people (arXiv:1801.05599, margin 0).

    Returns:
        The card; `scores.auc`: probability that two frames of one held-out person are nearer than frames of two.
    """
    architecture, seed = NETWORKS["identity"]
    torch.manual_seed(seed)
    people = {name: k for k, name in enumerate(sorted(set(corpus.clips.speaker)))}
    label = np.array([people[name] for name in corpus.per_frame("speaker")])
    model = nn.ModuleDict(
        {"net": FrameNet(architecture, 64), "classes": nn.Embedding(len(people), 64)}
    )

    def sample(random):
        rows = random.integers(0, len(corpus), 64)
        return batches.augment(batches.load_images(corpus, rows), random)[0], torch.from_numpy(
            label[rows]
        )

    def objective(batch):
        cosine = (
            F.normalize(model["net"](batch[0]), dim=1)
            @ F.normalize(model["classes"].weight, dim=1).T
        )
        return {"identity": F.cross_entropy(16 * cosine, batch[1], reduction="none")}

    config = LoopConfig(
        steps=steps, learning_rate=2e-3, seed=seed, save_every=500, weights={"identity": 1.0}
    )
    train(model, objective, sample, config, work, "identity")
    rows = np.sort(
        np.random.default_rng(0).choice(len(held_out), min(len(held_out), 2000), replace=False)
    )
    with torch.no_grad():
        code = torch.cat(
            [
                F.normalize(model["net"](batches.load_images(held_out, r)), dim=1)
                for r in np.array_split(rows, 20)
            ]
        )
    who, clip = held_out.per_frame("speaker")[rows], held_out.per_frame("name")[rows]
    cosine = (code @ code.T).numpy()
    same, apart = who[:, None] == who[None], clip[:, None] != clip[None]
    mine, others = cosine[same & apart], cosine[~same]
    random = np.random.default_rng(1)
    auc = float((random.choice(mine, 50_000) > random.choice(others, 50_000)).mean())
    card = _card(
        "identity", {"architecture": architecture, "outputs": 64}, "speaker labels", steps, corpus
    )
    card["scores"] = {
        "auc": round(auc, 4),
        "chance": 0.5,
        "n": len(rows),
        "cosine_same": round(float(mine.mean()), 4),
        "cosine_other": round(float(others.mean()), 4),
    }
    save_weights(out / "identity.safetensors", model["net"], card)
    return card


def _card(name: str, model: dict, truth: str, steps: int, corpus: Store) -> dict:
    return {
        "name": name,
        "model": model,
        "steps": steps,
        "command": f"cdrl train {name}",
        "licence": "Apache-2.0",
        "truth": f"{truth} of {corpus.clips.speaker.nunique()} studio people of the judge split",
        "held_out": "choosing set: other people and other sentences",
        "seed": NETWORKS[name][1],
    }
