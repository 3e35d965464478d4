#!/bin/sh
# SPDX-License-Identifier: MIT
# A Python virtual environment on the mount: made, filled by pip, used and moved aside.
# In the guest: python.sh DIRECTORY
set -eux # what failed is told by its last lines
cd "$1"
# pip comes out of a wheel that is there already; the test machines need no network.
wheel=$(ls /usr/share/python-wheels/pip-*.whl)
python3 -m venv --without-pip env
[ "$(env/bin/python -c 'import sys; print(sys.prefix)')" = "$1/env" ]
env/bin/python "$wheel/pip" install -q --no-index --no-deps --no-compile "$wheel"
env/bin/python -m pip --version
env/bin/python -m pip check
mkdir -p src/lab_module
printf 'def answer():\n    return 6 * 7\n' >src/lab_module/__init__.py
cp -r src/lab_module env/lib/python3*/site-packages/
env/bin/python - <<'P'
import lab_module, multiprocessing, mmap, os, tempfile
import pip._internal.cli.main
assert pip.__file__.startswith(os.environ.get("PWD") + "/env/"), pip.__file__
assert lab_module.answer() == 42
with tempfile.TemporaryFile(dir=".") as file:
    file.truncate(10000)
    with mmap.mmap(file.fileno(), 10000) as map:
        map[5000:5006] = b"mapped"
        map.flush()
    file.seek(5000)
    assert file.read(6) == b"mapped"
P
find env -name 'lab_module' -path '*site-packages*' | grep -q .
find env -path '*lab_module/__pycache__/*.pyc' | grep -q .
# All of it takes an emulated processor minutes.
env/bin/python -m compileall -q env/lib/python3*/site-packages/pip/_internal
[ "$(find env -path '*_internal*.pyc' | wc -l)" -gt 100 ]
# What was installed is what the wheel has.
python3 - "$wheel" env/lib/python3*/site-packages <<'P'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    names = [name for name in wheel.namelist() if name.startswith("pip/")]
    assert len(names) > 300, names
    for name in names:
        with open(sys.argv[2] + "/" + name, "rb") as file:
            assert file.read() == wheel.read(name), name
P
rm -r env
[ ! -e env ]
