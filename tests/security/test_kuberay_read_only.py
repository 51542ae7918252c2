"""Ray and a study on a root file system that is read-only, but for the folders that clusters/kuberay.yaml mounts.

It takes the place of a container: a process of this machine with a view of the file system, a network and process
numbers of its own. What the operator adds to a pod is not part of it, except for /dev/shm.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .users import User, needs_two_users

FILE = Path(__file__).parents[2] / "clusters" / "kuberay.yaml"
# As KubeRay starts a head, with the worker's CPUs on it. The study runs as the job's entrypoint does.
RUN = """
export HOME=/home/ray RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(printf %064d 0)
cd $HOME
for place in $HOME/x /x /usr/x /var/tmp/x; do
    ! touch $place 2>/dev/null || { echo "$place can be written"; exit 3; }
done
"$1" -m ray.scripts.scripts start --head --num-cpus=2 --dashboard-host=0.0.0.0 --metrics-export-port=8080 \\
    --dashboard-agent-listen-port=52365 --object-store-memory=150000000 --disable-usage-stats > /tmp/start.log 2>&1 ||
    { cat /tmp/start.log; exit 4; }
"$1" -m ray.scripts.scripts job submit --address http://127.0.0.1:8265 --working-dir /tmp/study -- \\
    "$1" -m raysearch.sweep study.py --profile laptop --out /tmp/out
ls $HOME/.cache/raysearch
"""
STUDY = """
from raysearch import Ablation, factor
base = {"data.side": 32, "model.backbone": "small", "hash.bits": 8, "train.iterations": 1, "train.epochs": 1}
base |= {"train.samples": 40, "train.batch": 20, "srem.size": 4}
factors = [factor("hash.bits", 8, 12)]
study = Ablation(question="Which?", task="retrieval", base=base, reference={"hash.bits": 8}, factors=factors, seeds=1)
"""


@needs_two_users
@pytest.mark.slow
def test_a_study_runs_on_a_read_only_file_system(victim: User, tmp_path: Path) -> None:
    documents = {document["kind"]: document for document in yaml.safe_load_all(FILE.read_text())}
    pod = documents["RayCluster"]["spec"]["headGroupSpec"]["template"]["spec"]
    folders = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    study = victim.write("study.py", STUDY)
    lines = ["set -e", "ip link set lo up", f"study=$(cat {study})"]
    lines += ["mount -t tmpfs none /home", "mkdir -p /home/ray/.cache"]
    lines += [f"mount -t tmpfs -o mode=1777 none {folder}" for folder in (*folders, "/dev/shm")]
    lines += ["mkdir -m 777 /tmp/study", 'echo "$study" > /tmp/study/study.py']
    lines += ["mount -o remount,bind,ro /home", "mount -o remount,bind,ro /", 'exec "$@"']
    opened = victim.command()[: victim.command().index("setpriv")]
    own = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--propagation", "private"]
    as_user = victim.command()[len(opened) :]
    words = [*opened, *own, "sh", "-c", "\n".join(lines), "sh", *as_user, "sh", "-c", RUN, "sh", sys.executable]
    environment = victim.environment()
    del environment["RAYSEARCH_CACHE"]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert "2 cells" in ended.stdout
    assert "report.html" in ended.stdout
