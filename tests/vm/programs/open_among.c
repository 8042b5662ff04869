// SPDX-License-Identifier: Apache-2.0
//
// Opens a file while other processes open another one on the same CPU:
//   open_among FILE TIMES OTHER PROCESSES
// Prints how often each file was opened, and how often it was refused.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum answer { OPENED, REFUSED, ANSWERS };

static enum answer try(const char *path)
{
	int file = open(path, O_RDONLY);

	if (file >= 0) {
		close(file);
		return OPENED;
	}
	if (errno == EPERM)
		return REFUSED;
	perror(path);
	exit(1);
}

int main(int count, char **words)
{
	unsigned long own[ANSWERS] = {0}, *others;
	int times, processes;

	if (count != 5)
		return 2;
	times = atoi(words[2]);
	processes = atoi(words[4]);
	others = mmap(NULL, sizeof(own), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (others == MAP_FAILED)
		return 1;
	// A group of their own: killing the processes must not kill the caller.
	setpgid(0, 0);
	for (int process = 0; process < processes; process++)
		if (!fork())
			for (;;) {
				__sync_fetch_and_add(&others[try(words[3])], 1);
				// Processes that sleep wake up and interrupt others.
				if (process & 1)
					usleep(50);
			}
	for (int i = 0; i < times; i++)
		own[try(words[1])]++;
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	while (wait(NULL) > 0)
		;
	printf("%lu %lu %lu %lu\n", own[OPENED], own[REFUSED], others[OPENED], others[REFUSED]);
	return 0;
}
