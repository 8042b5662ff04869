#!/usr/bin/env python3
"""Finds eBPF objects: files that are some, and those that lie in other files, as libbpf's skeletons do.

    extract.py OUT NAME FOLDER...

Each object becomes OUT/NAME+PATH.o; one that is there several times is written once. Prints how many there were.
"""

import hashlib
import pathlib
import struct
import sys

BPF = 247
# The file of a skeleton has some megabytes; larger files are not programs.
MOST = 256 << 20


def objects(data):
    """Bytes of each object of 64 bits in a file, the file itself included."""
    at = data.find(b"\x7fELF")
    while at >= 0:
        head = data[at : at + 64]
        if len(head) == 64 and head[4] == 2:
            order = "<" if head[5] == 1 else ">"
            kind, machine = struct.unpack_from(order + "HH", head, 16)
            (sections,) = struct.unpack_from(order + "Q", head, 40)
            size, count = struct.unpack_from(order + "HH", head, 58)
            end = sections + size * count
            if (kind, machine) == (1, BPF) and size == 64 and at + end <= len(data):
                # Compilers write the table of sections at the end; linkers may not.
                for index in range(count):
                    section = at + sections + index * 64
                    (flavour,) = struct.unpack_from(order + "I", data, section + 4)
                    offset, length = struct.unpack_from(order + "QQ", data, section + 24)
                    if flavour != 8:
                        end = max(end, offset + length)
                yield data[at : at + end]
        at = data.find(b"\x7fELF", at + 1)


def main(out, name, folders):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    seen = {hashlib.sha256(path.read_bytes()).digest() for path in out.iterdir()}
    found = 0
    for folder in folders:
        for path in sorted(pathlib.Path(folder).rglob("*")):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST:
                continue
            for index, data in enumerate(objects(path.read_bytes())):
                digest = hashlib.sha256(data).digest()
                if digest in seen:
                    continue
                seen.add(digest)
                plain = str(path.relative_to(folder)).replace("/", "_")
                (out / f"{name}+{plain}{index or ''}.o").write_bytes(data)
                found += 1
    print(f"{name}: {found} objects")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__.strip())
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
