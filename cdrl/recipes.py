"""How every committed network is made again: `cdrl train NAME`. The corpora they need are rendered once and kept."""

from pathlib import Path

from cdrl.data.store import Store
from cdrl.data.studio import corpus as studio
from cdrl.data.studio.sentences import SENTENCES
from cdrl.data.studio.speech import speak_all, utterance, voice_of
from cdrl.evaluation import networks
from cdrl.training import priors
from cdrl.vocabulary import EMOTIONS

PEOPLE, CLIPS = 160, 6  # of the training and of the judges' corpus


def corpus(split: str, work: Path) -> Store:
    """The rendered corpus of a split, made where it is missing (train and judge: about 52,000 frames, 4 minutes, 1.4 GB)."""
    path = Path(work).parent / "corpora" / split
    if not (path / "store.json").exists():
        specs = studio.specs(split, people=12) if split == "choose" else studio.specs(split, people=PEOPLE, clips=CLIPS)
        studio.generate(specs, path, split)
    return Store(path)


def _speech(people: range, texts: tuple, count: int) -> list:
    """`count` utterances as (sound, start seconds, end seconds, phonemes); every person, text and emotion in turn."""
    items = [
        utterance(voice_of(people[k % len(people)]), texts[(k * 7) % len(texts)], EMOTIONS[k % 8], 1 + k % 3) for k in range(count)
    ]
    found = speak_all(items)
    return [(s.audio, s.start_seconds, s.end_seconds, s.phoneme) for s in found]


def audio_prior(out: Path, work: Path) -> dict:
    """Frame-wise phonemes from log-mel; 3,000 espeak-ng utterances (needs the extra [studio]); some 4 minutes."""
    train, held_out = (
        _speech(studio.SPLITS[split].people, SENTENCES[split], count)
        for split, count in (("train", 3000), ("choose", 120))
    )
    return priors.train_audio_prior(train, held_out, Path(out), Path(work))


def face_backbone(out: Path, work: Path) -> dict:
    """Facial actions from the aligned face; some 10 minutes."""
    return priors.train_backbone("face", corpus("train", work), corpus("choose", work), Path(out), Path(work))


def mouth_backbone(out: Path, work: Path) -> dict:
    """Mouth actions from the mouth's box; some 6 minutes."""
    return priors.train_backbone("mouth", corpus("train", work), corpus("choose", work), Path(out), Path(work))


def language_prior(out: Path, work: Path) -> dict:
    """A tiny CLIP over captions of facial actions, on the frozen face backbone; some 2 minutes."""
    return priors.train_language_prior(corpus("train", work), corpus("choose", work), Path(out), Path(work))


def _judge(name: str, out: Path, work: Path) -> dict:
    return networks.train_judge(name, corpus("judge", work), corpus("choose", work), Path(out), Path(work))


def judge_a(out: Path, work: Path) -> dict:
    """First emotion judge (evaluation only); some 8 minutes."""
    return _judge("judge_a", out, work)


def judge_b(out: Path, work: Path) -> dict:
    """Second emotion judge, another architecture (evaluation only); some 8 minutes."""
    return _judge("judge_b", out, work)


def tracker(out: Path, work: Path) -> dict:
    """Facial actions and landmarks from a crop (evaluation only); some 12 minutes."""
    return networks.train_tracker(corpus("judge", work), corpus("choose", work), Path(out), Path(work))


def identity(out: Path, work: Path) -> dict:
    """Who is it (evaluation only); some 6 minutes."""
    return networks.train_identity(corpus("judge", work), corpus("choose", work), Path(out), Path(work))


RECIPES = {
    recipe.__name__: recipe
    for recipe in (audio_prior, face_backbone, mouth_backbone, language_prior, judge_a, judge_b, tracker, identity)
}
