"""Sources of weights: what is missing is said before work, and nothing is fetched unasked."""

import hashlib
import json
import pathlib
import sys
from dataclasses import replace

import open_clip
import pytest
import torch
import torchaudio

from cdrl.cli.doctor import examine, finding_lines
from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.settings import PriorsConfig
from cdrl.core.weight_files import read_state
from cdrl.priors import sources

PAPER = {"audio": "WAV2VEC2_XLSR53", "language": "ViT-B-32/openai", "vision": "iresnet50"}


@pytest.fixture(autouse=True)
def no_weights_here(monkeypatch, tmp_path):
    """No weights in any folder of this machine; an unasked download fails the test."""
    monkeypatch.delenv("CDRL_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))

    def refuse(*arguments, **options):
        raise AssertionError("fetched without being asked")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(open_clip, "download_pretrained", refuse)


def test_all_that_is_missing_is_said_at_once_one_line_each_with_what_to_get_and_where_to_put_it(
    tmp_path,
):
    with pytest.raises(InputError) as error:
        sources.prepare(PriorsConfig(**PAPER, weights=str(tmp_path)))
    audio, language, vision = str(error.value).splitlines()

    assert audio.startswith("priors.audio=WAV2VEC2_XLSR53: its weights are missing")
    assert "get wav2vec2_fairseq_large_xlsr53.pth " in audio
    assert "torchaudio.pipelines.WAV2VEC2_XLSR53.get_model()" in audio
    assert f"put it into {tmp_path} as wav2vec2_fairseq" in audio

    assert "open_clip.get_pretrained_cfg('ViT-B-32', 'openai')" in language
    assert language.endswith("as ViT-B-32-openai.safetensors")

    assert "get backbone.pth of the CDRL release" in vision
    assert vision.endswith("as backbone.pth")


def test_embedded_priors_paths_and_random_weights_need_nothing():
    assert sources.required_sources() == []
    assert sources.required_sources("a.safetensors", "RN50/random", "iresnet50/random") == []
    assert sources.prepare(PriorsConfig()) == []


def test_a_run_refuses_before_its_first_notebook(tmp_path, capsys):
    command = ["run", "--preset", "smoke", "--out", str(tmp_path / "run")]
    settings = []
    for name, value in PAPER.items():
        settings += ["--set", f"priors.{name}={value}"]
    assert main([*command, *settings]) == 2
    assert capsys.readouterr().err.count("its weights are missing") == 3
    assert not (tmp_path / "run").exists()

    settings = ["--set", "vision=iresnet50", "--set", f"weights={tmp_path / 'no'}"]
    assert main([*command, *settings]) == 2
    message = capsys.readouterr().err
    assert "priors.weights=" in message
    assert "not a folder" in message

    # Embedded priors need no folder; one that was named has to be there all the same.
    assert main([*command, "--set", f"priors.weights={tmp_path / 'no'}"]) == 2
    assert "not a folder" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_doctor_says_what_the_paper_s_priors_would_need(tmp_path, monkeypatch):
    report = "\n".join(finding_lines(examine()))
    assert (
        "missing  prior WAV2VEC2_XLSR53: only priors.audio=WAV2VEC2_XLSR53: its weights" in report
    )
    assert "get wav2vec2_fairseq" in report
    assert "missing  prior ViT-B-32/openai: " in report

    path = tmp_path / "backbone.pth"
    path.write_bytes(b"weights")
    monkeypatch.setenv("CDRL_WEIGHTS", str(tmp_path))
    report = "\n".join(finding_lines(examine()))
    assert f"ok       prior iresnet50: {path}" in report

    path.write_bytes(b"others")
    report = "\n".join(finding_lines(examine()))
    assert f"missing  prior iresnet50: {path}: its sha256 begins with" in report


def test_the_setting_comes_before_the_environment_and_both_before_the_library_s_own_folder(
    tmp_path, monkeypatch
):
    source = sources.audio_source("HUBERT_BASE")
    of_setting = tmp_path / "setting"
    of_environment = tmp_path / "environment"
    of_library = tmp_path / "torch_home/hub/checkpoints"
    assert sources.find(source, str(of_setting)) is None
    for folder in (of_library, of_environment, of_setting):
        folder.mkdir(parents=True)
        (folder / "hubert_fairseq_base_ls960.pth").write_bytes(b"0")
        monkeypatch.setenv("CDRL_WEIGHTS", str(of_environment))
        assert sources.find(source, str(of_setting)).parent == folder


def test_a_requested_download_comes_into_the_folder_and_its_sha256_is_recorded(
    tmp_path, monkeypatch
):
    def fetch(configuration, cache_dir):
        blob = pathlib.Path(cache_dir) / "blob"
        blob.write_bytes(b"clip")
        link = pathlib.Path(cache_dir) / "open_clip_model.safetensors"
        link.symlink_to(blob)
        return str(link)

    monkeypatch.setattr(open_clip, "download_pretrained", fetch)
    folder = tmp_path / "new"
    config = PriorsConfig(language="ViT-B-32/openai", weights=str(folder), download=True)
    (path,) = sources.prepare(config)
    assert path == folder / "ViT-B-32-openai.safetensors"
    assert path.read_bytes() == b"clip"
    assert not path.is_symlink()

    record = folder / f"{path.name}.json"
    assert json.loads(record.read_text())["sha256"] == hashlib.sha256(b"clip").hexdigest()
    assert sorted(folder.iterdir()) == [path, record]


def test_a_download_that_fails_or_has_no_folder_is_said_in_one_line(tmp_path, monkeypatch):
    def offline(*arguments, **options):
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    file = "wav2vec2_fairseq_base_ls960.pth"
    with pytest.raises(InputError, match=f"as {file} .the download failed: Name or .* known.$"):
        sources.prepare(PriorsConfig(audio="WAV2VEC2_BASE", weights=str(tmp_path), download=True))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="priors.audio=WAV2VEC2_BASE needs a folder"):
        sources.prepare(PriorsConfig(audio="WAV2VEC2_BASE", download=True))


def test_without_torchaudio_its_bundles_are_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio.pipelines", None)
    with pytest.raises(InputError) as error:
        sources.find_bundle("HUBERT_BASE")
    message = str(error.value)
    assert "'HUBERT_BASE' needs torchaudio" in message
    assert 'pip install -e ".[audio]"' in message
    assert "audio=embedded" in message


def test_torchaudio_s_own_downloader_brings_its_file_into_the_folder(tmp_path, monkeypatch):
    bundle = torchaudio.pipelines.WAV2VEC2_BASE
    bundle = replace(bundle, _params=bundle._params | {"encoder_num_layers": 1})
    monkeypatch.setattr(torchaudio.pipelines, "WAV2VEC2_BASE", bundle)
    state = torchaudio.models.wav2vec2_model(**bundle._params).state_dict()

    def download(url, path, *arguments, **options):
        torch.save(state, path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    config = PriorsConfig(audio="WAV2VEC2_BASE", weights=str(tmp_path), download=True)
    (path,) = sources.prepare(config)
    assert path == tmp_path / "wav2vec2_fairseq_base_ls960.pth"
    assert read_state(path).keys() == state.keys()


def test_an_unknown_tag_is_refused_with_those_that_are_known():
    with pytest.raises(InputError, match="'openaj' of ViT-B-32; accepted are openai, laion400m"):
        sources.required_sources(language="ViT-B-32/openaj")


@pytest.mark.parametrize("name", ["nothing", "nothing/openai", ""])
def test_an_unknown_language_model_is_told_what_is_accepted(name):
    with pytest.raises(InputError, match="no model .*accepted are embedded, .*ViT-B-32/openai"):
        sources.language_source(name)
