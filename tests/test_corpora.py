"""Every corpus adapter in one table: names become labels, what is no clip is told with a reason; manifests and splits."""

import os
import re
import shutil
from functools import cache
from pathlib import Path, PurePosixPath

import av
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
    read_emotion,
)
from cdrl.corpora import adapters as corpora
from cdrl.corpora import manifest, splits
from cdrl.corpora.adapters import CORPORA, MEAD_SPEAKERS
from cdrl.corpora.check import concerns, corpus_report, read_headers
from cdrl.corpora.ingest import describe_cost
from cdrl.corpora.samples import sample_folder
from cdrl.corpora.scan import scan

MEAD = "M003/video/front/angry/level_3/"
# corpus -> {path: (speaker, sentence, emotion, intensity, camera, take, sound)} of clips, {path: (kind, reason)} of the rest.
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
            "contempt_003",
            "contempt",
            1,
            "front",
            "003",
            "",
        ),
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
        "ann/Happiness/one.mp4": ("ann", "ann/Happiness/one", "happy", 2, "", "", ""),
        "ann/neutral/one.mp4": ("ann", "ann/neutral/one", "neutral", 1, "", "", ""),
        "bo/fear/zwei und drei.mov": ("bo", "bo/fear/zwei und drei", "fear", 2, "", "", ""),
    },
}
OTHERS = {
    "mead": {
        "M003/audio/angry/level_3/001.m4a": None,  # the sound of a clip
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
        "ann/one.mp4": ("unusable", r"its path has not the form \{speaker\}/\{emotion\}/\{clip\}"),
        "ann/happy/one.wav": ("stray", "a sound file; name it in the column sound"),
    },
}
ADAPTERS = sorted(CLIPS)
FIELDS = ["speaker", "sentence", "emotion", "intensity", "camera", "take", "sound"]


def make(root, paths, content=b"x"):
    """Placeholder files below a root."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def said(found, path):
    """(kind, reason) of the one remark on a path."""
    (remark,) = [remark for remark in found.remarks if remark.path == str(path)]
    return remark.kind, remark.reason


def clips_of(corpus, paths):
    """A manifest of names alone, without files."""
    rows = [
        CORPORA[corpus].parse(PurePosixPath("root") / path) | {"path": path, "corpus": corpus}
        for path in paths
    ]
    return pd.DataFrame([row for row in rows if "left_out" not in row])


@cache
def full(corpus):
    """The names of a whole corpus; of MEAD the front view and some numbers only."""
    if corpus == "mead":
        levels = [(e, k) for e in EMOTIONS for k in ((1,) if e == "neutral" else (1, 2, 3))]
        numbers = (1, 2, 3, 16, 17, 28, 29, 30)
        return clips_of(
            corpus,
            [
                f"{s}/video/front/{e}/level_{k}/{n:03d}.mp4"
                for s in MEAD_SPEAKERS
                for e, k in levels
                for n in numbers
            ],
        )
    if corpus == "ravdess":
        codes = [(e, k) for e in RAVDESS_EMOTIONS for k in ("01", "02") if (e, k) != ("01", "02")]
        return clips_of(
            corpus,
            [
                f"01-01-{e}-{k}-{s}-{r}-{a:02d}.mp4"
                for e, k in codes
                for s in ("01", "02")
                for r in ("01", "02")
                for a in range(1, 25)
            ],
        )
    return clips_of(
        corpus,
        corpora.missing_crema_d(
            pd.DataFrame({"speaker": [str(1000 + k) for k in range(1, 92)], "name": ""})
        ),
    )


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_names_become_the_labels_of_a_manifest_and_the_rest_is_told_with_reasons(corpus, tmp_path):
    make(tmp_path, [*CLIPS[corpus], *OTHERS[corpus]])
    found = scan(tmp_path, corpus)
    assert tuple(found.clips.columns) == manifest.COLUMNS and set(found.clips["corpus"]) == {corpus}
    assert {row.path: tuple(row[FIELDS]) for _, row in found.clips.iterrows()} == CLIPS[corpus]
    assert found.clips["bytes"].eq(1).all() and found.clips["sha256"].eq("").all()
    told = {remark.path for remark in found.remarks if remark.kind != "note"}
    assert told == {path for path, expected in OTHERS[corpus].items() if expected}
    for path, expected in OTHERS[corpus].items():
        if expected:
            kind, reason = said(found, path)
            assert kind == expected[0] and re.search(expected[1], reason), (path, kind, reason)


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_a_root_is_recognised_by_the_names_in_it(corpus, tmp_path):
    assert scan(make(tmp_path, [*CLIPS[corpus], *OTHERS[corpus]])).corpus == corpus


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_names_are_unique_and_safe_as_file_names(corpus, tmp_path):
    names = scan(make(tmp_path, CLIPS[corpus]), corpus).clips["name"]
    assert names.str.fullmatch(r"[A-Za-z0-9._-]+").all() and names.str.lower().is_unique


@pytest.mark.parametrize("corpus", ADAPTERS)
def test_what_disks_do_to_a_corpus_is_told(corpus, tmp_path, monkeypatch):
    good, empty, locked = list(CLIPS[corpus])[:3]
    make(tmp_path, [good, locked])
    make(tmp_path, [empty], b"")
    (tmp_path / locked).chmod(0)
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path) != tmp_path / locked and access(path, mode)
    )  # as root too
    strays = [
        "__MACOSX/" + good,
        ".DS_Store",
        str(Path(good).parent / "._clip.mp4"),
        "Thumbs.db",
        "readme.txt",
    ]
    make(tmp_path, strays)
    pointer = list(CLIPS[corpus])[-1].replace("one.mp4", "two.mp4")
    if pointer not in (good, empty, locked):
        make(
            tmp_path,
            [pointer],
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        )
        assert (
            said(scan(tmp_path, corpus), pointer)[1]
            == "a Git LFS pointer, not the clip: git lfs pull"
        )
    found = scan(tmp_path, corpus)
    assert list(found.clips["path"]) == [good]
    assert said(found, empty) == ("unusable", "empty (0 bytes): fetch it again")
    assert said(found, locked) == ("unusable", "its permissions forbid reading it (chmod +r)")
    assert said(found, "__MACOSX") == ("stray", "left behind by a file manager or an unpacker")
    assert {remark.path for remark in found.remarks if remark.kind == "stray"} >= {
        ".DS_Store",
        "Thumbs.db",
        "readme.txt",
    }


def test_links_are_followed_once_and_a_link_to_nothing_is_told(tmp_path):
    root = make(tmp_path / "root", ["ann/happy/a.mp4"])
    (root / "ann" / "happy" / "b.mp4").symlink_to(tmp_path / "gone.mp4")
    (root / "ann" / "loop").symlink_to(root)
    found = scan(root, "folder")
    assert list(found.clips["path"]) == ["ann/happy/a.mp4"]
    assert said(found, "ann/happy/b.mp4") == ("unusable", "a link to nothing")


def test_names_that_are_not_utf8_or_collide_are_told_or_told_apart(tmp_path):
    make(
        tmp_path,
        ["ann/happy/a b.mp4", "ann/happy/a_b.mp4", "ann/happy/A_b.mp4", "ann/happy/口.mp4"],
    )
    (tmp_path / "ann" / "happy" / os.fsdecode(b"\xff.mp4")).write_bytes(b"x")
    found = scan(tmp_path)
    assert found.clips["name"].str.lower().is_unique and len(found.clips) == 4
    assert [r.reason for r in found.remarks] == ["its name is not UTF-8: rename it"]


def test_a_root_may_be_one_speaker_of_mead(tmp_path):
    root = make(tmp_path, [f"{MEAD}001.mp4"]) / "M003"
    found = scan(root)
    assert found.corpus == "mead" and list(found.clips["name"]) == ["M003_front_angry_3_001"]
    assert said(found, "video/front/angry/level_3/001.mp4") == (
        "note",
        "no sound file of it; fine where the video holds its sound",
    )


def test_a_sound_without_pictures_is_a_row_without_path(tmp_path):
    found = scan(make(tmp_path, ["Actor_01/03-01-05-01-01-01-01.wav"]))
    assert found.clips.loc[0, ["path", "sound"]].tolist() == [
        "",
        "Actor_01/03-01-05-01-01-01-01.wav",
    ]
    assert describe_cost(found.clips, tmp_path, IngestConfig()).startswith(
        "nothing to do, these are sounds"
    )


@pytest.mark.parametrize(
    "files, corpus, message",
    [
        (
            [],
            "",
            "none of 0 video and sound files is named as a known corpus names them: mead M003/video",
        ),
        (["holiday.mp4"], "", "none of 1 video and sound files"),
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
            "corpus studio is generated by notebook 00, no folder of files: there is nothing to check",
        ),
    ],
)
def test_an_unusable_root_is_refused_with_the_reason(files, corpus, message, tmp_path):
    with pytest.raises(InputError, match=message):
        scan(make(tmp_path, files), corpus)
    with pytest.raises(
        InputError, match="gone: no such folder; give the folder that holds the corpus"
    ):
        scan(tmp_path / "gone", corpus)


HEAD = "path,speaker,sentence,emotion,intensity\n"


def test_a_label_file_gives_a_folder_its_labels(tmp_path):
    make(tmp_path, ["x/a.mp4", "x/b.mp4", "x/c.mp4", "s/b.wav"])
    text = '\ufeffpath, speaker,sentence,emotion,intensity,sound\nx/a.mp4,Ann,s1,Anger,3,\nx\\b.mp4,Ann,"s1, too",joy,,s/b.wav\n'
    (tmp_path / "labels.csv").write_text(text)
    found = scan(tmp_path)
    rows = found.clips.set_index("path")
    assert found.corpus == "folder" and rows.loc["x/a.mp4", FIELDS].tolist() == [
        "Ann",
        "s1",
        "angry",
        3,
        "",
        "",
        "",
    ]
    assert rows.loc["x/b.mp4", FIELDS].tolist() == ["Ann", "s1, too", "happy", 2, "", "", "s/b.wav"]
    assert said(found, "x/c.mp4") == ("unusable", "no line of labels.csv names it")


@pytest.mark.parametrize(
    "line, message",
    [
        (
            "a.mp4,ann,s1,hapy,",
            r"labels.csv line 3, column emotion: unknown emotion 'hapy' \(did you mean happy\?\)",
        ),
        ("a.mp4,ann,s1,happy,4", "labels.csv line 3, column intensity: '4' is none of 1, 2, 3"),
        ("a.mp4,,s1,happy,", "labels.csv line 3, column speaker: empty"),
        (
            "A.mp4,ann,s1,happy,",
            r"labels.csv line 3, column path: no file A.mp4 below the root \(upper and lower",
        ),
        (
            "../a.mp4,ann,s1,happy,",
            "labels.csv line 3, column path: ../a.mp4 does not lie below the root",
        ),
        ("b.mp4,ann,s1,happy,", "labels.csv line 3, column path: b.mp4 has a line already"),
        ("a.mp4,ann,s1,happy,1,2", "labels.csv line 3: as many cells as columns are needed"),
        ("a.mp4,ann", "labels.csv line 3: as many cells as columns are needed"),
    ],
)
def test_a_bad_line_of_the_label_file_is_told_with_line_and_column(line, message, tmp_path):
    make(tmp_path, ["a.mp4", "b.mp4"])
    (tmp_path / "labels.csv").write_text(HEAD + "b.mp4,ann,s1,sad,1\n" + line + "\n")
    found = scan(tmp_path)
    assert list(found.clips["path"]) == ["b.mp4"]
    kind, reason = said(found, "labels.csv:3")
    assert kind == "unusable" and re.match(message, reason), reason


@pytest.mark.parametrize(
    "content, message",
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
    ],
)
def test_a_label_file_that_is_no_table_is_refused(content, message, tmp_path):
    make(tmp_path, ["a.mp4"])
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        scan(tmp_path)


def test_a_template_says_what_a_folder_s_names_mean(tmp_path):
    make(tmp_path, ["joy/ann_s1_3_a.mp4", "joy/ann.mp4"])
    found = scan(tmp_path, template="{emotion}/{speaker}_{sentence}_{intensity}_{take}")
    assert found.clips.loc[0, FIELDS].tolist() == ["ann", "s1", "happy", 3, "", "a", ""]
    assert said(found, "joy/ann.mp4")[1].startswith(
        "its path has not the form {emotion}/{speaker}_"
    )
    with pytest.raises(
        InputError,
        match=r"template '\{speaker\}/\{mood\}': \{speaker\} and \{emotion\} are needed once",
    ):
        scan(tmp_path, template="{speaker}/{mood}")


def test_other_spellings_of_emotions_are_read_and_every_corpus_speaks_our_words():
    assert [read_emotion(word) for word in (" Anger", "JOY", "fear", "calm")] == [
        "angry",
        "happy",
        "fear",
        "calm",
    ]
    assert set(SPELLINGS.values()) <= set(EMOTIONS) and set(RAVDESS_EMOTIONS.values()) <= set(
        EMOTIONS
    ) | set(FOREIGN_EMOTIONS)
    with pytest.raises(InputError, match="unknown emotion 'xyz': accepted are angry"):
        read_emotion("xyz")


def test_whole_corpora_miss_nothing_and_a_lost_clip_is_named():
    sizes = {"ravdess": 24 * 52, "crema-d": 91 * 82 - 4, "mead": 47 * 22 * 8}
    for corpus, size in sizes.items():
        clips = full(corpus)
        assert (
            len(clips) == size and CORPORA[corpus].missing(clips) == [] and clips["name"].is_unique
        )
        assert concerns(clips) == [] or corpus == "mead"
    assert CORPORA["ravdess"].missing(
        full("ravdess").query("name != 'ravdess-05-02-01-02-07'")
    ) == ["ravdess-05-02-01-02-07"]
    assert CORPORA["crema-d"].missing(full("crema-d").query("name != '1001_IEO_SAD_HI'")) == [
        "1001_IEO_SAD_HI"
    ]
    lost = full("mead").query("not (speaker == 'M003' and emotion == 'sad' and intensity == 2)")
    assert CORPORA["mead"].missing(lost) == ["M003/front/sad/level_2"]


def test_a_set_where_the_sentence_tells_the_emotion_is_flagged():
    mead = full("mead")
    usual = concerns(
        mead[mead["take"].isin(["028", "029", "030"])]
    )  # MEAD's own test set: the last sentences
    assert len(usual) == 1 and usual[0].startswith(
        "emotion and sentence are confounded: none of 24 sentences is said in two emotions, so content predicts emotion and "
        "no pair can be aligned; the sentence alone tells the emotion of 100% of the clips (chance 14%)"
    )
    mixed = concerns(mead)
    assert (
        "largely confounded" in mixed[0]
        and "3 of 49 sentences are said in two emotions" in mixed[0]
    )
    assert (
        mixed[1]
        == "no sentence of contempt, disgusted is said in another emotion: no pair can be aligned for it"
    )
    common = concerns(mead[mead["sentence"].str.startswith("common")])
    assert common == []


def test_too_few_speakers_and_a_single_emotion_are_flagged():
    crossed = pd.DataFrame(
        [
            {"speaker": s, "sentence": t, "emotion": e}
            for s in range(12)
            for t in "ab"
            for e in ("sad", "happy")
        ]
    )
    assert concerns(crossed) == []
    assert concerns(crossed[crossed.speaker < 11]) == [
        "too few speakers: 11, 12 are needed; an interval over them says little"
    ]
    assert "no disjoint train, choose and report parts" in concerns(crossed[crossed.speaker < 2])[0]
    assert concerns(crossed[crossed.emotion == "sad"]) == [
        "one emotion only (sad): there is nothing to contrast"
    ]


def test_the_committed_samples_are_checked_with_what_an_ingest_costs(tmp_path):
    root = shutil.copytree(sample_folder(), tmp_path / "samples")
    (root / "1001_TSI_SAD_XX.flv").write_bytes(b"no video")
    found = scan(root)
    seconds, remarks = read_headers(root, found.clips)
    assert (
        found.corpus == "crema-d"
        and len(found.clips) == 7
        and len(seconds) == 6
        and (abs(seconds - 2.2) < 0.5).all()
    )
    assert [r[:2] for r in remarks] == [
        ("unreadable", "1001_TSI_SAD_XX.flv")
    ] and "not a readable video" in remarks[0].reason
    lines = corpus_report(found, [])
    assert lines[0].startswith(
        "corpus crema-d: clips 7, speakers 1, sentences 2, emotions 6, 0.002 GB"
    )
    assert lines[2].split() == ["1001", "1", "1", "1", "1", "1", "2"]
    assert any(line.startswith("missing: 75, 1001_IEO_ANG_HI") for line in lines)
    words = describe_cost(found.clips, root, IngestConfig())
    frames = int(words.split()[1])
    assert abs(frames - 7 * seconds.mean() * 25) < 1
    assert f"{frames / 30 / 2 / 60:.1f} minutes on 2 idle cores" in describe_cost(
        found.clips, root, IngestConfig(), 30
    )


def test_check_and_ingest_tell_the_same_cost(tmp_path, capsys):
    root = shutil.copytree(sample_folder(), tmp_path / "samples")
    assert main(["data", "check", str(root), "--manifest", str(tmp_path / "m.parquet")]) == 0
    told = capsys.readouterr().out.splitlines()[-1].removeprefix("ingest: ")
    assert main(["data", "ingest", str(root), "--out", str(tmp_path / "store")]) == 0
    assert told in capsys.readouterr().out.splitlines()[0] and "on 2 idle cores" in told


def test_a_name_that_lies_is_found_on_opening(tmp_path):
    root = tmp_path / "Actor_01"
    root.mkdir()
    for number, (rate, layout) in enumerate([(22_050, "mono"), (48_000, "stereo")], 1):
        with av.open(str(root / f"03-01-05-01-01-0{number}-01.wav"), "w") as out:
            stream = out.add_stream("pcm_f32le", rate=rate, layout=layout)
            frame = av.AudioFrame(format="flt", layout=layout, samples=rate)
            frame.planes[0].update(bytes(frame.planes[0].buffer_size))
            frame.rate = rate
            out.mux([*stream.encode(frame), *stream.encode(None)])
    shutil.copy(root / "03-01-05-01-01-01-01.wav", root / "01-01-05-01-01-01-01.mp4")
    found = scan(root)
    seconds, remarks = read_headers(root, found.clips)
    assert [(r.kind, r.path) for r in remarks] == [("unreadable", "01-01-05-01-01-01-01.mp4")]
    assert remarks[0].reason.startswith("only sound, no video stream that can be decoded") and list(
        seconds
    ) == [1.0]
    (root / "01-01-05-01-01-01-01.mp4").unlink()
    assert [r.reason for r in read_headers(root, scan(root).clips)[1]] == [
        "sound at 22050 Hz, as released 48000: somebody converted it"
    ]


def test_sums_go_on_after_a_kill_and_read_nothing_twice(tmp_path, monkeypatch):
    root, record = make(tmp_path / "root", CLIPS["crema-d"]), tmp_path / "sums.jsonl"
    clips = scan(root).clips
    summed = manifest.add_sums(root, clips, record)
    assert set(summed["sha256"]) == {
        "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    }  # of "x"
    lines = record.read_text().splitlines()
    record.write_text("\n".join(lines[:3]) + '\n{"path": "Vide')  # two sums and a half line
    read, digest = [], manifest.hashlib.file_digest
    monkeypatch.setattr(
        manifest.hashlib,
        "file_digest",
        lambda file, kind: read.append(file.name) or digest(file, kind),
    )
    assert manifest.add_sums(root, clips, record).equals(summed) and len(read) == 2
    assert manifest.add_sums(root, clips, record).equals(summed) and len(read) == 2
    os.utime(root / clips["path"][0], ns=(0, 0))
    manifest.add_sums(root, clips, record)
    assert len(read) == 3
    (root / clips["path"][0]).unlink()
    with pytest.raises(InputError, match="cannot be read .*; mend it, then go on"):
        manifest.add_sums(root, clips, record)


def test_a_manifest_is_saved_whole_and_compared(tmp_path, monkeypatch):
    root, file = make(tmp_path / "root", CLIPS["crema-d"]), tmp_path / "sub" / "m.parquet"
    clips = manifest.add_sums(root, scan(root).clips, tmp_path / "sums.jsonl")
    manifest.save_manifest(clips, file)
    saved = manifest.load_manifest(file)
    assert saved.equals(clips) and [path.name for path in file.parent.iterdir()] == ["m.parquet"]
    paths = sorted(CLIPS["crema-d"])
    (root / paths[0]).write_bytes(b"y")  # as long as before
    (root / paths[1]).write_bytes(b"longer")
    (root / paths[2]).unlink()
    make(root, ["1003_DFA_ANG_XX.flv"])
    now = scan(root).clips
    assert manifest.compare(now, saved) == {
        "gone": [paths[2]],
        "new": ["1003_DFA_ANG_XX.flv"],
        "altered": [paths[1]],
    }
    now = manifest.add_sums(root, now, tmp_path / "sums.jsonl")
    assert manifest.compare(now, saved)["altered"] == paths[:2]
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        manifest.save_manifest(now, file)
    assert manifest.load_manifest(file).equals(clips)


def test_what_is_no_manifest_is_refused(tmp_path):
    with pytest.raises(
        InputError,
        match="gone.parquet: no manifest that can be read; make one with cdrl data check ROOT --write",
    ):
        manifest.load_manifest(tmp_path / "gone.parquet")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(InputError, match="text.parquet: no manifest that can be read"):
        manifest.load_manifest(tmp_path / "text.parquet")
    pd.DataFrame({"name": []}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(InputError, match="other.parquet: not a manifest, its columns are name"):
        manifest.load_manifest(tmp_path / "other.parquet")


def test_cdrl_data_check_prints_writes_and_tells_what_changed(tmp_path, capsys):
    root, file = make(tmp_path / "root", CLIPS["crema-d"]), tmp_path / "m.parquet"
    words = ["data", "check", str(root), "--manifest", str(file), "--sums", "--write"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "corpus crema-d: clips 4" in printed and "a guess, no header could be read" in printed
    assert (
        f"manifest: {file}, with sums" in printed
        and manifest.load_manifest(file)["sha256"].ne("").all()
    )
    assert (
        main(words[:5] + ["--sums"]) == 0 and f"as in {file} (by sums)" in capsys.readouterr().out
    )
    assert (
        main(words[:5] + ["--write"]) == 0 and manifest.load_manifest(file)["sha256"].ne("").all()
    )  # sums stay
    (root / sorted(CLIPS["crema-d"])[0]).write_bytes(b"longer")
    capsys.readouterr()
    assert main(words) == 2
    printed = capsys.readouterr()
    assert f"altered since {file}: 1, 1040_ITH_SAD_X.mp4" in printed.out
    assert "says otherwise, as printed above: remove it or give another --manifest" in printed.err
    assert main(words[:3] + ["--split", "strict"]) == 0
    printed = capsys.readouterr().out
    assert (
        "split strict: train 0 clips of 0, choose 0 clips of 0, report 0 clips of 0 speakers, in none 4"
        in printed
    )
    assert "beware of the split: choose: not one clip is here" in printed
    assert main(["data", "check", str(tmp_path / "gone")]) == 2
    assert main(["data", "check", str(root), "--frames-per-second", "0"]) == 2
    assert "argument --frames-per-second: 0: a number above 0 is needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["crema-d_strict", "mead_paper", "mead_strict", "ravdess_paper", "ravdess_strict"]
)
def test_committed_splits_keep_apart_what_they_say(name):
    split, clips = splits.load_split(name), full(name.partition("_")[0])
    part = splits.parts_of(split, clips)
    assert set(part) - {""} == set(split["parts"])
    for pair, columns in split["apart"].items():
        one, other = pair.split("|")
        for column in columns:
            assert not set(clips[column][part == one]) & set(clips[column][part == other]), (
                pair,
                column,
            )
    if name.endswith("strict"):
        assert {"train|choose", "train|report", "choose|report"} == set(split["apart"])
        assert all(
            split["apart"][pair] == ["speaker", "sentence"]
            for pair in ("train|choose", "train|report")
        )
        held = [
            line
            for line in splits.split_concerns(split, clips)
            if not line.startswith(("train:", "choose:"))
        ]
        assert all(
            "share" in line and line.startswith("choose and report") or "too few" in line
            for line in held
        ), held
    if "drivers" in split:
        reported = set(clips["speaker"][part == "report"])
        assert (
            set(split["drivers"]) == set(split["drivers"].values()) == reported
            and len(reported) == 6
        )
        assert all(actor != driver for actor, driver in split["drivers"].items())


def test_all_committed_splits_are_under_test_and_the_strict_ones_are_as_drawn():
    assert splits.split_names() == [
        "crema-d_strict",
        "mead_paper",
        "mead_strict",
        "ravdess_paper",
        "ravdess_strict",
    ]
    for corpus in ("crema-d", "ravdess"):
        assert splits.draw_split(full(corpus)) == splits.load_split(f"{corpus}_strict")


def test_the_paper_s_splits_have_the_paper_s_counts():
    mead = full("mead")
    part = splits.parts_of(splits.load_split("mead_paper"), mead)
    people = mead.groupby(part)["speaker"].agg(lambda names: sorted(set(names)))
    assert people["report"] == ["M003", "M009", "M012", "M030", "W015", "W029"] and people[
        "choose"
    ] == ["W021"]
    assert len(people["train"]) == 35 and not set(people["train"]) & {
        "M013",
        "M026",
        "W009",
        "W024",
        "W037",
        "W021",
    }
    assert mead[part == "report"].groupby("speaker").size().eq(22).all()
    ravdess = full("ravdess")
    part = splits.parts_of(splits.load_split("ravdess_paper"), ravdess)
    assert (
        ravdess[part == "report"].groupby("speaker").size().eq(7).all()
        and (part == "train").sum() == 6 * 7 * 3
    )
    assert "train and report share 6 speakers, e.g. Actor_01" in splits.split_concerns(
        splits.load_split("ravdess_paper"), ravdess
    )


def test_a_split_is_drawn_for_any_folder_and_stays_when_clips_are_added():
    grid = [(s, t, e) for s in "abcdefgh" for t in ("s1", "s2", "s3") for e in ("sad", "happy")]
    clips = pd.DataFrame(grid, columns=["speaker", "sentence", "emotion"]).assign(
        corpus="folder", take=""
    )
    split = splits.draw_split(clips)
    assert splits.draw_split(clips.iloc[::-1].iloc[1:]) == split and split["apart"][
        "choose|report"
    ] == ["speaker", "sentence"]
    assert not [line for line in splits.split_concerns(split, clips) if "share" in line]
    unknown = clips.assign(sentence=[str(k) for k in range(len(clips))])
    assert splits.draw_split(unknown)["apart"]["train|report"] == ["speaker"]
    assert (splits.parts_of(splits.draw_split(unknown), unknown) != "").all()
    with pytest.raises(
        InputError, match="2 speakers: train, choose and report need one each; add people"
    ):
        splits.draw_split(clips[clips.speaker < "c"])


def test_a_split_that_is_none_is_refused(tmp_path):
    with pytest.raises(
        InputError, match="no split mead_papr: accepted are crema-d_strict, mead_paper, mead_strict"
    ):
        splits.load_split("mead_papr")
    (tmp_path / "s.json").write_text("[]")
    with pytest.raises(InputError, match="s.json: no split; it needs parts"):
        splits.load_split(tmp_path / "s.json")
    (tmp_path / "s.json").write_text('{"parts": {"trian": [{"spekaer": ["a"]}]}}')
    with pytest.raises(InputError, match="s.json: unknown spekaer, trian; keys are corpus"):
        splits.load_split(tmp_path / "s.json")
    with pytest.raises(InputError, match="the split is of mead, the clips are of ravdess"):
        splits.parts_of(splits.load_split("mead_paper"), full("ravdess"))
    with pytest.raises(
        InputError, match="none of 24 clips is in a part of this split: the paper's"
    ):
        splits.parts_of(
            splits.load_split("mead_paper"),
            full("mead").query("speaker == 'M003' and intensity == 2").head(24),
        )


RAVDESS_ROOT = os.environ.get("CDRL_RAVDESS_ROOT")
needs_ravdess = pytest.mark.skipif(
    not RAVDESS_ROOT, reason="CDRL_RAVDESS_ROOT names no folder of RAVDESS"
)


@needs_ravdess
def test_a_real_ravdess_root_is_read_name_by_name():
    found = scan(Path(RAVDESS_ROOT))
    assert (
        found.corpus == "ravdess"
        and len(found.clips)
        and not [r for r in found.remarks if r.kind == "unusable"]
    )
    grid = found.clips.groupby(["speaker", "emotion"]).size().unstack()
    assert grid.notna().all().all() and (grid["angry"] == 2 * grid["neutral"]).all()
    assert "calm" not in set(found.clips["emotion"])
    assert not [r for r in read_headers(Path(RAVDESS_ROOT), found.clips)[1] if r.kind == "unreadable"]


@needs_ravdess
def test_real_ravdess_sounds_decode_whatever_chunks_they_carry_and_however_many_channels():
    waves = sorted(Path(RAVDESS_ROOT).rglob("03-*.wav"))
    if not waves:
        pytest.skip("CDRL_RAVDESS_ROOT holds no original .wav")
    for wave in waves[:8]:
        with av.open(str(wave)) as container:
            samples = sum(frame.samples for frame in container.decode(audio=0))
            promised = (
                container.duration
                / av.time_base
                * container.streams.audio[0].codec_context.sample_rate
            )
        assert samples > 48_000 and abs(samples - promised) < 50
