"""Training of the audio prior on synthetic speech: `cdrl train audio_prior`."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.core.checkpoint import save_weights
from cdrl.core.vocabulary import PHONEMES
from cdrl.media.audio import AUDIO_RATE
from cdrl.priors.audio import HOP, PhonemeNet, log_mel
from cdrl.training.cards import training_card
from cdrl.training.loop import LoopConfig, Terms, train

BATCH = 24  # excerpts
EXCERPT = 128  # steps of the spectrogram
EXCERPT_SECONDS = 1.28
NO_LABEL = -1  # behind the end of an utterance

Batch = tuple[torch.Tensor, torch.Tensor]


class Utterance(NamedTuple):
    """Speech with the times of its phones.

    Args:
        sound: (S,) float32 at 16 kHz.
        starts: (P,) seconds.
        ends: (P,) seconds.
        phonemes: (P,) indices into `PHONEMES`.
    """

    sound: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    phonemes: np.ndarray


def frame_phonemes(utterance: Utterance) -> np.ndarray:
    """The phoneme of each step of the spectrogram.

    Args:
        utterance: with its phones.

    Returns:
        (T,) int64, a step each 10 ms; 0 (silence) where none is spoken.
    """
    steps = len(utterance.sound) // HOP + 1
    labels = np.zeros(steps, np.int64)

    phones = zip(utterance.starts, utterance.ends, utterance.phonemes, strict=True)
    for start, end, phoneme in phones:
        first = round(start * AUDIO_RATE / HOP)
        last = round(end * AUDIO_RATE / HOP)
        labels[first:last] = phoneme

    return labels


class ExcerptSampler:
    """Draws excerpts of utterances at random loudness, with noise.

    Args:
        utterances: of the training people.
    """

    def __init__(self, utterances: list[Utterance]):
        self.utterances = utterances
        self.labels = [frame_phonemes(utterance) for utterance in utterances]

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch.

        Args:
            random: source of the random numbers.

        Returns:
            Log-mel spectrograms (B, 48, T) and phonemes (B, T), -1 behind the end.
        """
        spectrograms = []
        labels = []
        for number in random.integers(0, len(self.utterances), BATCH):
            excerpt, label = self._draw_excerpt(number, random)
            missing = EXCERPT - excerpt.shape[1]
            spectrograms.append(F.pad(excerpt, (0, missing)))

            missing = EXCERPT - len(label)
            labels.append(F.pad(label, (0, missing), value=NO_LABEL))

        return torch.stack(spectrograms), torch.stack(labels)

    def _draw_excerpt(
        self, number: int, random: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel spectrogram (48, T) and phonemes (T,); shorter where the utterance is."""
        sound = self.utterances[number].sound
        varied = torch.from_numpy(_vary(sound, random))
        [mel] = log_mel(varied[None])
        label = torch.from_numpy(self.labels[number])

        spare = max(mel.shape[1] - EXCERPT, 0)
        first = int(random.integers(0, spare + 1))
        end = first + EXCERPT
        return mel[:, first:end], label[first:end]


def _vary(sound: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(S,) -> (S,) float32: another loudness, and white noise."""
    gain = random.uniform(0.3, 1.5)
    louder = sound * gain

    noise = random.standard_normal(len(louder)).astype(np.float32)
    noise_level = 10 ** random.uniform(-5, -2)
    noisy = louder + noise * noise_level
    return noisy.astype(np.float32)


def train_audio_prior(
    utterances: list[Utterance], held_out: list[Utterance], out: Path, work: Path, steps: int = 1200
) -> dict[str, Any]:
    """Train the phoneme network on synthetic speech.

    Held out are other people and other texts. The people differ in rate, pitch and range, but the
    espeak variants that they speak with are in the training too.

    Args:
        utterances: to train on.
        held_out: to score on.
        out: folder of the weights.
        work: folder of the checkpoint.
        steps: optimiser steps.

    Returns:
        The card; `scores.accuracy` is frame-wise, with the majority class beside it.
    """
    model = PhonemeNet(len(PHONEMES))

    def objective(batch: Batch) -> Terms:
        spectrograms, labels = batch
        logits, _ = model(spectrograms)
        loss = F.cross_entropy(logits, labels, ignore_index=NO_LABEL, reduction="none")
        return {"phoneme": loss.mean(1)}

    config = LoopConfig(steps=steps, learning_rate=2e-3, weights={"phoneme": 1.0})
    train(model, objective, ExcerptSampler(utterances), config, work, "audio prior")

    card = training_card(
        "audio_prior",
        {"phonemes": len(PHONEMES)},
        f"phoneme times of {len(utterances)} espeak-ng utterances ({EXCERPT_SECONDS} s excerpts), "
        "no emotion label",
        _accuracy_scores(model, held_out),
        steps,
    )
    save_weights(out / "audio_prior.safetensors", model, card)
    return card


@torch.no_grad()
def _accuracy_scores(model: PhonemeNet, held_out: list[Utterance]) -> dict[str, Any]:
    """The share of steps whose phoneme is right."""
    hits = []
    labels = []
    for utterance in held_out:
        sound = torch.from_numpy(utterance.sound)
        logits, _ = model(log_mel(sound[None]))
        predicted = logits[0].argmax(0).numpy()

        label = frame_phonemes(utterance)
        hits.append(predicted == label)
        labels.append(label)

    accuracy = np.concatenate(hits).mean()
    all_labels = np.concatenate(labels)
    most_frequent = np.bincount(all_labels).max()
    return {
        "accuracy": float(accuracy),
        "majority": float(most_frequent / len(all_labels)),
        "n": len(all_labels),
        "utterances": len(held_out),
    }
