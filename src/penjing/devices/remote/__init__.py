"""This machine's runtimes on another machine: over SSH."""

from penjing.devices.remote.ssh import Ssh

__all__ = ["Ssh"]
