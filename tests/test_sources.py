"""Where weights come from: told before work, never fetched unasked, never executed, known by their sha256."""

import hashlib
import json
import pathlib
import sys
from dataclasses import replace

import open_clip
import pytest
import torch
import torchaudio
from safetensors.torch import save_file

from cdrl.cli.doctor import examine, finding_lines
from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.settings import PriorsConfig
from cdrl.core.weight_files import fill, read_state, verify
from cdrl.priors import sources

PAPER = {"audio": "WAV2VEC2_XLSR53", "language": "ViT-B-32/openai", "vision": "iresnet50"}


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch, tmp_path):
    """No weights in any place of this machine, and whoever tries to fetch some is caught."""
    monkeypatch.delenv("CDRL_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))

    def refuse(*arguments, **options):
        raise AssertionError("fetched without being asked")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(open_clip, "download_pretrained", refuse)


def test_all_that_is_missing_is_told_at_once_one_line_each_with_what_to_get_and_where_to_put_it(
    tmp_path,
):
    with pytest.raises(InputError) as told:
        sources.prepare(PriorsConfig(**PAPER, weights=str(tmp_path)))
    audio, language, vision = str(told.value).splitlines()
    assert audio.startswith(
        "priors.audio=WAV2VEC2_XLSR53: its weights are missing: get wav2vec2_fairseq_large_xlsr53.pth "
    )
    assert (
        "torchaudio.pipelines.WAV2VEC2_XLSR53.get_model()" in audio
        and f"put it into {tmp_path} as wav2vec2_fairseq" in audio
    )
    assert "open_clip.get_pretrained_cfg('ViT-B-32', 'openai')" in language and language.endswith(
        "as ViT-B-32-openai.safetensors"
    )
    assert "get backbone.pth of the CDRL release" in vision and vision.endswith("as backbone.pth")


def test_embedded_priors_paths_and_random_weights_need_nothing():
    assert (
        sources.required_sources() == sources.required_sources("a.safetensors", "RN50/random", "iresnet50/random") == []
    )
    assert sources.prepare(PriorsConfig()) == []


def test_a_run_refuses_before_its_first_notebook(tmp_path, capsys):
    settings = [
        word for name, value in PAPER.items() for word in ("--set", f"priors.{name}={value}")
    ]
    assert main(["run", "--preset", "smoke", "--out", str(tmp_path / "run"), *settings]) == 2
    said = capsys.readouterr().err
    assert said.count("its weights are missing") == 3 and not (tmp_path / "run").exists()
    assert (
        main(
            [
                "run",
                "--preset",
                "smoke",
                "--out",
                str(tmp_path / "run"),
                "--set",
                "vision=iresnet50",
                "--set",
                f"weights={tmp_path / 'no'}",
            ]
        )
        == 2
    )
    assert "priors.weights=" in (said := capsys.readouterr().err) and "not a folder" in said


def test_doctor_says_what_the_paper_s_priors_would_need(tmp_path, monkeypatch):
    printed = "\n".join(finding_lines(examine()))
    assert (
        "missing  prior WAV2VEC2_XLSR53: only priors.audio=WAV2VEC2_XLSR53: its weights are missing: get wav2vec2_fairseq"
        in printed
    )
    assert "missing  prior ViT-B-32/openai: " in printed
    (tmp_path / "backbone.pth").write_bytes(b"weights")
    monkeypatch.setenv("CDRL_WEIGHTS", str(tmp_path))
    assert f"ok       prior iresnet50: {tmp_path / 'backbone.pth'}" in "\n".join(
        finding_lines(examine())
    )
    (tmp_path / "backbone.pth").write_bytes(b"others")
    assert (
        f"missing  prior iresnet50: {tmp_path / 'backbone.pth'}: its sha256 begins with"
        in "\n".join(finding_lines(examine()))
    )


def test_the_setting_comes_before_the_environment_and_both_before_the_library_s_own_folder(
    tmp_path, monkeypatch
):
    source = sources.audio_source("HUBERT_BASE")
    places = {
        name: tmp_path / name for name in ("setting", "environment", "torch_home/hub/checkpoints")
    }
    assert sources.find(source, str(places["setting"])) is None
    for place in reversed(places.values()):
        place.mkdir(parents=True)
        (place / "hubert_fairseq_base_ls960.pth").write_bytes(b"0")
        monkeypatch.setenv("CDRL_WEIGHTS", str(places["environment"]))
        assert sources.find(source, str(places["setting"])).parent == place


def test_what_was_asked_for_is_fetched_into_the_folder_and_known_from_then_on(
    tmp_path, monkeypatch
):
    def fetch(configuration, cache_dir):
        (pathlib.Path(cache_dir) / "blob").write_bytes(b"clip")
        (pathlib.Path(cache_dir) / "open_clip_model.safetensors").symlink_to(
            pathlib.Path(cache_dir) / "blob"
        )
        return str(pathlib.Path(cache_dir) / "open_clip_model.safetensors")

    monkeypatch.setattr(open_clip, "download_pretrained", fetch)
    config = PriorsConfig(language="ViT-B-32/openai", weights=str(tmp_path / "new"), download=True)
    (path,) = sources.prepare(config)
    assert (
        path == tmp_path / "new/ViT-B-32-openai.safetensors"
        and path.read_bytes() == b"clip"
        and not path.is_symlink()
    )
    assert (
        json.loads((tmp_path / "new/ViT-B-32-openai.safetensors.json").read_text())["sha256"]
        == hashlib.sha256(b"clip").hexdigest()
    )
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == [
        path.name,
        f"{path.name}.json",
    ]


def test_a_download_that_fails_or_has_no_folder_is_told_in_one_line(tmp_path, monkeypatch):
    def offline(*arguments, **options):
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(
        InputError,
        match="put it into .* as wav2vec2_fairseq_base_ls960.pth .the download failed: Name or service not known.$",
    ):
        sources.prepare(PriorsConfig(audio="WAV2VEC2_BASE", weights=str(tmp_path), download=True))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(
        InputError, match="priors.download=true: priors.audio=WAV2VEC2_BASE needs a folder"
    ):
        sources.prepare(PriorsConfig(audio="WAV2VEC2_BASE", download=True))


def test_without_torchaudio_its_bundles_are_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio.pipelines", None)
    with pytest.raises(
        InputError,
        match=r"audio prior 'HUBERT_BASE' needs torchaudio: pip install -e .\.\[audio\]., or use audio=embedded",
    ):
        sources.find_bundle("HUBERT_BASE")


def test_torchaudio_s_own_downloader_brings_its_file_into_the_folder(tmp_path, monkeypatch):
    bundle = torchaudio.pipelines.WAV2VEC2_BASE
    bundle = replace(bundle, _params=bundle._params | {"encoder_num_layers": 1})
    monkeypatch.setattr(torchaudio.pipelines, "WAV2VEC2_BASE", bundle)
    state = torchaudio.models.wav2vec2_model(**bundle._params).state_dict()
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda url, path, *rest, **more: torch.save(state, path)
    )
    (path,) = sources.prepare(
        PriorsConfig(audio="WAV2VEC2_BASE", weights=str(tmp_path), download=True)
    )
    assert (
        path == tmp_path / "wav2vec2_fairseq_base_ls960.pth"
        and read_state(path).keys() == state.keys()
    )


def test_an_unknown_tag_is_refused_with_those_that_are_known():
    with pytest.raises(
        InputError,
        match="open_clip has no weights 'openaj' of ViT-B-32; accepted are openai, laion400m_e31",
    ):
        sources.required_sources(language="ViT-B-32/openaj")


class Harmful:
    """A pickle that makes a file when it is opened as pickles usually are."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["backbone.pth", "backbone.safetensors", "backbone.bin"])
def test_a_pickle_with_code_is_refused_and_nothing_in_it_is_executed(tmp_path, name):
    torch.save({"conv1.weight": Harmful(tmp_path / "harm")}, tmp_path / name)
    with pytest.raises(
        InputError, match="nothing in it was executed|not a readable safetensors file"
    ) as told:
        read_state(tmp_path / name)
    assert not (tmp_path / "harm").exists() and "\n" not in str(told.value)
    torch.load(tmp_path / name, weights_only=False)
    assert (tmp_path / "harm").exists(), "the same file does harm where it is trusted"


def test_a_torchscript_archive_is_not_opened(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "ViT-B-32-openai.pt")
    with pytest.raises(
        InputError,
        match="a TorchScript archive, which holds code and is not opened; a .safetensors or a .pth of",
    ):
        read_state(tmp_path / "ViT-B-32-openai.pt")


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_file_that_was_cut_short_is_refused(tmp_path, name):
    path, state = tmp_path / name, torch.nn.Linear(64, 64).state_dict()
    save_file(dict(state), path) if name.endswith("s") else torch.save(state, path)
    assert torch.equal(read_state(path)["weight"], state["weight"])
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(
        InputError,
        match="not a readable safetensors file|cannot be read, perhaps cut short|or is damaged",
    ) as told:
        read_state(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_what_is_no_state_dict_or_another_model_s_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(InputError, match="list.pth: not a state dict"):
        read_state(tmp_path / "list.pth")
    with pytest.raises(InputError, match="gone.pth: no such file of weights"):
        read_state(tmp_path / "gone.pth")
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in torch.nn.Linear(2, 3).state_dict().items()}},
        tmp_path / "wrapped.pth",
    )
    state = read_state(tmp_path / "wrapped.pth")
    assert fill(torch.nn.Linear(2, 3), state, tmp_path / "wrapped.pth").weight.shape == (3, 2)
    with pytest.raises(InputError, match="wrapped.pth: weights of another model .*weight"):
        fill(torch.nn.Linear(4, 3), state, tmp_path / "wrapped.pth")


def test_a_checksum_is_recorded_on_first_use_and_verified_from_then_on(tmp_path):
    path = tmp_path / "backbone.pth"
    path.write_bytes(b"first")
    assert verify(path) == verify(path) == hashlib.sha256(b"first").hexdigest()
    path.write_bytes(b"second")
    with pytest.raises(
        InputError,
        match=r"its sha256 begins with \w{12}, backbone.pth.json says \w{12}; it is damaged or of another version",
    ):
        verify(path)
    (tmp_path / "backbone.pth.json").unlink()
    (tmp_path / "backbone.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(InputError, match="backbone.json says 000000000000"):
        verify(path)


def test_digits_that_a_publisher_put_into_the_name_are_verified(tmp_path):
    good, wrong, dated = (
        tmp_path / f"net-{digits}.pt"
        for digits in (hashlib.sha256(b"a").hexdigest()[:8], "deadbeef", "20240101")
    )
    for path in (good, wrong, dated):
        path.write_bytes(b"a")
    assert verify(good) == verify(dated)
    with pytest.raises(
        InputError,
        match="its sha256 begins with ca978112ca1b, its name says deadbeef; it is damaged",
    ):
        verify(wrong)
