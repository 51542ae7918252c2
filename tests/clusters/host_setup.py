"""The setup of a host: a home, a user, an sshd, and a Python whose pip downloads nothing."""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

USER = "raysearch"  # on every host; its user id is that of root

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


def prepare_host(root: Path, address: str) -> None:
    """Write the files that a host needs before it starts."""
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
    """Make an ssh key pair without a passphrase; return the path of the private key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def allow_key(home: Path, key: Path) -> None:
    """Let the owner of a key log in to a home."""
    allowed = home / ".ssh" / "authorized_keys"
    allowed.write_text(key.with_suffix(".pub").read_text())
    allowed.chmod(0o600)


def install_python(home: Path) -> None:
    """Make a virtual environment in a host's home with the packages of this Python, and a pip that downloads nothing.

    `pip install -e CHECKOUT` makes the checkout importable, as the real pip does, and does nothing else.
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
    """Return the directories of this Python and its packages."""
    return [Path(sys.prefix), Path(sys.base_prefix)]
