"""Jobs over Ray: two workers of this machine, on loopback, without a dashboard or a report home.

Ray's start gives up on a machine that is busy with other work (docs/scale.md), so these are run by `make prove`.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from shared.errors import UserError
from shared.front.command import invoke
from shared.launch import Done, Failed, Workers, _join, _ray, launch
from tests.conftest import ROOT
from tests.suite import batch_work

pytestmark = [pytest.mark.prove, pytest.mark.skipif(find_spec("ray") is None, reason="Ray is an extra")]
TWO = Workers("ray", 2)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One cluster for the module, started as the launcher starts it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the workers import this test's module
        ray = _ray(TWO)
        _join(ray, TWO)
        yield ray
        ray.shutdown()


def test_jobs_are_done_by_two_workers_and_failures_are_their_own() -> None:
    answers = dict(launch(batch_work.refuse_odd, [{"number": n} for n in range(5)], TWO))
    assert {n: a.result["square"] for n, a in answers.items() if isinstance(a, Done)} == {0: 0, 2: 4, 4: 16}
    assert answers[1] == Failed("1 is odd; give 2") and answers[3] == Failed("ZeroDivisionError: a bug")


def test_a_killed_workers_job_is_done_by_another_and_given_up_after_three(tmp_path: Path) -> None:
    jobs = [{"number": n, "folder": str(tmp_path)} for n in range(4)]
    answers = dict(launch(batch_work.die_at_first, jobs, TWO))
    assert [type(answers[place]) for place in range(4)] == [Done, Done, Failed, Done]
    assert {n: (tmp_path / f"{n}.tries").stat().st_size for n in range(4)} == {0: 1, 1: 2, 2: 3, 3: 1}


def test_nothing_listens_beyond_loopback_and_nothing_is_reported_home(cluster) -> None:
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert not cluster._private.worker.global_worker.node.webui_url
    assert cluster._private.services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1"
    here = psutil.Process()
    heard = [
        (process.name(), found.laddr.ip)
        for process in (here, *here.children(recursive=True))
        for found in process.net_connections(kind="inet")
        if found.status == psutil.CONN_LISTEN
    ]
    assert heard and {ip for _, ip in heard} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_batch_command_over_ray_makes_its_items_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from suite.batch import command

    file = tmp_path / "list.jsonl"
    file.write_text("".join(json.dumps({"start": "origin", "steps": 5, "seed": n}) + "\n" for n in range(3)))
    words = [
        "sample_walk",
        "--settings",
        str(file),
        "--out",
        str(tmp_path / "out"),
        "--launcher",
        "ray",
        "--workers",
        "2",
    ]
    with pytest.MonkeyPatch.context() as patch:
        from tests.front.sample_app import APP

        patch.setattr("suite.apps.built_apps", lambda: (APP,))
        assert invoke(command, words, program="suite batch") == 0
        made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("0*")}
        assert sorted(made) == ["00001", "00002", "00003"]
        assert invoke(command, [*words, "--resume"], program="suite batch") == 0
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("0*")} == made
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["launcher"], summary["done"], summary["failed"]) == ("ray", 3, {})


def test_an_absent_cluster_is_one_sentence(cluster) -> None:
    class Other:
        @staticmethod
        def init(**options) -> None:
            raise ConnectionError("nobody\nanswers")

    with pytest.raises(UserError, match=r"10\.0\.0\.9:6379: no Ray cluster answers \(nobody answers\)"):
        _join(Other, Workers("ray", 2, address="10.0.0.9:6379"))
