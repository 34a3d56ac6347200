"""The study: every row of the comparison, with several seeds, on other people and sentences.

One job is one row and one seed. Its scores lie in `WORK/jobs/`, those of the edits in
`WORK/edit_*/jobs/`. A finished job is never done again, so a study resumes over days. `summary`
puts the scores of all jobs together.
"""

import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from cdrl.core import cluster
from cdrl.core.code_identity import UNRECORDED
from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.paths import repository_root
from cdrl.core.pools import Lost
from cdrl.core.results import INTERVAL_NAME, RESULTS, check_results
from cdrl.core.settings import StudyConfig, config_hash
from cdrl.core.tables import write_csv
from cdrl.evaluation.edit_comparison import parse_intensity_scales
from cdrl.studio import corpus as studio
from cdrl.study.edit_jobs import (
    copy_finished_jobs,
    do_edit_job,
    edit_folder,
    edit_job_path,
    intensity_scales,
    make_shared,
    prepare_edits,
)
from cdrl.study.emotion_jobs import unseen_name
from cdrl.study.frontier_tables import chosen_by_family, frontier_summary, sealed_rows
from cdrl.study.inputs import extract_features
from cdrl.study.job_code import (
    STUDY,
    check_codes,
    code_of_work,
    codes_of_rows,
    describe_codes,
    job_code,
    read_job,
    study_code,
)
from cdrl.study.parts import UNSEEN
from cdrl.study.representation_jobs import do_job, job_path
from cdrl.study.row import Job, Row
from cdrl.study.rows import BESIDE, TABLES, rows_of
from cdrl.study.seal import (
    CHOSEN,
    SEALED,
    Opening,
    check_sealed_store,
    close_seal,
    describe,
    marked,
    open_seal,
    read_protocol,
    sealed_clips,
)
from cdrl.study.tables import edit_summary
from cdrl.study.user_rows import own_kinds, row_file_name

# Minutes of a job on one core; an edit trains at .5 to .6 s a step and is read at five scales.
MINUTES = {"content": 4.0, "emotion": 4.0, "edit": 9.0}
# Minutes of an opponent: an intensity scale of 168 edits is drawn and read in 1 minute, 1,000
# steps of the manipulator take 2 to 4.
READ_MINUTES = 1.0
MANIPULATOR_MINUTES = 3.0
WINDOW_FACTOR = 6  # probes of a raw window have up to nine times as many inputs
FLAT_FACTOR = 8  # about how many times as long a training until the loss is flat takes
# Minutes for corpora, features, true edits, encoders and students where they are missing.
SHARED_MINUTES = {"representation": 40, "edit": 30, "opponents": 60, "parts": 40}
SHARED_BY = {
    "both": ("representation", "edit"),
    "representation": ("representation",),
    "edit": ("edit",),
    "opponents": ("representation", "edit", "opponents"),
    "parts": ("representation", "parts"),
}
# Last parts of score names that have no n of their own, and differ between seeds all the same.
WITH_SPREAD = ("audio", "image", "loss")
# A loss on data without information lies this near to ln(candidates), as a share of it.
LOSS_TOLERANCE = 0.02


def run_study(out: Path, work: Path, config: StudyConfig, again: bool = False) -> dict[str, Any]:
    """Do every missing job of the chosen half and write `results.json` and the tables.

    Args:
        out: folder of the results, small, to be committed. The results of the other half stay.
            Finished jobs of the edit half lie there too; another machine does not do them again.
        work: folder of corpora, features and jobs, some 14 GB. Sets, seeds, rows and halves may
            share one.
        config: the study's settings.
        again: whether the sealed set may be scored although it was before, see `cdrl.study.seal`.

    Returns:
        The results, as `cdrl scores` reads them. An interrupted study leaves the results of the
        jobs that are done; of the sealed set nothing is shown before all are.

    Raises:
        InputError: where `work` was made with other settings, or `rows` names no row; where the
            sealed set may not be scored; and, after all others are done, where a job's process
            was killed.
    """
    out = Path(out)
    work = Path(work)
    is_sealed = config.split == SEALED
    if is_sealed:
        read_protocol()  # refuses what was not committed
    _check_work(work, config)

    jobs = list_jobs(config)
    clips = study_clips(config)  # refuses more people or clips than there are
    if is_sealed:
        check_sealed_store(work, clips[SEALED])
    parse_intensity_scales(config.edit_sweep)
    if is_sealed:
        settings = edit_folder(work, config).name
        opening = open_seal(config.rows, settings, study_code().sum, again)
    _begin_work(work, config)

    folder = edit_folder(work, config)
    copy_finished_jobs(out / "jobs" / folder.name, folder / "jobs")

    files = _job_files(work, config, jobs)
    present = job_code(work)
    codes = check_codes(files, present)
    missing = [job for job in jobs if not files[job].exists()]
    _print_cost(config, len(jobs), missing)

    line = describe_codes(codes, present)
    if line:
        print(line, flush=True)
    begin = time.monotonic()

    try:
        _do_jobs(work, config, missing)
    finally:
        seconds = _add_seconds(work, config, time.monotonic() - begin)
        if not is_sealed:
            results = summary(out, work, config, jobs, seconds)
    if is_sealed:
        results = summary(out, work, config, jobs, seconds, close_seal(opening))

    return results


def _check_work(work: Path, config: StudyConfig) -> None:
    """Refuse a work folder that other settings made."""
    path = work / STUDY
    if not path.exists():
        return

    record = read_json(path, dict)
    if record.get("hash") != config_hash(config):
        raise InputError(
            f"{work} was made with other settings ({record.get('config')}): "
            "choose another --work or remove it"
        )


def _begin_work(work: Path, config: StudyConfig) -> None:
    """Write the settings of a work folder, and the code that began it."""
    record = {"hash": config_hash(config), "config": asdict(config)}
    code = code_of_work(work)
    if code != UNRECORDED:
        record["code"] = code
    write_json(work / STUDY, record)


def _print_cost(config: StudyConfig, num_jobs: int, missing: list[Job]) -> None:
    """Print how many jobs are missing, and about how long they take."""
    minutes = sum(_minutes_of(config, job) for job in missing) / max(1, config.workers)
    shared_minutes = sum(SHARED_MINUTES[half] for half in SHARED_BY[config.half])

    print(
        f"{len(missing)} of {num_jobs} jobs to do, about {minutes:.0f} minutes on {config.workers} "
        f"idle cores, and {shared_minutes} for what they share where it is missing; "
        "Ctrl-C is safe, the same command resumes",
        flush=True,
    )


def _minutes_of(config: StudyConfig, job: Job) -> float:
    """Return about how long a job takes; that of an edit grows with what is read of its edits."""
    row = TABLES[job.kind][job.row]
    if job.kind != "edit" or not row.teacher:
        factor = FLAT_FACTOR if row.until_flat else 1
        factor *= WINDOW_FACTOR if row.kind == "window" else 1
        return factor * MINUTES[job.kind]

    num_scales = len(intensity_scales(config, job.row))
    read = READ_MINUTES * num_scales * config.edits / StudyConfig().edits
    steps = config.manipulator_steps * row.duration
    return read + MANIPULATOR_MINUTES * steps / StudyConfig().manipulator_steps


def _add_seconds(work: Path, config: StudyConfig, seconds: float) -> float:
    """Add seconds to those that earlier calls spent on this half, and return the sum."""
    ending = "" if config.half in ("both", "representation") else f"_{config.half}"
    path = work / f"seconds_{config.split}{ending}.json"
    if path.exists():
        seconds += read_json(path, fields={"seconds": (int, float)})["seconds"]

    write_json(path, {"seconds": seconds})

    return seconds


def _job_files(work: Path, config: StudyConfig, jobs: list[Job]) -> dict[Job, Path]:
    """Return the file with the scores of each job."""
    return {job: _job_file(work, config, job) for job in jobs}


def _job_file(work: Path, config: StudyConfig, job: Job) -> Path:
    """Return the file with the scores of one job."""
    if job.kind == "edit":
        return edit_job_path(edit_folder(work, config), job.row, job.seed)

    file_name = row_file_name(config, job.kind, job.row)
    return job_path(work, config.split, job.kind, file_name, job.seed)


def list_jobs(config: StudyConfig) -> list[Job]:
    """List every job: method, released and controls with all seeds, then ablations seed by seed.

    Args:
        config: the study's settings; `rows` selects some rows, `half` some tables.

    Raises:
        InputError: where a name in `config.rows` is no row of this set's tables.
    """
    rows: dict[str, Row] = {}
    if config.split == SEALED:
        rows = {f"edit.{name}": TABLES["edit"][name] for name in sealed_rows()}
        return _jobs_of(config, rows)
    for kind, table in rows_of(config.split, config.half, own_kinds(config)).items():
        for name, row in table.items():
            rows[f"{kind}.{name}"] = row
    return _jobs_of(config, rows)


def _jobs_of(config: StudyConfig, rows: dict[str, Row]) -> list[Job]:
    """List the jobs of the rows that are requested, those that matter most first."""
    requested = [name.strip() for name in config.rows.split(",") if name.strip()]
    if not requested:
        requested = list(rows)

    unknown = sorted(set(requested) - set(rows))
    if unknown:
        raise InputError(
            f"study.rows={config.rows}: {', '.join(unknown)} is no row of split={config.split}: "
            f"accepted are {', '.join(rows)}"
        )

    jobs = []
    for seed in range(config.seeds):
        for name, row in rows.items():
            if name in requested and (seed == 0 or row.seeded):
                kind, _, row_name = name.partition(".")
                jobs.append(Job(kind, row_name, seed))

    def priority(job: Job) -> tuple[bool, int]:
        return not TABLES[job.kind][job.row].core, job.seed

    return sorted(jobs, key=priority)


def study_clips(config: StudyConfig) -> dict[str, list[studio.ClipSpec]]:
    """List the clips of the training set and of the set that scores, by the name of their store."""
    train_split = "train"
    report_split: str = config.split
    if config.speech == "cached":
        train_split = "smoke_train"
        report_split = "smoke_report"

    version = config.studio_version
    train = studio.specs(train_split, people=config.people, clips=config.clips, version=version)
    if config.split == SEALED:
        return {"train": train, SEALED: sealed_clips(config, read_protocol())}

    report = studio.specs(report_split, people=config.report_people, version=version)
    clips = {"train": train, config.split: report}
    if config.half == "parts":
        clips[unseen_name(config.split)] = studio.in_emotion(report, UNSEEN)
    return clips


def _do_jobs(work: Path, config: StudyConfig, missing: list[Job]) -> None:
    """Make what the missing jobs share, then do the jobs; one that is lost costs itself alone."""
    _prepare(work, config, missing)
    lost = []
    for phase in jobs_in_phases(missing):
        lost += run_jobs([(do_job, *job) for job in phase], work, config)

    edits = [job for job in missing if job.kind == "edit"]
    if edits:
        lost += _do_edit_jobs(work, config, edits)
    _refuse_lost(lost)


def jobs_in_phases(missing: list[Job]) -> tuple[list[Job], list[Job]]:
    """Divide the jobs of content and emotion: first those whose codes others are compared with.

    Args:
        missing: jobs of any kind.

    Returns:
        The method's content, and the others.
    """
    first = []
    others = []
    for job in missing:
        if job.kind == "content" and job.row == "cdrl":
            first.append(job)
        elif job.kind != "edit":
            others.append(job)
    return first, others


def _do_edit_jobs(work: Path, config: StudyConfig, edits: list[Job]) -> list[str]:
    """Do the jobs of the edit half, after what they share; returns those that were lost."""
    for phase in prepare_edits(work, config, edits):
        _refuse_lost(run_jobs([(make_shared, *item) for item in phase], work, config))

    # Rows of `actions` use the manipulators that the rows of `rendered` train, so they come second.
    first = [job for job in edits if not job.row.startswith("actions")]
    second = [job for job in edits if job.row.startswith("actions")]
    lost = []
    for phase_jobs in (first, second):
        lost += run_jobs([(do_edit_job, job.row, job.seed) for job in phase_jobs], work, config)
    return lost


def _refuse_lost(lost: list[str]) -> None:
    """Name the jobs whose processes were killed."""
    if lost:
        raise InputError(
            f"study: {len(lost)} jobs were lost, {'; '.join(lost)}: fewer study.workers need less "
            "memory; the others are done and the same command does these again"
        )


def _prepare(work: Path, config: StudyConfig, jobs: list[Job]) -> None:
    """Render the corpora that are missing and extract the features that the jobs need."""
    needed = set()
    for job in jobs:
        row = TABLES[job.kind][job.row]
        if row.kind != "truth":
            needed.add((row.backbone, row.pixels))

    if needed:
        needed.add(("actions", ""))  # leak shares compare with the method's input features

    any_representation = any(job.kind != "edit" for job in jobs)

    for name, clips in study_clips(config).items():
        if not (work / name / "store.json").exists():
            studio.generate(clips, work / name, name, workers=config.workers)
        if name != "train" and not any_representation:
            continue
        for backbone, pixels in sorted(needed):
            extract_features(work, name, backbone, pixels)


def run_jobs(jobs: list[tuple], work: Path, config: StudyConfig) -> list[str]:
    """Do jobs in worker processes, each on one core.

    Args:
        jobs: (function, further arguments...); the function is called with `work`, `config` and
            the further arguments.
        work: the study's work folder.
        config: the study's settings.

    Returns:
        One text for each job whose process was killed: which, and how.
    """
    if not jobs:
        return []

    calls = []
    for function, *arguments in jobs:
        calls.append((function, (work, config, *arguments)))

    lost = []
    results: Iterable[tuple[int, Any]] = cluster.run_jobs(
        _run_job, calls, config.workers, cluster=config.cluster
    )
    for number, result in tqdm(results, total=len(jobs), desc="study", unit="job"):
        if isinstance(result, Lost):
            name = " ".join(str(part) for part in jobs[number][1:])
            lost.append(f"{name} {result.reason}")
    return lost


def _run_job(call: tuple[Callable[..., None], tuple]) -> None:
    """Call one job's function on one thread."""
    function, arguments = call
    torch.set_num_threads(1)
    function(*arguments)


def summary(
    out: Path,
    work: Path,
    config: StudyConfig,
    jobs: list[Job],
    seconds: float,
    opening: Opening | None = None,
) -> dict[str, Any]:
    """Write `results.json` and the tables of the chosen half; the other half's results stay.

    Representations: means over the seeds of every row, their spread, and which controls are where
    they must be. Edits: see `cdrl.study.tables.edit_summary`.

    Args:
        out: folder of the results.
        work: the study's work folder.
        config: the study's settings.
        jobs: all jobs of the chosen half, done or not.
        seconds: time spent on the study, all calls together.
        opening: of the sealed set; every table says of which, and whether it was the first.

    Returns:
        What was written to `results.json`.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)

    results: dict[str, Any] = {"stages": {}, "run": {}}
    if (out / RESULTS).exists():
        results = check_results(out / RESULTS)

    representation_jobs = [job for job in jobs if job.kind != "edit"]
    edit_jobs = [job for job in jobs if job.kind == "edit"]
    # The results of another half that lie in the same folder stay.
    prefix = f"{config.half}_" if config.half in BESIDE else ""
    if representation_jobs:
        stage = f"{config.half}.study" if prefix else "study"
        scores, tables = _representation_summary(work, config, representation_jobs)
        _write_tables(out, tables, prefix)
        codes = codes_of_rows(_job_files(work, config, representation_jobs))
        _add_record(results, stage, config, scores, codes)
        results["run"] |= _progress(stage, work, config, representation_jobs)

    if edit_jobs:
        stage = f"{config.half}.edits" if prefix else "edits"
        scores, tables = edit_summary(work, config, edit_jobs)
        if prefix:
            more_scores, frontiers = frontier_summary(work, config, edit_jobs)
            scores |= more_scores
            tables["frontiers"] = frontiers
        if config.split == "choose" and prefix:
            write_json(out / CHOSEN.name, chosen_by_family(work, config, edit_jobs))
        if opening is not None:
            tables = {name: marked(table, opening) for name, table in tables.items()}
            results["run"] |= describe(opening)

        _write_tables(out, tables, prefix)
        folder = edit_folder(work, config)
        copy_finished_jobs(folder / "jobs", out / "jobs" / folder.name)
        codes = codes_of_rows(_job_files(work, config, edit_jobs))
        _add_record(results, stage, config, scores, codes)
        run_name = stage if prefix else "study.edits"
        results["run"] |= _progress(run_name, work, config, edit_jobs)

    hours_name = "time.hours" if representation_jobs else "time.edits.hours"
    if prefix:
        hours_name = f"time.{config.half}.hours"
    results["run"][hours_name] = round(seconds / 3600, 2)

    command = "cdrl study" if opening is None else "cdrl study --sealed"
    results |= {"commit": _commit(), "command": command}
    write_json(out / RESULTS, results)

    return results


def _write_tables(out: Path, tables: dict[str, pd.DataFrame], prefix: str = "") -> None:
    for name, table in tables.items():
        write_csv(out / f"{prefix}{name}.csv", table)


def _add_record(
    results: dict[str, Any],
    stage: str,
    config: StudyConfig,
    scores: dict[str, Any],
    codes: dict[str, str],
) -> None:
    record = {
        "config": asdict(config),
        "scores": scores,
        "commit": _commit(),
        "interval": INTERVAL_NAME,
        "codes": codes,
    }
    results["stages"][stage] = record


def _progress(prefix: str, work: Path, config: StudyConfig, jobs: list[Job]) -> dict[str, int]:
    """Count jobs, and those that are done."""
    done = [job for job in jobs if _job_file(work, config, job).exists()]
    return {f"{prefix}.jobs": len(jobs), f"{prefix}.jobs.done": len(done)}


def _representation_summary(
    work: Path, config: StudyConfig, jobs: list[Job]
) -> tuple[dict[str, float], dict[str, pd.DataFrame]]:
    """Return the scores of the content and emotion jobs that are done, and their two tables."""
    scores: dict[str, float] = {}
    tables = {}
    for kind, rows in _representation_rows(config).items():
        table_rows = []
        for name, row in rows.items():
            scores_of_seeds = []
            for job in jobs:
                path = _job_file(work, config, job)
                if (job.kind, job.row) == (kind, name) and path.exists():
                    scores_of_seeds.append(read_job(path)["scores"])
            if not scores_of_seeds:
                continue
            means = over_seeds(scores_of_seeds)
            prefix = "" if name == "cdrl" else f"{name}."
            for key, value in means.items():
                scores[prefix + key] = value
            table_row = {"row": name, "what": row.description, "seeds": len(scores_of_seeds)}
            table_rows.append(table_row | _rounded_scores(means))
        tables[kind] = pd.DataFrame(table_rows)

    return scores | controls_inside(scores), tables


def _representation_rows(config: StudyConfig) -> dict[str, dict[str, Row]]:
    """Return the rows of the content and the emotion table, {kind: {name: row}}."""
    half = config.half if config.half in BESIDE else "representation"
    tables = rows_of(config.split, half, own_kinds(config))
    return {kind: rows for kind, rows in tables.items() if kind != "edit"}


def _rounded_scores(means: dict[str, float]) -> dict[str, float]:
    """Return the scores that have a number of rows, with three decimals."""
    return {key: round(value, 3) for key, value in means.items() if f"{key}.n" in means}


def over_seeds(scores_of_seeds: list[dict[str, float | None]]) -> dict[str, float]:
    """Return the mean of every score over the seeds.

    Scores with an n, and those in `WITH_SPREAD`, also get the least, the most and the number of
    seeds.

    Args:
        scores_of_seeds: score names and values of each seed; None is a missing value.

    >>> over_seeds([{"a": 0.2, "a.n": 9}, {"a": 0.4, "a.n": 9}])["a.most"]
    0.4
    >>> over_seeds([{"loss": 0.2, "low": 0.1}, {"loss": 0.8, "low": 0.3}])
    {'loss': 0.5, 'loss.least': 0.2, 'loss.most': 0.8, 'loss.seeds': 2, 'low': 0.2}
    """
    names: dict[str, None] = {}
    for scores in scores_of_seeds:
        names |= dict.fromkeys(scores)

    means: dict[str, float] = {}
    for name in names:
        values = []
        for scores in scores_of_seeds:
            value = scores.get(name)
            if value is not None:
                values.append(value)
        if not values:
            continue
        means[name] = float(np.mean(values))
        last_part = name.rpartition(".")[2]
        has_spread = f"{name}.n" in scores_of_seeds[0] or last_part in WITH_SPREAD
        if len(scores_of_seeds) > 1 and has_spread:
            means[f"{name}.least"] = float(min(values))
            means[f"{name}.most"] = float(max(values))
            means[f"{name}.seeds"] = len(values)

    return means


def controls_inside(scores: dict[str, float]) -> dict[str, float]:
    """Say for every control whether it scores what no information scores: 1 or 0.

    - Constant and noise images: chance is inside the probe's interval, or the probe is
      inside the interval of its own predictions under relabelling.
    - Permuted labels: chance is inside the range of the permutations.
    - Constant and noise images, shuffled pairs: the loss is within 2 % of ln(candidates).
    - Shuffled pairs: swap and retrieval are not above the interval of an untrained encoder.

    Args:
        scores: all scores of the representations, by name.

    Returns:
        `NAME.inside` of every control, and `control.inside`, the share of those that are 1.
    """
    inside: dict[str, bool] = {}
    for name in scores:
        if name.startswith("control.") and f"{name}.null_low" in scores:
            inside[name] = _chance_inside(scores, name) or _inside_null(scores, name)
        elif _is_permuted(scores, name):
            inside[name] = _chance_inside(scores, name)

    for key in ("content.swap_image", "content.retrieval_r1"):
        shuffled = f"control.shuffled.{key}"
        untrained = f"control.untrained.{key}"
        if shuffled in scores and untrained in scores:
            inside[shuffled] = scores[shuffled] <= scores[f"{untrained}.high"]

    for control in ("shuffled", "constant", "noise"):
        loss = f"control.{control}.content.loss"
        if f"{loss}.contrast" in scores:
            excess = scores[f"{loss}.contrast"] / scores[f"{loss}.chance"] - 1
            inside[f"{loss}.contrast"] = abs(excess) < LOSS_TOLERANCE

    share = float(np.mean(list(inside.values()))) if inside else float("nan")
    answers: dict[str, float] = {f"{name}.inside": int(value) for name, value in inside.items()}

    return answers | {"control.inside": share}


def _is_permuted(scores: dict[str, float], name: str) -> bool:
    """Whether a name is a score on permuted labels with a chance level, and no leak share."""
    has_chance = f"{name}.chance" in scores
    return name.startswith("control.permuted.") and has_chance and "share" not in name


def _chance_inside(scores: dict[str, float], name: str) -> bool:
    """Whether the chance level lies in the interval of a score."""
    return scores[f"{name}.low"] <= scores[f"{name}.chance"] <= scores[f"{name}.high"]


def _inside_null(scores: dict[str, float], name: str) -> bool:
    """Whether a score lies in the interval of its predictions under relabelling."""
    low = scores[f"{name}.null_low"] - 1e-9
    high = scores[f"{name}.null_high"] + 1e-9
    return low <= scores[name] <= high


def _commit() -> str:
    """Return the commit of the clone, or "unknown" outside a clone."""
    command = ["git", "rev-parse", "HEAD"]
    process = subprocess.run(command, cwd=repository_root(), capture_output=True, text=True)
    return process.stdout.strip() or "unknown"
