"""How the embedded priors are made: one function per network, on the studio's training people only.

`cdrl train audio_prior | face_backbone | mouth_backbone | face_identity | mouth_identity | language_prior`; each writes `data/weights/NAME.safetensors` and
its card. Held-out scores are on the choosing set: other people, other sentences. Their espeak voice variants were heard in training.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import load_card, load_weights, save_weights
from cdrl.core.vocabulary import ACTIONS, MOUTH_INDEX, PHONEMES, SCORED_EMOTIONS
from cdrl.corpora import batches
from cdrl.corpora.store import Store
from cdrl.media.audio import AUDIO_RATE
from cdrl.priors.audio import HOP, PhonemeNet, log_mel
from cdrl.priors.language import LanguagePrior, WordTokenizer, caption, encode_tokens, tiny_clip
from cdrl.priors.vision import face_backbone, face_view, mouth_backbone, mouth_view
from cdrl.training.loop import LoopConfig, train

BATCH = 64
ARC_SCALE, ARC_MARGIN = 16.0, 0.2


EVERY = 5  # of the frames that wider training keeps in memory: neighbours show the same


def train_backbone(
    kind: str,
    corpus: Store,
    held_out: Store,
    out: Path,
    work: Path,
    steps: int = 8000,
    others: Store | None = None,
    more_steps: int = 0,
) -> dict:
    """Train the face or the mouth backbone to read facial actions from pixels.

    Args:
        kind: `face` (all 52 actions) or `mouth` (those of the mouth).
        corpus, held_out: stores with truth. out: folder of the weights. work: folder of the checkpoints. steps: on `corpus`.
        others: a store of other people; then `more_steps` at half the rate on both. People are what a backbone lacks: its features
            tell visemes apart better on those it learnt from than on others.

    Returns:
        The card; `scores.r2` is the mean over actions with variance, on the held-out people.
    """
    index = np.arange(len(ACTIONS)) if kind == "face" else np.array(MOUTH_INDEX)
    truth = corpus.truth["coefficients"][:].astype(np.float32)[:, index]
    mean, deviation = truth.mean(0), truth.std(0) + 0.02
    net = face_backbone() if kind == "face" else mouth_backbone()
    model = nn.Sequential(net, nn.Linear(net.out.out_features, len(index)))

    def view(crops, box):
        return face_view(crops) if kind == "face" else mouth_view(crops, box)

    def sampler(stores, every):
        frames = [_frames(store, every, index) for store in stores]

        def sample(random):
            crops, boxes, wanted = frames[random.integers(len(frames))]
            rows = random.integers(0, len(boxes), BATCH)
            shown, _ = batches.augment(
                torch.from_numpy(crops[rows]).permute(0, 3, 1, 2).float() / 255, random
            )
            return view(shown, torch.from_numpy(boxes[rows])), torch.from_numpy(
                (wanted[rows] - mean) / deviation
            )

        return sample

    def objective(batch):
        return {"coefficients": (model(batch[0]) - batch[1]).square().mean(1)}

    config = LoopConfig(
        steps=steps, learning_rate=2e-3, save_every=500, weights={"coefficients": 1.0}
    )
    train(model, objective, sampler([corpus], 1), config, work, f"{kind} backbone")
    if others is not None:
        wider = replace(config, steps=more_steps, learning_rate=1e-3, warmup=100)
        train(
            model,
            objective,
            sampler([corpus, others], EVERY),
            wider,
            Path(work) / "wider",
            f"{kind} backbone, more people",
        )
    people = corpus.clips.speaker.nunique() + (
        others.clips.speaker.nunique() if others is not None else 0
    )
    steps += more_steps
    with torch.no_grad():
        rows = np.random.default_rng(0).choice(
            len(held_out), min(len(held_out), 6000), replace=False
        )
        box = torch.from_numpy(held_out.mouth_boxes())
        found = [
            model(view(batches.images(held_out, r), box[r])).numpy()
            for r in np.array_split(rows, 60)
        ]
    wanted = held_out.truth["coefficients"][:].astype(np.float32)[
        np.concatenate(np.array_split(rows, 60))
    ][:, index]
    score = r2(wanted, np.concatenate(found) * deviation + mean)
    card = _card(
        f"{kind}_backbone",
        {"features": net.out.out_features},
        f"ARKit coefficients ({len(index)}) of {people} studio people, no emotion label",
        {
            "r2": float(np.nanmean(score)),
            "n": len(rows),
            "people": int(held_out.clips.speaker.nunique()),
            **{
                f"r2.{ACTIONS[i]}": round(float(s), 3)
                for i, s in zip(index, score, strict=True)
                if np.isfinite(s)
            },
        },
        steps,
    )
    save_weights(out / f"{kind}_backbone.safetensors", net, card)
    return card


def _frames(
    store: Store, every: int, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops (n, C, C, 3), mouth boxes (n, 4), coefficients (n, K); all frames by memory map, or every so many of each clip in memory."""
    boxes, truth = store.mouth_boxes(), store.truth["coefficients"][:].astype(np.float32)[:, index]
    if every == 1:
        return store.face, boxes, truth
    rows = [
        np.arange(len(store))[store.frames(k)][k % every :: every] for k in range(len(store.clips))
    ]
    kept = np.concatenate(rows)
    return (
        np.concatenate([np.asarray(store.face[r[0] : r[-1] + 1])[::every] for r in rows]),
        boxes[kept],
        truth[kept],
    )


def train_identity_backbone(
    kind: str, corpus: Store, held_out: Store, out: Path, work: Path, steps: int = 2000
) -> dict:
    """Train a face or mouth backbone of the same architecture on speaker labels alone, as ArcFace (arXiv:1801.07698).

    It never saw a facial action: what CCRL and CERL reach on it, they owe to no coefficient.

    Args: see `train_backbone`.

    Returns:
        The card; `scores.auc`: probability that frames of two clips of one held-out person are nearer than frames of two people.
    """
    name = f"{kind}_identity"
    boxes, label = (
        corpus.mouth_boxes(),
        np.unique(corpus.per_frame("speaker"), return_inverse=True)[1],
    )
    net = face_backbone() if kind == "face" else mouth_backbone()
    model = nn.ModuleDict(
        {"net": net, "people": nn.Embedding(label.max() + 1, net.out.out_features)}
    )

    def view(crops, box):
        return face_view(crops) if kind == "face" else mouth_view(crops, box)

    def sample(random):
        rows = random.integers(0, len(corpus), BATCH)
        crops, _ = batches.augment(batches.images(corpus, rows), random)
        return view(crops, torch.from_numpy(boxes[rows])), torch.from_numpy(label[rows])

    def objective(batch):
        cosine = F.normalize(net(batch[0]), dim=1) @ F.normalize(model["people"].weight, dim=1).T
        margin = ARC_MARGIN * F.one_hot(batch[1], cosine.shape[1])
        angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos() + margin
        return {
            "identity": F.cross_entropy(
                ARC_SCALE * angle.clamp(max=np.pi).cos(), batch[1], reduction="none"
            )
        }

    config = LoopConfig(
        steps=steps, learning_rate=2e-3, seed=7, save_every=500, weights={"identity": 1.0}
    )
    train(model, objective, sample, config, work, name)
    rows = np.sort(
        np.random.default_rng(0).choice(len(held_out), min(len(held_out), 2000), replace=False)
    )
    box = torch.from_numpy(held_out.mouth_boxes())
    with torch.no_grad():
        code = torch.cat(
            [
                F.normalize(net(view(batches.images(held_out, r), box[r])), dim=1)
                for r in np.array_split(rows, 20)
            ]
        )
    who, clip, cosine = (
        held_out.per_frame("speaker")[rows],
        held_out.per_frame("name")[rows],
        (code @ code.T).numpy(),
    )
    same, apart = who[:, None] == who[None], clip[:, None] != clip[None]
    mine, others = (
        np.random.default_rng(1).choice(cosine[mask], 50_000) for mask in (same & apart, ~same)
    )
    card = _card(
        name,
        {"features": net.out.out_features},
        f"speaker labels of {len(model['people'].weight)} studio people; no coefficient, no emotion, no phoneme",
        {
            "auc": float((mine > others).mean()),
            "auc.chance": 0.5,
            "n": len(rows),
            "people": int(held_out.clips.speaker.nunique()),
        },
        steps,
    )
    save_weights(out / f"{name}.safetensors", net, card)
    return card


def r2(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Coefficient of determination per column of (N, D), `nan` where the truth hardly moves (sd below .02); the mean scores 0."""
    spread = truth.var(0)
    return np.where(
        spread > 4e-4, 1 - ((truth - found) ** 2).mean(0) / np.maximum(spread, 1e-9), np.nan
    )


def frame_phonemes(
    starts: np.ndarray, ends: np.ndarray, phonemes: np.ndarray, count: int
) -> np.ndarray:
    """(count,) phoneme of each 10 ms step from a table of phones, 0 (silence) where none is spoken."""
    out = np.zeros(count, np.int64)
    for start, end, phoneme in zip(starts, ends, phonemes, strict=True):
        out[round(start * AUDIO_RATE / HOP) : round(end * AUDIO_RATE / HOP)] = phoneme
    return out


def train_audio_prior(
    utterances: list, held_out: list, out: Path, work: Path, steps: int = 1200
) -> dict:
    """Train the phoneme network on synthetic speech.

    Args:
        utterances, held_out: (sound (S,), start seconds, end seconds, phoneme indices) each. Held out are other people and other
            texts; the people differ in rate, pitch and range, but the espeak variants they speak with are heard in training too.

    Returns:
        The card; `scores.accuracy` is frame-wise, with the majority class beside it.
    """
    width, frames = 1.28, 128
    model = PhonemeNet(len(PHONEMES))
    labels = [
        frame_phonemes(start, end, index, len(sound) // HOP + 1)
        for sound, start, end, index in utterances
    ]

    def sample(random):
        mels, wanted = [], []
        for k in random.integers(0, len(utterances), 24):
            sound = utterances[k][0] * random.uniform(0.3, 1.5)
            sound = sound + random.standard_normal(len(sound)).astype(
                np.float32
            ) * 10 ** random.uniform(-5, -2)
            mel = log_mel(torch.from_numpy(sound.astype(np.float32))[None])[0]
            first = int(random.integers(0, max(mel.shape[1] - frames, 0) + 1))
            cut, label = (
                mel[:, first : first + frames],
                torch.from_numpy(labels[k][first : first + frames]),
            )
            mels.append(F.pad(cut, (0, frames - cut.shape[1])))
            wanted.append(F.pad(label, (0, frames - len(label)), value=-1))
        return torch.stack(mels), torch.stack(wanted)

    def objective(batch):
        logits, _ = model(batch[0])
        return {
            "phoneme": F.cross_entropy(logits, batch[1], ignore_index=-1, reduction="none").mean(1)
        }

    train(
        model,
        objective,
        sample,
        LoopConfig(steps=steps, learning_rate=2e-3, weights={"phoneme": 1.0}),
        work,
        "audio prior",
    )
    right, seen = [], []
    for sound, start, end, index in held_out:
        label = frame_phonemes(start, end, index, len(sound) // HOP + 1)
        with torch.no_grad():
            found = model(log_mel(torch.from_numpy(sound)[None]))[0][0].argmax(0).numpy()
        right.append(found == label)
        seen.append(label)
    seen = np.concatenate(seen)
    card = _card(
        "audio_prior",
        {"phonemes": len(PHONEMES)},
        f"phoneme times of {len(utterances)} espeak-ng utterances ({width} s excerpts), no emotion label",
        {
            "accuracy": float(np.concatenate(right).mean()),
            "majority": float(np.bincount(seen).max() / len(seen)),
            "n": len(seen),
            "utterances": len(held_out),
        },
        steps,
    )
    save_weights(out / "audio_prior.safetensors", model, card)
    return card


def train_language_prior(
    corpus: Store, held_out: Store, out: Path, work: Path, steps: int = 500
) -> dict:
    """Train the tiny CLIP: captions of facial actions against frames, image tower frozen but for its projection.

    Loss: symmetric InfoNCE of the batch, captions with the same set of phrases counting as one.

    Returns:
        The card; `scores.zero_shot` is the accuracy of the action descriptions of `DESCRIPTIONS` on clips it never saw,
        `scores.caption_r1` the retrieval of a frame's caption among 64 (chance 1/64).
    """
    model, tokens = tiny_clip(), WordTokenizer()
    model.visual.backbone = load_weights(
        "face_backbone", face_backbone(**load_card("face_backbone")["model"])
    )
    truth = corpus.truth["coefficients"]

    def captions(store, rows, random):
        return [
            caption(values, random)
            for values in store.truth["coefficients"][rows].astype(np.float32)
        ]

    with torch.no_grad():
        kept = np.sort(
            np.random.default_rng(1).choice(len(corpus), min(len(corpus), 24_000), replace=False)
        )
        features = torch.cat(
            [
                model.visual.backbone(face_view(batches.images(corpus, r)))
                for r in np.array_split(kept, 240)
            ]
        )

    def sample(random):
        pick = random.integers(0, len(kept), 128)
        said = [caption(values, random) for values in truth[np.sort(kept[pick])].astype(np.float32)]
        key = {
            text: k
            for k, text in enumerate(dict.fromkeys(", ".join(sorted(t.split(", "))) for t in said))
        }
        group = torch.tensor([key[", ".join(sorted(t.split(", ")))] for t in said])
        return features[np.sort(pick)], tokens(said), group

    def objective(batch):
        image = F.normalize(
            model.visual.project(batch[0] + 0.1 * torch.randn_like(batch[0])), dim=-1
        )
        text = encode_tokens(model, batch[1])
        logits = model.logit_scale.exp().clamp(max=50) * image @ text.T
        same = (batch[2][:, None] == batch[2][None]).float()
        target = same / same.sum(1, keepdim=True)
        return {
            "clip": (
                F.cross_entropy(logits, target, reduction="none")
                + F.cross_entropy(logits.T, target, reduction="none")
            )
            / 2
        }

    config = LoopConfig(steps=steps, learning_rate=1.5e-3, weights={"clip": 1.0})
    train(model, objective, sample, config, work, "language prior")
    card = _card(
        "language_prior",
        {"embed_dim": 128, "width": 96, "layers": 3},
        "captions of facial actions made from ARKit coefficients; no emotion word, no emotion label",
        {},
        steps,
    )
    save_weights(out / "language_prior.safetensors", model, card)
    card["scores"] = _language_scores(held_out, captions, str(out / "language_prior.safetensors"))
    save_weights(out / "language_prior.safetensors", model, card)
    return card


@torch.no_grad()
def _language_scores(held_out: Store, captions, weights: str) -> dict:
    from cdrl.priors.language import DESCRIPTIONS

    prior, random = LanguagePrior(weights), np.random.default_rng(2)
    rows = np.sort(random.choice(len(held_out), 64 * 40, replace=False))
    image = torch.cat(
        [
            prior.project(prior.image_features(batches.images(held_out, r)))
            for r in np.array_split(rows, 40)
        ]
    )
    text = prior.text_embedding(captions(held_out, rows, random))
    order = torch.from_numpy(random.permutation(len(rows))).view(-1, 64)
    hits = [(image[o] @ text[o].T).argmax(1) == torch.arange(64) for o in order]
    classes = prior.text_embedding([DESCRIPTIONS[name] for name in SCORED_EMOTIONS])
    pick = [c for c in range(len(held_out.clips)) if held_out.clips.emotion[c] in SCORED_EMOTIONS]
    right = []
    for clip in pick[::2]:
        rows = np.arange(held_out.frames(clip).start, held_out.frames(clip).stop, 6)
        mean = prior.project(prior.image_features(batches.images(held_out, rows))).mean(0)
        right.append(
            SCORED_EMOTIONS[int((classes @ mean).argmax())] == held_out.clips.emotion[clip]
        )
    return {
        "caption_r1": float(torch.cat(hits).float().mean()),
        "caption_r1.chance": 1 / 64,
        "zero_shot": float(np.mean(right)),
        "zero_shot.chance": 1 / 7,
        "n_clips": len(right),
    }


def _card(name: str, model: dict, truth: str, scores: dict, steps: int) -> dict:
    return {
        "name": name,
        "model": model,
        "truth": truth,
        "steps": steps,
        "command": f"cdrl train {name}",
        "held_out": "choosing set: other people and other sentences",
        "licence": "Apache-2.0",
        "scores": {k: round(v, 4) if isinstance(v, float) else v for k, v in scores.items()},
    }
