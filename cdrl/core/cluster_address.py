"""How the place of a cluster's workers is written, in settings and in --cluster."""

LOCAL = "local"
# Names of queues, and the class of dask_jobqueue that starts workers there.
QUEUES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "oar": "OARCluster",
    "htcondor": "HTCondorCluster",
}
ACCEPTED = (
    "accepted are a scheduler's address, as tcp://host:8786, its file, as scheduler.json, "
    f"{LOCAL}:N for N processes of this machine, or NAME:N for N jobs of a queue: "
    f"{', '.join(QUEUES)}"
)


def check_cluster(where: str) -> str:
    """Accept a place of workers, see `ACCEPTED`, or nothing. No connection is tried.

    Args:
        where: the value of --cluster.

    Raises:
        ValueError: for any other text.

    >>> check_cluster("local:4")
    'local:4'
    """
    name, _, number = where.partition(":")
    is_counted = name in (LOCAL, *QUEUES) and number.isdecimal() and int(number) > 0
    is_address = "://" in where and where.isprintable()
    if where and not (is_counted or is_address or where.endswith(".json")):
        raise ValueError(ACCEPTED)
    return where
