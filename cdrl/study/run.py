"""The study: every row of the comparison, over several seeds, on people and sentences never met; resumable over days.

One job is one row and one seed; its scores lie in `WORK/jobs/` (of the edits in `WORK/edit_*/jobs/`), and a finished job is never
done again. `summary` reads them.
"""

import subprocess
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.paths import repository_root
from cdrl.core.settings import StudyConfig, config_hash
from cdrl.corpora.store import Store
from cdrl.evaluation.edit_evaluation import dials_of
from cdrl.priors.features import extract
from cdrl.studio import corpus as studio
from cdrl.study.edit_jobs import (
    TRACKED,
    carry_jobs,
    edit_job,
    edit_job_path,
    edit_place,
    make_shared,
    prepare,
)
from cdrl.study.jobs import do_job, job_path
from cdrl.study.rows import BACKBONES, TABLES, rows_of
from cdrl.study.tables import edit_summary

MINUTES = {
    "content": 4.0,
    "emotion": 4.0,
    "edit": 9.0,
}  # of a job on one core; edits: .5 to .6 s a step, and five settings of the dial
SHARED_MINUTES = {
    "representation": 40,
    "edit": 30,
}  # corpora, features, true edits and encoders, where they are missing


def run_study(out: Path, work: Path, config: StudyConfig) -> dict:
    """Do every job of the chosen half that is missing and write `results.json` and the tables under `out`.

    Args:
        out: folder of the results, small, to be committed; what the other half left there stays. Finished jobs of the edit half
            lie there too, and are not done again on another machine. work: folder of corpora, features and jobs; some 14 GB. Sets,
            seeds, rows and halves can share one.

    Returns:
        The results, as `cdrl scores` reads them. An interrupted study leaves those of the jobs that are done.

    Raises:
        InputError: where `work` was made with other settings, or `rows` names none.
    """
    out, work = Path(out), Path(work)
    made = work / "study.json"
    if made.exists() and read_json(made)["hash"] != config_hash(config):
        raise InputError(
            f"{work} was made with other settings ({read_json(made)['config']}): choose another --work or remove it"
        )
    jobs = list_jobs(config)
    dials_of(config.edit_sweep)
    write_json(made, {"hash": config_hash(config), "config": asdict(config)})
    place = edit_place(work, config)
    carry_jobs(out / "jobs" / place.name, place / "jobs")
    missing = [job for job in jobs if not _path(work, config, job).exists()]
    minutes = sum(MINUTES[kind] for kind, _, _ in missing) / config.workers
    beside = sum(
        minutes for half, minutes in SHARED_MINUTES.items() if config.half in ("both", half)
    )
    print(
        f"{len(missing)} of {len(jobs)} jobs to do, about {minutes:.0f} minutes on {config.workers} idle cores, and {beside} for what they "
        "share where it is missing; Ctrl-C is safe, the same command resumes",
        flush=True,
    )
    begin = time.monotonic()
    clock = work / f"seconds_{config.split}{'_edit' if config.half == 'edit' else ''}.json"
    edits = [job for job in missing if job[0] == "edit"]
    try:
        _prepare(work, config, missing)
        _work_off([(do_job, *job) for job in missing if job[0] != "edit"], work, config)
        for shared in prepare(work, config, edits) if edits else []:
            _work_off([(make_shared, *item) for item in shared], work, config)
        for second in (False, True):  # two jobs never train one host
            _work_off(
                [
                    (edit_job, name, seed)
                    for _, name, seed in edits
                    if name.startswith(TRACKED[1]) == second
                ],
                work,
                config,
            )
    finally:
        spent = (read_json(clock)["seconds"] if clock.exists() else 0.0) + time.monotonic() - begin
        write_json(clock, {"seconds": spent})
        results = summary(out, work, config, jobs, spent)
    return results


def _path(work: Path, config: StudyConfig, job: tuple) -> Path:
    """Where the scores of one job lie."""
    return (
        edit_job_path(edit_place(work, config), *job[1:])
        if job[0] == "edit"
        else job_path(work, config.split, *job)
    )


def list_jobs(config: StudyConfig) -> list[tuple[str, str, int]]:
    """(kind, row, seed) of every job: method, released and controls with all seeds, then the ablations seed by seed.

    Raises:
        InputError: where a name in `config.rows` is no row of this set's tables.
    """
    tables = rows_of(config.split, config.half)
    known = {f"{kind}.{name}": row for kind, rows in tables.items() for name, row in rows.items()}
    wanted = [name.strip() for name in config.rows.split(",") if name.strip()] or list(known)
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise InputError(
            f"study.rows={config.rows}: {', '.join(unknown)} is no row of split={config.split}: accepted are {', '.join(known)}"
        )
    jobs = [
        (not known[name].core, seed, name)
        for seed in range(config.seeds)
        for name in known
        if name in wanted and (seed == 0 or known[name].seeded)
    ]
    return [(*name.split(".", 1), seed) for _, seed, name in sorted(jobs, key=lambda job: job[:2])]


def corpora(config: StudyConfig) -> dict:
    """The clips of the training set and of the set that scores."""
    smoke = config.speech == "cached"
    return {
        "train": studio.specs(
            "smoke_train" if smoke else "train", people=config.people, clips=config.clips
        ),
        config.split: studio.specs(
            "smoke_report" if smoke else config.split, people=config.report_people
        ),
    }


def _prepare(work: Path, config: StudyConfig, jobs: list) -> None:
    """Render what is missing, and let the backbones that the jobs need look at it."""
    rows = [TABLES[kind][name] for kind, name, _ in jobs]
    needed = {row.backbone for row in rows if row.kind != "truth"}
    if needed:
        needed.add("actions")  # the shares are of the method's input features
    for name, clips in corpora(config).items():
        if not (work / name / "store.json").exists():
            studio.generate(clips, work / name, name, workers=config.workers)
        for backbone in sorted(
            needed if name == "train" or any(kind != "edit" for kind, _, _ in jobs) else ()
        ):
            extract(Store(work / name), work / f"{name}_{backbone}", vision=BACKBONES[backbone])


def _work_off(jobs: list, work: Path, config: StudyConfig) -> None:
    """Jobs are (function, further arguments...)."""
    if not jobs:
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(
        config.workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        waiting = [pool.submit(do, work, config, *job) for do, *job in jobs]
        try:
            for done in tqdm(as_completed(waiting), total=len(waiting), desc="study", unit="job"):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def summary(out: Path, work: Path, config: StudyConfig, jobs: list, seconds: float) -> dict:
    """Write `results.json` and the tables of the chosen half, and keep what the other half left there.

    Of the representations: means over the seeds of every row, their spread, and which controls are where they must be. Of the
    edits: see `study_edit_tables.edit_summary`.
    """
    out, halves = (
        Path(out),
        [
            half
            for half in ("representation", "edit")
            if any((job[0] == "edit") == (half == "edit") for job in jobs)
        ],
    )
    out.mkdir(parents=True, exist_ok=True)
    results = (
        read_json(out / "results.json")
        if (out / "results.json").exists()
        else {"stages": {}, "run": {}}
    )
    for half in halves:
        stage, prefix = ("study", "study") if half == "representation" else ("edits", "study.edits")
        own = [job for job in jobs if (job[0] == "edit") == (half == "edit")]
        scores, tables = (_representations if half == "representation" else edit_summary)(
            work, config, own
        )
        for kind, table in tables.items():
            table.to_csv(out / f"{kind}.csv", index=False)
        if half == "edit":
            place = edit_place(work, config)
            carry_jobs(place / "jobs", out / "jobs" / place.name)
        results["stages"][stage] = {"config": asdict(config), "scores": scores, "commit": _commit()}
        done = sum(_path(work, config, job).exists() for job in own)
        results["run"] |= {f"{prefix}.jobs": len(own), f"{prefix}.jobs.done": done}
    hours = "time.hours" if "representation" in halves else "time.edits.hours"
    results["run"][hours] = round(seconds / 3600, 2)
    results |= {"commit": _commit(), "command": "cdrl study"}
    write_json(out / "results.json", results)
    return results


def _representations(work: Path, config: StudyConfig, jobs: list) -> tuple[dict, dict]:
    """Scores of the content and emotion jobs that are done, and their two tables."""
    found = {
        job: read_json(path)["scores"]
        for job in jobs
        if (path := job_path(work, config.split, *job)).exists()
    }
    scores, tables = {}, {}
    for kind, rows in rows_of(config.split, "representation").items():
        lines = []
        for name, row in rows.items():
            seeds = [values for job, values in found.items() if job[:2] == (kind, name)]
            if seeds:
                means = over_seeds(seeds)
                scores |= {
                    (key if name == "cdrl" else f"{name}.{key}"): value
                    for key, value in means.items()
                }
                probed = {
                    key: round(value, 3) for key, value in means.items() if f"{key}.n" in means
                }
                lines.append({"row": name, "what": row.why, "seeds": len(seeds), **probed})
        tables[kind] = pd.DataFrame(lines)
    return scores | controls_inside(scores), tables


SPREAD = (
    "audio",
    "image",
    "loss",
)  # last parts of names that have no n of their own, and differ between seeds all the same


def over_seeds(seeds: list[dict]) -> dict:
    """Mean of every score over the seeds; of scores with an n, and of those in `SPREAD`, also the least, the most and the number of seeds.

    >>> over_seeds([{"a": 0.2, "a.n": 9}, {"a": 0.4, "a.n": 9}])["a.most"]
    0.4
    >>> over_seeds([{"loss": 0.2, "low": 0.1}, {"loss": 0.8, "low": 0.3}])
    {'loss': 0.5, 'loss.least': 0.2, 'loss.most': 0.8, 'loss.seeds': 2, 'low': 0.2}
    """
    means = {}
    for key in dict.fromkeys(key for one in seeds for key in one):
        values = [one[key] for one in seeds if one.get(key) is not None]
        if values:
            means[key] = float(np.mean(values))
            if len(seeds) > 1 and (f"{key}.n" in seeds[0] or key.rpartition(".")[2] in SPREAD):
                means |= {
                    f"{key}.least": float(min(values)),
                    f"{key}.most": float(max(values)),
                    f"{key}.seeds": len(values),
                }
    return means


def controls_inside(scores: dict) -> dict:
    """For every control whether it is where no information would put it: 1 or 0, and the share of those that are.

    Constant and noise images: chance inside the probe's bootstrap interval, or the probe inside the interval of its own
    predictions under relabelling. Permuted labels: chance inside the range of the permutations. Constant images and shuffled pairs: loss within 2 % of ln(candidates). Shuffled
    pairs: swap and retrieval no better than the interval of an encoder nobody trained.
    """
    inside = {}
    for name, value in scores.items():
        if name.startswith("control.") and f"{name}.null_low" in scores:
            known = scores[f"{name}.low"] <= scores[f"{name}.chance"] <= scores[f"{name}.high"]
            inside[name] = (
                known
                or scores[f"{name}.null_low"] - 1e-9 <= value <= scores[f"{name}.null_high"] + 1e-9
            )
        elif (
            name.startswith("control.permuted.")
            and f"{name}.chance" in scores
            and "share" not in name
        ):
            inside[name] = (
                scores[f"{name}.low"] <= scores[f"{name}.chance"] <= scores[f"{name}.high"]
            )
    for key in ("content.swap_image", "content.retrieval_r1"):
        if f"control.shuffled.{key}" in scores and f"control.untrained.{key}" in scores:
            inside[f"control.shuffled.{key}"] = (
                scores[f"control.shuffled.{key}"] <= scores[f"control.untrained.{key}.high"]
            )
    for control in ("shuffled", "constant", "noise"):
        loss = f"control.{control}.content.loss"
        if f"{loss}.contrast" in scores:
            inside[f"{loss}.contrast"] = (
                abs(scores[f"{loss}.contrast"] / scores[f"{loss}.chance"] - 1) < 0.02
            )
    share = float(np.mean(list(inside.values()))) if inside else float("nan")
    return {f"{name}.inside": int(value) for name, value in inside.items()} | {
        "control.inside": share
    }


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository_root(), capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"
