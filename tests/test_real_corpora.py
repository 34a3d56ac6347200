"""Runs on corpora that are not generated: splits, crops that runs share, scores without truth."""

import importlib.util
import shutil
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.paths import repository_root
from cdrl.core.results import all_scores, read_results
from cdrl.core.settings import (
    CorpusConfig,
    EvaluateConfig,
    IngestConfig,
    stage_config,
    stage_folder,
)
from cdrl.core.stage import run_stage
from cdrl.core.vocabulary import NO_LABEL, UNLABELLED
from cdrl.corpora import ingest, samples
from cdrl.corpora.scan import scan
from cdrl.corpora.store import Store
from cdrl.corpora.store_join import join_stores
from cdrl.corpora.store_writer import StoreWriter
from cdrl.editing.requests import load_requests, plan_edits
from cdrl.editors.samplers import WindowSampler
from cdrl.evaluation.edit_evaluation import available_needs
from cdrl.evaluation.edit_metrics import METRICS, SYNCNET, left_out_notes
from cdrl.evaluation.edit_tasks import Edits
from cdrl.evaluation.lip_sync import load_syncnet, lse, lse_of_clip, sync_distances
from cdrl.evaluation.readings import References
from cdrl.evaluation.set_scores import SET_METRICS, FeatureExtractor, FrameSets, score_sets
from cdrl.models.content import ContentEncoder
from cdrl.models.published import EfficientFace
from cdrl.models.syncnet import SyncNet
from cdrl.priors.features import extract
from cdrl.representation.ccrl import ContentObjective, sound_units
from cdrl.representation.cerl import EmotionSampler
from cdrl.representation.pairs import PairSampler, find_pairs
from cdrl.stages import corpus_sheet, edit_strip, read_notes, start, training_clips
from cdrl.stages.s00_outlook import describe_outlook, lacks_training
from cdrl.stages.s00_real_corpus import (
    build_real,
    choose_parts,
    describe_run,
    draw_clips,
    draw_parts,
)
from cdrl.studio.layouts import write_layout

ROOT = repository_root()
EMOTIONS = ("angry", "happy", "neutral", "sad")
# The paper's protocol at the least size, with the embedded priors.
TINY = {
    "visible_steps": 2,
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
    "emotion.batch": 8,
    "emotion.control_steps": 2,
    "emotion.released_steps": 2,
    "probe.fit_frames": 400,
    "probe.fit_steps": 1,
    "probe.swaps": 100,
    "probe.map_points": 60,
    "probe.workers": 1,
    "generator.steps": 2,
    "generator.batch": 4,
    "generator.size": 64,
    "generator.videos": 1,
    "generator.fit_steps": 1,
}


@pytest.fixture(scope="module")
def mead(tmp_path_factory):
    """Four rendered people as MEAD holds them, level 3: two of the paper's actors, two others."""
    root = tmp_path_factory.mktemp("corpora") / "mead"
    write_layout("mead", root, 4, 2, 96, EMOTIONS, progress=False, level=3)
    return root


@pytest.fixture(scope="module")
def protocol(mead):
    """A run of all notebooks with the preset `paper`."""
    run = mead.parent / "runs" / "paper"
    words = ["run", "--preset", "paper", "--data-root", str(mead), "--out", str(run)]
    for name, value in TINY.items():
        words += ["--set", f"{name}={value}"]
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
    rows = []
    for speaker in speakers:
        for sentence in sentences:
            for emotion in emotions:
                row = {
                    "name": f"{speaker}-{sentence}-{emotion}",
                    "corpus": corpus,
                    "speaker": speaker,
                    "sentence": sentence,
                    "emotion": emotion,
                    "intensity": 3,
                    "camera": camera,
                    "take": "",
                    "path": f"{speaker}{sentence}{emotion}.mp4",
                    "sound": "",
                    "bytes": 1,
                    "sha256": "",
                }
                rows.append(row)
    return pd.DataFrame(rows)


# --- the whole way ------------------------------------------------------------------------------

SCORED = (
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
)


def test_the_paper_s_protocol_runs_through_every_notebook(protocol):
    scores = all_scores(read_results(protocol))
    assert scores["corpus.train_clips"] == 16
    assert scores["corpus.report_speakers"] == 2
    assert scores["corpus.shared_speakers"] == 0
    assert [name for name in SCORED if not np.isfinite(scores[name])] == []
    assert scores["spfem.image.copy_source.speech_correlation"] == pytest.approx(1)


def test_every_score_without_truth_is_a_number(protocol):
    scores = all_scores(read_results(protocol))
    missing = []
    for name, value in scores.items():
        if value is None or not np.isfinite(value):
            missing.append(name)
    assert missing == []


def test_no_score_needs_a_truth_that_is_not_there(protocol):
    scores = all_scores(read_results(protocol))
    for name in scores:
        assert not name.startswith("truth")
        for needs_truth in ("viseme", "mouth_error", "psnr"):
            assert needs_truth not in name


NOTES = (
    ("probe", "left out viseme: no truth about viseme"),
    ("evaluate", "left out lse_d, lse_c: they need SyncNet"),
    ("evaluate", "left out fad: it needs the ArcFace"),
    ("evaluate", "left out csim: it needs EfficientFace"),
    ("corpus", "beware: train and report share"),
)


@pytest.mark.parametrize(("stage", "words"), NOTES)
def test_what_is_left_out_is_said_once(protocol, stage, words):
    assert read_notes(protocol, stage).count(words) == 1
    number = stage_folder(protocol, stage).name[:2]
    [copy] = (protocol / "notebooks").glob(f"{number}_*.ipynb")
    assert words in copy.read_text()


def test_a_run_without_truth_leaves_a_report_and_videos(protocol):
    assert (protocol / "report.html").exists()
    assert sorted((protocol / "videos").glob("edit-M0*.mp4"))


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
    sets = FrameSets(copied, edits.requests.clips, untouched, edits.report.clips)
    estimates, notes = score_sets("copy", sets, csim)
    assert {"copy.csim.intra", "copy.csim.cross"} <= estimates.keys()
    assert not notes
    assert all(-1 <= estimate.value <= 1 for estimate in estimates.values())


def test_frames_come_at_the_paper_s_rate(protocol):
    clips = Store(stage_folder(protocol, "corpus") / "report").clips
    assert set(clips.frame_rate) == {30.0}
    assert set(clips.speaker) == {"M003", "M009"}


def test_edits_follow_the_paper_s_drivers(protocol):
    requests = pd.read_parquet(stage_folder(protocol, "corpus") / "edits.parquet")
    assert len(requests) == 9
    cross = requests[requests.protocol == "cross"]
    assert set(cross.speaker) == {"M009"}
    assert cross.reference.str.startswith("M003").all()
    intra = requests[requests.protocol == "intra"]
    assert (intra.reference == intra.name.str.split("->").str[0]).all()


# --- the corpus stage ---------------------------------------------------------------------------


def config_for(root, **changes):
    settings = {"corpus": "mead", "data_root": root, "workers": 0, "edits": 4, "frame_size": 96}
    texts = {}
    for name, value in (settings | changes).items():
        texts[f"corpus.{name}"] = str(value)
    return stage_config("corpus", "smoke", texts)


def build(run, config):
    return all_scores(run_stage(config, run, lambda out: build_real(run, config, out)))


def test_a_second_run_crops_nothing_again(protocol, mead, monkeypatch):
    make_piece = ingest.make_piece

    def refuse_corpus(job):
        assert job.root != mead, "cropped again"
        return make_piece(job)  # the sample clips are no part of the corpus

    monkeypatch.setattr(ingest, "make_piece", refuse_corpus)
    config = config_for(mead, frame_rate=30, crop="released", split="drawn", max_clips=0)
    second = mead.parent / "runs" / "second"
    scores = build(second, config)
    assert scores["corpus.shared_speakers"] == 0
    assert scores["corpus.shared_sentences"] == 0
    assert scores["corpus.train_clips"] == 8

    report = Store(stage_folder(second, "corpus") / "report")
    sheet, people, emotions, _ = corpus_sheet(report)
    assert sheet.shape[:2] == (len(people), len(emotions)) == (2, 4)
    assert edit_strip(second)[0].shape[0] == 1


def test_one_real_speaker_reports_and_rendered_people_train(tmp_path):
    run = tmp_path / "runs" / "one"
    config = config_for(samples.sample_folder(), corpus="crema_d", train_people=2, workers=1)
    assert config.corpus == "crema-d"
    scores = build(run, config)
    assert scores["corpus.report_clips"] == 6
    assert scores["corpus.shared_speakers"] == 0
    assert set(Store(stage_folder(run, "corpus") / "train").clips.corpus) == {"studio"}
    assert "one speaker (1001) cannot be in train and in report" in read_notes(run, "corpus")


def test_sound_alone_is_no_corpus_for_a_run(tmp_path):
    root = tmp_path / "Actor_01"
    root.mkdir()
    (root / "03-01-05-01-01-01-01.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match="1 clips of ravdess") as refused:
        build_real(tmp_path / "run", config_for(root, corpus="ravdess"), tmp_path / "out")
    assert str(root) in str(refused.value)
    assert "give the folder of the videos" in str(refused.value)


def test_crops_of_another_corpus_are_no_part_of_the_work(tmp_path, monkeypatch):
    other = tmp_path / "ingested" / "mead-0123456789ab"
    other.mkdir(parents=True)
    (other / "crops").write_bytes(bytes(50_000_000))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    config = config_for(samples.sample_folder(), corpus="crema_d", workers=1)
    with pytest.raises(InputError, match=r"0\.0 GB of disk are free, 0\.0 GB are needed"):
        build_real(tmp_path / "run", config, tmp_path / "out")


def test_the_command_asks_for_the_folder_and_knows_both_spellings(capsys, tmp_path):
    assert main(["run", "--corpus", "crema_d", "--out", str(tmp_path / "r")]) == 2
    error = capsys.readouterr().err
    assert "corpus crema-d" in error
    assert "--data-root FOLDER" in error


def test_the_command_names_the_corpora_that_it_accepts(capsys, tmp_path):
    assert main(["run", "--corpus", "gridd", "--out", str(tmp_path / "r")]) == 2
    error = capsys.readouterr().err
    assert "corpus=gridd" in error
    assert "studio, mead, ravdess, crema-d, folder" in error


# --- parts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_split_shares_neither_people_nor_sentences(seed):
    clips = manifest("abcdef", ("one", "two", "three"))
    part, note = draw_parts(clips, seed)
    train = clips[part == "train"]
    report = clips[part == "report"]
    assert len(train)
    assert len(report)
    assert set(train.speaker).isdisjoint(report.speaker)
    assert set(train.sentence).isdisjoint(report.sentence)
    assert note == f"split drawn by seed {seed}: 3 of 6 speakers report, on 1 of 3 sentences"


def test_a_drawn_split_depends_on_the_seed_alone():
    clips = manifest("abcdef", ("one", "two", "three"))
    reporting = set()
    for seed in range(6):
        part, _ = draw_parts(clips, seed)
        speakers = set(clips[part == "report"].speaker)
        reporting.add(tuple(sorted(speakers)))
    assert len(reporting) > 1

    first, _ = draw_parts(clips, 3)
    second, _ = draw_parts(clips, 3)
    assert (first == second).all()


def test_a_drawn_split_takes_the_front_camera():
    front = manifest("ab", ("one", "two"))
    down = manifest("ab", ("one", "two"), camera="down")
    clips = pd.concat([front, down], ignore_index=True)
    part, _ = draw_parts(clips)
    assert set(clips.camera[part != ""]) == {"front"}


SENTENCES = ("common_001", "common_002")


def test_a_strict_split_that_leaves_nobody_gives_way_to_a_drawn_one():
    """Both people are in the part `choose` of the committed split."""
    split = choose_parts(manifest(("M003", "M005"), SENTENCES), "strict")
    assert set(split.part) >= {"train", "report"}
    expected = "split mead_strict leaves train or report empty here, so one is drawn"
    assert split.notes[0] == expected


def test_a_named_split_that_leaves_nobody_is_refused():
    with pytest.raises(InputError, match="corpus.split=paper") as refused:
        choose_parts(manifest(("M003", "M009"), SENTENCES), "paper")
    assert "in its part train" in str(refused.value)
    assert "corpus.split=strict or drawn" in str(refused.value)


def test_the_paper_s_split_is_of_its_corpora_alone():
    with pytest.raises(InputError, match="the paper used no crema-d") as refused:
        choose_parts(manifest(("1", "2"), ("DFA",), corpus="crema-d"), "paper")
    assert "accepted are strict, drawn" in str(refused.value)


def test_fewer_clips_are_whole_sentences_of_speakers_in_turn():
    clips = manifest("abc", ("one", "two", "three"))
    taken = draw_clips(clips, 14)
    assert len(taken) == 12
    assert taken.groupby("speaker").size().tolist() == [4, 4, 4]
    emotions = taken.groupby(["speaker", "sentence"]).emotion.nunique()
    assert (emotions == 4).all()


def test_no_limit_takes_all_clips():
    assert len(draw_clips(manifest("abc", ("one", "two", "three")), 0)) == 36


def test_drawn_edits_never_ask_for_the_emotion_of_the_source():
    report = SimpleNamespace(clips=manifest("ab", ("one",)))
    train = SimpleNamespace(clips=manifest("cd", ("two",), EMOTIONS[:3]))
    requests = plan_edits({"report": report, "train": train}, 12, {}, 0)
    source_emotions = report.clips.emotion.to_numpy()[requests.source]
    assert len(requests) == 12
    assert (source_emotions != requests.emotion).all()
    assert set(requests.emotion) == set(EMOTIONS[:3])
    assert set(requests.protocol) == {"drawn"}
    assert (requests.intensity[requests.emotion == "neutral"] == 1).all()


def test_the_studio_s_trees_have_the_requested_level(mead):
    clips = scan(mead, "mead").clips
    assert len(clips) == 32
    assert set(clips.intensity[clips.emotion != "neutral"]) == {3}


def test_the_studio_s_trees_have_levels_one_to_three(mead):
    with pytest.raises(InputError, match="level 4") as refused:
        write_layout("mead", mead, 1, 1, 96, level=4)
    assert "accepted are 1 to 3" in str(refused.value)


# --- a folder of one's own ----------------------------------------------------------------------


def lines_about(clips, speakers_who_report="c"):
    reports = clips["speaker"].isin(list(speakers_who_report))
    return describe_outlook(clips[~reports], clips[reports])


CROSSED = manifest("abcd", ("one", "two"), corpus="folder")
UNKNOWN_SENTENCES = CROSSED.assign(sentence=CROSSED["name"])
NO_LABELS = UNKNOWN_SENTENCES.assign(emotion=UNLABELLED)
HAPPY = CROSSED[CROSSED["emotion"] == "happy"]


@pytest.mark.parametrize(
    ("clips", "reason"),
    [
        (CROSSED, ""),
        (UNKNOWN_SENTENCES, "nobody says one sentence in two emotions"),
        (NO_LABELS, "no clip is labelled with an emotion"),
        (HAPPY, "happy is the only emotion"),
    ],
)
def test_what_training_clips_lack_is_said_before_a_run_and_again_in_it(clips, reason):
    assert lacks_training(clips) == reason
    lines = lines_about(clips, "cd")
    assert "\n" not in "".join(lines)
    says_why = any(reason in line for line in lines) if reason else True
    assert says_why
    joins = any("rendered people" in line for line in lines)
    assert joins == bool(reason)


def test_what_one_reporting_person_or_clips_without_labels_cannot_show_is_said():
    assert any("c alone reports: no interval" in line for line in lines_about(CROSSED))
    assert not any("alone reports" in line for line in lines_about(CROSSED, "cd"))
    for clips in (NO_LABELS, UNKNOWN_SENTENCES):
        assert any(line.startswith("not measured") for line in lines_about(clips))
    assert any("nobody here is left to train" in line for line in lines_about(CROSSED, "abcd"))


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory):
    """Three rendered people in a folder of one's own, two sentences and two emotions each."""
    root = tmp_path_factory.mktemp("own") / "labelled"
    write_layout("folder", root, 3, 2, 96, ("happy", "sad"), progress=False)
    return root


def unlabelled_copy(root, out):
    """The clips of a root in one folder, under names that say nothing."""
    out.mkdir()
    for number, clip in enumerate(sorted(root.rglob("*.mp4"))):
        shutil.copy(clip, out / f"clip-{number:02d}.mp4")
    return out


def test_a_run_says_what_a_folder_holds_and_allows(own_folder):
    lines = describe_run(config_for(own_folder, corpus="folder"))
    assert lines[0].startswith("corpus folder: clips 12, speakers 3, sentences 2, emotions 2")
    assert any("content and emotion learn from" in line for line in lines)
    assert any("too few speakers" in line for line in lines)
    assert "crops of" in lines[-1]
    assert len(lines) <= 12


def test_a_labelled_folder_trains_alone(own_folder, tmp_path):
    scores = build(tmp_path / "run", config_for(own_folder, corpus="folder"))
    folder = stage_folder(tmp_path / "run", "corpus")
    assert set(Store(folder / "train").clips.corpus) == {"folder"}
    assert scores["corpus.shared_sentences"] == 0
    assert not (folder / "host").exists()
    assert not (folder / "own").exists()


def test_clips_without_labels_train_content_beside_rendered_people(own_folder, tmp_path):
    root = unlabelled_copy(own_folder, tmp_path / "plain")
    run = tmp_path / "run"
    build(run, config_for(root, corpus="folder", train_people=2, train_clips=2))
    folder = stage_folder(run, "corpus")
    train = Store(folder / "train")
    own = train.clips[train.clips.corpus == "folder"]
    assert set(own.emotion) == {UNLABELLED}
    assert set(train.clips.corpus) == {"folder", "studio"}
    assert set(Store(folder / "host").clips.corpus) == {"studio"}
    batch = WindowSampler(training_clips(run), 3)(np.random.default_rng(0))
    assert NO_LABEL not in batch["target"]

    features = extract(train, tmp_path / "features", device="cpu")
    config = stage_config("content", "smoke")
    pairs = find_pairs(features, config)
    alone = pairs[pairs.a == pairs.b]
    assert sorted(alone.a) == list(own.index)
    assert alone.kept.all()
    labels = PairSampler(features, alone, config)(np.random.default_rng(0))["emotion"]
    assert set(labels.flatten().tolist()) == {NO_LABEL}

    groups = EmotionSampler(features, stage_config("emotion", "smoke")).groups
    assert not set(np.concatenate(groups)) & set(own.index)
    batch = PairSampler(features, pairs, config)(np.random.default_rng(0))
    terms = content_objective(features, config)(batch)
    assert all(torch.isfinite(values).all() for values in terms.values())
    is_unlabelled = terms["emotion"] == 0
    assert is_unlabelled.any()
    assert not is_unlabelled.all()


def content_objective(features, config):
    encoder = ContentEncoder(
        face=features.face.shape[1], mouth=features.mouth.shape[1], audio=features.audio.shape[1]
    )
    speakers = features.store.clips.speaker.nunique()
    return ContentObjective(encoder, config, speakers, sound_units(features, config))


def test_joined_stores_have_the_clips_of_both_as_they_were(own_folder, tmp_path):
    clips = scan(own_folder).clips
    halves = []
    for number, part in enumerate((clips[:2], clips[2:4])):
        path = tmp_path / str(number)
        ingest.ingest(part, own_folder, path, IngestConfig(workers=0), progress=False)
        halves.append(Store(path))
    join_stores(halves, tmp_path / "both")
    both = Store(tmp_path / "both")
    assert list(both.clips.name) == list(clips.name[:4])
    number = 3
    assert (both.face[both.frames(number)] == halves[1].face[halves[1].frames(1)]).all()
    assert (both.sound(number) == halves[1].sound(1)).all()
    assert both.clips.mouth_top[number] == halves[1].clips.mouth_top[1]

    join_stores(halves, tmp_path / "some", without=["happy"])
    emotions = list(clips.emotion[:4])
    assert len(Store(tmp_path / "some").clips) == 4 - emotions.count("happy")


@pytest.mark.notebook
def test_one_person_without_labels_goes_through_every_notebook(own_folder, tmp_path):
    root = tmp_path / "plain"
    root.mkdir()
    unlabelled_copy(own_folder / "ann", root / "ann")
    run = tmp_path / "run"
    words = ["run", "--preset", "smoke", "--corpus", "folder", "--data-root", str(root)]
    words += ["--out", str(run)]
    rendered = {"corpus.train_people": 2, "corpus.train_clips": 2}
    for name, value in (TINY | rendered).items():
        words += ["--set", f"{name}={value}"]
    done = subprocess.run(
        [sys.executable, "-m", "cdrl.cli.main", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first_lines = done.stdout.split("preset smoke into")[0]
    assert "ann alone reports" in first_lines
    assert "no labels" in first_lines

    scores = all_scores(read_results(run))
    assert np.isfinite(scores["spfem.actions.cdrl.emotion_accuracy"])
    assert "spfem.actions.cdrl.emotion_accuracy.low" not in scores
    assert "spfem.actions.cdrl.emotion_accuracy.sources" not in scores
    assert "ann alone reports" in read_notes(run, "evaluate")
    assert sorted((run / "videos").glob("edit-*.mp4"))


def test_a_folder_for_a_generated_corpus_is_a_mistake(own_folder, capsys, tmp_path):
    assert main(["run", "--data-root", str(own_folder), "--out", str(tmp_path / "r")]) == 2
    assert "add --corpus folder" in capsys.readouterr().err


# --- the machine --------------------------------------------------------------------------------

REPOSITORY = "https://example.org/kit.git"


PARAMETERS = {"preset": "cpu", "run_folder": "runs/demo", "small": True}


def run_first_cells(repository):
    """Run the two cells that find and install the kit."""
    cells = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", 4).cells
    names = PARAMETERS | {"repository": repository}
    for cell in cells:
        if cell.id in ("where", "setup"):
            exec(cell.source, names)
    return names


def test_the_first_cells_do_nothing_where_the_kit_is_installed(monkeypatch):
    def refuse(*words, **options):
        pytest.fail(f"{words} was run")

    monkeypatch.setattr(subprocess, "run", refuse)
    before = list(sys.path)
    names = run_first_cells(REPOSITORY)
    assert sys.path == before
    assert names["preset"] == "cpu"


def test_the_first_cells_install_where_it_is_not_and_keep_the_torch_that_is_there(
    monkeypatch, tmp_path
):
    """Pip leaves a torch that fits, and any from 2.6 fits."""
    commands = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda words, check: commands.append(words))
    monkeypatch.setattr(sys, "path", list(sys.path))
    names = run_first_cells(REPOSITORY)
    clone, install = commands
    assert clone == ["git", "clone", "--depth", "1", REPOSITORY, "cdrl-kit"]
    assert install == [sys.executable, "-m", "pip", "install", "-q", "-e", "cdrl-kit"]
    assert sys.path[0] == str(tmp_path / "cdrl-kit")
    assert not {"-U", "--upgrade", "--force-reinstall"} & set(install)
    assert names["preset"] == "smoke"


def test_the_first_cells_need_a_repository_where_the_kit_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="set repository to its git address"):
        run_first_cells("")


def test_the_device_is_described_in_one_line():
    line = start()
    assert line.startswith("torch ")
    assert "\n" not in line
    assert " on the CPU, in single precision" in line or "half precision" in line


def test_google_drive_is_of_colab_alone():
    with pytest.raises(InputError, match="drive=True") as refused:
        start(drive=True)
    assert "in Colab only" in str(refused.value)


SILENT = {"none": np.zeros(0, np.float32), "silence": np.zeros(6400, np.float32)}


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
    crops = np.zeros((10, 96, 96, 3), np.uint8)
    transforms = np.zeros((10, 2, 3))
    with StoreWriter(tmp_path / "store") as writer:
        for name, sound in SILENT.items():
            writer.add(row | {"name": name}, crops, transforms, sound, (0.2, 0.5, 0.8, 0.9))
    features = extract(Store(tmp_path / "store"), tmp_path / "features", device="cpu")
    assert features.audio.shape == (20, 64)
    assert np.isfinite(np.asarray(features.audio, np.float32)).all()


def test_the_default_corpus_is_the_studio_s():
    assert CorpusConfig().corpus == "studio"
    assert CorpusConfig().split == "strict"
