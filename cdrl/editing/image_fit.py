"""The fit of the image editor to one person, on clips whose names say the emotion."""

from pathlib import Path
from tempfile import TemporaryDirectory

from cdrl.core.errors import InputError
from cdrl.corpora.adapters import crema_d_labels
from cdrl.corpora.samples import ingest_crema_d
from cdrl.corpora.store import Store
from cdrl.editors.base import EditorCard
from cdrl.editors.image import fit_person
from cdrl.models.image_editor import ImageEditor
from cdrl.representation.guidance import Guidance


def fit_image_editor(
    editor: ImageEditor,
    folder: Path,
    source: Path,
    emotion: str,
    steps: int = 120,
    guidance: str | Path | None = None,
) -> ImageEditor:
    """Fit to a person's other clips, whose names say the emotion as CREMA-D's do; a minute or two.

    Clips of the emotion that is asked for, and the source itself, are left out; so are files that
    cannot be used.

    Args:
        editor: stays as it is.
        folder: of the clips.
        source: the clip that will be edited.
        emotion: what it will be edited to.
        steps: of training.
        guidance: the run whose encoders guide the fit; None: those of the editor's own run, of an
            editor of no run the committed ones.

    Returns:
        A fitted copy of the editor.

    Raises:
        InputError: nothing left to learn from, and encoders of other crops than the editor's.
    """
    encoders = _open_guidance(editor.card, guidance)
    clips = _usable_clips(Path(folder), source, emotion)
    if not clips:
        raise InputError(
            f"{folder}: no clip to fit to; give a folder of that person's clips named as CREMA-D's "
            f"(1001_DFA_ANG_XX.flv), other than the source and than {emotion}"
        )
    with TemporaryDirectory() as temporary:
        person = Path(temporary) / "person"
        ingest_crema_d(clips, person, crop=editor.card.crop)
        store = Store(person)
        fitted, _ = fit_person(editor, store, encoders, [emotion], [emotion], steps)
        return fitted


def _open_guidance(card: EditorCard, guidance: str | Path | None) -> Guidance:
    """The encoders that guide a fit, checked against the crops of the editor."""
    run = guidance or card.run
    if guidance is None and card.run is not None and not card.run.exists():
        raise InputError(
            f"{card.run}: the run that trained {card.name} is not here any more; name the run "
            "whose encoders guide the fit, --guidance RUN"
        )
    encoders = Guidance(run)
    name = run or "the committed encoders"
    if encoders.crop != card.crop:
        raise InputError(
            f"the editor learnt {card.crop} crops, the guidance ({name}) {encoders.crop} ones; a "
            f"fit needs the same: name a run with corpus.crop={card.crop}, --guidance RUN"
        )
    return encoders


def _usable_clips(folder: Path, source: Path, emotion: str) -> list[Path]:
    """The clips of a folder whose names say another emotion, without the source."""
    if not folder.is_dir():
        return []
    clips = []
    for path in sorted(folder.iterdir()):
        try:
            labels = crema_d_labels(path)
        except InputError:
            continue
        if labels["emotion"] != emotion and not path.samefile(source):
            clips.append(path)
    return clips
