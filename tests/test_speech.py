"""Speech: exact phoneme times, the same bytes every time, from the committed cache or from espeak-ng."""

import importlib.util
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import PHONEME_TO_VISEME, PHONEMES, VISEMES
from cdrl.studio import speech
from cdrl.studio.acting import utterance_of
from cdrl.studio.corpus import smoke_specs
from cdrl.studio.phonemes import to_phonemes

SMOKE = [utterance_of(spec) for spec in smoke_specs()]
VOWELS = [
    PHONEMES.index(name)
    for name in ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "EY", "IY", "OW", "UW")
]
needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="espeakng_loader is not installed (extra: studio)",
)


def test_every_phoneme_has_a_mouth_shape_and_every_mouth_shape_a_phoneme():
    assert set(PHONEME_TO_VISEME) == set(PHONEMES) and set(PHONEME_TO_VISEME.values()) == set(
        VISEMES
    )


def test_phonemes_begin_where_the_synthesiser_says_and_coloured_vowels_are_cut_in_two():
    phoneme, start = to_phonemes([["k", 500], ["'A@", 1500], ["_:", 5500]], 6000)
    assert [PHONEMES[index] for index in phoneme] == ["sil", "K", "AA", "R", "sil"]
    assert start == [0, 500, 1500, 3500, 5500]


def test_a_sound_without_time_takes_fifteen_milliseconds_of_the_one_before():
    phoneme, start = to_phonemes([["oU", 1000], ["l", 9000], ["_:", 9000]], 9500)
    assert start == [0, 1000, 9000 - 330, 9000] and len(phoneme) == 4


def test_a_phoneme_unknown_to_the_table_is_named():
    with pytest.raises(InputError, match="phoneme 'qq' is not in FROM_ESPEAK"):
        to_phonemes([["qq", 10]], 100)


def test_cached_phonemes_cover_the_sound_without_gaps():
    for item in speech.speak_all(SMOKE[::9]):
        assert item.audio.dtype == np.float32 and np.abs(item.audio).max() < 1
        assert item.phoneme[0] == 0 and item.phoneme[-1] != 0 and item.start_seconds[0] == 0
        np.testing.assert_array_equal(item.end_seconds[:-1], item.start_seconds[1:])
        assert item.end_seconds[-1] == len(item.audio) / 16000
        assert (item.end_seconds - item.start_seconds).min() > 0.010


def test_one_sentence_has_the_same_phonemes_in_every_emotion_and_voice_but_not_the_same_times():
    by_text = {}
    for item, said in zip(SMOKE, speech.speak_all(SMOKE)):
        by_text.setdefault(item.text, []).append(said)
    for versions in by_text.values():
        assert len({tuple(said.phoneme) for said in versions}) == 1
        lengths = [len(said.audio) for said in versions]
        assert max(lengths) > 1.15 * min(lengths)


def test_vowels_are_louder_than_the_silence_and_the_stops_at_their_stated_times():
    loud, stops, silence = [], [], []
    for said in speech.speak_all(SMOKE[::5]):
        for index, start, end in zip(said.phoneme, said.start_seconds, said.end_seconds):
            level = np.sqrt(np.mean(said.audio[int(start * 16000) : int(end * 16000)] ** 2))
            kind = (
                loud
                if index in VOWELS
                else stops
                if PHONEMES[index] in "PTKBDG"
                else silence
                if index == 0
                else []
            )
            kind.append(level)
    assert np.median(loud) > 2 * np.median(stops) and np.median(silence) < 0.02 * np.median(loud)


def test_sad_speech_is_slower_and_lower_than_happy_speech():
    def mean(emotion, what):
        asked = [
            speech.utterance(speech.voice_of(person), "Dogs.", emotion, 3) for person in range(20)
        ]
        return np.mean([getattr(item, what) for item in asked])

    for what in ("rate", "pitch", "range", "gain"):
        assert mean("sad", what) < mean("neutral", what) < mean("happy", what)


def test_keys_tell_utterances_apart_and_do_not_change():
    assert len({item.key for item in SMOKE}) == len(SMOKE)
    assert speech.Utterance("en-us+f1", "Dogs.", 170, 50, 50, 0.0).key == "a80d8d38fbc61614"


def test_the_committed_cache_holds_everything_that_smoke_can_ask_for():
    assert set(speech.read_cache(speech.CACHE)) == {item.key for item in SMOKE}


def test_without_espeak_and_without_a_cache_entry_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(speech.importlib.util, "find_spec", lambda name: None)
    speech._worker.cache_clear()
    with pytest.raises(
        InputError, match=r'not in the committed speech cache.*pip install -e "\.\[studio\]"'
    ):
        speech.speak(speech.voice_of(3), "Nobody cached this.", "happy", 2)
    assert len(speech.speak_all(SMOKE[:1])) == 1


def test_the_helper_process_imports_neither_torch_nor_numba_nor_numpy():
    code = (
        "import sys, cdrl.studio.espeak_worker; "
        "print(sorted({'torch', 'numba', 'numpy', 'pandas', 'av'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@needs_espeak
def test_espeak_says_today_what_the_committed_cache_holds(tmp_path):
    asked = SMOKE[::23]
    for fresh, cached in zip(speech.speak_all(asked, tmp_path), speech.speak_all(asked)):
        np.testing.assert_array_equal(fresh.phoneme, cached.phoneme)
        np.testing.assert_array_equal(fresh.start_seconds, cached.start_seconds)
        assert np.abs(fresh.audio - cached.audio).max() <= 16 / 32768  # one step of 12 bits


@needs_espeak
def test_an_utterance_is_the_same_bytes_in_any_company_and_order(tmp_path):
    first = speech.speak_all(SMOKE[:6], tmp_path)
    second = speech.speak_all(SMOKE[5::-1], tmp_path)[::-1]
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one.audio, other.audio)
    assert not np.array_equal(first[0].audio, first[1].audio)


@needs_espeak
def test_a_cache_reads_back_as_it_was_spoken(tmp_path):
    speech.write_cache(tmp_path / "cache", SMOKE[:3])
    for read, spoken in zip(
        speech.speak_all(SMOKE[:3], tmp_path / "cache"), speech.speak_all(SMOKE[:3], tmp_path)
    ):
        np.testing.assert_array_equal(read.audio, spoken.audio)
        np.testing.assert_array_equal(read.start_seconds, spoken.start_seconds)
    assert sorted(os.listdir(tmp_path / "cache")) == ["speech.flac", "speech.json"]


@needs_espeak
def test_a_voice_that_espeak_lacks_is_named(tmp_path):
    with pytest.raises(
        InputError, match="espeak-ng on 'Dogs.': espeak-ng has no voice 'xx-nowhere'"
    ):
        speech.speak_all([speech.Utterance("xx-nowhere", "Dogs.", 170, 50, 50, 0.0)], tmp_path)


@needs_espeak
def test_a_helper_that_died_is_reported_and_replaced(tmp_path):
    speech.speak_all(SMOKE[:1], tmp_path)
    worker = speech._worker(os.getpid())
    worker.kill()
    worker.wait()
    with pytest.raises(InputError, match="helper process ended; try again"):
        speech.speak_all(SMOKE[:1], tmp_path)
    assert len(speech.speak_all(SMOKE[:1], tmp_path)) == 1


@needs_espeak
def test_an_interrupt_of_the_whole_group_leaves_the_helper_silent_and_at_work(tmp_path):
    speech.speak_all(SMOKE[:1], tmp_path)
    worker = speech._worker(os.getpid())
    worker.send_signal(signal.SIGINT)
    assert len(speech.speak_all(SMOKE[1:2], tmp_path)) == 1
    assert speech._worker(os.getpid()) is worker


@needs_espeak
def test_a_call_that_was_interrupted_leaves_no_answer_to_the_next(tmp_path, monkeypatch):
    def interrupted(pipe):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(speech, "_read_answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            speech.speak_all(SMOKE[:1], tmp_path / "a")
    found, wanted = speech.speak_all(SMOKE[1:2], tmp_path / "b")[0], speech.speak_all(SMOKE[1:2])[0]
    np.testing.assert_array_equal(found.phoneme, wanted.phoneme)
