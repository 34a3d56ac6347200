"""Runs on corpora that are not generated: who trains and who reports, crops that runs share, scores that need no truth."""

import importlib.util
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.paths import repository_root
from cdrl.core.results import all_scores, read_results
from cdrl.core.settings import CorpusConfig, EvaluateConfig, stage_config, stage_folder
from cdrl.core.stage import run_stage
from cdrl.corpora import samples
from cdrl.corpora.scan import scan
from cdrl.corpora.store import Store, StoreWriter
from cdrl.editing.requests import load_requests, plan_edits
from cdrl.evaluation.edit_evaluation import available_needs
from cdrl.evaluation.edit_tasks import Edits
from cdrl.evaluation.lip_sync import load_syncnet, lse, lse_of_clip, sync_distances
from cdrl.evaluation.metrics import METRICS, SYNCNET, left_out_notes
from cdrl.evaluation.readings import References
from cdrl.evaluation.set_scores import SET_METRICS, FeatureExtractor, score_sets
from cdrl.models.published import EfficientFace
from cdrl.models.syncnet import SyncNet
from cdrl.priors.features import extract
from cdrl.stages import corpus_sheet, edit_strip, read_notes, start
from cdrl.stages.s00_real_corpus import build_real, choose_parts, draw_clips, draw_parts
from cdrl.studio.layouts import write_layout

ROOT = repository_root()
EMOTIONS = ("angry", "happy", "neutral", "sad")
# The paper's protocol, with the embedded priors in place of weights that are not here, at the least size.
TINY = {
    "priors.audio": "embedded",
    "priors.audio_windows": "whole",
    "priors.language": "embedded",
    "priors.vision": "embedded",
    "corpus.crop_size": 96,
    "corpus.edits": 9,
    "corpus.workers": 0,
    "content.steps": 12,
    "content.control_steps": 5,
    "content.pairs": 30,
    "emotion.steps": 12,
    "emotion.control_steps": 5,
    "emotion.released_steps": 5,
    "probe.fit_frames": 400,
    "probe.swaps": 100,
    "probe.map_points": 200,
    "probe.workers": 1,
    "generator.steps": 2,
    "generator.batch": 4,
    "generator.size": 64,
    "generator.videos": 1,
    "generator.fit_steps": 1,
}


@pytest.fixture(scope="module")
def mead(tmp_path_factory):
    """Four rendered people as MEAD would hold them, level 3: two of the paper's six actors, two who train."""
    root = tmp_path_factory.mktemp("corpora") / "mead"
    write_layout("mead", root, 4, 2, 96, EMOTIONS, progress=False, level=3)
    return root


@pytest.fixture(scope="module")
def protocol(mead):
    """A run of all notebooks with the preset `paper`."""
    run = mead.parent / "runs" / "paper"
    settings = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    words = ["run", "--preset", "paper", "--data-root", str(mead), "--out", str(run), *settings]
    done = subprocess.run(
        [sys.executable, "-m", "cdrl.cli.main", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return run


def manifest(speakers, sentences, emotions=EMOTIONS, corpus="mead", camera="front"):
    rows = [
        {
            "name": f"{who}-{what}-{how}",
            "corpus": corpus,
            "speaker": who,
            "sentence": what,
            "emotion": how,
            "intensity": 3,
            "camera": camera,
            "take": "",
            "path": f"{who}{what}{how}.mp4",
            "sound": "",
            "bytes": 1,
            "sha256": "",
        }
        for who in speakers
        for what in sentences
        for how in emotions
    ]
    return pd.DataFrame(rows)


# --- the whole way ------------------------------------------------------------------------------------------------------


def test_the_paper_s_protocol_runs_through_every_notebook(protocol):
    scores = all_scores(read_results(protocol))
    assert (
        scores["corpus.train_clips"] == 16
        and scores["corpus.report_speakers"] == 2
        and scores["corpus.shared_speakers"] == 0
    )
    for name in (
        "content.swap_image_dtw",
        "content.retrieval_dtw_r1",
        "content_av.swap_image_dtw",
        "raw.retrieval_dtw_r1",
        "emotion.emotion",
        "content.emotion",
        "control.constant.content.emotion",
        "hsic.content_emotion",
        "map.content.trustworthiness",
        "spfem.image.cdrl.speech_correlation",
        "spfem.image.cdrl.identity",
        "spfem.image.baseline.emotion_accuracy.sources",
        "spfem.image.cdrl.similarity.judge_a.intra",
        "spfem.image.cdrl.similarity.judge_a.cross",
    ):
        assert np.isfinite(scores[name]), name
    assert scores["spfem.image.copy_source.speech_correlation"] == pytest.approx(1)
    assert [name for name, value in scores.items() if value is None or not np.isfinite(value)] == []
    assert [
        name
        for name in scores
        if "viseme" in name or "mouth_error" in name or "psnr" in name or name.startswith("truth")
    ] == []


def test_what_is_left_out_is_said_once_each(protocol):
    for stage, words in (
        ("probe", "left out viseme: no truth about viseme"),
        ("evaluate", "left out lse_d, lse_c: they need SyncNet"),
        ("evaluate", "left out fad: it needs the ArcFace"),
        ("evaluate", "left out csim: it needs EfficientFace"),
        ("corpus", "beware: train and report share"),
    ):
        assert read_notes(protocol, stage).count(words) == 1
        copy = next(
            (protocol / "notebooks").glob(f"{stage_folder(protocol, stage).name[:2]}_*.ipynb")
        )
        assert words in copy.read_text()
    assert (protocol / "report.html").exists() and sorted(
        (protocol / "videos").glob("edit-M0*.mp4")
    )


def test_lip_sync_is_measured_where_the_weights_are_named(protocol, tmp_path):
    torch.manual_seed(0)
    torch.save(SyncNet().state_dict(), tmp_path / "syncnet_v2.model")
    edits = Edits(*load_requests(protocol), 64)
    network = load_syncnet(tmp_path / "syncnet_v2.model")
    sound = edits.report.sound(int(edits.sources[1]))
    alone = sync_distances(network, edits.source(1), sound, 30.0)
    lse_d, _ = lse_of_clip(network, edits.source(1), sound, edits.frame_rate(1))
    assert lse_d == pytest.approx(lse(alone)[0])
    config = EvaluateConfig(syncnet=str(tmp_path / "syncnet_v2.model"))
    references = References([], [])
    assert SYNCNET in available_needs(edits, references, config)
    available = available_needs(edits, references, EvaluateConfig())
    assert any("lse_d, lse_c" in note for note in left_out_notes(METRICS, available))


def test_csim_is_measured_where_the_weights_are_named(protocol, tmp_path):
    torch.manual_seed(0)
    torch.save(EfficientFace().state_dict(), tmp_path / "efficient_face.pth")
    edits = Edits(*load_requests(protocol), 64)
    extractor = FeatureExtractor(None, efficient_face=str(tmp_path / "efficient_face.pth"))
    untouched, copied = [], []
    for clip in range(len(edits.report.clips)):
        untouched.append(extractor.extract(edits.clip(clip)[:4], ["expression"]))
    for edit in range(len(edits)):
        copied.append(extractor.extract(edits.source(edit)[:4], ["expression"]))
    csim = [metric for metric in SET_METRICS if metric.name == "csim"]
    estimates, notes = score_sets(
        "copy", copied, edits.requests.clips, untouched, edits.report.clips, csim
    )
    assert {"copy.csim.intra", "copy.csim.cross"} <= estimates.keys() and not notes
    assert all(-1 <= estimate.value <= 1 for estimate in estimates.values())


def test_frames_come_at_the_paper_s_rate_and_edits_follow_its_drivers(protocol):
    report = Store(stage_folder(protocol, "corpus") / "report")
    assert set(report.clips.frame_rate) == {30.0} and set(report.clips.speaker) == {"M003", "M009"}
    asked = pd.read_parquet(stage_folder(protocol, "corpus") / "edits.parquet")
    cross = asked[asked.protocol == "cross"]
    assert (
        set(cross.speaker) == {"M009"}
        and cross.reference.str.startswith("M003").all()
        and len(asked) == 9
    )
    assert (
        asked[asked.protocol == "intra"].reference
        == asked[asked.protocol == "intra"].name.str.split("->").str[0]
    ).all()


# --- the corpus stage ---------------------------------------------------------------------------------------------------


def config_for(root, **changes):
    settings = {
        "corpus": "mead",
        "data_root": root,
        "workers": 0,
        "edits": 4,
        "frame_size": 96,
    } | changes
    return stage_config(
        "corpus", "smoke", {f"corpus.{name}": str(value) for name, value in settings.items()}
    )


def test_a_second_run_crops_nothing_again(protocol, mead, monkeypatch):
    from cdrl.corpora import ingest

    crop = ingest.make_piece  # the samples that come along are no part of the corpus
    monkeypatch.setattr(
        ingest,
        "make_piece",
        lambda job: pytest.fail("cropped again") if job.root == mead else crop(job),
    )
    config = config_for(mead, frame_rate=30, crop="released", split="drawn", max_clips=0)
    second = mead.parent / "runs" / "second"
    results = run_stage(config, second, lambda out: build_real(second, config, out))
    scores = all_scores(results)
    assert (
        scores["corpus.shared_speakers"] == scores["corpus.shared_sentences"] == 0
        and scores["corpus.train_clips"] == 8
    )
    sheet, people, emotions, _ = corpus_sheet(Store(stage_folder(second, "corpus") / "report"))
    assert sheet.shape[:2] == (len(people), len(emotions)) == (2, 4)
    assert edit_strip(second)[0].shape[0] == 1


def test_one_real_speaker_reports_and_rendered_people_train(tmp_path):
    run = tmp_path / "runs" / "one"
    config = config_for(samples.sample_folder(), corpus="crema_d", train_people=2, workers=1)
    assert config.corpus == "crema-d"
    scores = all_scores(run_stage(config, run, lambda out: build_real(run, config, out)))
    assert scores["corpus.report_clips"] == 6 and scores["corpus.shared_speakers"] == 0
    assert set(Store(stage_folder(run, "corpus") / "train").clips.corpus) == {"studio"}
    assert "one speaker (1001) cannot be in train and in report" in read_notes(run, "corpus")


def test_sound_alone_is_no_corpus_for_a_run(tmp_path):
    root = tmp_path / "Actor_01"
    root.mkdir()
    (root / "03-01-05-01-01-01-01.wav").write_bytes(b"RIFF")
    with pytest.raises(
        InputError, match="1 clips of ravdess, all of them sound alone; a run needs the faces"
    ):
        build_real(tmp_path / "run", config_for(root, corpus="ravdess"), tmp_path / "out")


def test_the_command_asks_for_the_folder_and_knows_both_spellings(capsys, tmp_path):
    assert main(["run", "--corpus", "crema_d", "--out", str(tmp_path / "r")]) == 2
    assert (
        "corpus crema-d: it is not generated, name its folder: --data-root FOLDER"
        in capsys.readouterr().err
    )
    assert main(["run", "--corpus", "gridd", "--out", str(tmp_path / "r")]) == 2
    assert (
        "corpus=gridd: accepted are studio, mead, ravdess, crema-d, folder"
        in capsys.readouterr().err
    )


# --- parts --------------------------------------------------------------------------------------------------------------


def test_a_drawn_split_shares_neither_people_nor_sentences_and_depends_on_the_seed():
    clips, seen = manifest("abcdef", ("one", "two", "three")), set()
    for seed in range(6):
        part, line = draw_parts(clips, seed)
        one, two = clips[part == "train"], clips[part == "report"]
        assert (
            set(one.speaker).isdisjoint(two.speaker)
            and set(one.sentence).isdisjoint(two.sentence)
            and len(one)
            and len(two)
        )
        assert f"split drawn by seed {seed}: 3 of 6 speakers report, on 1 of 3 sentences" == line
        seen.add(tuple(sorted(set(two.speaker))))
    assert len(seen) > 1
    assert (draw_parts(clips, 3)[0] == draw_parts(clips, 3)[0]).all()


def test_a_drawn_split_takes_the_front_camera():
    clips = pd.concat(
        [manifest("ab", ("one", "two")), manifest("ab", ("one", "two"), camera="down")],
        ignore_index=True,
    )
    assert set(clips.camera[draw_parts(clips)[0] != ""]) == {"front"}


def test_a_committed_split_that_leaves_nobody_gives_way_to_a_drawn_one_and_an_asked_for_one_does_not():
    clips = manifest(
        ("M003", "M005"), ("common_001", "common_002")
    )  # both choose in the committed split
    part, lines, _ = choose_parts(clips, "strict")
    assert (
        set(part) >= {"train", "report"}
        and lines[0] == "split mead_strict leaves train or report empty here, so one is drawn"
    )
    with pytest.raises(
        InputError, match="corpus.split=paper: not one clip here is in its part train"
    ):
        choose_parts(manifest(("M003", "M009"), ("common_001", "common_002")), "paper")
    with pytest.raises(InputError, match="the paper used no crema-d; accepted are strict, drawn"):
        choose_parts(manifest(("1", "2"), ("DFA",), corpus="crema-d"), "paper")


def test_fewer_clips_are_whole_sentences_of_speakers_in_turn():
    clips = manifest("abc", ("one", "two", "three"))
    few = draw_clips(clips, 14)
    assert len(few) == 12 and few.groupby("speaker").size().tolist() == [4, 4, 4]
    assert (few.groupby(["speaker", "sentence"]).emotion.nunique() == 4).all()
    assert len(draw_clips(clips, 0)) == 36


def test_drawn_edits_never_ask_for_what_is_there():
    class Clips:
        def __init__(self, clips):
            self.clips = clips

    report, train = Clips(manifest("ab", ("one",))), Clips(manifest("cd", ("two",), EMOTIONS[:3]))
    asked = plan_edits({"report": report, "train": train}, 12, {}, 0)
    own = report.clips.emotion.to_numpy()[asked.source]
    assert (
        len(asked) == 12
        and (own != asked.emotion).all()
        and set(asked.emotion) == set(EMOTIONS[:3])
        and set(asked.protocol) == {"drawn"}
    )
    assert (asked.intensity[asked.emotion == "neutral"] == 1).all()


def test_the_studio_s_trees_have_the_level_that_is_asked_for(mead):
    clips = scan(mead, "mead").clips
    assert set(clips.intensity[clips.emotion != "neutral"]) == {3} and len(clips) == 32
    with pytest.raises(InputError, match="level 4 asked for; accepted are 1 to 3"):
        write_layout("mead", mead, 1, 1, 96, level=4)


# --- the machine --------------------------------------------------------------------------------------------------------


def first_cell():
    cells = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", 4).cells
    return next(cell.source for cell in cells if cell.id == "setup")


def test_the_first_cell_does_nothing_where_the_kit_is_installed(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *words, **rest: pytest.fail(f"{words} was run"))
    before = list(sys.path)
    exec(first_cell(), {"repository": "https://example.org/kit.git"})
    assert sys.path == before


def test_the_first_cell_installs_where_it_is_not_and_keeps_the_torch_that_is_there(
    monkeypatch, tmp_path
):
    done = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda words, check: done.append(words))
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec(first_cell(), {"repository": "https://example.org/kit.git"})
    assert done[0] == ["git", "clone", "--depth", "1", "https://example.org/kit.git", "cdrl-kit"]
    assert done[1] == [sys.executable, "-m", "pip", "install", "-q", "-e", "cdrl-kit"] and sys.path[
        0
    ] == str(tmp_path / "cdrl-kit")
    assert not {"-U", "--upgrade", "--force-reinstall"} & set(
        done[1]
    )  # pip leaves a torch that fits, and any from 2.4 fits
    with pytest.raises(ModuleNotFoundError, match="set repository to its git address above"):
        exec(first_cell(), {"repository": ""})


def test_the_machine_is_told_in_one_line_and_drive_is_of_colab_alone():
    line = start()
    assert (
        line.startswith("torch ")
        and "\n" not in line
        and (" on the CPU, in single precision" in line or "half precision" in line)
    )
    with pytest.raises(InputError, match="drive=True: Google Drive can be mounted in Colab only"):
        start(drive=True)


def test_clips_without_sound_have_features_all_the_same(tmp_path):
    row = {
        "corpus": "x",
        "split": "x",
        "speaker": "a",
        "sentence": "s",
        "emotion": "happy",
        "intensity": 1,
        "frame_rate": 25.0,
    }
    with StoreWriter(tmp_path / "store") as writer:
        for name, sound in (
            ("none", np.zeros(0, np.float32)),
            ("silence", np.zeros(6400, np.float32)),
        ):
            writer.add(
                row | {"name": name},
                np.zeros((10, 96, 96, 3), np.uint8),
                np.zeros((10, 2, 3)),
                sound,
                (0.2, 0.5, 0.8, 0.9),
            )
    heard = extract(Store(tmp_path / "store"), tmp_path / "features", device="cpu").audio
    assert heard.shape == (20, 64) and np.isfinite(np.asarray(heard, np.float32)).all()


def test_defaults_stay_the_studio_s():
    assert CorpusConfig().corpus == "studio" and CorpusConfig().split == "strict"
