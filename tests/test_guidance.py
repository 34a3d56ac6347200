"""Guidance that plugs into any generator: the example of the README, what it accepts, what it refuses, what stays frozen."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from cdrl.core.errors import InputError
from cdrl.core.paths import data_root, repository_root
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.samples import sample_clips
from cdrl.media.faces import align, crop
from cdrl.media.mouths import MOUTH, mouth_box
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.language import DESCRIPTIONS
from cdrl.representation.content import save_encoder
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
    loss = guidance.content(source, output, boxes=boxes) + guidance.emotion("happy", output, boxes=boxes)
    optimiser.zero_grad(), loss.mean().backward(), optimiser.step()
"""


@pytest.fixture(scope="module")
def guidance():
    return Guidance()


@pytest.fixture(scope="module")
def clips():
    """(6, 10, 3, 64, 64): the six sample clips, frames 10 to 20, aligned."""
    return torch.stack(
        [
            torch.from_numpy(crop(clip.frames[10:20], align(clip.frames[10:20]), 64)).permute(
                0, 3, 1, 2
            )
            / 255
            for clip in sample_clips()
        ]
    )


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_a_model_that_this_kit_did_not_write_learns_from_it_and_leaves_it_as_it_was(guidance):
    torch.manual_seed(0)
    before, found, losses = state(guidance), {}, []
    exec(
        EXAMPLE.replace(
            "    optimiser.zero_grad()",
            "    losses.append(loss.detach())\n    optimiser.zero_grad()",
        ),
        found | {"losses": losses},
        found,
    )
    losses, generator = torch.stack(losses), found["generator"]
    assert losses.shape == (12, 4) and losses[-3:].mean() < losses[:3].mean() - 0.1
    reached = [
        parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        for parameter in generator.parameters()
    ]
    assert np.mean(reached) > 0.95
    mine = found["guidance"]
    generator.train(), mine.train()
    assert not any(module.training for module in mine.modules())
    assert all(
        not parameter.requires_grad and parameter.grad is None for parameter in mine.parameters()
    )
    assert state(mine).keys() == before.keys() and all(
        torch.equal(value, before[name]) for name, value in state(mine).items()
    )


def test_the_example_has_twenty_lines_and_is_that_of_the_readme():
    readme = (repository_root() / "README.md").read_text()
    assert len(EXAMPLE.splitlines()) <= 20 and (
        EXAMPLE in readme or "from cdrl import Guidance" not in readme
    )


def test_the_package_alone_imports_nothing_heavy():
    code = "import sys, cdrl; print(sorted({'torch', 'numpy'} & set(sys.modules)), callable(cdrl.__getattr__))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=repository_root()
    )
    assert done.stdout == "[] True\n", done.stderr
    from cdrl import Guidance as found

    assert found is Guidance
    with pytest.raises(ImportError, match="Guidence"):
        from cdrl import Guidence  # noqa: F401


def test_values_are_per_clip_and_gradients_reach_every_frame_s_pixels(guidance, clips):
    source, output = clips[:2, :6], clips[2:4, :6].clone().requires_grad_(True)
    loss = guidance.content(source, output) + guidance.emotion("sad", output, source=source)
    assert loss.shape == (2,)
    loss[1].backward()
    assert not output.grad[0].any() and all(output.grad[1, frame].any() for frame in range(6))
    alone = guidance.content(source[1:], output[1:]) + guidance.emotion(
        "sad", output[1:], source=source[1:]
    )
    assert torch.allclose(alone[0], loss[1], atol=1e-5)
    assert guidance.content(source, source).abs().max() < 1e-5
    assert guidance.content(source, clips[:2, 4:10]).min() > 0.2  # another moment


def test_boxes_are_found_at_any_size_once_on_the_source_and_are_those_of_the_alignment(
    guidance, clips
):
    found = guidance.mouth_boxes(clips)
    for clip, box in zip(sample_clips(), found, strict=True):
        assert np.abs(align(clip.frames[10:20]).mouth_box - box.numpy()).max() < 0.02
    wide = torch.nn.functional.pad(clips[0], (0, 32, 0, 16), mode="replicate")[
        None
    ]  # no aligned crop any more: 80 x 96
    assert (
        guidance.mouth_boxes(wide)[0] * torch.tensor([1.5, 1.25, 1.5, 1.25]) - found[0]
    ).abs().max() < 0.03
    nothing = torch.full((1, 5, 3, 64, 64), 0.5)
    assert (
        torch.equal(guidance.mouth_boxes(nothing)[0], torch.tensor(MOUTH))
        and mouth_box(np.zeros((1, 50, 50, 3), np.uint8))[0] == MOUTH[0]
    )
    source, output = (
        clips[:1, :5],
        torch.rand(1, 5, 3, 96, 96, generator=torch.Generator().manual_seed(0)),
    )
    assert torch.equal(
        guidance.content(source, output),
        guidance.content(source, output, boxes=guidance.mouth_boxes(source)),
    )


def test_boxes_may_stand_third_as_before_and_sound_may_too(guidance, clips):
    source, output = clips[:2, :5], clips[2:4, :5]
    boxes = torch.tensor([[0.2, 0.4, 0.8, 0.8]]).expand(2, 4)
    assert torch.equal(
        guidance.content(source, output, boxes), guidance.content(source, output, boxes=boxes)
    )
    sound = torch.randn(2, 3200, generator=torch.Generator().manual_seed(0)) / 10
    heard = guidance.content(source, output, sound, boxes)
    assert heard.shape == (2,) and not torch.equal(
        heard, guidance.content(source, output, boxes=boxes)
    )
    assert torch.allclose(
        guidance.content(source, source, torch.zeros(2, 5, 64), boxes), torch.zeros(2), atol=1e-5
    )


def test_a_reference_a_label_a_text_and_an_embedding_are_asked_for_alike(guidance, clips):
    happy = [clip.labels["emotion"] for clip in sample_clips()].index("happy")
    reference = clips[happy]
    values = {
        "label": guidance.emotion("happy", clips),
        "text": guidance.emotion(DESCRIPTIONS["happy"], clips),
        "clip": guidance.emotion(reference, clips),
        "embedding": guidance.emotion(guidance.target(reference), clips),
    }
    assert all(value.shape == (6,) and int(value.argmin()) == happy for value in values.values())
    assert torch.equal(values["clip"], values["embedding"]) and values["clip"][happy] < 1e-3
    assert (
        guidance.emotion(clips, clips, boxes=guidance.mouth_boxes(clips)).abs().max() < 1e-5
    )  # one reference per clip
    mixed = guidance.emotion(["happy", "sad"], clips[:2])
    assert torch.allclose(
        mixed,
        torch.stack(
            [guidance.emotion("happy", clips[:1])[0], guidance.emotion("sad", clips[1:2])[0]]
        ),
        atol=1e-5,
    )


def test_a_text_means_the_emotion_whose_description_it_resembles(guidance):
    for name in guidance.emotions:
        weights = guidance.mixture(DESCRIPTIONS[name])
        assert EMOTIONS[int(weights.argmax())] == name and weights.sum() == pytest.approx(1)
        assert torch.equal(guidance.mixture(name), torch.eye(8)[EMOTIONS.index(name)])
    assert (
        EMOTIONS[int(guidance.mixture("lip corners up, cheeks slightly raised").argmax())]
        == "happy"
    )
    assert (
        guidance.mixture(DESCRIPTIONS["contempt"])[EMOTIONS.index("contempt")] == 0
    )  # no clip of it was seen
    level = [guidance.target("happy", k / 3) @ guidance.prototypes[4, 2] for k in (1, 2, 3)]
    assert level[0] < level[1] < level[2]


def test_a_real_clip_takes_any_words(tmp_path):
    history = pd.DataFrame({"step": [0]})
    torch.manual_seed(0)
    shape = {"features": 1024 + 128, "embedding": 1024, "token_width": 512}
    save_encoder(ContentEncoder(), {"model": {}}, history, tmp_path / "content")
    save_encoder(
        EmotionEncoder(**shape),
        {"model": shape, "language": "RN50/random"},
        history,
        tmp_path / "emotion",
    )
    unit = torch.nn.functional.normalize(torch.randn(8, 4, 1024), dim=-1)
    save_file(
        {"text": unit[:, 0].clone(), "prototypes": unit[:, 1:].clone()},
        tmp_path / "emotion/targets.safetensors",
    )
    guidance = Guidance(tmp_path)
    weights = guidance.mixture("a man who has just won the lottery")
    assert weights.sum() == pytest.approx(1) and guidance.target(
        "delighted"
    ).norm() == pytest.approx(1)
    with pytest.raises(InputError, match="unknown emotion ' '.*or a description in words"):
        guidance.target(" ")


def frames(*shape, value=0.5):
    return torch.full(shape, value)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            frames(2, 5, 64, 64, 3),
            r"output: float frames \(B, T, 3, H, W\), RGB in \[0, 1\], are needed, got \(2, 5, 64, 64, 3\)",
        ),
        (frames(10, 3, 64, 64), r"output: .* got \(10, 3, 64, 64\) torch.float32"),
        (frames(2, 5, 3, 64, 64).byte(), "output: .* got .* torch.uint8"),
        (np.zeros((2, 5, 3, 64, 64)), "output: float frames .* got ndarray"),
        (
            frames(2, 4, 3, 64, 64),
            r"output \(2, 4, 3, 64, 64\): clips of at least 5 frames are needed, got 2 of 4",
        ),
        (
            frames(2, 6, 3, 64, 64),
            r"output .*: as many clips and frames as the source has, \(2, 5, 3, 64, 64\), are needed",
        ),
        (
            frames(2, 5, 3, 40, 64),
            "output .*: crops of at least 48 x 48 pixels are needed; enlarge them",
        ),
        (
            frames(2, 5, 3, 64, 64, value=1.2),
            r"output: values from 1.2 to 1.2; \[0, 1\] is needed: end your generator in a sigmoid",
        ),
        (frames(2, 5, 3, 64, 64, value=float("nan")), "output: values from nan to nan"),
        (frames(2, 5, 3, 64, 64, value=float("inf")), "output: values from inf to inf"),
    ],
)
def test_frames_that_are_none_are_refused_in_one_line(guidance, output, line):
    with pytest.raises(InputError, match=line) as caught:
        guidance.content(frames(2, 5, 3, 64, 64), output)
    assert "\n" not in str(caught.value)


def test_targets_boxes_and_sounds_that_are_none_are_refused_in_one_line(guidance, clips):
    x, ask = clips[:2, :5], guidance.emotion
    wrong = {
        r"unknown emotion 'hapy' .did you mean happy..: accepted are angry, .* words and, brows, .* need a real CLIP": lambda: (
            ask("hapy", x)
        ),
        "unknown emotion 'brows furrowed'": lambda: ask("brows furrowed", x),
        "unknown emotion 7": lambda: ask(7, x),
        "unknown emotion {'happy': 1}": lambda: ask({"happy": 1}, x),
        "unknown emotion ', .'": lambda: ask(", .", x),
        "emotion 'contempt': these encoders saw no clip of it; accepted are angry, disgusted": lambda: (
            ask("contempt", x)
        ),
        "output .*: clips of at least 3 frames": lambda: ask("happy", x[:, :2]),
        "reference .*: clips of at least 3 frames": lambda: ask(x[0, :2], x),
        r"reference: .* got \(3, 64, 64\)": lambda: ask(x[0, 0], x),
        "emotion: 3 targets for 2 clips; give one, or one per clip": lambda: ask(clips[:3, :5], x),
        r"target \(9,\): embeddings of 128 numbers": lambda: ask(torch.zeros(9), x),
        "intensity nan": lambda: ask("happy", x, float("nan")),
        r"boxes: \(2, 4\) left < right": lambda: ask(
            "happy", x, boxes=torch.tensor([[0.8, 0.4, 0.2, 0.8]] * 2)
        ),
        r"boxes: \(2, 4\)": lambda: guidance.content(x, x, boxes=torch.zeros(3, 4)),
        r"audio \(2, 7, 64\): features \(2, 5, 64\) .* or sound \(2, S\) at 16 kHz": lambda: (
            guidance.content(x, x, torch.zeros(2, 7, 64))
        ),
        "audio: finite numbers": lambda: guidance.content(
            x, x, torch.full((2, 3200), float("nan"))
        ),
    }
    for line, call in wrong.items():
        with pytest.raises(InputError, match=line) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_guidance_is_found_by_name_and_folder_and_a_missing_or_damaged_one_is_named(
    guidance, tmp_path
):
    named, lying = Guidance("guidance"), Guidance(data_root() / "weights" / "guidance")
    assert all(
        torch.equal(a, b) for a, b in zip(state(named).values(), state(lying).values(), strict=True)
    )
    with pytest.raises(
        InputError,
        match="gone: no such folder; guidance is 'guidance' .the committed encoders., a run's folder",
    ):
        Guidance(tmp_path / "gone")
    with pytest.raises(InputError, match="no trained encoder here; run notebooks 02 and 03"):
        Guidance(tmp_path)
    for kind in ("content", "emotion"):
        (tmp_path / kind).mkdir()
        source = data_root() / "weights" / "guidance" / kind
        for file in ("model.json", "model.safetensors"):
            (tmp_path / kind / file).write_bytes((source / file).read_bytes())
    with pytest.raises(
        InputError, match="targets.safetensors: missing or damaged .*; train the encoders again"
    ):
        Guidance(tmp_path)
