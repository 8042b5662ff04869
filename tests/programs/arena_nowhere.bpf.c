// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// An arena without an address: the kernel chooses one when the loader maps it.
#define WITHOUT_ADDRESS
#include "arena.bpf.c"
