#!/usr/bin/python3
"""An ordinary loader in Python, on libbpf by ctypes: counts executions, by a tracepoint, and tells if there were any."""

import ctypes
import subprocess
import sys

bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
for function in ("bpf_object__open_file", "bpf_object__find_program_by_name", "bpf_program__attach"):
    getattr(bpf, function).restype = ctypes.c_void_p
found = bpf.bpf_object__open_file(sys.argv[1].encode(), None)
bpf_object = ctypes.c_void_p(found)
if not found or bpf.bpf_object__load(bpf_object):
    sys.exit(f"not loaded: {ctypes.get_errno()}")
program = ctypes.c_void_p(bpf.bpf_object__find_program_by_name(bpf_object, b"execs"))
if not bpf.bpf_program__attach(program):
    sys.exit(f"not attached: {ctypes.get_errno()}")
counts = bpf.bpf_object__find_map_fd_by_name(bpf_object, b"counts")
for _ in range(3):
    subprocess.run(["/bin/true"], check=True)
key, value = ctypes.c_uint32(1), ctypes.c_uint64()
if bpf.bpf_map_lookup_elem(counts, ctypes.byref(key), ctypes.byref(value)):
    sys.exit(f"not read: {ctypes.get_errno()}")
print("executions were seen:", value.value >= 3)
