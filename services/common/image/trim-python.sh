#!/bin/sh
# Leaves of a CPython 3.12 prefix in /usr/local what a server needs, compiled, and proves that it imports.
#
# Dropped: pip and whatever else was installed, Tk and IDLE, tests, static libraries, headers, and
# the extensions whose libraries the image does not carry. ensurepip stays: builder stages start uv with it.
set -eu

lib=/usr/local/lib/python3.12
bin=/usr/local/bin

rm -rf "$lib"/site-packages/* "$lib"/test "$lib"/idlelib "$lib"/tkinter "$lib"/turtledemo "$lib"/lib2to3 "$lib"/config-3.12-* \
    "$lib"/pydoc_data /usr/local/include /usr/local/share/man /usr/local/lib/pkgconfig
find "$lib" -depth -type d \( -name tests -o -name test -o -name idle_test -o -name __pycache__ \) -exec rm -rf {} +
find "$bin" -mindepth 1 ! -name python3.12 -exec rm -rf {} +
for module in _tkinter nis ossaudiodev _gdbm _dbm _ctypes_test _testbuffer _testcapi _testclinic _testimportmultiple \
    _testinternalcapi _testmultiphase _testsinglephase _xxtestfuzz xxlimited xxlimited_35 xxsubtype; do
    rm -f "$lib/lib-dynload/$module".*.so
done
ln -s python3.12 "$bin/python3"
ln -s python3 "$bin/python"
ldconfig

export PYTHONDONTWRITEBYTECODE=1
for module in "$lib"/lib-dynload/*.so; do
    name=$(basename "$module")
    "$bin/python3.12" -I -W ignore -c "import ${name%%.*}" || {
        echo "CPython's module ${name%%.*} does not load in this image: a shared library is missing" >&2
        exit 1
    }
done
"$bin/python3.12" -I -c 'import platform, sys
told = platform.python_version()
sys.exit(None if told == "%d.%d.%d" % sys.version_info[:3] else f"CPython is damaged: it calls itself {told}")'
"$bin/python3.12" -m compileall -q -j1 --invalidation-mode unchecked-hash "$lib"
