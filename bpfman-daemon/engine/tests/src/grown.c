// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// second.c, with more entries in its map.
#define ENTRIES 64
#include "second.c"
