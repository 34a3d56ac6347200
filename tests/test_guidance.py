"""Guidance for any generator: the example of its guide, what is accepted, refused, and frozen."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from cdrl.core.checkpoint import save_network
from cdrl.core.errors import InputError
from cdrl.core.paths import data_root, repository_root
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.samples import sample_clips
from cdrl.media.faces import align, crop
from cdrl.media.mouths import DEFAULT_MOUTH_BOX, mouth_box
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.language import DESCRIPTIONS
from cdrl.representation.guidance import Guidance

EXAMPLE = """\
import torch
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from cdrl import Guidance
from cdrl.media.faces import align, crop
from cdrl.corpora.samples import sample_clips

frames = sample_clips()[4].frames[:20]  # of any video of one face, (T, H, W, 3) uint8
crops = torch.from_numpy(crop(frames, align(frames), 64)).permute(0, 3, 1, 2) / 255
source = crops.unflatten(0, (4, 5))  # (B, T, 3, H, W): four windows of five frames
generator = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
guidance = Guidance()  # frozen; Guidance("runs/demo") takes a run's encoders
boxes = guidance.mouth_boxes(source)  # found once, used for source and output
optimiser = torch.optim.Adam(generator.parameters(), 1e-3)
for step in range(12):
    change = generator(source.flatten(0, 1))["out"].tanh().unflatten(0, source.shape[:2])
    output = (source + change).clamp(0, 1)
    content = guidance.content(source, output, boxes=boxes)
    emotion = guidance.emotion(output, labels="happy", boxes=boxes)
    optimiser.zero_grad()
    (content + emotion).mean().backward()
    optimiser.step()
"""


@pytest.fixture(scope="module")
def guidance():
    return Guidance()


@pytest.fixture(scope="module")
def clips():
    """(6, 10, 3, 64, 64): the six sample clips, frames 10 to 20, aligned."""
    aligned = []
    for clip in sample_clips():
        frames = clip.frames[10:20]
        crops = torch.from_numpy(crop(frames, align(frames), 64))
        aligned.append(crops.permute(0, 3, 1, 2) / 255)
    return torch.stack(aligned)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_a_model_that_this_kit_did_not_write_learns_from_it_and_leaves_it_as_it_was(guidance):
    torch.manual_seed(0)
    before = state(guidance)
    recording = "    losses.append((content + emotion).detach())\n"
    example = EXAMPLE.replace("    optimiser.zero_grad()", f"{recording}    optimiser.zero_grad()")
    values = {"losses": []}
    exec(example, values)

    losses = torch.stack(values["losses"])
    assert losses.shape == (12, 4)
    assert losses[-3:].mean() < losses[:3].mean() - 0.1

    generator = values["generator"]
    reached = []
    for parameter in generator.parameters():
        gradient = parameter.grad
        reached.append(gradient is not None and bool(gradient.abs().sum() > 0))
    assert np.mean(reached) > 0.95

    trained_guidance = values["guidance"]
    generator.train()
    trained_guidance.train()
    assert not any(module.training for module in trained_guidance.modules())
    for parameter in trained_guidance.parameters():
        assert not parameter.requires_grad
        assert parameter.grad is None

    after = state(trained_guidance)
    assert after.keys() == before.keys()
    for name, value in after.items():
        assert torch.equal(value, before[name])


def test_the_example_has_twenty_statements_at_most_and_is_that_of_the_guide():
    guide = (repository_root() / "docs" / "guides" / "own_generator.md").read_text()
    statements = [line for line in EXAMPLE.splitlines() if line]
    assert len(statements) <= 20
    assert EXAMPLE in guide


def test_the_package_alone_imports_nothing_heavy():
    code = (
        "import sys, cdrl; "
        "print(sorted({'torch', 'numpy'} & set(sys.modules)), callable(cdrl.__getattr__))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=repository_root()
    )
    assert done.stdout == "[] True\n", done.stderr

    from cdrl import Guidance as exported

    assert exported is Guidance
    with pytest.raises(ImportError, match="Guidence"):
        from cdrl import Guidence  # noqa: F401


def test_values_are_per_clip_and_gradients_reach_every_frame_s_pixels(guidance, clips):
    source = clips[:2, :6]
    output = clips[2:4, :6].clone().requires_grad_(True)
    content = guidance.content(source, output)
    emotion = guidance.emotion(output, labels="sad", source=source)
    loss = content + emotion
    assert loss.shape == (2,)

    loss[1].backward()
    assert not output.grad[0].any()
    for frame in range(6):
        assert output.grad[1, frame].any()

    content_alone = guidance.content(source[1:], output[1:])
    emotion_alone = guidance.emotion(output[1:], labels="sad", source=source[1:])
    assert torch.allclose((content_alone + emotion_alone)[0], loss[1], atol=1e-5)
    assert guidance.content(source, source).abs().max() < 1e-5
    another_moment = clips[:2, 4:10]
    assert guidance.content(source, another_moment).min() > 0.2


def test_boxes_are_found_at_any_size_once_on_the_source_and_are_those_of_the_alignment(
    guidance, clips
):
    boxes = guidance.mouth_boxes(clips)
    for clip, box in zip(sample_clips(), boxes, strict=True):
        aligned_box = align(clip.frames[10:20]).mouth_box
        assert np.abs(aligned_box - box.numpy()).max() < 0.02

    # 80 x 96 pixels: no aligned crop any more.
    wide = torch.nn.functional.pad(clips[0], (0, 32, 0, 16), mode="replicate")[None]
    scale = torch.tensor([1.5, 1.25, 1.5, 1.25])
    assert (guidance.mouth_boxes(wide)[0] * scale - boxes[0]).abs().max() < 0.03

    grey = torch.full((1, 5, 3, 64, 64), 0.5)
    assert torch.equal(guidance.mouth_boxes(grey)[0], torch.tensor(DEFAULT_MOUTH_BOX))
    assert mouth_box(np.zeros((1, 50, 50, 3), np.uint8))[0] == DEFAULT_MOUTH_BOX[0]

    source = clips[:1, :5]
    output = torch.rand(1, 5, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    source_boxes = guidance.mouth_boxes(source)
    assert torch.equal(
        guidance.content(source, output), guidance.content(source, output, boxes=source_boxes)
    )


def test_sound_or_its_features_may_guide_the_content(guidance, clips):
    source = clips[:2, :5]
    output = clips[2:4, :5]
    boxes = torch.tensor([[0.2, 0.4, 0.8, 0.8]]).expand(2, 4)
    sound = torch.randn(2, 3200, generator=torch.Generator().manual_seed(0)) / 10

    image_only = guidance.content(source, output, boxes=boxes)
    with_sound = guidance.content(source, output, audio=sound, boxes=boxes)
    assert with_sound.shape == (2,)
    assert not torch.equal(with_sound, image_only)

    silence = torch.zeros(2, 5, 64)
    loss = guidance.content(source, source, audio_features=silence, boxes=boxes)
    assert torch.allclose(loss, torch.zeros(2), atol=1e-5)


def test_a_label_a_text_a_reference_and_an_embedding_give_the_same_target(guidance, clips):
    happy = [clip.labels["emotion"] for clip in sample_clips()].index("happy")
    reference = clips[happy : happy + 1]
    embedding = guidance.target(reference=reference)
    losses = {
        "label": guidance.emotion(clips, labels="happy"),
        "text": guidance.emotion(clips, text=DESCRIPTIONS["happy"]),
        "reference": guidance.emotion(clips, reference=reference),
        "embedding": guidance.emotion(clips, embedding=embedding),
    }
    for loss in losses.values():
        assert loss.shape == (6,)
        assert int(loss.argmin()) == happy
    assert torch.equal(losses["reference"], losses["embedding"])
    assert losses["reference"][happy] < 1e-3


def test_there_is_one_target_for_all_clips_or_one_per_clip(guidance, clips):
    own_reference = guidance.emotion(clips, reference=clips, boxes=guidance.mouth_boxes(clips))
    assert own_reference.abs().max() < 1e-5

    both = guidance.emotion(clips[:2], labels=["happy", "sad"])
    happy = guidance.emotion(clips[:1], labels="happy")
    sad = guidance.emotion(clips[1:2], labels="sad")
    assert torch.allclose(both, torch.cat([happy, sad]), atol=1e-5)

    texts = [DESCRIPTIONS["happy"], DESCRIPTIONS["sad"]]
    targets = guidance.target(text=texts)
    assert targets.shape == (2, guidance.text.shape[1])
    assert torch.equal(targets[1:], guidance.target(text=texts[1]))


def test_a_text_means_the_emotion_whose_description_it_resembles(guidance):
    for name in guidance.emotions:
        weights = guidance.mixture(text=DESCRIPTIONS[name])[0]
        assert EMOTIONS[int(weights.argmax())] == name
        assert weights.sum() == pytest.approx(1)
        one_hot = torch.eye(8)[EMOTIONS.index(name)]
        assert torch.equal(guidance.mixture(labels=name)[0], one_hot)

    smile = guidance.mixture(text="lip corners up, cheeks slightly raised")[0]
    assert EMOTIONS[int(smile.argmax())] == "happy"

    # No training clip shows contempt.
    contempt = guidance.mixture(text=DESCRIPTIONS["contempt"])[0]
    assert contempt[EMOTIONS.index("contempt")] == 0

    strongest = guidance.prototypes[EMOTIONS.index("happy"), 2]
    cosines = []
    for level in (1, 2, 3):
        target = guidance.target(labels="happy", intensity=level / 3)
        cosines.append(float(target[0] @ strongest))
    assert cosines[0] < cosines[1] < cosines[2]


def test_a_real_clip_takes_any_words(tmp_path):
    history = pd.DataFrame({"step": [0]})
    torch.manual_seed(0)
    shape = {"features": 1024 + 128, "embedding": 1024, "token_width": 512}
    save_network(tmp_path / "content", ContentEncoder(), {"model": {}}, history)
    card = {"model": shape, "language": "RN50/random"}
    save_network(tmp_path / "emotion", EmotionEncoder(**shape), card, history)
    unit = torch.nn.functional.normalize(torch.randn(8, 4, 1024), dim=-1)
    targets = {"text": unit[:, 0].clone(), "prototypes": unit[:, 1:].clone()}
    save_file(targets, tmp_path / "emotion/targets.safetensors")

    guidance = Guidance(tmp_path)
    weights = guidance.mixture(text="a man who has just won the lottery")
    assert weights.sum() == pytest.approx(1)
    assert guidance.target(text="delighted").norm() == pytest.approx(1)
    with pytest.raises(InputError, match="unknown emotion ' '.*or a description in words"):
        guidance.target(text=" ")


def frames(*shape, value=0.5):
    return torch.full(shape, value)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            frames(2, 5, 64, 64, 3),
            r"output: float frames \(B, T, 3, H, W\).*\[0, 1\].* got \(2, 5, 64, 64, 3\)",
        ),
        (frames(10, 3, 64, 64), r"output: .* got \(10, 3, 64, 64\) torch.float32"),
        (frames(2, 5, 3, 64, 64).byte(), "output: .* got .* torch.uint8"),
        (np.zeros((2, 5, 3, 64, 64)), "output: float frames .* got ndarray"),
        (
            frames(2, 4, 3, 64, 64),
            r"output \(2, 4, 3, 64, 64\): .* at least 5 frames .* got 2 of 4",
        ),
        (
            frames(2, 6, 3, 64, 64),
            r"output .*: as many clips and frames as the source has, \(2, 5, 3, 64, 64\)",
        ),
        (frames(2, 5, 3, 40, 64), "output .*: .* at least 48 x 48 pixels .* enlarge"),
        (
            frames(2, 5, 3, 64, 64, value=1.2),
            r"output: values from 1.2 to 1.2; \[0, 1\] .* sigmoid",
        ),
        (frames(2, 5, 3, 64, 64, value=float("nan")), "output: values from nan to nan"),
        (frames(2, 5, 3, 64, 64, value=float("inf")), "output: values from inf to inf"),
    ],
)
def test_frames_that_are_none_are_refused_in_one_line(guidance, output, message):
    with pytest.raises(InputError, match=message) as caught:
        guidance.content(frames(2, 5, 3, 64, 64), output)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"labels": "hapy"}, "labels: .*'hapy' .did you mean happy..: accepted are angry, .* text"),
        ({"labels": ["happy", "hapy"]}, "labels: unknown emotion 'hapy'"),
        ({"labels": 7}, "labels: a string, or a list of strings, .* got int"),
        ({"labels": {"happy": 1}}, "labels: a string, or a list of strings, .* got dict"),
        ({"labels": []}, "labels: a string, or a list of strings, .* got list"),
        ({"labels": "contempt"}, "'contempt': these encoders saw no clip .* accepted are angry"),
        (
            {"text": "brows furrowed"},
            "text: .*'brows furrowed'.* accepted are .* words and, brows, .* need a real CLIP",
        ),
        ({"text": ", ."}, "text: unknown emotion ', .'"),
        ({"text": torch.zeros(2, 128)}, "text: a string, or a list of strings, .* got Tensor"),
        ({"reference": frames(1, 2, 3, 64, 64)}, "reference .*: clips of at least 3 frames"),
        ({"reference": frames(5, 3, 64, 64)}, r"reference: .* got \(5, 3, 64, 64\)"),
        ({"reference": frames(3, 5, 3, 64, 64)}, "3 targets for 2 clips; give one, or one per"),
        ({"embedding": torch.zeros(9)}, r"embedding: \(B, 128\) .* got \(9,\); .* reference"),
        ({"embedding": torch.zeros(128)}, r"embedding: \(B, 128\) .* got \(128,\)"),
        ({"embedding": "happy"}, r"embedding: \(B, 128\)"),
        ({"labels": "happy", "intensity": float("nan")}, "intensity nan: .* 1/3 .* 1"),
        ({}, "exactly one of labels, text, reference, embedding; got none"),
        ({"labels": "happy", "text": "brows"}, "exactly one of .*; got labels, text"),
    ],
)
def test_targets_that_are_none_are_refused_in_one_line(guidance, clips, target, message):
    with pytest.raises(InputError, match=message) as caught:
        guidance.emotion(clips[:2, :5], **target)
    assert "\n" not in str(caught.value)


def test_clips_too_short_for_an_emotion_are_refused(guidance, clips):
    with pytest.raises(InputError, match="output .*: clips of at least 3 frames"):
        guidance.emotion(clips[:2, :2], labels="happy")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"boxes": torch.zeros(3, 4)}, r"boxes: \(2, 4\)"),
        ({"boxes": torch.tensor([[0.8, 0.4, 0.2, 0.8]] * 2)}, r"boxes: \(2, 4\) left < right"),
        (
            {"audio": torch.zeros(2, 7, 64)},
            r"audio \(2, 7, 64\): sound \(2, S\) at 16 kHz .* audio_features",
        ),
        (
            {"audio_features": torch.zeros(2, 7, 64)},
            r"audio_features \(2, 7, 64\): \(2, 5, 64\) features .* audio",
        ),
        ({"audio": torch.full((2, 3200), float("nan"))}, "audio: .* finite numbers"),
        (
            {"audio": torch.zeros(2, 3200), "audio_features": torch.zeros(2, 5, 64)},
            "audio, audio_features: give one of the two",
        ),
    ],
)
def test_boxes_and_sounds_that_are_none_are_refused_in_one_line(guidance, clips, inputs, message):
    source = clips[:2, :5]
    with pytest.raises(InputError, match=message) as caught:
        guidance.content(source, source, **inputs)
    assert "\n" not in str(caught.value)


def test_boxes_of_the_emotion_are_checked_too(guidance, clips):
    turned = torch.tensor([[0.8, 0.4, 0.2, 0.8]] * 2)
    with pytest.raises(InputError, match=r"boxes: \(2, 4\) left < right"):
        guidance.emotion(clips[:2, :5], labels="happy", boxes=turned)


def test_guidance_is_found_by_name_and_by_folder():
    by_name = state(Guidance("guidance"))
    by_folder = state(Guidance(data_root() / "weights" / "guidance"))
    for name, value in by_name.items():
        assert torch.equal(value, by_folder[name])
    assert by_name.keys() == by_folder.keys()


def test_missing_or_damaged_guidance_is_named(tmp_path):
    with pytest.raises(InputError, match="gone: no such folder; guidance is 'guidance' .*run's"):
        Guidance(tmp_path / "gone")
    with pytest.raises(InputError, match="no trained encoder here; run notebooks 02 and 03"):
        Guidance(tmp_path)

    for kind in ("content", "emotion"):
        (tmp_path / kind).mkdir()
        source = data_root() / "weights" / "guidance" / kind
        for file in ("model.json", "model.safetensors"):
            (tmp_path / kind / file).write_bytes((source / file).read_bytes())
    damaged = "targets.safetensors: missing or damaged .*; train the encoders again"
    with pytest.raises(InputError, match=damaged):
        Guidance(tmp_path)
