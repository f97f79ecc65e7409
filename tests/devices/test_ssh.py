"""Another machine over SSH: this one, through a real sshd on loopback."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import penjing as pj
from penjing.devices import Cpu, Ssh, get
from penjing.devices.remote import ssh as ssh_module
from penjing.devices.single import convolution
from penjing.errors import PenjingError
from penjing.network import Call
from penjing.testing import check_device
from tests.api.models import patterns, small

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

with_server = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None, reason="there is no OpenSSH server"
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ssh]:
    """An sshd of our own, and what a client must know of it."""
    assert SSHD is not None
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
    )
    (folder / "config").write_text(
        f"Host loop\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n"
        f" IdentityFile {folder}/user\n UserKnownHostsFile {folder}/known\n StrictHostKeyChecking no\n"
        "Host nowhere\n HostName 127.0.0.1\n Port 1\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    try:
        yield Ssh(host="loop", python=sys.executable, config=str(folder / "config"))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


@with_server
def test_machine_there_is_told_as_it_is(machine: Ssh) -> None:
    """Here it is this one."""
    assert machine.fingerprint == Cpu().fingerprint
    assert machine.record()["host"] == "loop"


@with_server
def test_device_conforms(machine: Ssh) -> None:
    found = check_device(machine)
    assert found.narrow is not None
    assert found.wide is not None
    assert found.wide > found.narrow > 0


@pytest.mark.slow
@with_server
def test_networks_are_pruned_to_a_latency_there_and_nothing_is_left_behind(
    machine: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "cache"))
    before = set(Path("/tmp").glob("tmp.*"))
    result = pj.prune(small(), patterns(1)[0][0][:2], budget="latency=0.7x", device=machine)
    (line,) = result.report.budget
    assert (line.met, line.provenance) == (True, "measured")
    assert result.report.device.name == "ssh"
    assert result.report.after.runs > 0
    assert set(Path("/tmp").glob("tmp.*")) <= before


@with_server
def test_refused_artifact_is_told_in_the_runtimes_own_words(machine: Ssh, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(PenjingError, match="ONNX Runtime on `loop` refuses") as caught:
        machine.measure(broken, call=Call((torch.zeros(1),), {}))
    assert caught.value.code == "PJ405"


@with_server
def test_machine_without_a_runtime_is_told_what_it_needs(machine: Ssh) -> None:
    bare = Ssh(host=machine.host, python="no-such-python", config=machine.config)
    with pytest.raises(PenjingError, match="cannot time anything") as caught:
        _ = bare.fingerprint
    assert caught.value.code == "PJ411"
    assert "no-such-python" in caught.value.because


@with_server
def test_machine_out_of_reach_is_an_error_and_not_another_device(machine: Ssh) -> None:
    gone = Ssh(host="nowhere", config=machine.config)
    with pytest.raises(PenjingError, match="`nowhere` cannot be reached") as caught:
        _ = gone.fingerprint
    assert caught.value.code == "PJ411"
    assert "refused" in caught.value.because


@with_server
def test_connection_that_drops_once_is_made_again_and_twice_is_an_error(
    machine: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sessions' own process is killed in the middle of a measurement."""
    path = tmp_path / "one.onnx"
    path.write_bytes(convolution(8, 8, size=16, kernel=3).model)
    call = Call((), {"x": torch.zeros(1, 8, 16, 16)})
    run, dropped = subprocess.run, []

    def dropping(command: list[str], **options: object) -> object:
        if command[0] == "ssh" and len(dropped) < drops:
            dropped.append(command)
            command = [*command[:-1], "kill -KILL $PPID; sleep 5"]  # the server's own process of this session
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(ssh_module.subprocess, "run", dropping)
    drops = 1
    assert machine.measure(path, call=call, limit_s=0.0)[0].latency_ms > 0
    assert len(dropped) == 1
    dropped.clear()
    drops = 2
    with pytest.raises(PenjingError, match="was lost on the way") as caught:
        machine.measure(path, call=call, limit_s=0.0)
    assert caught.value.code == "PJ411"
    assert len(dropped) == 2


def test_host_that_would_be_an_option_is_refused() -> None:
    for host in ("", "-oProxyCommand=x", "a b", "a;b"):
        with pytest.raises(PenjingError) as caught:
            get(f"ssh:{host}")
        assert caught.value.code == "PJ406"


def test_recipe_names_the_host() -> None:
    assert Ssh(host="me@board").spec == "ssh:me@board"
