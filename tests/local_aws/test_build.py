"""The package of `make build` runs, under qemu where it is for another processor."""

import os
import platform
import shutil
import subprocess
import zipfile

import pytest
from local_aws import ROOT, binary

QEMU = {
    "arm64": ("aarch64", ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"]),
    "x86_64": ("x86_64", ["qemu-x86_64-static", "-L", "/usr/x86_64-linux-gnu"]),
}


@pytest.mark.parametrize("architecture", QEMU)
def test_the_package_starts_and_scans_as_the_local_program_does(architecture, tmp_path):
    package = ROOT / "target" / "lambda" / f"cloudtrail-alerter-{architecture}.zip"
    if not package.exists():
        pytest.skip(f"not built: make build ARCH={architecture}")
    # Lambda downloads it before a cold start.
    assert package.stat().st_size < 6_500_000
    machine, run = QEMU[architecture]
    if machine == platform.machine():
        run = []
    elif not (shutil.which(run[0]) and os.path.isdir(run[-1])):
        pytest.skip("needs Debian's qemu-user-static, and libc6-arm64-cross or libc6-amd64-cross")
    with zipfile.ZipFile(package) as archive:
        assert archive.namelist() == ["bootstrap"]
        bootstrap = archive.extract("bootstrap", tmp_path)
    os.chmod(bootstrap, 0o755)
    scan = ["scan", "--config", "filter_config.json", "--format", "json", "fixtures/logs"]
    packaged, native = (subprocess.run([*command, *scan], cwd=ROOT, capture_output=True)
                        for command in ([*run, bootstrap], [binary()]))
    assert native.stdout and (packaged.returncode, packaged.stdout) == (native.returncode, native.stdout)
