"""Containers, as far as a program inside can tell: a root file system whose changes are in a layer of its own.

Each is a mount namespace with an overlay over the real root, and the mark that Docker leaves. The layers are in memory,
and vanish with the process that runs in the container.
"""

import subprocess
from pathlib import Path

import pytest

from tests.components import need

__all__ = ["in_container"]

_SCRIPT = """
set -e
layers=$1; machine_id=$2; shift 2
mount -t tmpfs tmpfs "$layers"
mkdir "$layers/upper" "$layers/work" "$layers/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layers/upper,workdir=$layers/work" "$layers/root"
root=$layers/root
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
touch "$root/.dockerenv"
for path in /etc/machine-id /var/lib/dbus/machine-id; do
    rm -f "$root$path"
    test -z "$machine_id" || { mkdir -p "$root${path%/*}"; echo "$machine_id" > "$root$path"; }
done
while [ "$1" != -- ]; do
    mkdir -p "$root${2%/*}"
    if [ -d "$1" ]; then mkdir -p "$root$2"; else touch "$root$2"; fi
    mount --bind "$1" "$root$2"
    shift 2
done
shift
exec chroot "$root" "$@"
"""


def in_container(layers: Path, machine_id: str = "", **volumes: Path | str) -> list[str]:
    """Returns a prefix under which a command runs in a new container.

    Args:
        layers: an empty directory; its name tells this container from others.
        machine_id: what the image's ID files hold; without it there are none.
        **volumes: what is mounted from outside, where: the names do not matter, and each is "SOURCE:TARGET".
    """
    need("unshare")
    layers.mkdir(exist_ok=True)
    pairs = [part for volume in volumes.values() for part in str(volume).split(":")]
    start = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh", str(layers)]
    prefix = [*start, machine_id, *pairs, "--"]
    if subprocess.run([*start, "", "--", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount an overlay over the root, as root")
    return prefix
