"""The process that runs espeak-ng: utterances in on stdin, sound and phoneme times out on stdout.

espeak-ng is GPL-3+; it is never vendored or linked, only loaded with ctypes here, in a process of
its own. It does not repeat itself from call to call, so it is initialised once and FORKED for each
utterance, and the child seeds its noise: the same utterance is then the same bytes, in any order.
This process imports neither torch nor numba nor numpy, so that a fork costs milliseconds.

Protocol, all on one pipe: the parent writes one line of JSON, a list of utterances; the worker
answers each in turn with one line of JSON {"samples": n, "events": [[name, sample], ...]} (or
{"error": text}) and n int16 samples, little-endian.
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any

SAMPLE_RATE = 22_050  # Hz, of every voice used here
# Names and values of speak_lib.h.
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4  # espeak_PARAMETER
_SYNCHRONOUS, _PHONEME_EVENTS, _DO_NOT_EXIT = 2, 1, 0x8000
_PHONEME, _UTF8, _SSML, _END_PAUSE = 7, 1, 0x10, 0x1000
_PARAMETERS = {"rate": _RATE, "pitch": _PITCH, "range": _RANGE, "volume": _VOLUME}
_BUFFER_MILLISECONDS = 200


class Event(ctypes.Structure):
    """`espeak_EVENT` of espeak-ng 1.52 (speak_lib.h); `name` holds the phoneme mnemonic."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


def load() -> ctypes.CDLL:
    """The library espeak-ng, initialised, from the package espeakng-loader.

    Raises:
        RuntimeError: its voices have another sample rate.
    """
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    data_path = espeakng_loader.get_data_path().encode()
    options = _PHONEME_EVENTS | _DO_NOT_EXIT
    rate = library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MILLISECONDS, data_path, options)
    if rate != SAMPLE_RATE:
        raise RuntimeError(f"espeak_Initialize returned {rate}, expected {SAMPLE_RATE}")
    return library


def synthesise(library: ctypes.CDLL, request: dict[str, Any]) -> tuple[bytes, list[list[Any]]]:
    """Sound and phoneme events of one utterance; only to be called in a fresh fork.

    Args:
        library: as `load` returns it.
        request: voice (espeak name such as "en-us+f3"), text (SSML where it begins with
            <speak>), rate (words a minute), pitch, range
            (0-99), volume (0-200).

    Returns:
        int16 samples at 22.05 kHz as bytes, and [mnemonic, start sample] for every phoneme in
        order.

    Raises:
        RuntimeError: espeak-ng lacks the voice, or refuses the text.
    """
    chunks: list[bytes] = []
    events: list[list[Any]] = []

    def receive(samples: Any, num_samples: int, event: Any) -> int:
        if samples and num_samples > 0:
            chunks.append(ctypes.string_at(samples, 2 * num_samples))

        index = 0
        while event[index].type != 0:
            if event[index].type == _PHONEME:
                mnemonic = event[index].name.decode()
                events.append([mnemonic, event[index].sample])
            index += 1
        return 0

    callback = CALLBACK(receive)
    library.espeak_SetSynthCallback(callback)

    if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        raise RuntimeError(f"espeak-ng has no voice {request['voice']!r}")

    for name, parameter in _PARAMETERS.items():
        library.espeak_SetParameter(parameter, int(request[name]), 0)

    library.espeak_ng_SetRandSeed(1)

    text = request["text"].encode()
    flags = _UTF8 | _END_PAUSE
    if text.startswith(b"<speak>"):
        flags |= _SSML
    if library.espeak_Synth(text, len(text) + 1, 0, 1, 0, flags, None, None) != 0:
        raise RuntimeError(f"espeak-ng could not speak {request['text']!r}")
    return b"".join(chunks), events


def _answer(library: ctypes.CDLL, request: dict[str, Any]) -> bytes:
    """The answer to one request as the protocol has it."""
    header: dict[str, Any] = {}
    audio = b""
    try:
        audio, events = synthesise(library, request)
    except RuntimeError as error:  # the parent process turns it into the user's line
        header["error"] = str(error)
    else:
        header["samples"] = len(audio) // 2
        header["events"] = events

    return json.dumps(header).encode() + b"\n" + audio


def answer_in_fork(library: ctypes.CDLL, request: dict[str, Any]) -> bytes:
    """The answer to one request, computed in a child of the initialised state.

    Args:
        library: as `load` returns it.
        request: as in `synthesise`.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(_answer(library, request))
        finally:
            os._exit(0)

    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()

    os.waitpid(child, 0)

    return answer or b'{"error": "espeak-ng crashed"}\n'


def main() -> None:
    """Answer requests from stdin until it closes; the protocol is in the docstring above."""
    # Ctrl-C and a kernel's end reach the whole group; this process ends with its stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    library = load()
    for line in sys.stdin.buffer:
        for request in json.loads(line):
            answer = answer_in_fork(library, request)
            sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
