"""Every corpus adapter: names become labels, what is no clip is reported with a reason.

Also manifests, their sums, and splits.
"""

import copy
import json
import os
import re
import shutil
import unicodedata
from functools import cache
from pathlib import Path, PurePosixPath

import av
import numpy as np
import pandas as pd
import pytest

from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.settings import IngestConfig
from cdrl.core.vocabulary import (
    EMOTIONS,
    FOREIGN_EMOTIONS,
    RAVDESS_EMOTIONS,
    SPELLINGS,
    UNLABELLED,
    read_emotion,
)
from cdrl.corpora import manifest, splits
from cdrl.corpora.adapters import (
    CORPORA,
    CREMA_D_BAD,
    CREMA_D_NEVER_MADE,
    CREMA_D_SENTENCES,
    missing_crema_d,
)
from cdrl.corpora.check import concerns, describe_corpus, read_headers
from cdrl.corpora.ingest_cost import describe_cost
from cdrl.corpora.ingest_plan import check_manifest
from cdrl.corpora.samples import sample_folder
from cdrl.corpora.scan import scan
from cdrl.media.decoding import decode_frames
from cdrl.media.riff import missing_bytes, refuse_cut_file

# The 47 speakers of MEAD's public release that published splits name; its page says "about 48".
MEAD_MEN = (3, 5, 7, 9, 11, 12, 13, 19, *range(22, 36), 37, 39, 40, 41, 42)
MEAD_WOMEN = (9, 11, 14, 15, 16, 18, 19, 21, 23, 24, 25, 26, 28, 29, 33, 35, 36, 37, 38, 40)
MEAD_SPEAKERS = (
    *(f"M{number:03d}" for number in MEAD_MEN),
    *(f"W{number:03d}" for number in MEAD_WOMEN),
)
MEAD = "M003/video/front/angry/level_3/"
# corpus -> {path: (speaker, sentence, emotion, intensity, camera, take, sound)} of its clips.
CLIPS = {
    "mead": {
        f"{MEAD}001.mp4": (
            "M003",
            "common_001",
            "angry",
            3,
            "front",
            "001",
            "M003/audio/angry/level_3/001.m4a",
        ),
        f"{MEAD}017.mp4": ("M003", "angry_017", "angry", 3, "front", "017", ""),
        "M003/1/left_30/neutral/level_1/002.mp4": (
            "M003",
            "common_002",
            "neutral",
            1,
            "left_30",
            "002",
            "",
        ),
        "W009/2/down/disgusted/level_2/001.mp4": (
            "W009",
            "disgusted_001",
            "disgusted",
            2,
            "down",
            "001",
            "",
        ),
        "w011/Video/Front/Contempt/Level_1/003.MP4": (
            "W011",
            "common_003",
            "contempt",
            1,
            "front",
            "003",
            "",
        ),
        "Original_video/M005#sad#level_2#003.mp4": (
            "M005",
            "common_003",
            "sad",
            2,
            "front",
            "003",
            "flat/M005_audio_sad_level_2_003.m4a",
        ),
        "flat/m007_left_30_disgusted_level_1_028.mp4": (
            "M007",
            "disgusted_028",
            "disgusted",
            1,
            "left_30",
            "028",
            "",
        ),
        "M009_level_3_happy_001.mp4": ("M009", "common_001", "happy", 3, "front", "001", ""),
    },
    "ravdess": {
        "Actor_03/01-01-05-02-01-02-03.mp4": ("Actor_03", "01", "angry", 3, "", "02", ""),
        "Video_Speech_Actor_04/Actor_04/02-01-06-01-02-01-04.mp4": (
            "Actor_04",
            "02",
            "fear",
            2,
            "",
            "01",
            "Audio_Speech_Actors_01-24/Actor_04/03-01-06-01-02-01-04.wav",
        ),
        "01-01-01-01-02-01-24.mp4": ("Actor_24", "02", "neutral", 1, "", "01", ""),
    },
    "crema-d": {
        "VideoFlash/1001_DFA_ANG_XX.flv": ("1001", "DFA", "angry", 2, "", "", ""),
        "VideoFlash/1091_IEO_SAD_HI.flv": ("1091", "IEO", "sad", 3, "", "", ""),
        "VideoFlash/1002_iwl_neu_xx.FLV": ("1002", "IWL", "neutral", 1, "", "", ""),
        "1040_ITH_SAD_X.mp4": ("1040", "ITH", "sad", 2, "", "", ""),
    },
    "folder": {
        "ann/Happiness/one.mp4": ("ann", "one", "happy", 2, "", "", ""),
        "ann/neutral/one.mp4": ("ann", "one", "neutral", 1, "", "", ""),
        "bo/fear/zwei und drei.mov": ("bo", "zwei und drei", "fear", 2, "", "", ""),
    },
}
# corpus -> {path: (kind of the remark, pattern of its reason)} of other files; None for no remark.
OTHERS = {
    "mead": {
        "M003/audio/angry/level_3/001.m4a": None,  # the sound of a clip
        "flat/M005_audio_sad_level_2_003.m4a": None,
        "M003/video/front/M005#sad#level_2#004.mp4": ("unusable", "more than one speaker"),
        "M005#unhappy#level_2#004.mp4": ("unusable", "no emotion"),
        "M003/video/front/neutral/level_2/001.mp4": ("unusable", "neutral has level_1 only"),
        "M003/video/front/joy/level_3/001.mp4": (
            "unusable",
            r"no emotion folder \(angry, contempt",
        ),
        "M003/video/frontal/sad/level_3/001.mp4": ("unusable", "no camera folder"),
        "video/front/sad/level_3/001.mp4": ("unusable", "no speaker folder"),
        "M003/video/front/sad/001.mp4": ("unusable", "no level folder"),
        f"{MEAD}1.mp4": ("unusable", "no number"),
        "M003/zwei/front/angry/level_3/017.mp4": ("left out", "the same clip as another file"),
        "M003/video.tar": ("stray", "an archive: unpack it"),
    },
    "ravdess": {
        "Audio_Speech_Actors_01-24/Actor_04/03-01-06-01-02-01-04.wav": None,
        "Actor_03/02-01-05-02-01-02-03.mp4": ("left out", "the same clip as another file"),
        "Actor_03/01-01-02-01-01-01-03.mp4": ("left out", "calm is of RAVDESS alone"),
        "Actor_03/01-02-03-01-01-01-03.mp4": ("left out", "song"),
        "Actor_03/01-01-01-02-01-01-03.mp4": ("unusable", "strong neutral"),
        "Actor_03/01-01-03-01-01-01-25.mp4": ("unusable", "not seven numbers of RAVDESS"),
        "Actor_03/01-01-03-01-01-01-04.mp4": (
            "unusable",
            "its name says actor 04, its folder Actor_03",
        ),
        "Actor_03/02-01-03-01-01-01-03.mp4": (
            "unusable",
            r"pictures only \(modality 02\) and no sound",
        ),
    },
    "crema-d": {
        "VideoFlash/1064_IEO_DIS_MD.flv": (
            "left out",
            "faulty by the list of the corpus's page: a minute long",
        ),
        "VideoFlash/1076_MTI_NEU_XX.flv": ("left out", "nearly empty"),
        "AudioWAV/1001_DFA_ANG_XX.wav": None,  # the video has its sound
        "VideoFlash/1001_DFA_JOY_XX.flv": ("unusable", "JOY_XX is not of CREMA-D"),
        "VideoFlash/1001_ABC_ANG_XX.flv": ("unusable", "ABC is no sentence of CREMA-D"),
        "VideoFlash/holiday.flv": ("unusable", "not a CREMA-D name"),
        "VideoFlash/1001_DFA_SAD_XX.flv.part": ("unusable", "an unfinished download"),
    },
    "folder": {
        "ann/calm/one.mp4": ("left out", "calm is of RAVDESS alone"),
        "ann/hapy/one.mp4": (
            "unusable",
            r"column emotion: unknown emotion 'hapy' \(did you mean happy\?\)",
        ),
        "ann/one.mp4": (
            "unusable",
            r"its path has not the form \{speaker\}/\{emotion\}/\{sentence\}",
        ),
        "ann/happy/one.wav": ("stray", "a sound file; name it in the column sound"),
    },
}
ADAPTERS = sorted(CLIPS)
FIELDS = ["speaker", "sentence", "emotion", "intensity", "camera", "take", "sound"]


def make_files(root, paths, content=b"x"):
    """Placeholder files below a root."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return root


def remark_on(result, path):
    """(kind, reason) of the one remark on a path."""
    (remark,) = [remark for remark in result.remarks if remark.path == str(path)]
    return remark.kind, remark.reason


def clips_of(corpus, paths):
    """A manifest of names alone, without files."""
    rows = []
    for path in paths:
        labels = CORPORA[corpus].parse(PurePosixPath("root") / path)
        if "left_out" not in labels:
            rows.append(labels | {"path": path, "corpus": corpus})
    return pd.DataFrame(rows)


def mead_names():
    """Of MEAD the front view and some numbers only."""
    numbers = (1, 2, 3, 16, 17, 28, 29, 30)
    names = []
    for speaker in MEAD_SPEAKERS:
        for emotion in EMOTIONS:
            for level in (1,) if emotion == "neutral" else (1, 2, 3):
                folder = f"{speaker}/video/front/{emotion}/level_{level}"
                names += [f"{folder}/{number:03d}.mp4" for number in numbers]
    return names


def ravdess_names():
    names = []
    for emotion in RAVDESS_EMOTIONS:
        for intensity in ("01",) if emotion == "01" else ("01", "02"):
            for take in ("01-01", "01-02", "02-01", "02-02"):
                kind = f"{emotion}-{intensity}-{take}"
                names += [f"01-01-{kind}-{actor:02d}.mp4" for actor in range(1, 25)]
    return names


def crema_d_names():
    actors = [str(number) for number in range(1001, 1092)]
    return missing_crema_d(pd.DataFrame({"speaker": actors, "name": ""}))


@cache
def whole_corpus(corpus):
    """A manifest of the names of a whole corpus."""
    names_of = {"mead": mead_names, "ravdess": ravdess_names, "crema-d": crema_d_names}
    return clips_of(corpus, names_of[corpus]())


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_names_become_the_labels_of_a_manifest(corpus, tmp_path):
    make_files(tmp_path, [*CLIPS[corpus], *OTHERS[corpus]])
    clips = scan(tmp_path, corpus).clips
    assert tuple(clips.columns) == manifest.COLUMNS
    assert set(clips["corpus"]) == {corpus}
    labels_of_path = {row.path: tuple(row[FIELDS]) for _, row in clips.iterrows()}
    assert labels_of_path == CLIPS[corpus]
    assert clips["bytes"].eq(1).all()
    assert clips["sha256"].eq("").all()


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_what_is_no_clip_is_reported_with_a_reason(corpus, tmp_path):
    make_files(tmp_path, [*CLIPS[corpus], *OTHERS[corpus]])
    result = scan(tmp_path, corpus)
    expected = {path: remark for path, remark in OTHERS[corpus].items() if remark is not None}
    assert {remark.path for remark in result.remarks if remark.kind != "note"} == set(expected)
    for path, (expected_kind, pattern) in expected.items():
        kind, reason = remark_on(result, path)
        assert kind == expected_kind, (path, reason)
        assert re.search(pattern, reason), (path, reason)


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_a_root_is_recognised_by_the_names_in_it(corpus, tmp_path):
    make_files(tmp_path, [*CLIPS[corpus], *OTHERS[corpus]])
    assert scan(tmp_path).corpus == corpus


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_names_are_unique_and_safe_as_file_names(corpus, tmp_path):
    make_files(tmp_path, CLIPS[corpus])
    names = scan(tmp_path, corpus).clips["name"]
    assert names.str.fullmatch(r"[A-Za-z0-9._-]+").all()
    assert names.str.lower().is_unique


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_what_disks_do_to_a_corpus_is_reported(corpus, tmp_path, monkeypatch):
    good, empty, locked = list(CLIPS[corpus])[:3]
    make_files(tmp_path, [good, locked])
    make_files(tmp_path, [empty], b"")
    (tmp_path / locked).chmod(0)
    real_access = os.access

    def access_for_no_root(path, mode):
        return Path(path) != tmp_path / locked and real_access(path, mode)

    monkeypatch.setattr(os, "access", access_for_no_root)
    hidden = str(Path(good).parent / "._clip.mp4")
    strays = [f"__MACOSX/{good}", ".DS_Store", hidden, "Thumbs.db", "readme.txt"]
    make_files(tmp_path, strays)

    result = scan(tmp_path, corpus)
    assert list(result.clips["path"]) == [good]
    assert remark_on(result, empty) == ("unusable", "empty (0 bytes): fetch it again")
    assert remark_on(result, locked) == ("unusable", "its permissions forbid reading it (chmod +r)")
    assert remark_on(result, "__MACOSX") == (
        "stray",
        "left behind by a file manager or an unpacker",
    )
    stray_paths = {remark.path for remark in result.remarks if remark.kind == "stray"}
    assert stray_paths >= {".DS_Store", "Thumbs.db", "readme.txt"}


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_a_git_lfs_pointer_is_reported(corpus, tmp_path):
    good = next(iter(CLIPS[corpus]))
    pointer = list(CLIPS[corpus])[-1]
    make_files(tmp_path, [good])
    text = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    make_files(tmp_path, [pointer], text)
    result = scan(tmp_path, corpus)
    assert list(result.clips["path"]) == [good]
    _, reason = remark_on(result, pointer)
    assert reason == "a Git LFS pointer, not the clip: git lfs pull"


def test_of_two_sounds_of_a_clip_the_one_without_loss_is_taken(tmp_path):
    lossy = "AudioMP3/1005_IWW_DIS_XX.mp3"
    lossless = "AudioWAV/1005_IWW_DIS_XX.wav"
    make_files(tmp_path, [lossy, lossless])
    result = scan(tmp_path)
    assert result.clips["sound"].tolist() == [lossless]
    assert remark_on(result, lossy)[0] == "left out"


def test_names_that_the_release_of_crema_d_never_had_are_not_missed():
    clips = whole_corpus("crema-d")
    grid = len(CREMA_D_SENTENCES) * 6 + 10  # one sentence has three levels, but neutral
    assert len(clips) == 91 * grid - 20 - len(CREMA_D_BAD)
    missing = missing_crema_d(clips[clips["speaker"] != "1008"].assign(name=""))
    assert not [name for name in missing if name.startswith(CREMA_D_NEVER_MADE)]


def test_links_are_followed_once_and_a_link_to_nothing_is_reported(tmp_path):
    root = make_files(tmp_path / "root", ["ann/happy/a.mp4"])
    (root / "ann" / "happy" / "b.mp4").symlink_to(tmp_path / "gone.mp4")
    (root / "ann" / "loop").symlink_to(root)
    result = scan(root, "folder")
    assert list(result.clips["path"]) == ["ann/happy/a.mp4"]
    assert remark_on(result, "ann/happy/b.mp4") == ("unusable", "a link to nothing")


def test_a_link_to_itself_stops_nothing(tmp_path):
    root = make_files(tmp_path / "root", ["ann/happy/a.mp4"])
    (root / "ann" / "self").symlink_to(root / "ann" / "self")
    (root / "ann" / "happy" / "ring.mp4").symlink_to("knot.mp4")
    (root / "ann" / "happy" / "knot.mp4").symlink_to("ring.mp4")
    result = scan(root)
    assert list(result.clips["path"]) == ["ann/happy/a.mp4"]
    for path in ("ann/self", "ann/happy/ring.mp4", "ann/happy/knot.mp4"):
        kind, reason = remark_on(result, path)
        assert kind == "unusable"
        assert "cannot be followed" in reason


def test_a_root_whose_path_no_table_can_hold_is_refused_at_once(tmp_path):
    inside = tmp_path / os.fsdecode(b"\xff") / "ann" / "happy"
    make_files(inside, ["a.mp4"])
    for root in (inside.parent.parent, inside.parent):
        with pytest.raises(InputError, match="not UTF-8.*rename it") as refused:
            scan(root)
        assert str(refused.value).isprintable()


def test_names_that_are_not_utf8_are_reported_and_those_that_collide_told_apart(tmp_path):
    colliding = ["ann/happy/a b.mp4", "ann/happy/a_b.mp4", "ann/happy/A_b.mp4", "ann/happy/口.mp4"]
    make_files(tmp_path, colliding)
    not_utf8 = os.fsdecode(b"\xff.mp4")
    (tmp_path / "ann" / "happy" / not_utf8).write_bytes(b"x")
    result = scan(tmp_path)
    assert result.clips["name"].str.lower().is_unique
    assert len(result.clips) == 4
    remark, note = result.remarks
    assert remark.reason == "its name is not UTF-8: rename it"
    assert note.kind == "note"


def test_a_root_may_be_one_speaker_of_mead(tmp_path):
    make_files(tmp_path, [f"{MEAD}001.mp4"])
    result = scan(tmp_path / "M003")
    assert result.corpus == "mead"
    assert list(result.clips["name"]) == ["M003_front_angry_3_001"]
    kind, reason = remark_on(result, "video/front/angry/level_3/001.mp4")
    assert kind == "note"
    assert reason == "no sound file of it; fine where the video holds its sound"


def test_a_sound_without_pictures_is_a_row_without_path(tmp_path):
    sound = "Actor_01/03-01-05-01-01-01-01.wav"
    make_files(tmp_path, [sound])
    clips = scan(tmp_path).clips
    assert clips.loc[0, ["path", "sound"]].tolist() == ["", sound]
    cost = describe_cost(clips, tmp_path, IngestConfig())
    assert cost.startswith("nothing to do, these are sounds")


@pytest.mark.parametrize(
    "files, corpus, pattern",
    [
        (
            [],
            "",
            "None of 0 video and sound files is named as a known corpus names them: mead M003",
        ),
        (["holiday.mp4"], "", "None of 1 video and sound files"),
        (
            ["holiday.mp4"],
            "crema-d",
            "not one clip of crema-d .*among 1 files; most often: not a CREMA-D name",
        ),
        (["holiday.mp4"], "mead", "not one clip of mead .* no speaker folder"),
        (
            ["holiday.mp4"],
            "med",
            "unknown corpus 'med': accepted are studio, mead, ravdess, crema-d, folder",
        ),
        (
            ["holiday.mp4"],
            "studio",
            "corpus studio is generated by notebook 00, no folder of files: there is nothing to",
        ),
    ],
)
def test_an_unusable_root_is_refused_with_the_reason(files, corpus, pattern, tmp_path):
    make_files(tmp_path, files)
    with pytest.raises(InputError, match=pattern):
        scan(tmp_path, corpus)


def test_a_root_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="gone: no such folder; give the folder that holds the"):
        scan(tmp_path / "gone")


HEAD = "path,speaker,sentence,emotion,intensity\n"
LABELS_WITH_SOUND = """\
\ufeffpath, speaker,sentence,emotion,intensity,sound
x/a.mp4,Ann,s1,Anger,3,
x\\b.mp4,Ann,"s1, too",joy,,s/b.wav
"""


def test_a_label_file_gives_a_folder_its_labels(tmp_path):
    make_files(tmp_path, ["x/a.mp4", "x/b.mp4", "x/c.mp4", "s/b.wav"])
    (tmp_path / "labels.csv").write_text(LABELS_WITH_SOUND)
    result = scan(tmp_path)
    assert result.corpus == "folder"
    rows = result.clips.set_index("path")
    assert rows.loc["x/a.mp4", FIELDS].tolist() == ["Ann", "s1", "angry", 3, "", "", ""]
    labels = rows.loc["x/b.mp4", FIELDS].tolist()
    assert labels == ["Ann", "s1, too", "happy", 2, "", "", "s/b.wav"]
    assert remark_on(result, "x/c.mp4") == ("unusable", "no line of labels.csv names it")


@pytest.mark.parametrize(
    "line, pattern",
    [
        (
            "a.mp4,ann,s1,hapy,",
            r", column emotion: unknown emotion 'hapy' \(did you mean happy\?\)",
        ),
        ("a.mp4,ann,s1,happy,4", ", column intensity: '4' is none of 1, 2, 3"),
        ("a.mp4,,s1,happy,", ", column speaker: empty"),
        ("A.mp4,ann,s1,happy,", r", column path: no file A.mp4 below the root \(upper and lower"),
        ("../a.mp4,ann,s1,happy,", ", column path: ../a.mp4 does not lie below the root"),
        ("b.mp4,ann,s1,happy,", ", column path: b.mp4 has a line already"),
        ("./b.mp4,ann,s1,happy,", ", column path: b.mp4 has a line already"),
        ("/a.mp4,ann,s1,happy,", ", column path: /a.mp4 does not lie below the root"),
        ("x/../../a.mp4,ann,s1,happy,", ", column path: .* does not lie below the root"),
        ("..\\a.mp4,ann,s1,happy,", ", column path: ../a.mp4 does not lie below the root"),
        ("a\0.mp4,ann,s1,happy,", ", column path: no file"),
        (f"{'a' * 300}.mp4,ann,s1,happy,", ", column path: no file"),
        ("a.mp4,ann,s1,,", ", column emotion: empty; write unlabelled"),
        ("a.mp4,ann,s1,happy,2.5", ", column intensity: '2.5' is none of 1, 2, 3"),
        ("a.mp4,ann,s1,happy,nan", ", column intensity: 'nan' is none of 1, 2, 3"),
        ("a.mp4,ann,s1,happy,1,2", ": as many cells as columns are needed"),
        ("a.mp4,ann", ": as many cells as columns are needed"),
    ],
)
def test_a_bad_line_of_the_label_file_is_reported_with_line_and_column(line, pattern, tmp_path):
    make_files(tmp_path, ["a.mp4", "b.mp4"])
    (tmp_path / "labels.csv").write_text(f"{HEAD}b.mp4,ann,s1,sad,1\n{line}\n")
    result = scan(tmp_path)
    assert list(result.clips["path"]) == ["b.mp4"]
    kind, reason = remark_on(result, "labels.csv:3")
    assert kind == "unusable"
    assert re.match(f"labels.csv line 3{pattern}", reason), reason


@pytest.mark.parametrize(
    "content, pattern",
    [
        (
            b"path,speaker,emotion\n",
            "line 1 has no column sentence; needed are path, speaker, sentence, emotion",
        ),
        (
            b"path;speaker;sentence;emotion\n",
            "line 1 has no column path, speaker, sentence, emotion; .*between commas",
        ),
        (HEAD.replace("intensity", "strength").encode(), "line 1 has unknown column strength"),
        (HEAD.encode() + b"\xff,a,b,c,1\n", "no table in UTF-8"),
        (b"", "line 1 has no column path"),
        (b"path,speaker,sentence,emotion,Emotion\n", "line 1 has column emotion twice"),
        ("path,speaker,sentence,emotion\n".encode("utf-16"), "no table in UTF-8"),
    ],
)
def test_a_label_file_that_is_no_table_is_refused(content, pattern, tmp_path):
    make_files(tmp_path, ["a.mp4"])
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=pattern):
        scan(tmp_path)


def test_a_template_says_what_a_folder_s_names_mean(tmp_path):
    make_files(tmp_path, ["joy/ann_s1_3_a.mp4", "joy/ann.mp4"])
    result = scan(tmp_path, template="{emotion}/{speaker}_{sentence}_{intensity}_{take}")
    assert result.clips.loc[0, FIELDS].tolist() == ["ann", "s1", "happy", 3, "", "a", ""]
    _, reason = remark_on(result, "joy/ann.mp4")
    assert reason.startswith("its path has not the form {emotion}/{speaker}_")


def test_a_template_with_an_unknown_field_is_refused(tmp_path):
    make_files(tmp_path, ["joy/ann.mp4"])
    pattern = r"template '\{speaker\}/\{mood\}': \{speaker\} is needed, each field once"
    with pytest.raises(InputError, match=pattern):
        scan(tmp_path, template="{speaker}/{mood}")


def test_a_template_may_leave_the_sentence_unknown(tmp_path):
    make_files(tmp_path, ["ann/happy/1.mp4", "ann/sad/1.mp4"])
    assert scan(tmp_path).clips["sentence"].tolist() == ["1", "1"]
    clips = scan(tmp_path, template="{speaker}/{emotion}/{clip}").clips
    assert clips["sentence"].tolist() == ["ann/happy/1", "ann/sad/1"]


def test_a_folder_without_labels_is_taken_where_it_is_asked_for(tmp_path):
    make_files(tmp_path, ["ann/1.mp4", "ann/2.mp4", "bo.mp4"])
    clips = scan(tmp_path, "folder").clips
    assert clips["speaker"].tolist() == ["ann", "ann", "bo"]
    assert set(clips["emotion"]) == {UNLABELLED}
    assert clips["sentence"].is_unique
    assert "no clip is labelled with an emotion" in concerns(clips)[1]
    by_template = scan(tmp_path, template="{speaker}/{clip}").clips
    assert set(by_template["emotion"]) == {UNLABELLED}

    notes = [
        line for line in describe_corpus(scan(tmp_path, "folder"), []) if line.startswith("note")
    ]
    assert len(notes) == 1
    assert notes[0].startswith("note: no labels: ")


def test_a_folder_with_some_labels_has_no_unlabelled_clips_by_mistake(tmp_path):
    make_files(tmp_path, ["ann/happy/1.mp4", "bo/1.mp4"])
    result = scan(tmp_path, "folder")
    assert list(result.clips["path"]) == ["ann/happy/1.mp4"]
    assert remark_on(result, "bo/1.mp4")[0] == "unusable"


ACCENTED = "é"  # one letter; a Mac writes it as two
FORMS = {form: unicodedata.normalize(form, ACCENTED) for form in ("NFC", "NFD")}


@pytest.mark.parametrize("in_file", list(FORMS))
@pytest.mark.parametrize("on_disk", list(FORMS))
def test_one_name_in_two_forms_of_unicode_is_one_name(in_file, on_disk, tmp_path):
    name = FORMS[on_disk]
    make_files(tmp_path, [f"{name}/{name}.mp4", f"{name}/b.mp4"])
    (tmp_path / "labels.csv").write_text(
        f"{HEAD}{FORMS[in_file]}/{FORMS[in_file]}.mp4,{FORMS[in_file]},s,sad,1\n"
        f"{name}/b.mp4,{name},s,happy,1\n"
    )
    result = scan(tmp_path)
    assert len(result.clips) == 2
    assert set(result.clips["speaker"]) == {ACCENTED}
    assert f"{name}/{name}.mp4" in set(result.clips["path"])


def test_names_of_columns_may_have_capitals_and_a_clip_may_be_unlabelled(tmp_path):
    make_files(tmp_path, ["a.mp4"])
    header = "Path,SPEAKER,Sentence , emotion"
    (tmp_path / "labels.csv").write_text(f"{header}\na.mp4,ann,s1,Unlabelled\n")
    clips = scan(tmp_path).clips
    assert clips["emotion"].tolist() == [UNLABELLED]


def test_other_spellings_of_emotions_are_read():
    assert read_emotion(" Anger") == "angry"
    assert read_emotion("JOY") == "happy"
    assert read_emotion("fear") == "fear"
    assert read_emotion("calm") == "calm"
    with pytest.raises(InputError, match="unknown emotion 'xyz': accepted are angry"):
        read_emotion("xyz")


def test_every_corpus_speaks_our_words():
    assert set(SPELLINGS.values()) <= set(EMOTIONS)
    assert set(RAVDESS_EMOTIONS.values()) <= {*EMOTIONS, *FOREIGN_EMOTIONS}


@pytest.mark.parametrize(
    "corpus, size", [("ravdess", 24 * 52), ("crema-d", 91 * 82 - 20 - 4), ("mead", 47 * 22 * 8)]
)
def test_whole_corpora_miss_nothing(corpus, size):
    clips = whole_corpus(corpus)
    assert len(clips) == size
    assert CORPORA[corpus].missing(clips) == []
    assert clips["name"].is_unique
    if corpus != "mead":
        assert concerns(clips) == []


@pytest.mark.parametrize(
    "corpus, remaining, missing",
    [
        ("ravdess", "name != 'ravdess-05-02-01-02-07'", "ravdess-05-02-01-02-07"),
        ("crema-d", "name != '1001_IEO_SAD_HI'", "1001_IEO_SAD_HI"),
        (
            "mead",
            "not (speaker == 'M003' and emotion == 'sad' and intensity == 2)",
            "M003/front/sad/level_2",
        ),
    ],
)
def test_a_lost_clip_is_named(corpus, remaining, missing):
    clips = whole_corpus(corpus).query(remaining)
    assert CORPORA[corpus].missing(clips) == [missing]


def test_a_set_where_the_sentence_tells_the_emotion_is_flagged():
    mead = whole_corpus("mead")
    # MEAD's own test set: the last sentences.
    (concern,) = concerns(mead[mead["take"].isin(["028", "029", "030"])])
    assert concern.startswith("emotion and sentence are confounded: none of 24 sentences is said")
    assert "no pair can be aligned" in concern
    assert "tells the emotion of 100% of the clips (chance 14%)" in concern

    largely, unpaired = concerns(mead)
    assert "largely confounded" in largely
    assert "3 of 46 sentences are said in two emotions" in largely
    assert unpaired.startswith("no sentence of disgusted is said in another emotion")
    assert "no pair can be aligned for it" in unpaired

    is_common = mead["sentence"].str.startswith("common")
    assert concerns(mead[is_common]) == []


def test_too_few_speakers_and_a_single_emotion_are_flagged():
    rows = []
    for speaker in range(12):
        for sentence in "ab":
            for emotion in ("sad", "happy"):
                rows.append({"speaker": speaker, "sentence": sentence, "emotion": emotion})
    crossed = pd.DataFrame(rows)
    assert concerns(crossed) == []
    assert concerns(crossed[crossed.speaker < 11]) == [
        "too few speakers: 11, 12 are needed; an interval over them says little"
    ]
    two_speakers = concerns(crossed[crossed.speaker < 2])
    assert "no disjoint train, choose and report parts" in two_speakers[0]
    assert concerns(crossed[crossed.emotion == "sad"]) == [
        "one emotion only (sad): there is nothing to contrast"
    ]


@pytest.fixture
def sample_root(tmp_path):
    """A folder with copies of the six committed samples."""
    return Path(shutil.copytree(sample_folder(), tmp_path / "samples"))


def test_the_committed_samples_are_checked_with_what_an_ingest_costs(sample_root):
    (sample_root / "1001_TSI_SAD_XX.flv").write_bytes(b"no video")
    result = scan(sample_root)
    assert result.corpus == "crema-d"
    assert len(result.clips) == 7
    seconds, remarks = read_headers(sample_root, result.clips)
    assert len(seconds) == 6
    assert (abs(seconds - 2.2) < 0.5).all()
    (remark,) = remarks
    assert remark.kind == "unreadable"
    assert remark.path == "1001_TSI_SAD_XX.flv"
    assert "not a readable video" in remark.reason

    lines = describe_corpus(result, [])
    counts = "corpus crema-d: clips 7, speakers 1, sentences 2, emotions 6, 0.002 GB"
    assert lines[0].startswith(counts)
    assert lines[2].split() == ["1001", "1", "1", "1", "1", "1", "2"]
    assert any(line.startswith("missing: 75, 1001_IEO_ANG_HI") for line in lines)

    cost = describe_cost(result.clips, sample_root, IngestConfig())
    num_frames = int(cost.split()[1])
    assert abs(num_frames - 7 * seconds.mean() * 25) < 1
    measured_cost = describe_cost(result.clips, sample_root, IngestConfig(), 30)
    minutes = num_frames / 30 / 2 / 60
    assert f"{minutes:.1f} minutes on 2 idle cores" in measured_cost


def test_check_and_ingest_print_the_same_cost(sample_root, tmp_path, capsys):
    manifest_file = str(tmp_path / "m.parquet")
    assert main(["data", "check", str(sample_root), "--manifest", manifest_file]) == 0
    last_line = capsys.readouterr().out.splitlines()[-1]
    cost = last_line.removeprefix("ingest: ")
    assert "on 2 idle cores" in cost
    assert main(["data", "ingest", str(sample_root), "--out", str(tmp_path / "store")]) == 0
    first_line = capsys.readouterr().out.splitlines()[0]
    assert cost in first_line


def write_wav(path, rate, layout):
    """One second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=rate, layout=layout)
        frame = av.AudioFrame(format="flt", layout=layout, samples=rate)
        plane = frame.planes[0]
        plane.update(bytes(plane.buffer_size))
        frame.rate = rate
        container.mux([*stream.encode(frame), *stream.encode(None)])


def test_a_name_that_lies_is_found_on_opening(tmp_path):
    root = tmp_path / "Actor_01"
    root.mkdir()
    write_wav(root / "03-01-05-01-01-01-01.wav", 22_050, "mono")
    write_wav(root / "03-01-05-01-01-02-01.wav", 48_000, "stereo")
    video = root / "01-01-05-01-01-01-01.mp4"
    shutil.copy(root / "03-01-05-01-01-01-01.wav", video)
    seconds, (remark,) = read_headers(root, scan(root).clips)
    assert list(seconds) == [1.0]
    assert remark.kind == "unreadable"
    assert remark.path == video.name
    assert remark.reason.startswith("only sound, no video stream that can be decoded")

    video.unlink()
    _, (remark,) = read_headers(root, scan(root).clips)
    assert remark.reason == "sound at 22050 Hz, as released 48000: somebody converted it"


def write_avi(path):
    """A second of grey pictures with silence."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for _ in range(25):
            picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), layout="mono")
        samples.sample_rate = 16_000
        container.mux([*video.encode(None), *sound.encode(samples), *sound.encode(None)])


@pytest.mark.parametrize("suffix", [".avi", ".wav"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_cut_file_that_knows_its_length_is_found_by_its_first_bytes(suffix, share, tmp_path):
    file = tmp_path / f"clip{suffix}"
    write_avi(file) if suffix == ".avi" else write_wav(file, 16_000, "mono")
    content = file.read_bytes()
    assert missing_bytes(file) == 0
    for whole in (content + b"tail", b"RIFF\xff\xff\xff\xff" + content[8:], content[:10], b"x"):
        file.write_bytes(whole)
        assert missing_bytes(file) == 0

    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"truncated, \d+ bytes of its end"):
        refuse_cut_file(file)


def test_a_cut_avi_counts_nowhere_as_whole(tmp_path):
    root = tmp_path / "root"
    for name in ("cut", "whole"):
        (root / name / "happy").mkdir(parents=True)
        write_avi(root / name / "happy" / "s.avi")
    cut = root / "cut" / "happy" / "s.avi"
    cut.write_bytes(cut.read_bytes()[:-9000])
    result = scan(root)
    assert list(result.clips["path"]) == ["whole/happy/s.avi"]
    assert remark_on(result, "cut/happy/s.avi")[1].startswith("truncated")
    with pytest.raises(InputError, match="s.avi: truncated"):
        list(decode_frames(cut))
    assert list(decode_frames(root / "whole" / "happy" / "s.avi"))


SUM_OF_X = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


def test_sums_go_on_after_a_kill_and_read_nothing_twice(tmp_path, monkeypatch):
    root = make_files(tmp_path / "root", CLIPS["crema-d"])
    record = tmp_path / "sums.jsonl"
    clips = scan(root).clips
    summed = manifest.add_sums(root, clips, record)
    assert set(summed["sha256"]) == {SUM_OF_X}

    lines = record.read_text().splitlines()
    record.write_text("\n".join(lines[:3]) + '\n{"path": "Vide')  # two sums and a half line
    files_read = []
    real_digest = manifest.hashlib.file_digest

    def recorded_digest(file, kind):
        files_read.append(file.name)
        return real_digest(file, kind)

    monkeypatch.setattr(manifest.hashlib, "file_digest", recorded_digest)
    assert manifest.add_sums(root, clips, record).equals(summed)
    assert len(files_read) == 2
    assert manifest.add_sums(root, clips, record).equals(summed)
    assert len(files_read) == 2
    os.utime(root / clips["path"][0], ns=(0, 0))
    manifest.add_sums(root, clips, record)
    assert len(files_read) == 3
    (root / clips["path"][0]).unlink()
    with pytest.raises(InputError, match="cannot be read .*; mend it, then go on"):
        manifest.add_sums(root, clips, record)


def test_a_manifest_is_compared_with_a_saved_one(tmp_path):
    root = make_files(tmp_path / "root", CLIPS["crema-d"])
    record = tmp_path / "sums.jsonl"
    saved = manifest.add_sums(root, scan(root).clips, record)
    same_size, other_size, gone, _ = sorted(CLIPS["crema-d"])
    (root / same_size).write_bytes(b"y")
    (root / other_size).write_bytes(b"longer")
    (root / gone).unlink()
    new = "1003_DFA_ANG_XX.flv"
    make_files(root, [new])
    clips = scan(root).clips
    assert manifest.compare(clips, saved) == {"gone": [gone], "new": [new], "altered": [other_size]}
    summed = manifest.add_sums(root, clips, record)
    assert manifest.compare(summed, saved)["altered"] == [same_size, other_size]


def test_a_manifest_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    root = make_files(tmp_path / "root", CLIPS["crema-d"])
    file = tmp_path / "sub" / "m.parquet"
    clips = scan(root).clips
    manifest.save_manifest(clips, file)
    assert manifest.load_manifest(file).equals(clips)
    assert list(file.parent.iterdir()) == [file]

    def interrupted(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        manifest.save_manifest(clips[:1], file)
    assert manifest.load_manifest(file).equals(clips)
    assert list(file.parent.iterdir()) == [file]


def test_what_is_no_manifest_is_refused(tmp_path):
    remedy = "make one with cdrl data check ROOT --write"
    with pytest.raises(InputError, match=f"gone.parquet: no manifest that can be read; {remedy}"):
        manifest.load_manifest(tmp_path / "gone.parquet")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(InputError, match="text.parquet: no manifest that can be read"):
        manifest.load_manifest(tmp_path / "text.parquet")
    pd.DataFrame({"name": []}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(InputError, match="other.parquet: not a manifest, its columns are name"):
        manifest.load_manifest(tmp_path / "other.parquet")


NAN = float("nan")
NOT_TEXTS = [None, 7, NAN, b"x", [], "a\0b", "\udcff"]
ESCAPING = ["../a.mp4", "/etc/passwd", "a/../../b.mp4", ".."]
NOT_NUMBERS = [None, NAN, float("inf"), -1, 2.5, "2", "", True]
# What no cell of a manifest's column may hold.
BAD_CELLS = {
    "name": [*NOT_TEXTS, "", ".", "..", "../a", "a/b", "a b", "x" * 300],
    "corpus": [*NOT_TEXTS, "", " "],
    "speaker": [*NOT_TEXTS, "", " "],
    "sentence": [*NOT_TEXTS, "", " "],
    "emotion": [*NOT_TEXTS, "", "joy", "Happy", "bored", "calm"],
    "intensity": [*NOT_NUMBERS, 0, 4],
    "camera": NOT_TEXTS,
    "take": NOT_TEXTS,
    "path": [*NOT_TEXTS, *ESCAPING],
    "sound": [*NOT_TEXTS, *ESCAPING],
    "bytes": NOT_NUMBERS,
    "sha256": [*NOT_TEXTS, "x", "0" * 63, "G" * 64],
}


@pytest.mark.parametrize("column", manifest.COLUMNS)
def test_a_manifest_with_a_value_that_cannot_be_used_is_refused_in_one_line(column, tmp_path):
    clips = scan(make_files(tmp_path, CLIPS["crema-d"])).clips
    manifest.check_rows(clips, "manifest")
    for value in BAD_CELLS[column]:
        cells = clips[column].astype(object)
        cells[1] = value
        with pytest.raises(InputError) as refused:
            check_manifest(clips.assign(**{column: cells}))
        message = str(refused.value)
        assert message.startswith(f"manifest: row 1, column {column}: "), value
        assert message.endswith(" is needed")
        assert "\n" not in message


def test_a_bad_value_in_a_manifest_s_file_names_the_file(tmp_path):
    clips = scan(make_files(tmp_path, CLIPS["crema-d"])).clips
    file = tmp_path / "m.parquet"
    for column, value in (("emotion", "bored"), ("path", "../a.mp4"), ("speaker", None)):
        clips.assign(**{column: [value, *clips[column][1:]]}).to_parquet(file, index=False)
        with pytest.raises(InputError, match=f"m.parquet: row 0, column {column}"):
            manifest.load_manifest(file)


def test_numbers_with_a_point_are_whole_numbers_and_a_doubled_column_is_refused(tmp_path):
    clips = scan(make_files(tmp_path, CLIPS["crema-d"])).clips
    with_points = clips.astype({"bytes": float, "intensity": float})
    assert check_manifest(with_points).equals(clips)
    doubled = pd.concat([clips, clips[["take"]]], axis=1)
    with pytest.raises(InputError, match="manifest: column take twice"):
        check_manifest(doubled)
    with pytest.raises(InputError, match="row 0: neither path nor sound"):
        check_manifest(clips.assign(path="", sound=""))


@pytest.fixture
def placeholder_root(tmp_path):
    return make_files(tmp_path / "root", CLIPS["crema-d"])


def has_sums(file):
    return manifest.load_manifest(file)["sha256"].ne("").all()


def test_cdrl_data_check_prints_and_writes_a_manifest(placeholder_root, tmp_path, capsys):
    file = tmp_path / "m.parquet"
    words = ["data", "check", str(placeholder_root), "--manifest", str(file)]
    assert main([*words, "--sums", "--write"]) == 0
    printed = capsys.readouterr().out
    assert "corpus crema-d: clips 4" in printed
    assert "a guess, no header could be read" in printed
    assert f"manifest: {file}, with sums" in printed
    assert has_sums(file)
    assert main([*words, "--sums"]) == 0
    assert f"as in {file} (by sums)" in capsys.readouterr().out
    assert main([*words, "--write"]) == 0
    assert has_sums(file), "sums stay"


def test_cdrl_data_check_says_what_changed_and_overwrites_nothing(
    placeholder_root, tmp_path, capsys
):
    file = tmp_path / "m.parquet"
    words = ["data", "check", str(placeholder_root), "--manifest", str(file), "--sums", "--write"]
    assert main(words) == 0
    changed = min(CLIPS["crema-d"])
    (placeholder_root / changed).write_bytes(b"longer")
    capsys.readouterr()
    assert main(words) == 2
    printed = capsys.readouterr()
    assert f"altered since {file}: 1, {changed}" in printed.out
    assert "remove it or give another --manifest" in printed.err


def test_cdrl_data_check_says_what_a_split_makes_of_the_clips(placeholder_root, capsys):
    assert main(["data", "check", str(placeholder_root), "--split", "strict"]) == 0
    printed = capsys.readouterr().out
    sizes = "train 0 clips of 0, choose 0 clips of 0, report 0 clips of 0 speakers, in none 4"
    assert f"split strict: {sizes}" in printed
    assert "beware of the split: choose: not one clip is here" in printed


ESCAPE = "\x1b[2J\x1b]0;title\x07\u202e"


def test_cdrl_data_check_prints_nothing_that_a_terminal_obeys(tmp_path, capsys):
    root = tmp_path / f"root{ESCAPE}"
    people = [f"{name}{ESCAPE}" for name in "abc"]
    make_files(root, [f"{name}/happy/{ESCAPE}.mp4" for name in people])
    make_files(root, [f"{people[0]}/{ESCAPE}.mp4", f"{ESCAPE}.txt"])
    manifest_file = str(tmp_path / "m.parquet")
    words = ["data", "check", str(root), "--manifest", manifest_file, "--split", "strict"]
    assert main(words) == 0
    assert main(["data", "check", f"{root}{ESCAPE}"]) == 2
    assert main(["data", "check", str(root), "--corpus", ESCAPE]) == 2
    printed = capsys.readouterr()
    lines = [*printed.out.splitlines(), *printed.err.splitlines()]
    assert [line for line in lines if not line.isprintable()] == []
    assert "\\x1b[2J" in printed.out


def test_cdrl_data_check_refuses_bad_values(placeholder_root, tmp_path, capsys):
    assert main(["data", "check", str(tmp_path / "gone")]) == 2
    assert main(["data", "check", str(placeholder_root), "--frames-per-second", "0"]) == 2
    message = capsys.readouterr().err
    assert "argument --frames-per-second: 0: a number above 0 is needed" in message


COMMITTED_SPLITS = [
    "crema-d_strict",
    "mead_paper",
    "mead_strict",
    "ravdess_paper",
    "ravdess_strict",
]
SPLITS_WITH_DRIVERS = ["mead_paper", "ravdess_paper"]
STRICT_SPLITS = [name for name in COMMITTED_SPLITS if name.endswith("strict")]


def committed_split(name):
    """(split, clips of the whole corpus) of a committed split."""
    return splits.load_split(name), whole_corpus(name.partition("_")[0])


@pytest.mark.parametrize("name", COMMITTED_SPLITS)
def test_committed_splits_keep_apart_what_they_say(name):
    split, clips = committed_split(name)
    part = splits.parts_of(split, clips)
    assert set(part) - {""} == set(split["parts"])
    for pair, columns in split["apart"].items():
        one, other = pair.split("|")
        for column in columns:
            values = set(clips[column][part == one])
            assert not values & set(clips[column][part == other]), (pair, column)


@pytest.mark.parametrize("name", STRICT_SPLITS)
def test_strict_splits_keep_people_and_sentences_of_train_apart(name):
    split, clips = committed_split(name)
    assert set(split["apart"]) == {"train|choose", "train|report", "choose|report"}
    assert split["apart"]["train|choose"] == ["speaker", "sentence"]
    assert split["apart"]["train|report"] == ["speaker", "sentence"]
    for concern in splits.split_concerns(split, clips):
        if concern.startswith(("train:", "choose:")):
            continue
        shares = concern.startswith("choose and report") and "share" in concern
        assert shares or "too few" in concern, concern


@pytest.mark.parametrize("name", SPLITS_WITH_DRIVERS)
def test_drivers_are_other_people_of_the_report(name):
    split, clips = committed_split(name)
    drivers = split["drivers"]
    part = splits.parts_of(split, clips)
    reported = set(clips["speaker"][part == "report"])
    assert set(drivers) == set(drivers.values()) == reported
    assert len(reported) == 6
    assert all(actor != driver for actor, driver in drivers.items())


def test_all_committed_splits_are_under_test():
    assert splits.split_names() == COMMITTED_SPLITS
    with_drivers = [name for name in COMMITTED_SPLITS if "drivers" in splits.load_split(name)]
    assert with_drivers == SPLITS_WITH_DRIVERS


@pytest.mark.parametrize("corpus", ["crema-d", "ravdess"])
def test_committed_strict_splits_are_as_drawn(corpus):
    assert splits.draw_split(whole_corpus(corpus)) == splits.load_split(f"{corpus}_strict")


def test_the_paper_s_split_of_mead_has_the_paper_s_counts():
    split, clips = committed_split("mead_paper")
    part = splits.parts_of(split, clips)
    people = {name: sorted(set(clips["speaker"][part == name])) for name in set(part)}
    assert people["report"] == ["M003", "M009", "M012", "M030", "W015", "W029"]
    assert people["choose"] == ["W021"]
    assert len(people["train"]) == 35
    others = {"M013", "M026", "W009", "W024", "W037", "W021"}
    assert not others & set(people["train"])
    clips_per_speaker = clips[part == "report"].groupby("speaker").size()
    assert clips_per_speaker.eq(22).all()


def test_the_paper_s_split_of_ravdess_has_the_paper_s_counts():
    split, clips = committed_split("ravdess_paper")
    part = splits.parts_of(split, clips)
    clips_per_speaker = clips[part == "report"].groupby("speaker").size()
    assert clips_per_speaker.eq(7).all()
    assert (part == "train").sum() == 6 * 7 * 3
    shared = "train and report share 6 speakers, e.g. Actor_01"
    assert shared in splits.split_concerns(split, clips)


@pytest.fixture
def crossed_folder():
    """Clips of eight people, three sentences and two emotions."""
    rows = []
    for speaker in "abcdefgh":
        for sentence in ("s1", "s2", "s3"):
            for emotion in ("sad", "happy"):
                rows.append((speaker, sentence, emotion))
    clips = pd.DataFrame(rows, columns=["speaker", "sentence", "emotion"])
    return clips.assign(corpus="folder", take="")


def test_a_split_is_drawn_for_any_folder_and_stays_when_clips_are_added(crossed_folder):
    split = splits.draw_split(crossed_folder)
    reversed_without_one = crossed_folder.iloc[::-1].iloc[1:]
    assert splits.draw_split(reversed_without_one) == split
    assert split["apart"]["choose|report"] == ["speaker", "sentence"]
    concerns_of_split = splits.split_concerns(split, crossed_folder)
    assert not [concern for concern in concerns_of_split if "share" in concern]


def test_a_split_of_unknown_sentences_keeps_people_apart_alone(crossed_folder):
    sentences = [str(number) for number in range(len(crossed_folder))]
    unknown = crossed_folder.assign(sentence=sentences)
    split = splits.draw_split(unknown)
    assert split["apart"]["train|report"] == ["speaker"]
    assert (splits.parts_of(split, unknown) != "").all()


def test_a_split_needs_three_speakers(crossed_folder):
    two_speakers = crossed_folder[crossed_folder.speaker < "c"]
    pattern = "2 speakers: train, choose and report need one each; add people"
    with pytest.raises(InputError, match=pattern):
        splits.draw_split(two_speakers)


def test_a_split_that_is_none_is_refused(tmp_path):
    accepted = "accepted are crema-d_strict, mead_paper, mead_strict"
    with pytest.raises(InputError, match=f"no split mead_papr: {accepted}"):
        splits.load_split("mead_papr")
    file = tmp_path / "s.json"
    file.write_text("[]")
    with pytest.raises(InputError, match="s.json: no split; it needs parts"):
        splits.load_split(file)
    file.write_text('{"parts": {"trian": [{"spekaer": ["a"]}]}}')
    with pytest.raises(InputError, match="s.json: unknown spekaer, trian; keys are corpus"):
        splits.load_split(file)


A_RULE = {"speaker": ["a"], "intensity": [3], "except": {"sentence": ["s"]}, "last": 3}
A_SPLIT = {
    "corpus": "mead",
    "what": "words",
    "parts": {"train": [A_RULE], "report": [{"speaker": ["b"]}]},
    "apart": {"train|report": ["speaker"]},
    "drivers": {"a": "b"},
}
# Values that fit nowhere in a split; an empty list fits where it names no value, no part.
NOT_IN_A_SPLIT = [None, 7, -1, 0, "p1", float("nan"), True, [[]], [None], [{}], {"": []}]
PLACES_OF_A_SPLIT = [
    ("corpus",),
    ("what",),
    ("parts",),
    ("parts", "train"),
    ("parts", "train", 0),
    ("parts", "train", 0, "speaker"),
    ("parts", "train", 0, "intensity"),
    ("parts", "train", 0, "except"),
    ("parts", "train", 0, "except", "sentence"),
    ("parts", "train", 0, "last"),
    ("apart",),
    ("apart", "train|report"),
    ("drivers",),
    ("drivers", "a"),
]
# What a place holds anyway.
FITTING = {
    ("corpus",): ["p1"],
    ("what",): ["p1"],
    ("drivers", "a"): ["p1"],
    ("parts", "train"): [[{}]],  # a rule that takes all the rest
    ("parts", "train", 0, "last"): [7],
    ("apart", "train|report"): [[[]], [None], [{}]],
}


@pytest.mark.parametrize("place", PLACES_OF_A_SPLIT, ids=str)
def test_a_split_with_a_value_of_another_kind_is_refused_in_one_line(place, tmp_path):
    file = tmp_path / "s.json"
    file.write_text(json.dumps(A_SPLIT))
    splits.load_split(file)
    for value in NOT_IN_A_SPLIT:
        if value in FITTING.get(place, []):
            continue
        split = copy.deepcopy(A_SPLIT)
        holder = split
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = value
        file.write_text(json.dumps(split))
        with pytest.raises(InputError) as refused:
            splits.load_split(file)
        message = str(refused.value)
        assert message.startswith(f"{file}: ")
        assert "\n" not in message


@pytest.mark.parametrize("rules", [[], {}, [{"speaker": "p1"}], [{"speaker": [1]}]])
def test_a_part_without_a_rule_that_can_match_is_named(rules, tmp_path):
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"parts": {"train": rules}}))
    with pytest.raises(InputError, match=r"part train.*a list of"):
        splits.load_split(file)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"parts": []}'])
def test_a_split_file_that_is_no_json_of_ours_is_refused(content, tmp_path):
    file = tmp_path / "s.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match="s.json: no split"):
        splits.load_split(file)


def test_a_split_of_other_clips_is_refused():
    split, mead = committed_split("mead_paper")
    with pytest.raises(InputError, match="the split is of mead, the clips are of ravdess"):
        splits.parts_of(split, whole_corpus("ravdess"))
    in_no_part = mead.query("speaker == 'M003' and intensity == 2").head(24)
    pattern = "none of 24 clips is in a part of this split: the paper's"
    with pytest.raises(InputError, match=pattern):
        splits.parts_of(split, in_no_part)


RAVDESS_ROOT = os.environ.get("CDRL_RAVDESS_ROOT")
needs_ravdess = pytest.mark.skipif(
    not RAVDESS_ROOT, reason="CDRL_RAVDESS_ROOT names no folder of RAVDESS"
)


@needs_ravdess
def test_a_real_ravdess_root_is_read_name_by_name():
    root = Path(RAVDESS_ROOT)
    result = scan(root)
    assert result.corpus == "ravdess"
    assert len(result.clips)
    assert not [remark for remark in result.remarks if remark.kind == "unusable"]
    counts = result.clips.groupby(["speaker", "emotion"]).size().unstack()
    assert counts.notna().all().all()
    assert (counts["angry"] == 2 * counts["neutral"]).all()
    assert "calm" not in set(result.clips["emotion"])
    _, remarks = read_headers(root, result.clips)
    assert not [remark for remark in remarks if remark.kind == "unreadable"]


@needs_ravdess
def test_real_ravdess_sounds_decode_whatever_chunks_they_carry_and_however_many_channels():
    waves = sorted(Path(RAVDESS_ROOT).rglob("03-*.wav"))
    if not waves:
        pytest.skip("CDRL_RAVDESS_ROOT holds no original .wav")
    for wave in waves[:8]:
        with av.open(str(wave)) as container:
            num_samples = sum(frame.samples for frame in container.decode(audio=0))
            seconds = container.duration / av.time_base
            promised = seconds * container.streams.audio[0].codec_context.sample_rate
        assert num_samples > 48_000
        assert abs(num_samples - promised) < 50
