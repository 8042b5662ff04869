// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// The application that tests/cluster/tests/real/samples attaches to: has functions named main.main and malloc, and calls
// both, and the C library's own malloc, twenty times a second.
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *__libc_malloc(size_t size);

__attribute__((noinline)) void *malloc(size_t size) { return __libc_malloc(size); }

void go_main(void) __asm__("main.main");
__attribute__((noinline)) void go_main(void)
{
	void *volatile block = malloc(64);

	free(block);
}

int main(void)
{
	for (;;) {
		go_main();
		usleep(50000);
	}
}
