"""Speech: exact phoneme times, the same bytes every time, from the cache or from espeak-ng."""

import importlib.util
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import PHONEME_TO_VISEME, PHONEMES, VISEMES
from cdrl.studio import speech
from cdrl.studio.acting import ClipSpec, utterance_of
from cdrl.studio.corpus import SPLITS, reserved_people, smoke_specs
from cdrl.studio.phonemes import to_phonemes
from cdrl.studio.sentences import TEXTS
from cdrl.studio.tempo import paced

SPECS = smoke_specs()
SMOKE = [utterance_of(spec) for spec in SPECS]
VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "EY", "IY", "OW", "UW")
STOPS = ("P", "T", "K", "B", "D", "G")
SILENCE = ("sil",)
needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="espeakng_loader is not installed (extra: studio)",
)


def test_every_phoneme_has_a_viseme_and_every_viseme_a_phoneme():
    assert set(PHONEME_TO_VISEME) == set(PHONEMES)
    assert set(PHONEME_TO_VISEME.values()) == set(VISEMES)


def test_phonemes_begin_where_the_synthesiser_says_and_coloured_vowels_are_cut_in_two():
    phoneme, start = to_phonemes([("k", 500), ("'A@", 1500), ("_:", 5500)], 6000)
    assert [PHONEMES[index] for index in phoneme] == ["sil", "K", "AA", "R", "sil"]
    assert start == [0, 500, 1500, 3500, 5500]


def test_a_sound_without_time_takes_fifteen_milliseconds_of_the_one_before():
    phoneme, start = to_phonemes([("oU", 1000), ("l", 9000), ("_:", 9000)], 9500)
    assert len(phoneme) == 4
    assert start == [0, 1000, 9000 - 330, 9000]


def test_a_phoneme_unknown_to_the_table_is_named():
    with pytest.raises(InputError, match="phoneme 'qq' is not in FROM_ESPEAK"):
        to_phonemes([("qq", 10)], 100)


def test_cached_phonemes_cover_the_sound_without_gaps():
    for item in speech.speak_all(SMOKE[::9]):
        assert item.audio.dtype == np.float32
        assert np.abs(item.audio).max() < 1
        assert item.phoneme[0] == 0
        assert item.phoneme[-1] != 0
        assert item.start_seconds[0] == 0
        np.testing.assert_array_equal(item.end_seconds[:-1], item.start_seconds[1:])
        assert item.end_seconds[-1] == len(item.audio) / 16000
        assert (item.end_seconds - item.start_seconds).min() > 0.010


def speeches_by_text():
    """Text -> its speech in every voice and emotion of the committed cache."""
    speeches = {}
    for utterance, spoken in zip(SMOKE, speech.speak_all(SMOKE), strict=True):
        speeches.setdefault(utterance.text, []).append(spoken)
    return speeches


def test_a_sentence_has_the_same_phonemes_in_every_emotion_and_voice_but_not_the_same_times():
    for versions in speeches_by_text().values():
        phonemes = {tuple(spoken.phoneme) for spoken in versions}
        assert len(phonemes) == 1
        lengths = [len(spoken.audio) for spoken in versions]
        assert max(lengths) > 1.15 * min(lengths)


def levels(speeches, names):
    """Root mean square of every sound of these phonemes."""
    values = []
    for spoken in speeches:
        edges = zip(spoken.start_seconds, spoken.end_seconds, strict=True)
        for index, (start, end) in zip(spoken.phoneme, edges, strict=True):
            if PHONEMES[index] in names:
                sound = spoken.audio[int(start * 16000) : int(end * 16000)]
                values.append(np.sqrt(np.mean(sound**2)))
    return values


def test_vowels_are_louder_than_the_silence_and_the_stops_at_their_stated_times():
    speeches = speech.speak_all(SMOKE[::5])
    vowels = np.median(levels(speeches, VOWELS))
    stops = np.median(levels(speeches, STOPS))
    silence = np.median(levels(speeches, SILENCE))
    assert vowels > 2 * stops
    assert silence < 0.02 * vowels


@pytest.mark.parametrize("quantity", ["rate", "pitch", "range", "gain"])
def test_sad_speech_is_slower_and_lower_than_happy_speech(quantity):
    def mean(emotion):
        values = []
        for person in range(20):
            voice = speech.voice_of(person)
            utterance = speech.utterance(voice, "Dogs.", emotion, 3)
            values.append(getattr(utterance, quantity))
        return np.mean(values)

    assert mean("sad") < mean("neutral") < mean("happy")


def test_keys_tell_utterances_apart_and_do_not_change():
    assert len({item.key for item in SMOKE}) == len(SMOKE)
    assert speech.Utterance("en-us+f1", "Dogs.", 170, 50, 50, 0.0).key == "a80d8d38fbc61614"


def test_the_committed_cache_holds_everything_that_smoke_can_need():
    cached = speech.read_cache(speech.cache_folder())
    assert set(cached) == {item.key for item in SMOKE}


def test_the_cache_of_another_data_folder_is_found_at_use(monkeypatch, tmp_path):
    monkeypatch.setenv("CDRL_DATA", str(tmp_path))
    assert speech.cache_folder() == tmp_path / "speech"


def test_without_espeak_and_without_a_cache_entry_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(speech.importlib.util, "find_spec", lambda name: None)
    speech.espeak_process.cache_clear()
    utterance = speech.utterance(speech.voice_of(3), "Nobody cached this.", "happy", 2)
    message = r'not in the committed speech cache.*pip install -e "\.\[studio\]"'
    with pytest.raises(InputError, match=message):
        speech.speak_all([utterance])
    assert len(speech.speak_all(SMOKE[:1])) == 1


def test_the_espeak_process_imports_neither_torch_nor_numba_nor_numpy():
    code = (
        "import sys, cdrl.studio.espeak_worker; "
        "print(sorted({'torch', 'numba', 'numpy', 'pandas', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@needs_espeak
def test_espeak_says_today_what_the_committed_cache_holds(tmp_path):
    utterances = SMOKE[::23]
    fresh_speeches = speech.speak_all(utterances, tmp_path)
    cached_speeches = speech.speak_all(utterances)
    for fresh, cached in zip(fresh_speeches, cached_speeches, strict=True):
        np.testing.assert_array_equal(fresh.phoneme, cached.phoneme)
        np.testing.assert_array_equal(fresh.start_seconds, cached.start_seconds)
        assert np.abs(fresh.audio - cached.audio).max() <= 16 / 32768  # one step of 12 bits


@needs_espeak
def test_an_utterance_is_the_same_bytes_in_any_company_and_order(tmp_path):
    forwards = speech.speak_all(SMOKE[:6], tmp_path)
    backwards = speech.speak_all(SMOKE[5::-1], tmp_path)
    for first, second in zip(forwards, reversed(backwards), strict=True):
        np.testing.assert_array_equal(first.audio, second.audio)
    assert not np.array_equal(forwards[0].audio, forwards[1].audio)


@needs_espeak
def test_a_cache_reads_back_as_it_was_spoken(tmp_path):
    folder = tmp_path / "cache"
    speech.write_cache(folder, SMOKE[:3])
    read = speech.speak_all(SMOKE[:3], folder)
    spoken = speech.speak_all(SMOKE[:3], tmp_path)
    for first, second in zip(read, spoken, strict=True):
        np.testing.assert_array_equal(first.audio, second.audio)
        np.testing.assert_array_equal(first.start_seconds, second.start_seconds)
    assert sorted(os.listdir(folder)) == ["speech.flac", "speech.json"]


@needs_espeak
def test_a_voice_that_espeak_lacks_is_named(tmp_path):
    utterance = speech.Utterance("xx-nowhere", "Dogs.", 170, 50, 50, 0.0)
    message = r"espeak-ng on 'Dogs.': espeak-ng has no voice 'xx-nowhere'"
    with pytest.raises(InputError, match=message):
        speech.speak_all([utterance], tmp_path)


@needs_espeak
def test_an_espeak_process_that_died_is_replaced(tmp_path):
    speech.speak_all(SMOKE[:1], tmp_path)
    process = speech.espeak_process(os.getpid())
    process.kill()
    process.wait()
    assert len(speech.speak_all(SMOKE[:1], tmp_path)) == 1
    assert speech.espeak_process(os.getpid()) is not process


@needs_espeak
def test_an_espeak_process_that_dies_at_work_is_reported(monkeypatch, tmp_path):
    def dies(process, utterances):
        raise EOFError

    with monkeypatch.context() as patched:
        patched.setattr(speech, "_exchange", dies)
        with pytest.raises(InputError, match="process ended; try again"):
            speech.speak_all(SMOKE[:1], tmp_path)
    assert len(speech.speak_all(SMOKE[:1], tmp_path)) == 1


@needs_espeak
def test_an_interrupt_of_the_whole_group_leaves_the_espeak_process_silent_and_at_work(tmp_path):
    speech.speak_all(SMOKE[:1], tmp_path)
    process = speech.espeak_process(os.getpid())
    process.send_signal(signal.SIGINT)
    assert len(speech.speak_all(SMOKE[1:2], tmp_path)) == 1
    assert speech.espeak_process(os.getpid()) is process


@needs_espeak
def test_a_call_that_was_interrupted_leaves_no_answer_to_the_next(tmp_path, monkeypatch):
    def interrupted(pipe):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(speech, "read_answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            speech.speak_all(SMOKE[:1], tmp_path / "a")
    fresh = speech.speak_all(SMOKE[1:2], tmp_path / "b")[0]
    cached = speech.speak_all(SMOKE[1:2])[0]
    np.testing.assert_array_equal(fresh.phoneme, cached.phoneme)


# --- version 2 --------------------------------------------------------------------------------


def test_no_training_takes_a_voice_or_a_sentence_that_is_reserved():
    reserved_voices = {*speech.RESERVED_FEMALE_VOICES, *speech.RESERVED_MALE_VOICES}
    reserved_texts = {TEXTS[number] for number in SPLITS["reserved"].sentences}
    assert len(reserved_voices) == 15
    assert len(reserved_texts) == 24
    for name, split in SPLITS.items():
        texts = {TEXTS[number] for number in split.sentences}
        voices = {speech.voice_of(person, 2).name.split("+")[1] for person in split.people}
        if name == "reserved":
            assert voices <= reserved_voices
        else:
            assert not voices & reserved_voices, name
            assert not texts & reserved_texts, name


def test_people_drawn_from_the_reserved_ones_are_in_no_split_and_have_their_voices():
    drawn = reserved_people(seed=12345)
    assert len(set(drawn)) == 48
    assert drawn != reserved_people(seed=12346)
    in_splits = {person for split in SPLITS.values() for person in split.people}
    assert not in_splits & set(drawn)
    reserved_voices = {*speech.RESERVED_FEMALE_VOICES, *speech.RESERVED_MALE_VOICES}
    assert {speech.voice_of(person, 2).name.split("+")[1] for person in drawn} <= reserved_voices


def test_version_1_has_the_voices_and_texts_it_had():
    spec = SPECS[0]
    utterance = utterance_of(spec)
    assert utterance.text == TEXTS[spec.sentence]
    assert "shelby" in speech.variants_of(0, "female", version=1)
    assert "shelby" not in speech.variants_of(0, "female", version=2)


def pauses_of(emotion, number=200):
    """Mean seconds of pauses in one sentence at level 3."""
    seconds = []
    for seed in range(number):
        text = paced("Nobody moved until music stopped.", emotion, 1.0, np.random.default_rng(seed))
        seconds.append(sum(map(int, re.findall(r'time="(\d+)ms"', text))) / 1000)
    return np.mean(seconds)


def test_sad_people_pause_longer_than_happy_ones():
    assert pauses_of("sad") > 2 * pauses_of("happy") > pauses_of("neutral") > 0


@needs_espeak
def test_emotions_of_version_2_have_the_same_phonemes_and_no_common_tempo(tmp_path):
    specs = [ClipSpec(600, 602, emotion, 3, version=2) for emotion in ("angry", "sad", "happy")]
    spoken = speech.speak_all([utterance_of(spec) for spec in specs], tmp_path)
    sounds = [item.phoneme != 0 for item in spoken]
    phonemes = [tuple(item.phoneme[mask]) for item, mask in zip(spoken, sounds, strict=True)]
    assert len(set(phonemes)) == 1
    starts = [item.start_seconds[mask] for item, mask in zip(spoken, sounds, strict=True)]
    shares = [(times - times[0]) / (times[-1] - times[0]) for times in starts]
    assert np.abs(shares[0] - shares[1]).max() > 0.05
