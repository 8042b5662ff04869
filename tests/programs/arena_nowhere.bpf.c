// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// An arena without an address for users: somebody would have to map it first.
#define WITHOUT_ADDRESS
#include "arena.bpf.c"
