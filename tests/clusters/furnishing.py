"""What a host has before it is switched on: a home, a user, an sshd, and a Python whose pip loads nothing down."""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

USER = "raysearch"  # on every host; it has the machine's root's number, whatever its name

_SSHD = """
Port 22
ListenAddress {address}
HostKey {root}/host_key
AuthorizedKeysFile {root}/home/.ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
PidFile none
"""


def furnish(root: Path, address: str) -> None:
    """What a host has before it is switched on."""
    for folder in ("home/.ssh", "tmp"):
        (root / folder).mkdir(parents=True)
    (root / "home" / ".ssh").chmod(0o700)
    (root / "home" / ".bashrc").touch()
    shell = f"0:0::{root}/home:/bin/bash\n"
    others = [line for line in Path("/etc/passwd").read_text().splitlines(keepends=True) if ":x:0:0:" not in line]
    (root / "passwd").write_text(f"{USER}:*:{shell}root:*:{shell}" + "".join(others))
    make_key(root / "host_key")
    (root / "sshd_config").write_text(_SSHD.format(root=root, address=address))


def environment(root: Path) -> dict[str, str]:
    home = str(root / "home")
    path = f"{home}/venv/bin:{os.defpath}:/usr/local/bin:/usr/sbin:/sbin"
    return {"HOME": home, "USER": USER, "LOGNAME": USER, "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb"}


def make_key(path: Path) -> Path:
    """A key pair of ssh, without a pass phrase."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def trust(home: Path, key: Path) -> None:
    """Let whoever holds the key in at this home."""
    allowed = home / ".ssh" / "authorized_keys"
    allowed.write_text(key.with_suffix(".pub").read_text())
    allowed.chmod(0o600)


def give_python(home: Path) -> None:
    """A virtual environment in a host's home with what this Python has installed, and a pip that loads nothing down.

    `pip install -e CHECKOUT` of that pip makes the checkout importable, as the real one does, and nothing else.
    """
    target = home / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(target), "platbase": str(target)}))
    installed = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (site / "installed.pth").write_text("\n".join(dict.fromkeys(installed)) + "\n")
    script = '#!/bin/sh\n[ "$1" = install ] && for last; do :; done && echo "$last" > {pth}\necho "$@" >> {log}\n'
    pip = script.format(pth=shlex.quote(str(site / "checkout.pth")), log=shlex.quote(str(target / "pip.log")))
    ray = f'#!/bin/sh\nexec {shlex.quote(str(target / "bin" / "python"))} -m ray.scripts.scripts "$@"\n'
    for name, text in {"pip": pip, "ray": ray}.items():
        (target / "bin" / name).write_text(text)
        (target / "bin" / name).chmod(0o755)


def python_folders() -> list[Path]:
    """Where this Python and what it has installed lie."""
    return [Path(sys.prefix), Path(sys.base_prefix)]
