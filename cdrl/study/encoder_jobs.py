"""The method's encoders of one seed: settings, and training where they are missing."""

from pathlib import Path

from cdrl.core.settings import ContentConfig, EmotionConfig, StudyConfig
from cdrl.representation.ccrl import train_content
from cdrl.representation.cerl import train_emotion
from cdrl.study.inputs import LANGUAGE, encoder_folder, study_features, training_pairs


def encoder_settings(config: StudyConfig, seed: int) -> tuple[ContentConfig, EmotionConfig]:
    """Return the settings of the method's own rows, whose encoders are trained already."""
    content = ContentConfig(steps=config.content_steps, pairs=config.pairs, seed=seed)
    emotion = EmotionConfig(steps=config.emotion_steps, seed=seed)
    return content, emotion


def train_encoders(work: Path, config: StudyConfig, seed: int, out: Path) -> None:
    """Train the method's encoders where they are missing, and link them from one folder.

    Args:
        work: the study's work folder.
        config: the study's settings.
        seed: of the training.
        out: folder of the links.
    """
    train = study_features(work, "train", "actions")
    content, emotion = encoder_settings(config, seed)
    pairs = training_pairs(work, ContentConfig(pairs=config.pairs, seed=seed))

    content_folder = encoder_folder(work, "content", content)
    emotion_folder = encoder_folder(work, "emotion", emotion)
    if not (content_folder / "model.safetensors").exists():
        train_content(train, pairs, content, content_folder)
    if not (emotion_folder / "model.safetensors").exists():
        train_emotion(train, emotion, LANGUAGE, emotion_folder)

    out.mkdir(parents=True, exist_ok=True)

    for name, encoder in (("02_content", content_folder), ("03_emotion", emotion_folder)):
        link = out / name
        link.unlink(missing_ok=True)
        link.symlink_to(encoder.resolve())
