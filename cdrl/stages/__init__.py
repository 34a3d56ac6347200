"""The work of each stage, which the notebooks call: settings and earlier folders in, scores out.

Every stage function is the `work` of `cdrl.core.stage.run_stage`: `(run, config, out) -> scores`.
It resumes from what an interrupted attempt left in `out`.
"""

from cdrl.stages.notes import read_notes
from cdrl.stages.s00_corpus import build_corpus, has_truth, start
from cdrl.stages.s00_pictures import (
    clip_strip,
    corpus_sheet,
    edit_film,
    edit_strip,
    first_edit,
    middle_frames,
    phoneme_times,
)
from cdrl.stages.s01_priors import aligned_clips, extract_priors, open_features
from cdrl.stages.s02_content import pair_strip, train_ccrl
from cdrl.stages.s03_emotion import emotion_strip, priors_language, prompt_similarity, train_cerl
from cdrl.stages.s04_probe import bar_columns, probe, scored_names
from cdrl.stages.s05_generate import edit_grid, editor_of_run, generate
from cdrl.stages.s05_training import action_settings, track_training_clips, training_clips
from cdrl.stages.s06_evaluate import (
    committed_edits,
    evaluate,
    intensity_curves,
    score_text,
    variant_table,
)
from cdrl.stages.s07_ideas import SMALL_RUN, compare_content, prepare_features

__all__ = [
    "SMALL_RUN",
    "action_settings",
    "aligned_clips",
    "bar_columns",
    "build_corpus",
    "clip_strip",
    "committed_edits",
    "compare_content",
    "corpus_sheet",
    "edit_film",
    "edit_grid",
    "edit_strip",
    "editor_of_run",
    "emotion_strip",
    "evaluate",
    "extract_priors",
    "first_edit",
    "generate",
    "has_truth",
    "intensity_curves",
    "middle_frames",
    "open_features",
    "pair_strip",
    "phoneme_times",
    "prepare_features",
    "priors_language",
    "probe",
    "prompt_similarity",
    "read_notes",
    "score_text",
    "scored_names",
    "start",
    "track_training_clips",
    "train_ccrl",
    "train_cerl",
    "training_clips",
    "variant_table",
]
