"""Jobs on a real Dask cluster of this machine: workers that die, a scheduler that is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from test_grid import grid_of
from test_ingest import assert_same_bytes
from troublesome import fail, leave_a_mark, place, play, run_lightly, write_or_die

from cdrl.cli.grid import run_grid
from cdrl.core.cluster import run_on_cluster
from cdrl.core.cluster_address import check_cluster
from cdrl.core.errors import InputError
from cdrl.core.pools import Lost, run_each
from cdrl.core.settings import IngestConfig, StudyConfig
from cdrl.corpora.ingest import ingest
from cdrl.corpora.samples import sample_paths
from cdrl.corpora.scan import scan
from cdrl.media.encoding import write_video
from cdrl.media.video import read_video
from cdrl.study.run import run_jobs as run_study_jobs

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
CLIPS = int(os.environ.get("CDRL_TEST_CLIPS", "6"))  # of an ingest
MANY_JOBS = int(os.environ.get("CDRL_TEST_JOBS", "1000"))
CLIP_FRAMES = 12
SAMPLES_A_FRAME = 640


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a scheduler with two worker processes of one thread, as a user starts them."""
    folder = tmp_path_factory.mktemp("dask")
    file = folder / "scheduler.json"
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"]
    processes = [_start([*dask, *options, "--scheduler-file", str(file)], environment, folder)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file)]
    options = ["--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
    processes.append(_start([*worker, *options], environment, folder))
    yield str(file)
    for process in processes:
        _end(process)


def _start(words, environment, folder):
    return subprocess.Popen(words, env=environment, cwd=folder, stderr=subprocess.DEVNULL)


def _end(process):
    """End a process and all below it."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for child in children:
        if child.is_running():
            child.kill()


def test_results_are_those_of_the_pool(scheduler):
    jobs = ["a", "b", "c", "d", "e"]
    assert dict(run_on_cluster(play, jobs, scheduler)) == dict(run_each(play, jobs, 2))


def test_a_job_that_dies_or_hangs_is_known_by_its_number_and_the_others_finish(scheduler):
    jobs = ["a", "die", "b", "hang", "c"]
    results = dict(run_on_cluster(play, jobs, scheduler, limit_seconds=8.0))
    finished = {number: value for number, value in results.items() if not isinstance(value, Lost)}
    assert finished == {0: "aa", 2: "bb", 4: "cc"}
    assert "exit code 7" in results[1].reason
    assert results[3].timed_out


def test_what_a_job_raises_is_raised_here(scheduler):
    with pytest.raises(InputError, match="job c is wrong"):
        list(run_on_cluster(fail, ["c"], scheduler))


def test_jobs_work_in_the_folder_and_with_the_variables_of_the_client(
    scheduler, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CDRL_WEIGHTS", "here")
    [(_, found)] = run_on_cluster(place, [0], scheduler, threads=3)
    assert found == (str(tmp_path), "here", 3)


def test_a_worker_that_is_killed_costs_its_job_which_is_done_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TESTS)
    jobs = [tmp_path / name for name in "abcdef"]
    done = {}
    for number, pid in run_on_cluster(leave_a_mark, jobs, "local:2"):
        if not done:
            _kill_dask_worker_above(pid)
        done[number] = pid
    assert sorted(done) == list(range(6))
    starts = {job.name: len(list(tmp_path.glob(f"{job.name}-*"))) for job in jobs}
    assert sum(starts.values()) in (6, 7)
    assert len(set(done.values())) > 1


def _kill_dask_worker_above(pid):
    """Kill the Dask worker that started the process of a job."""
    psutil.Process(pid).parent().kill()


def test_a_lost_scheduler_is_one_line(tmp_path):
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom cdrl.core.cluster import run_on_cluster\n"
        "from cdrl.core.errors import InputError\nfrom troublesome import play\n"
        "print('begun', flush=True)\n"
        "try:\n    list(run_on_cluster(play, ['hang'] * 3, sys.argv[1]))\n"
        "except InputError as error:\n    sys.exit(str(error))\n"
    )
    environment = os.environ | {"PYTHONPATH": path}
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    options = ["--port", "0", "--no-dashboard", "--no-show", "--scheduler-file", str(file)]
    own = _start([*dask, *options], environment, tmp_path)
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    client = subprocess.Popen(
        [sys.executable, script, file], env=environment, stdout=-1, stderr=-1, text=True
    )
    assert client.stdout.readline() == "begun\n"
    time.sleep(4)
    own.send_signal(signal.SIGKILL)
    _, errors = client.communicate(timeout=120)
    assert client.returncode == 1
    [line] = errors.strip().splitlines()
    assert "its scheduler was lost" in line
    assert "the same command goes on" in line


CLIENT = """
import sys

import psutil
from cdrl.core.cluster import run_on_cluster
from troublesome import play

where, number = sys.argv[1], int(sys.argv[2])
process = psutil.Process()
list(run_on_cluster(play, ["a"] * 300, where))
before = process.memory_info().rss
ended = sum(1 for _ in run_on_cluster(play, ["a"] * number, where))
print(ended, process.memory_info().rss - before)
"""


def test_many_jobs_do_not_grow_the_client(scheduler):
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    words = [sys.executable, "-c", CLIENT, scheduler, str(MANY_JOBS)]
    printed = subprocess.check_output(words, env=os.environ | {"PYTHONPATH": path}, text=True)
    ended, growth = map(int, printed.split())
    assert ended == MANY_JOBS
    assert growth < 10e6


def test_an_ingest_has_the_same_bytes(scheduler, tmp_path):
    root = tmp_path / "corpus"
    root.mkdir()
    video = read_video(sample_paths()[0])
    frames = video.frames[:CLIP_FRAMES]
    sound = video.audio[: CLIP_FRAMES * SAMPLES_A_FRAME]
    for number in range(CLIPS):
        moved = np.roll(frames, number % 20, 1)
        write_video(root / f"{number:03d}.mp4", moved, 25.0, sound)
    (root / "damaged.mp4").write_bytes(b"no video")
    clips = scan(root, "folder").clips
    here = ingest(clips, root, tmp_path / "here", IngestConfig(workers=2), progress=False)
    there = ingest(clips, root, tmp_path / "there", IngestConfig(cluster=scheduler), progress=False)
    assert here.clips == there.clips == CLIPS
    assert there.rejected == here.rejected
    assert [name for name, _ in here.rejected] == ["damaged"]
    assert_same_bytes(tmp_path / "there", tmp_path / "here")


def test_a_grid_has_the_results_that_it_has_here(scheduler, tmp_path, monkeypatch):
    """Those of this machine are in test_grid."""
    monkeypatch.setattr("cdrl.cli.grid._run_one", run_lightly)
    grid = grid_of(tmp_path, "preset: smoke\ngrid: {priors.batch: [2, 3]}")
    results, failures = run_grid(grid, tmp_path / "out", log=list, cluster=scheduler)
    assert failures.run.tolist() == ["priors.batch=3"]
    assert failures.reason.tolist() == ["clip.mp4: no face found"]
    scores = results[~results.score.str.match("time|memory")].set_index("score").value
    expected = {}
    for stage, value in (("corpus", 1.0), ("priors", 2.0)):
        expected |= {f"{stage}.a": value, f"{stage}.a.chance": 0.5, f"{stage}.a.n": 9}
    assert scores.to_dict() == expected


def test_a_job_of_a_study_that_is_killed_costs_itself_alone(scheduler, tmp_path):
    jobs = [(write_or_die, name) for name in ("a", "die", "b")]
    lost = run_study_jobs(jobs, tmp_path, StudyConfig(cluster=scheduler))
    assert len(lost) == 1
    assert lost[0].startswith("die killed its process, SIGKILL")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_loop_that_stops_early_begins_no_further_job(scheduler, tmp_path):
    jobs = [tmp_path / f"{number:02d}" for number in range(30)]
    results = run_on_cluster(leave_a_mark, jobs, scheduler)
    next(results)
    results.close()
    begun = len(list(tmp_path.iterdir()))
    time.sleep(4)
    assert len(list(tmp_path.iterdir())) <= begun + 2  # each worker may just have begun one


@pytest.mark.parametrize("where", ["local", "local:0", "slurm", "moon:3", "scheduler.txt", "4"])
def test_another_place_is_refused(where):
    with pytest.raises(ValueError, match="accepted are a scheduler's address"):
        check_cluster(where)


def test_a_scheduler_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setattr("cdrl.core.cluster.ANSWER_SECONDS", 1.0)
    with pytest.raises(InputError, match="no scheduler answers"):
        list(run_on_cluster(play, ["a"], "tcp://127.0.0.1:9"))
