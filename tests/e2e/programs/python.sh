#!/bin/sh
# SPDX-License-Identifier: MIT
# A Python virtual environment on the mount: pip runs from there, installs a package and removes it.
# In the guest: python.sh DIRECTORY
set -eux # what failed is told by its last lines
cd "$1"
python3 -m venv --without-pip env
[ "$(env/bin/python -c 'import sys; print(sys.prefix)')" = "$1/env" ]
# pip out of the wheel that ensurepip has, but not by ensurepip: it compiles each module, which takes
# an emulated processor minutes.
wheel=$(ls /usr/share/python-wheels/pip-*.whl)
packages=$(ls -d env/lib/python3*/site-packages)
python3 -m zipfile -e "$wheel" "$packages"

# A wheel of our own; the test machines need no network.
python3 - <<'P'
import zipfile
with zipfile.ZipFile("lab_module-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("lab_module/__init__.py", "def answer():\n    return 6 * 7\n")
    for number in range(100):
        wheel.writestr("lab_module/data/%d" % number, b"%d" % number * number)
    info = "lab_module-1.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: lab_module\nVersion: 1\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "")
P
env/bin/python -m pip install -q --no-index --disable-pip-version-check ./lab_module-1-py3-none-any.whl
env/bin/python -m pip check
env/bin/python - <<'P'
import lab_module, mmap, os, tempfile
import pip._internal.cli.main
env = os.getcwd() + "/env/"
assert pip.__file__.startswith(env) and pip.__cached__.startswith(env), pip.__file__
assert os.path.getsize(pip.__cached__) > 0
assert lab_module.answer() == 42
data = os.path.dirname(lab_module.__file__) + "/data/"
for number in range(100):
    with open(data + str(number), "rb") as file:
        assert file.read() == b"%d" % number * number, number
with tempfile.TemporaryFile(dir=".") as file:
    file.truncate(10000)
    with mmap.mmap(file.fileno(), 10000) as map:
        map[5000:5006] = b"mapped"
        map.flush()
    file.seek(5000)
    assert file.read(6) == b"mapped"
P
[ -d "$packages/lab_module" ]
[ "$(find env -path '*/pip/*.pyc' | wc -l)" -gt 100 ]
# All that was unpacked is what the wheel has.
echo 2 >/proc/sys/vm/drop_caches
python3 - "$wheel" "$packages" <<'P'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    names = wheel.namelist()
    assert len(names) > 300, names
    for name in names:
        with open(sys.argv[2] + "/" + name, "rb") as file:
            assert file.read() == wheel.read(name), name
P
env/bin/python -m pip uninstall -q -y lab_module
[ ! -e "$packages/lab_module" ]
rm -r env
[ ! -e env ]
