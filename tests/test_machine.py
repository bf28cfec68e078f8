"""How much memory is left: the least of what the machine, its control groups and the process's own limit say."""

import subprocess
import sys

import pytest
import torch

from todre.loading import device_memory as machine

CPU = torch.device("cpu")
GB = 10**9


@pytest.fixture
def linux(monkeypatch, tmp_path):
    """A machine with 8 GB available, and a function that writes files of its control groups."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 16000000 kB\nMemAvailable: {8 * GB // 1024} kB\n")
    (proc / "self" / "statm").write_text("1000 1 1 1 0 1 0\n")
    monkeypatch.setattr(machine, "_PROC", proc)
    monkeypatch.setattr(machine, "_CGROUPS", groups)

    def write(own, **files):
        (proc / "self" / "cgroup").write_text(own)
        for name, content in files.items():
            folder, _, file = name.rpartition("__")
            place = groups / folder.replace("__", "/")
            place.mkdir(parents=True, exist_ok=True)
            (place / file.replace("_dot_", ".")).write_text(str(content))

    return write


def test_this_machine_has_what_it_can_give():
    has = machine.available(CPU)
    assert has is not None
    assert 0 < has < 10**15


def test_without_limits_it_is_what_the_machine_has_free(linux):
    linux("0::/\n")
    assert machine.available(CPU) == 8 * GB // 1024 * 1024


@pytest.mark.parametrize("limit", ["max", "9223372036854771712"])
def test_a_limit_that_is_none(linux, limit):
    linux("0::/a\n", a__memory_dot_max=limit, a__memory_dot_current=GB)
    assert machine.available(CPU) == 8 * GB // 1024 * 1024


def test_a_control_group_of_version_2_and_those_around_it(linux):
    own = "0::/outer/inner\n"
    linux(own, outer__inner__memory_dot_max=5 * GB, outer__inner__memory_dot_current=GB)
    assert machine.available(CPU) == 4 * GB
    linux(own, outer__memory_dot_max=3 * GB, outer__memory_dot_current=2 * GB)
    assert machine.available(CPU) == GB


def test_files_in_memory_are_given_up(linux):
    linux(
        "0::/\n",
        __memory_dot_max=4 * GB,
        __memory_dot_current=3 * GB,
        __memory_dot_stat=f"anon 5\ninactive_file {GB}\n",
    )
    assert machine.available(CPU) == 2 * GB


def test_a_control_group_of_version_1(linux):
    linux(
        "7:cpu:/x\n4:memory:/box\n0::/\n",
        memory__box__memory_dot_limit_in_bytes=6 * GB,
        memory__box__memory_dot_usage_in_bytes=5 * GB,
    )
    assert machine.available(CPU) == GB


def test_inside_a_container_the_limit_stands_at_the_root(linux):
    linux("0::/docker/abc\n", __memory_dot_max=2 * GB, __memory_dot_current=GB)
    assert machine.available(CPU) == GB


def test_damaged_files_say_nothing(linux, tmp_path):
    linux("nonsense\n\n::\n", __memory_dot_max="much", __memory_dot_current="", __memory_dot_stat="inactive_file\n")
    assert machine.available(CPU) == 8 * GB // 1024 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not kept elsewhere")
def test_the_process_may_have_a_limit_of_its_own():
    code = (
        "import resource, torch\nfrom todre.loading.device_memory import available\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 * 10**9, 8 * 10**9))\n"
        "first = available(torch.device('cpu'))\nheld = torch.empty(10**9, dtype=torch.uint8)\n"
        "print(first, available(torch.device('cpu')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, then = map(int, done.stdout.split())
    assert first < 8 * GB
    assert first - then >= 0.9 * GB or then < first


def test_other_systems_are_asked_in_their_own_way(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_PROC", tmp_path / "none")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "none")
    pages = {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    monkeypatch.setattr("sys.platform", "freebsd")
    assert machine.available(CPU) == 4096000
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, stdout="17179869184\n"))
    assert machine.available(CPU) == 17179869184


def test_a_gpu_says_what_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GB, 80 * GB))
    assert machine.available(torch.device("cuda:0")) == 3 * GB


def test_what_holds_no_numbers_has_no_limit():
    assert machine.available(torch.device("meta")) is None
