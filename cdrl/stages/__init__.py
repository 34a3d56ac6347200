"""The work of each stage: configuration and the folders before it in, files and scores out. The notebooks call these.

Every stage function is the `work` of `cdrl.core.stage.run_stage`: `(run, config, out) -> scores`; it goes on from what an
interrupted attempt left in `out`.
"""

from cdrl.stages.notes import read_notes
from cdrl.stages.s00_corpus import build_corpus, has_truth, start
from cdrl.stages.s00_pictures import (
    clip_strip,
    corpus_sheet,
    edit_film,
    edit_strip,
    middle_frames,
    spoken,
)
from cdrl.stages.s01_priors import aligned_clips, extract_priors, open_features
from cdrl.stages.s02_content import train_ccrl
from cdrl.stages.s03_emotion import prompt_likeness, train_cerl
from cdrl.stages.s04_probe import bars, factors_of_frames, known, probe
from cdrl.stages.s05_generate import edit_grid, generate
from cdrl.stages.s06_evaluate import committed_edits, dial_curves, evaluate, variant_table

__all__ = [
    "aligned_clips",
    "bars",
    "build_corpus",
    "clip_strip",
    "committed_edits",
    "corpus_sheet",
    "dial_curves",
    "edit_film",
    "edit_grid",
    "edit_strip",
    "evaluate",
    "extract_priors",
    "factors_of_frames",
    "generate",
    "has_truth",
    "known",
    "middle_frames",
    "open_features",
    "probe",
    "prompt_likeness",
    "read_notes",
    "spoken",
    "start",
    "train_ccrl",
    "train_cerl",
    "variant_table",
]
