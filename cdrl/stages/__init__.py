"""The work of each stage: configuration and the folders before it in, files and scores out. The notebooks call these.

Every stage function is the `work` of `cdrl.core.stage.run_stage`: `(run, config, out) -> scores`; it goes on from what an
interrupted attempt left in `out`.
"""

from cdrl.stages.notes import bars, has_truth, known, read_notes
from cdrl.stages.s00_corpus import build_corpus, extract_priors, open_features, source_of
from cdrl.stages.s02_encoders import train_ccrl, train_cerl
from cdrl.stages.s04_probe import factors_of_frames, probe
from cdrl.stages.s05_edits import (
    committed_edits,
    dial_curves,
    edit_grid,
    evaluate,
    generate,
    variant_table,
)
from cdrl.stages.session import start
from cdrl.stages.views import (
    aligned_clips,
    clip_strip,
    corpus_sheet,
    edit_film,
    edit_strip,
    middle_frames,
    prompt_likeness,
    spoken,
)

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
    "source_of",
    "spoken",
    "start",
    "train_ccrl",
    "train_cerl",
    "variant_table",
]
