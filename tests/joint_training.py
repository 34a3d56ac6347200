"""What the processes of a group do in test_group: importable by name."""

from pathlib import Path

import torch
from regression_training import STEPS, train_regression
from safetensors.torch import save_file
from torch import nn

from cdrl.baselines.released.training import ContentObjective as ReleasedContentObjective
from cdrl.baselines.released.training import PromptObjective, small_released
from cdrl.core.settings import ContentConfig, EmotionConfig
from cdrl.editors.image import ImageObjective, WindowGuidance, starting_networks
from cdrl.editors.manipulator import ActionObjective
from cdrl.editors.renderer import RenderingObjective
from cdrl.editors.variants import ACTION_VARIANTS, IMAGE_VARIANTS
from cdrl.models.action_networks import ActionDiscriminator, ActionManipulator
from cdrl.models.action_renderer import ActionRenderer
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.language import LanguagePrior
from cdrl.representation.ccrl import ContentObjective
from cdrl.representation.cerl import EmotionObjective
from cdrl.representation.guidance import Guidance
from cdrl.training.engine import Engine
from cdrl.training.joint import is_first

BOX = [0.2, 0.5, 0.8, 0.9]


def ccrl():
    """Three pairs of clips, five moments: no even share for two processes."""
    objective = ContentObjective(ContentEncoder(), ContentConfig(), 3, torch.randn(10, 64))
    shape = (2, 3, 5, 9)
    emotion = torch.tensor([[0, 1, 2], [3, 4, 5]])
    batch = {
        "face": torch.randn(*shape, 256),
        "mouth": torch.randn(*shape, 128),
        "audio": torch.randn(*shape, 64),
        "valid": torch.ones(2, 3, 5, 10, dtype=torch.bool),
        "positive": torch.arange(5).expand(2, 3, 5),
        "image_positive": torch.zeros(3, 5).long(),
        "emotion": emotion,
        "speaker": emotion % 3,
    }
    return objective, batch


def cerl():
    """Five pairs of clips; without the noise, which is another one in each process."""
    prior = LanguagePrior("embedded")
    encoder = EmotionEncoder(embedding=prior.embedding, token_width=prior.token_width, noise=0.0)
    objective = EmotionObjective(encoder, prior, EmotionConfig(), 3)
    batch = {
        "features": torch.randn(2, 5, 5, 384),
        "level": torch.rand(2, 5),
        "emotion": torch.tensor([[0, 1, 2, 3, 4], [5, 4, 3, 2, 1]]),
        "speaker": torch.tensor([[0, 1, 2, 1, 0], [0, 1, 2, 1, 0]]),
    }
    return objective, batch


def image_editor():
    """Three windows, with discriminator and CDRL guidance."""
    editor, discriminator = starting_networks(None)
    weights = IMAGE_VARIANTS["cdrl"]
    objective = ImageObjective(editor, discriminator, weights, WindowGuidance(Guidance()))
    batch = {
        "frames": torch.rand(3, 5, 3, 64, 64),
        "boxes": torch.tensor([BOX] * 3),
        "emotion": torch.tensor([0, 4, 6]),
        "target": torch.tensor([4, 6, 0]),
        "intensity": torch.tensor([1.0, 1 / 3, 2 / 3]),
        "target_intensity": torch.tensor([2 / 3, 1.0, 1.0]),
    }
    return objective, batch


def action_manipulator():
    """Three windows of facial actions."""
    objective = ActionObjective(
        ActionManipulator(), ActionDiscriminator(), ACTION_VARIANTS["baseline"], None
    )
    batch = {
        "source": torch.rand(3, 20, 52),
        "reference": torch.rand(3, 20, 52),
        "emotion": torch.tensor([0, 4, 6]),
        "target": torch.tensor([4, 6, 0]),
        "intensity": torch.tensor([1.0, 1 / 3, 2 / 3]),
        "target_intensity": torch.tensor([2 / 3, 1.0, 1.0]),
    }
    return objective, batch


def action_renderer():
    """Three windows of frames and changes of their facial actions."""
    batch = {
        "frames": torch.rand(3, 3, 3, 96, 96),
        "actions": torch.rand(3, 3, 52),
        "change": torch.rand(3, 3, 52),
        "truth": torch.rand(3, 1, 3, 96, 96),
        "boxes": torch.tensor([BOX] * 3),
    }
    return RenderingObjective(ActionRenderer()), batch


def released_content():
    """Three triplets."""
    images = [torch.rand(3, 3, 64, 64) for _ in range(3)]
    audio = [torch.randn(3, 1, 64) for _ in range(3)]
    return ReleasedContentObjective(small_released(64)), {"images": images, "audio": audio}


def released_emotion():
    """Three tuples of two labels."""
    prior = LanguagePrior("embedded")
    return PromptObjective(prior, 256, ["happy", "sad"], shared=False), torch.randn(3, 2, 256)


OBJECTIVES = {
    "ccrl": ccrl,
    "cerl": cerl,
    "image_editor": image_editor,
    "action_manipulator": action_manipulator,
    "action_renderer": action_renderer,
    "released_content": released_content,
    "released_emotion": released_emotion,
}


def terms_and_gradients(name: str, micro_batches: int = 1):
    """Terms and gradients of an objective, by every process of the group or by this one alone."""
    torch.manual_seed(1)
    objective, batch = OBJECTIVES[name]()
    for module in objective.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # each process drops other units
    engine = Engine(micro_batches=micro_batches)
    torch.manual_seed(2)
    with engine.active():
        terms = objective(batch)
        means = {term: values.float().nanmean() for term, values in terms.items()}
        engine.backward(sum(means.values()))
    engine.average_gradients(objective.parameters())

    found = {f"term {term}": value.detach() for term, value in means.items()}
    for parameter, value in objective.named_parameters():
        if value.grad is not None:
            found[f"gradient {parameter}"] = value.grad.clone()
    return found


def compare_and_train(out: Path, whole: Path):
    """In every process of a group: `compare`, and an undisturbed training, in one start."""
    compare(out)
    train_regression(whole, STEPS)


def compare(out: Path):
    """In every process of a group: write what the first one found, of all objectives."""
    for name in OBJECTIVES:
        found = terms_and_gradients(name)
        if is_first():
            save_file(found, out / f"{name}.safetensors")
